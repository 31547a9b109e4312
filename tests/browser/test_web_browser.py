"""The web page in a real browser: what a clinician does with it, by mouse and by keyboard, and how it ends.

Needs Debian's `chromium` and the package playwright (no browser of its own is fetched); skipped by name without them.
Screenshots go to the folder in WEB_SHOTS, where it is set. Every wait is for a condition, and long: the tests pass on
a machine that is busy with other work. WEB_WAIT_S changes how long.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from ecgkin.ui.settings import load_settings

pytestmark = [pytest.mark.browser, pytest.mark.slow]

CHROMIUM = shutil.which("chromium") or "/usr/bin/chromium"
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
WAIT_MS = 1000 * int(os.environ.get("WEB_WAIT_S", "240"))
N_CASES = 60


VIEWER = ".st-key-viewer-compare iframe"
# What the made model writes, with the neighbours in its prompt and without.
WITH_CASES, WITHOUT_CASES = "Sinus rhythm [1]. Left bundle branch block [2].", "Sinus rhythm. Atrial fibrillation."


class Model(BaseHTTPRequestHandler):
    """A model behind an OpenAI-compatible endpoint that writes one of two texts."""

    def do_POST(self) -> None:
        """One answer, whole or as a stream of one piece."""
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        text = WITH_CASES if "[1]" in json.dumps(body["messages"]) else WITHOUT_CASES
        if body.get("stream"):
            piece = {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}]}
            end = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
            content = "".join(f"data: {json.dumps(one)}\n\n" for one in (piece, end)) + "data: [DONE]\n\n"
        else:
            said = {"message": {"role": "assistant", "content": text}, "finish_reason": "stop", "index": 0}
            content = json.dumps({"choices": [said], "usage": {"prompt_tokens": 9, "completion_tokens": 9}})
        kind = "text/event-stream" if body.get("stream") else "application/json"
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content.encode())

    def log_message(self, *_: Any) -> None:
        """Nothing."""


@contextmanager
def made_model() -> Iterator[str]:
    """Its address while this lasts."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Model)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1#made"
    finally:
        server.shutdown()
        server.server_close()


@dataclass(frozen=True)
class Site:
    """A running page.

    Attributes:
        url: Its address.
        queries: Folder with ECGs that are not in the case base.
    """

    url: str
    queries: Path


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """The browser."""
    pytest.importorskip("playwright", reason="playwright is not installed: no browser tests")
    if not Path(CHROMIUM).exists():
        pytest.skip("chromium is not installed: no browser tests")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS, timeout=WAIT_MS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def site(chromium: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """API and page over simulated cases."""
    # Loading it takes seconds, and on a busy machine more than the server waits.
    pytest.importorskip("neurokit2", reason="neurokit2 is not installed: no drafts from recordings")
    from PIL import Image

    from ecgkin.index.ingest.pipeline import ingest_records, open_or_create
    from ecgkin.retrieval.ecg.drawing.raster import render
    from ecgkin.retrieval.encoders import load_encoder
    from ecgkin.ui.api.state import State
    from ecgkin.ui.demo.cases import simulated_gallery, simulated_query
    from ecgkin.ui.demo.serve import write_csv
    from ecgkin.ui.server.app import create_app
    from ecgkin.ui.server.serving import in_thread
    from ecgkin.ui.web.serving import running

    folder = tmp_path_factory.mktemp("site")
    encoder = load_encoder("hashing")
    with open_or_create(folder / "base", encoder) as base:
        ingest_records(base, simulated_gallery(N_CASES), encoder)
    queries = folder / "queries"
    queries.mkdir()
    _, record = simulated_query(3)
    page = render(record)
    page.save(queries / "ECG_1.png")
    write_csv(record, queries / "ECG_1.csv")
    # A page as a phone sees it: turned a little, on a table.
    photo = Image.new("RGB", (page.width + 300, page.height + 300), (96, 84, 72))
    photo.paste(page, (150, 150))
    photo.rotate(2, Image.Resampling.BICUBIC, fillcolor=(96, 84, 72)).save(folder / "photo.jpg", quality=85)
    (folder / "wrong.png").write_bytes(b"this is no picture")
    with made_model() as model:
        # Requests wait long: one that a busy machine cuts off would be no fault of the page.
        settings = load_settings(api_port=0, api_drafters=("consensus", model), api_max_seconds=WAIT_MS / 1000)
        state = State(folder / "base", settings, encoder)
        with (
            in_thread(create_app(settings, state), settings) as api,
            running(api, examples=queries, port=0) as (_, url),
        ):
            yield Site(url, queries)


@pytest.fixture
def tab(site: Site, chromium: Any) -> Iterator[Any]:
    """A fresh tab on the page."""
    with visiting(site, chromium) as tab:
        yield tab


@contextmanager
def visiting(site: Site, chromium: Any, **options: Any) -> Iterator[Any]:
    """A fresh tab; what it asks of other machines, and its errors, fail the test."""
    usual = {"viewport": {"width": 1280, "height": 900}, "locale": "en-GB", "accept_downloads": True}
    context = chromium.new_context(**{**usual, **options})
    context.set_default_timeout(WAIT_MS)
    tab = context.new_page()
    faults: list[str] = []
    tab.on("pageerror", lambda error: faults.append(str(error)))
    tab.on("request", lambda request: faults.append(request.url) if _is_foreign(request.url) else None)
    tab.goto(f"{site.url}/?lang=en")
    tab.locator("input[type=file]").wait_for(state="attached")
    try:
        yield tab
    finally:
        context.close()
    assert not faults, faults


def _is_foreign(url: str) -> bool:
    return not re.match(r"(http|ws)://127\.0\.0\.1[:/]|data:|blob:|about:", url)


def drop(tab: Any, path: Path) -> None:
    """Upload a file and wait for cards and draft."""
    tab.locator("input[type=file]").set_input_files(path)
    settled(tab)


def settled(tab: Any) -> None:
    """Wait for cards and draft; what went wrong instead is in the failure."""
    tab.locator(".st-key-card-10").wait_for(state="attached")
    tab.locator(".ek-draft").or_(tab.locator("[data-testid=stAlert]", has_text="That did not work")).first.wait_for()
    assert tab.locator(".ek-draft").count(), tab.inner_text("body")


def shot(tab: Any, name: str) -> None:
    """A picture for people to look at."""
    if folder := os.environ.get("WEB_SHOTS"):
        time.sleep(1.0)
        tab.screenshot(path=f"{folder}/{name}.png")


def test_photo_to_neighbours_draft_and_side_by_side(site: Site, tab: Any) -> None:
    """A photo brings ten neighbours and a draft whose citations light up their cards; one opens beside the query."""
    drop(tab, site.queries.parent / "photo.jpg")
    shot(tab, "1-light")
    assert tab.locator(".ek-card-head").count() == 10
    assert "SIMULATED" in tab.inner_text("body") and "does not replace a clinician" in tab.inner_text("body")
    lit = 0
    for cite in tab.locator("a.ek-cite").all()[:3]:
        rank = re.search(r"ek-cite-(\d+)", cite.get_attribute("class"))
        assert rank
        card = tab.locator(f".st-key-card-{rank[1]}")
        cite.hover()
        tab.wait_for_function("e => getComputedStyle(e).outlineStyle === 'solid'", arg=card.element_handle())
        inside = "([e, l]) => { const a = e.getBoundingClientRect(), b = l.getBoundingClientRect();"
        inside += " return a.left >= b.left - 2 && a.left < b.right; }"
        tab.wait_for_function(inside, arg=[card.element_handle(), tab.locator(".st-key-cards").element_handle()])
        lit += 1
    assert lit, "the draft cites no case"
    tab.mouse.move(5, 5)
    assert tab.locator(".st-key-card-1").evaluate("e => getComputedStyle(e).outlineStyle") == "none"
    # The picture of a card is part of its button.
    # (Without `force` the click waits for the picture itself to be on top; the button lies over it.)
    tab.locator(".st-key-card-1 img").click(force=True)
    viewer = opened(tab)
    viewer.locator(".pane").nth(1).wait_for()
    viewer.get_by_role("button", name="Calipers").click()
    assert viewer.locator(".pane").count() == 2
    ms, mv, rate, said = measured(tab, viewer)
    # 60 px by 40 px at one scale: 40 ms and 0.1 mV are both one millimetre.
    assert rate == round(60000 / ms) and ms / 40 / (mv / 0.1) == pytest.approx(60 / 40, rel=0.03)
    assert "assumed" not in said, "the case's own page has a known scale"
    shot(tab, "2-side")
    tab.get_by_role("button", name="Farther").click()
    tab.get_by_text("2 of 10").wait_for()


def opened(tab: Any) -> Any:
    """The viewer of query and case, once both are there."""
    tab.get_by_role("button", name="Back to the neighbours").wait_for()
    tab.locator(VIEWER).wait_for()
    return tab.frame_locator(VIEWER)


def measured(tab: Any, viewer: Any, pane: int = -1) -> tuple[int, float, int, str]:
    """What the calipers say of 60 px across and 40 px up: ms, mV, beats a minute, and all of it."""
    box = viewer.locator(".pane").nth(pane).bounding_box()
    tab.mouse.move(box["x"] + 100, box["y"] + 120)
    tab.mouse.down()
    tab.mouse.move(box["x"] + 160, box["y"] + 80, steps=3)
    tab.mouse.up()
    said = viewer.locator(".read").nth(pane).inner_text()
    found = re.match(r"(\d+) ms · (-?[\d.]+) mV · (\d+) /min", said)
    assert found, said
    return int(found[1]), float(found[2]), int(found[3]), said


def test_calipers_say_what_is_assumed(chromium: Any) -> None:
    """Of a page that does not tell its speed, calipers say that it is assumed; another speed counts at once.

    The viewer alone, as one document: a query whose paper is assumed, and a case whose paper is known: 50 mm/s.
    """
    from ecgkin.ui.web.shared import texts
    from ecgkin.ui.web.shared.drawings import Sheet, svg_address
    from ecgkin.ui.web.shared.viewer import viewer_html

    blank = svg_address(
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 280 140"><rect width="9" height="9"/></svg>'
    )
    sheets = [
        (Sheet(blank, 280, 140, assumed=True), "query", "a"),
        (Sheet(blank, 280, 140, speed_mm_s=50.0, gain_mm_mv=5.0), "case", "b"),
    ]
    tab = chromium.new_page(viewport={"width": 1200, "height": 500})
    tab.set_default_timeout(WAIT_MS)
    faults: list[str] = []
    tab.on("pageerror", lambda error: faults.append(str(error)))
    tab.set_content(viewer_html(sheets, texts.words("en"), dark=False))
    tab.get_by_role("button", name="Calipers").click()
    ms, mv, _, said = measured(tab, tab, 0)
    assert said.endswith("(assumed 25 mm/s, 10 mm/mV)")
    other_ms, other_mv, _, known = measured(tab, tab, 1)
    assert "assumed" not in known
    assert other_ms == pytest.approx(ms / 2, abs=1) and other_mv == pytest.approx(2 * mv, abs=0.011)
    tab.get_by_label("mm/s", exact=True).select_option("50")
    again = tab.locator(".read").first.inner_text()
    halved = re.match(r"(\d+) ms", again)
    assert halved and int(halved[1]) == pytest.approx(ms / 2, abs=1) and again.endswith("(assumed 50 mm/s, 10 mm/mV)")
    # By keyboard: the end of the calipers moves by half a millimetre, at 50 mm/s ten milliseconds.
    tab.locator(".pane").first.focus()
    tab.keyboard.press("ArrowRight")
    moved = re.match(r"(\d+) ms", tab.locator(".read").first.inner_text())
    assert moved and int(moved[1]) - int(halved[1]) == pytest.approx(10, abs=1)
    # One above the other: both keep one scale.
    tab.get_by_role("button", name="One above the other").click()
    first, second = (tab.locator(".pane").nth(n).bounding_box() for n in (0, 1))
    assert second["y"] >= first["y"] + first["height"] and first["width"] == second["width"]
    tab.close()
    assert not faults, faults


def sign_off(tab: Any, number: int, said: str = "Accept") -> None:
    """Decide about one sentence of the draft, and wait until the report has it."""
    tab.locator(f".st-key-row-{number} button", has_text=said).click()
    tab.locator(".st-key-edit-report code").wait_for()


def test_a_page_of_columns_is_laid_over_a_case(chromium: Any) -> None:
    """Each lead from where the page shows it on: V1 to V6 stand behind the first five seconds of a 3x4 page."""
    import numpy as np

    from ecgkin.retrieval.ecg.leads import LEADS
    from ecgkin.retrieval.ecg.record import EcgRecord
    from ecgkin.ui.web.shared.drawings import overlay_data
    from ecgkin.ui.web.shared.texts import words
    from ecgkin.ui.web.shared.viewer import viewer_html

    whole = np.random.default_rng(0).normal(0, 0.1, (12, 2500)).astype(np.float32)
    shown = whole.copy()
    for n in range(12):
        shown[n, : n // 3 * 625] = shown[n, n // 3 * 625 + 625 :] = np.nan
    page, case = (EcgRecord(signal, 250.0, LEADS) for signal in (shown, whole))
    tab = chromium.new_page(viewport={"width": 1440, "height": 900})
    tab.set_content(viewer_html([], words("en"), dark=False, overlay=overlay_data(page, case, ("page", "case"))))
    boxes = tab.evaluate(
        """() => [...document.querySelectorAll("svg.sheet g[clip-path]")].map(g => {
            const own = [...g.children].find(e => e.tagName === "path").getBBox();
            const clip = document.querySelector(g.getAttribute("clip-path").slice(4, -1)).firstChild.getBBox();
            return [own.x - clip.x, own.width];
        })"""
    )
    tab.close()
    assert len(boxes) == 12
    for begin, wide in boxes:
        assert abs(begin) < 1 and abs(wide - 62.5) < 1, boxes


def test_recordings_overlay_and_why(site: Site, tab: Any) -> None:
    """A recording of the demo is chosen and laid over a case lead by lead; the stretches that make it near are marked.

    A review of the draft is still there after the case was looked at.
    """
    tab.get_by_role("combobox").first.click()
    tab.get_by_role("option", name="ECG 1 (recording)").click()
    settled(tab)
    sign_off(tab, 1)
    tab.get_by_role("button", name="Compare", exact=True).first.click()
    viewer = opened(tab)
    tab.get_by_text("Overlaid").click()
    sheet = viewer.locator("svg.sheet")
    sheet.wait_for()
    assert sheet.locator("g[clip-path] path").count() == 24
    shot(tab, "3-overlay")
    tab.get_by_text("Side by side").click()
    viewer.locator(".pane").nth(1).wait_for()
    tab.get_by_text("Why similar?").click()
    tab.get_by_text("Stretches of the query").wait_for()
    tab.get_by_text(re.compile("Most of it|No stretch alone")).wait_for()
    if tab.get_by_text("Most of it").count():
        viewer.locator("polygon.mark").first.wait_for()
    shot(tab, "5-why")
    tab.get_by_role("button", name="Back to the neighbours").click()
    tab.locator(".st-key-edit-report code").wait_for()


def test_filter_feedback_and_again(site: Site, tab: Any) -> None:
    """A filter narrows the cards; marks are stored by the server and the next search follows them."""
    drop(tab, site.queries / "ECG_1.png")
    tab.get_by_role("button", name="Filters").click()
    tab.get_by_text("female", exact=True).click()
    tab.keyboard.press("Escape")
    tab.wait_for_function("[...document.querySelectorAll('.ek-person')].every(e => e.textContent.includes('female'))")
    assert 0 < tab.locator(".ek-card-head").count() <= 10
    tab.get_by_role("button", name="similar", exact=True).first.click()
    tab.get_by_text("1 similar, 0 not").wait_for()
    tab.get_by_role("button", name="Search again like these").click()
    tab.get_by_role("button", name="Back to the first search").wait_for()
    tab.get_by_text(re.compile("Refined by your marks")).first.wait_for()


def test_edit_and_download(site: Site, tab: Any) -> None:
    """An edited sentence is in the text, in the PDF and in the FHIR resource."""
    pypdfium2 = pytest.importorskip("pypdfium2")
    drop(tab, site.queries / "ECG_1.csv")
    assert tab.locator(".st-key-as-text button").is_disabled(), "nothing was accepted yet"
    sign_off(tab, 1)
    field = tab.get_by_label("Sentence 1", exact=True)
    field.fill("Seen by me: größer.")
    field.press("Enter")
    tab.locator(".st-key-edit-report code").get_by_text("Seen by me").wait_for()
    tab.locator(".st-key-row-2 button", has_text="Reject").click()
    tab.get_by_text("1 rejected").wait_for()
    gone = tab.get_by_label("Sentence 2", exact=True).input_value()
    assert gone and gone not in tab.locator(".st-key-edit-report code").inner_text()

    def taken(key: str) -> bytes:
        with tab.expect_download() as coming:
            tab.locator(f".st-key-{key} button").click()
        return Path(coming.value.path()).read_bytes()

    text = taken("as-text").decode()
    assert "Seen by me: größer." in text and gone not in text and "1 changed, 1 rejected" in text
    with pypdfium2.PdfDocument(taken("as-pdf")) as pdf:
        assert "Seen by me: größer." in pdf[0].get_textpage().get_text_bounded()
        kinds = {item.type for item in pdf[0].get_objects()}
    assert pypdfium2.raw.FPDF_PAGEOBJ_IMAGE in kinds, "the ECG is not in the PDF"
    tab.locator(".st-key-make-fhir button").click()
    tab.locator(".st-key-as-fhir button").wait_for()
    resource = json.loads(taken("as-fhir"))
    assert resource["resourceType"] == "DiagnosticReport" and resource["status"] == "preliminary"
    assert "Seen by me: größer." in resource["conclusion"]
    from fhir.resources.R4B.diagnosticreport import DiagnosticReport

    DiagnosticReport.model_validate(resource)


def test_drafters_compared_and_map(site: Site, tab: Any) -> None:
    """The consensus beside a model with and without the neighbours, where they differ; then the map opens a case."""
    drop(tab, site.queries / "ECG_1.png")
    tab.get_by_text("Compare drafters").click()
    tab.get_by_role("button", name="Write these drafts").click()
    table = tab.locator(".ek-table")
    table.wait_for()
    assert table.locator("thead th").count() == 5 and table.locator("tr.differ").count() >= 1
    tab.locator(".st-key-drafters").get_by_text("Atrial fibrillation").first.wait_for(state="attached")
    said = tab.locator(".st-key-drafters").inner_text()
    assert "Atrial fibrillation" in said and "without neighbours" in said and "consensus" in said
    shot(tab, "6-drafters")
    tab.locator(".st-key-drafters summary").first.click()
    tab.get_by_text("Map of the case base").click()
    points = tab.locator(".st-key-case-map g.mark-symbol.role-mark path")
    points.first.wait_for(state="attached")
    # All cases, and the query's star on top of them, at the end.
    assert points.count() == N_CASES + 1
    shot(tab, "7-map")
    # A click on a neighbour, wherever the projection put it: these are drawn last, below the star alone.
    points.last.scroll_into_view_if_needed()
    for n in range(N_CASES - 1, N_CASES - 6, -1):
        points.nth(n).click(force=True)
        try:
            tab.get_by_role("button", name="Back to the neighbours").wait_for(timeout=WAIT_MS / 8)
            break
        except Exception as error:
            if "Timeout" not in type(error).__name__:
                raise
    else:
        pytest.fail("no point of the map opens a case")
    tab.locator(VIEWER).wait_for()


@pytest.mark.parametrize(("scheme", "width"), [("light", 1440), ("dark", 1024), ("light", 390)])
def test_no_accessibility_fault(site: Site, chromium: Any, scheme: str, width: int) -> None:
    """axe-core finds nothing, of no impact, in any view, the frames of the viewers included."""
    pytest.importorskip("axe_playwright_python", reason="axe-playwright-python is not installed")
    device = PHONE if width == 390 else {"viewport": {"width": width, "height": 900}}
    with visiting(site, chromium, color_scheme=scheme, **device) as tab:
        assert not axe_faults(tab), "start"
        drop(tab, site.queries / "ECG_1.csv")
        tab.locator(".st-key-viewer-query iframe").wait_for()
        assert not axe_faults(tab), "results"
        tab.get_by_role("button", name="Filters").click()
        tab.get_by_text("Age, years").wait_for()
        assert not axe_faults(tab), "filters"
        tab.keyboard.press("Escape")
        sign_off(tab, 1)
        field = tab.locator(".st-key-region input")
        field.fill("V2 6-6.6")
        field.press("Enter")
        tab.locator(".st-key-card-10 .ek-tag.near").wait_for()
        assert not axe_faults(tab), "frame and report"
        tab.get_by_role("button", name="Compare", exact=True).first.click()
        opened(tab).locator(".pane").nth(1).wait_for()
        assert not axe_faults(tab), "side by side"
        tab.get_by_text("Overlaid").click()
        tab.frame_locator(VIEWER).locator("svg.sheet").wait_for()
        assert not axe_faults(tab), "overlaid"
        tab.goto(f"{site.url}/?lang=en&words=AF+without+pacemaker+pizza")
        tab.locator(".st-key-card-1").wait_for(state="attached")
        assert not axe_faults(tab), "words"
        tab.goto(f"{site.url}/?lang=en&quiz=1")
        tab.locator("input[type=file]").wait_for(state="attached")
        tab.locator("input[type=file]").set_input_files([site.queries / "ECG_1.png", site.queries / "ECG_1.csv"])
        tab.get_by_role("button", name="Commit and show").wait_for()
        assert not axe_faults(tab), "quiz"
        tab.get_by_label("Your own words", exact=True).fill("atrial fibrillation")
        tab.get_by_role("button", name="Commit and show").click()
        settled(tab)
        assert not axe_faults(tab), "quiz, several"


def axe_faults(tab: Any) -> list[str]:
    """Faults of a page with its frames once it rests: rule, impact, what it is, where."""
    # What runs fades what it will replace.
    tab.wait_for_timeout(500)
    resting = "document.querySelector('.stApp').dataset.testScriptState === 'notRunning'"
    tab.wait_for_function(f"{resting} && !document.querySelector('[data-stale=\"true\"]')")
    tab.wait_for_timeout(500)
    for frame in tab.frames:
        if not frame.evaluate("typeof axe === 'object'"):
            frame.evaluate((files("axe_playwright_python") / "axe.min.js").read_text(encoding="utf-8"))
    found = tab.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [
        f"{fault['id']} ({fault['impact']}): {node['html'][:300]} | {node.get('failureSummary', '')[:300]}"
        for fault in found["violations"]
        for node in fault["nodes"]
    ]


def test_a_frame_is_drawn_on_a_lead(site: Site, tab: Any) -> None:
    """Drawn with the mouse it is written into its field, marked on the ECG, and each case says how alike it is."""
    drop(tab, site.queries / "ECG_1.csv")
    viewer = tab.frame_locator(".st-key-viewer-query iframe")
    viewer.get_by_role("button", name="Frame").click()
    box = viewer.locator(".pane").bounding_box()
    x, y = box["x"] + 0.6 * box["width"], box["y"] + 0.3 * box["height"]
    tab.mouse.move(x, y)
    tab.mouse.down()
    tab.mouse.move(x + 70, y + 60, steps=4)
    tab.mouse.up()
    tab.locator(".st-key-card-10 .ek-tag.near").wait_for()
    said = tab.locator(".st-key-region input").input_value()
    assert re.fullmatch(r"V2 [67]\.\d\d-[67]\.\d\d", said), said
    alike = [float(text.split(": ")[1]) for text in tab.locator(".ek-tag.near").all_inner_texts()]
    assert len(alike) == 10 and alike == sorted(alike, reverse=True)
    tab.frame_locator(".st-key-viewer-query iframe").locator("polygon.mark").wait_for(state="attached")
    shot(tab, "11-frame")


def test_wrong_file_has_a_clear_message(site: Site, tab: Any) -> None:
    """What is no picture is said to be none, and the page goes on."""
    tab.locator("input[type=file]").set_input_files(site.queries.parent / "wrong.png")
    tab.get_by_text("That did not work.").wait_for()
    assert "Traceback" not in tab.inner_text("body")
    drop(tab, site.queries / "ECG_1.png")


def test_keyboard_alone(tab: Any) -> None:
    """Words are searched, and a case is opened, without a mouse; German, dark, on a tablet."""
    tab.emulate_media(color_scheme="dark")
    tab.set_viewport_size({"width": 820, "height": 1100})
    tab.get_by_role("radio", name="DE").or_(tab.get_by_text("DE", exact=True)).first.click()
    tab.get_by_text("Ähnliche EKGs").wait_for()
    by_words = tab.get_by_role("radio", name="Mit Worten")
    by_words.focus()
    tab.keyboard.press("Space")
    field = tab.get_by_label("Befund, Abkürzung oder ein ganzer Befundtext")
    field.focus()
    tab.keyboard.type("Linksschenkelblock")
    tab.keyboard.press("Enter")
    tab.locator(".st-key-card-10").wait_for()
    for _ in range(80):
        tab.keyboard.press("Tab")
        if tab.evaluate("document.activeElement.innerText || ''").strip().endswith("Vergleichen"):
            break
    else:
        pytest.fail("no Compare button is reached with the Tab key")
    tab.keyboard.press("Enter")
    tab.get_by_role("button", name="Zurück zu den Nachbarn").wait_for()
    shot(tab, "4-tablet-dark")
    wide = tab.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert wide <= 0, "the page is wider than a tablet"


PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}


def top_of(tab: Any, selector: str) -> float:
    """Where an element begins on the page, px from its top, wherever the page was scrolled to."""
    found: float = tab.locator(selector).first.evaluate(
        "e => e.getBoundingClientRect().top + document.querySelector('[data-testid=stMain]').scrollTop"
    )
    return found


@pytest.mark.parametrize(("width", "height"), [(1440, 900), (1024, 768), (390, 844)])
def test_answer_comes_first_then_the_ecg_at_full_width(site: Site, chromium: Any, width: int, height: int) -> None:
    """Strip, ECG, neighbours, in this order; on a phone the first case stands within two screens; nothing is cut off.

    What is on the page does not move while the answer comes.
    """
    phone = {**PHONE, "viewport": {"width": width, "height": height}} if width < 700 else {}
    with visiting(site, chromium, **phone) as tab:
        if not phone:
            tab.set_viewport_size({"width": width, "height": height})
        tab.evaluate(
            "() => { window.moved = 0; new PerformanceObserver((list) => { for (const e of list.getEntries())"
            " if (!e.hadRecentInput) window.moved += e.value; }).observe({ type: 'layout-shift' }); }"
        )
        drop(tab, site.queries / "ECG_1.png")
        tab.locator(".st-key-viewer-query iframe").wait_for()
        places = [top_of(tab, name) for name in (".ek-answer", ".st-key-viewer-query", ".st-key-card-1", ".ek-draft")]
        assert places == sorted(places)
        assert tab.locator(".ek-answer .ek-tiles dt").count() == 5 and tab.locator(".ek-answer .ek-st").count() == 1
        frame = tab.locator(".st-key-viewer-query iframe").bounding_box()
        assert frame["width"] > 0.9 * width
        if width == 1440:
            drawn = tab.frame_locator(".st-key-viewer-query iframe").locator(".pane")
            drawn.wait_for()
            assert drawn.bounding_box()["height"] > 3.8 * 130, "the page of four rows is drawn too small"
        if width == 390:
            assert places[2] < 2 * height
            clipped = tab.locator(".st-key-edit-report textarea, .st-key-edit-report input[type=text]").evaluate_all(
                "all => all.filter(e => e.scrollWidth > e.clientWidth + 1 || e.scrollHeight > e.clientHeight + 2)"
                ".map(e => e.value)"
            )
            assert not clipped
        wide = tab.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wide <= 0
        assert tab.evaluate("window.moved") < 0.05
        shot(tab, f"8-answer-{width}")


def test_on_a_phone_a_swipe_over_the_ecg_scrolls_the_page(site: Site, chromium: Any) -> None:
    """Up and down scrolls the page, as anywhere else; the camera has its button, and cards are swiped sideways."""
    with visiting(site, chromium, **PHONE) as tab:
        assert tab.locator("button.ek-camera").is_visible()
        drop(tab, site.queries / "ECG_1.png")
        frame = tab.locator(".st-key-viewer-query iframe")
        frame.wait_for()
        tab.frame_locator(".st-key-viewer-query iframe").locator(".pane").wait_for()
        frame.scroll_into_view_if_needed()
        main = tab.locator("[data-testid=stMain]")
        before = main.evaluate("e => e.scrollTop")
        box = frame.bounding_box()
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] * 0.7
        swiped(tab, x, y, 0, -250)
        tab.wait_for_function("([e, y]) => e.scrollTop > y + 100", arg=[main.element_handle(), before])
        cards = tab.locator(".st-key-cards")
        cards.scroll_into_view_if_needed()
        tab.wait_for_timeout(500)  # until the page rests
        swiped(tab, 300, cards.bounding_box()["y"] + 60, -250, 0)
        tab.wait_for_function("e => e.scrollLeft > 100", arg=cards.element_handle())


@pytest.mark.parametrize("lang", ["en", "de"])
def test_on_a_phone_no_bar_is_cut_and_nothing_lies_over_what_is_typed(site: Site, chromium: Any, lang: str) -> None:
    """The viewers' buttons and legend end before the screen does; Streamlit's "Press Enter" does not cover words."""
    with visiting(site, chromium, **PHONE) as tab:
        tab.goto(f"{site.url}/?lang={lang}")
        tab.get_by_role("radio", name="Mit Worten" if lang == "de" else "By words").click()
        field = tab.locator(".st-key-words input")
        field.fill("atrial fibrillation in women over 60")
        tab.wait_for_timeout(500)
        box = field.bounding_box()
        assert box["width"] > 200
        hit = "([x, y]) => document.elementFromPoint(x, y).closest('.st-key-words') !== null"
        assert tab.evaluate(hit, [box["x"] + box["width"] - 8, box["y"] + box["height"] - 6])
        assert not tab.locator("[data-testid=InputInstructions]").is_visible()
        tab.goto(f"{site.url}/?lang={lang}")
        tab.locator("input[type=file]").wait_for(state="attached")
        drop(tab, site.queries / "ECG_1.csv")
        assert _bar_fits(tab, "viewer-query")
        tab.locator('[class*="st-key-compare-1-"] button').first.click()
        tab.frame_locator(".st-key-viewer-compare iframe").locator(".pane").nth(1).wait_for()
        assert _bar_fits(tab, "viewer-compare")
        tab.get_by_role("radio", name="Übereinander" if lang == "de" else "Overlaid").click()
        tab.frame_locator(".st-key-viewer-compare iframe").locator("svg.sheet").wait_for()
        assert _bar_fits(tab, "viewer-compare")


def _bar_fits(tab: Any, viewer: str) -> bool:
    """Whether all that a viewer's bar holds ends before the viewer does, and nothing in it has to be scrolled to."""
    bar = tab.frame_locator(f".st-key-{viewer} iframe").locator(".bar")
    bar.wait_for()
    fits: bool = bar.evaluate(
        "e => e.scrollWidth <= e.clientWidth"
        " && [...e.children].every(c => c.getBoundingClientRect().right <= innerWidth + .5)"
    )
    return fits


def test_cases_in_another_order_are_read_from_the_first_on(site: Site, chromium: Any) -> None:
    """Marked far along the row, on a phone: "Search again" shows its first case, "Near in" likewise."""
    with visiting(site, chromium, **PHONE) as tab:
        drop(tab, site.queries / "ECG_1.csv")
        row = tab.locator(".st-key-cards")
        tab.locator('.st-key-card-4 [class*="st-key-thumb_up"] button').click()
        tab.get_by_text("1 similar, 0 not").wait_for()
        assert row.evaluate("e => e.scrollLeft") > 100
        tab.get_by_role("button", name="Search again like these").click()
        tab.get_by_role("button", name="Back to the first search").wait_for()
        settled(tab)
        assert row.evaluate("e => e.scrollLeft") < 5
        row.evaluate("e => e.scrollTo({left: 700})")
        tab.wait_for_timeout(400)
        tab.locator(".st-key-concept").get_by_text("QRS", exact=True).click()
        tab.get_by_role("status").filter(has_text="nearest").first.wait_for()
        tab.wait_for_timeout(500)
        assert row.evaluate("e => e.scrollLeft") < 5


def swiped(tab: Any, x: float, y: float, dx: float, dy: float) -> None:
    """One finger put down, moved and taken away."""
    hand = tab.context.new_cdp_session(tab)
    hand.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [{"x": x, "y": y}]})
    for step in range(1, 9):
        point = {"x": x + dx * step / 8, "y": y + dy * step / 8}
        hand.send("Input.dispatchTouchEvent", {"type": "touchMove", "touchPoints": [point]})
        tab.wait_for_timeout(16)
    hand.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})


def test_nothing_is_lost_by_reload_back_or_another_language(site: Site, tab: Any) -> None:
    """The address names the question: reload, Back and another language bring cards, draft and review back."""
    drop(tab, site.queries / "ECG_1.csv")
    address = tab.url
    assert "q=" in address
    sign_off(tab, 1)
    own = tab.get_by_label("Your own words", exact=True)
    own.fill("typed, never sent")
    own.press("Control+Enter")
    tab.locator(".st-key-edit-report code").get_by_text("typed, never sent").wait_for()
    tab.reload()
    settled(tab)
    assert tab.url == address
    tab.locator(".st-key-edit-report code").get_by_text("typed, never sent").wait_for()
    tab.get_by_role("radio", name="DE").or_(tab.get_by_text("DE", exact=True)).first.click()
    tab.get_by_text("Ihr Befund").wait_for()
    tab.locator(".st-key-edit-report code").get_by_text("typed, never sent").wait_for()
    tab.locator('[class*="st-key-compare-2-"] button').click()
    tab.get_by_role("button", name="Zurück zu den Nachbarn").wait_for()
    tab.go_back()
    tab.locator(".st-key-card-10").wait_for(state="attached")
    tab.locator(".st-key-edit-report code").get_by_text("typed, never sent").wait_for()
    # Back to before the question, and forward to it.
    while "q=" in tab.url:
        tab.go_back()
        tab.wait_for_timeout(200)
    tab.locator(".ek-start").wait_for()
    tab.go_forward()
    settled(tab)


def test_quiz_hides_what_was_found_until_one_has_committed(site: Site, tab: Any) -> None:
    """No card, no draft, no measurement before; both beside each other after."""
    tab.goto(f"{site.url}/?lang=en&quiz=1")
    tab.locator("input[type=file]").wait_for(state="attached")
    tab.locator("input[type=file]").set_input_files(site.queries / "ECG_1.csv")
    tab.locator(".st-key-viewer-query iframe").wait_for()
    tab.get_by_role("button", name="Commit and show").wait_for()
    assert not tab.locator(".ek-answer, .ek-draft, .ek-card-head, .ek-bars").count()
    tab.get_by_label("Your own words", exact=True).fill("atrial fibrillation")
    tab.get_by_role("button", name="Commit and show").click()
    settled(tab)
    quiz = tab.locator(".ek-quiz")
    quiz.wait_for()
    assert "atrial fibrillation" in quiz.inner_text()
    shot(tab, "9-quiz")


def test_neighbours_within_ten_tabs(site: Site, tab: Any) -> None:
    """From the top of the page the keyboard reaches the first case in at most ten presses of Tab."""
    drop(tab, site.queries / "ECG_1.csv")
    tab.evaluate("() => { document.activeElement.blur(); document.querySelector('.ek-skip').focus(); }")
    for _ in range(10):
        if tab.evaluate("!!document.activeElement.closest('.st-key-card-1')"):
            return
        if tab.evaluate("document.activeElement.matches('.ek-skip')"):
            tab.keyboard.press("Enter")
        else:
            tab.keyboard.press("Tab")
    assert tab.evaluate("!!document.activeElement.closest('.st-key-card-1')")


def test_two_ecgs_are_listed_and_each_is_a_question(site: Site, tab: Any) -> None:
    """Both are looked at while the first is on the page; the list opens the second."""
    tab.locator("input[type=file]").set_input_files([site.queries / "ECG_1.png", site.queries / "ECG_1.csv"])
    settled(tab)
    listed = tab.locator(".st-key-several")
    listed.get_by_text("2 of 2 looked at").wait_for()
    first = tab.url
    listed.get_by_role("button", name="ECG_1.csv").click()
    tab.wait_for_function("url => location.href !== url", arg=first)
    tab.locator(".ek-understood", has_text="ECG_1.csv").wait_for()
    settled(tab)
    shot(tab, "10-several")


def test_demo_serves_and_ends(tmp_path: Path) -> None:
    """One command: the address is printed, the page answers though the usual ports are taken; Ctrl-C ends both."""
    import httpx

    blockers, held = [], set()
    for port in (8000, 8501):
        blocker = socket.socket()
        try:
            blocker.bind(("127.0.0.1", port))
            blocker.listen()
            blockers.append(blocker)
            held.add(str(port))
        except OSError:  # somebody else has it, for now
            blocker.close()
    words = ["demo", "--serve", "--no-open", "--cases", "20", "--encoder", "hashing", "--out", str(tmp_path / "out")]
    demo = subprocess.Popen(
        [sys.executable, "-m", "ecgkin", *words],
        env={**os.environ, "ECGKIN_HOME": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert demo.stdout is not None
        said = []
        for line in demo.stdout:
            said.append(line)
            if "Ctrl-C" in line:
                break
        text = "".join(said)
        api, page = (re.search(rf"^{name}: (http://127\.0\.0\.1:\d+)", text, re.M) for name in ("API", "web page"))
        assert api and page, text
        addresses = (api[1], page[1])
        assert not {url.rpartition(":")[2] for url in addresses} & held
        assert httpx.get(f"{api[1]}/readyz", trust_env=False).status_code == 200
        assert httpx.get(page[1], trust_env=False).status_code == 200
        demo.send_signal(signal.SIGINT)
        assert demo.wait(WAIT_MS / 1000) == 0
        for url in addresses:
            with pytest.raises(httpx.TransportError):
                httpx.get(url, trust_env=False)
    finally:
        demo.terminate()  # politely, so that its own processes end with it
        demo.wait(60)
        if demo.stdout is not None:
            demo.stdout.close()
        for blocker in blockers:
            blocker.close()
