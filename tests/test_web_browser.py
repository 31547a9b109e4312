"""The web page in a real browser: what a clinician does with it, by mouse and by keyboard, and how it ends.

Needs Debian's `chromium` and the package playwright (no browser of its own is fetched); skipped by name without them.
Screenshots go to the folder in WEB_SHOTS, where it is set.
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
import time
from collections.abc import Iterator
from dataclasses import dataclass
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
WAIT_MS = 120_000
N_CASES = 60


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
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """API and page over simulated cases."""
    pytest.importorskip("playwright", reason="playwright is not installed: no browser tests")
    if not Path(CHROMIUM).exists():
        pytest.skip("chromium is not installed: no browser tests")
    # Loading it takes seconds, and on a busy machine more than the server waits.
    pytest.importorskip("neurokit2", reason="neurokit2 is not installed: no drafts from recordings")
    from PIL import Image

    from ecgkin.index.ingest import ingest_records, open_or_create
    from ecgkin.retrieval.ecg.drawing import render
    from ecgkin.retrieval.encoders import load_encoder
    from ecgkin.ui.api.app import create_app
    from ecgkin.ui.api.serving import in_thread
    from ecgkin.ui.api.state import State
    from ecgkin.ui.demo_cases import simulated_gallery, simulated_query
    from ecgkin.ui.demo_serve import write_csv
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
    settings = load_settings(api_port=0)
    state = State.open(folder / "base", settings, encoder)
    with in_thread(create_app(settings, state), settings) as api, running(api, examples=queries, port=0) as (_, url):
        yield Site(url, queries)


@pytest.fixture(scope="module")
def chromium(site: Site) -> Iterator[Any]:
    """The browser."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def tab(site: Site, chromium: Any) -> Iterator[Any]:
    """A fresh tab on the page; what it asks of other machines, and its errors, fail the test."""
    context = chromium.new_context(viewport={"width": 1280, "height": 900}, locale="en-GB", accept_downloads=True)
    context.set_default_timeout(WAIT_MS)
    tab = context.new_page()
    faults: list[str] = []
    tab.on("pageerror", lambda error: faults.append(str(error)))
    tab.on("request", lambda request: faults.append(request.url) if _is_foreign(request.url) else None)
    tab.goto(f"{site.url}/?lang=en")
    tab.locator("input[type=file]").wait_for(state="attached")
    yield tab
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
    tab.locator(".st-key-card-10").wait_for()
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
    cite = tab.locator("a.ek-cite").first
    if cite.count():
        rank = re.search(r"ek-cite-(\d+)", cite.get_attribute("class"))
        assert rank
        card = tab.locator(f".st-key-card-{rank[1]}")
        before = card.evaluate("e => getComputedStyle(e).outlineStyle")
        cite.hover()
        assert (before, card.evaluate("e => getComputedStyle(e).outlineStyle")) == ("none", "solid")
    tab.get_by_role("button", name="Compare").first.click()
    tab.get_by_role("button", name="Back to the neighbours").wait_for()
    viewer = tab.frame_locator("iframe")
    viewer.get_by_role("button", name="Calipers").click()
    assert viewer.locator(".pane").count() == 2
    box = viewer.locator(".pane").last.bounding_box()
    tab.mouse.move(box["x"] + 100, box["y"] + 120)
    tab.mouse.down()
    tab.mouse.move(box["x"] + 160, box["y"] + 80, steps=3)
    tab.mouse.up()
    said = viewer.locator(".read").last.inner_text()
    measured = re.match(r"(\d+) ms · (-?[\d.]+) mV · (\d+) /min", said)
    assert measured, said
    ms, mv, rate = int(measured[1]), float(measured[2]), int(measured[3])
    # 60 px by 40 px at one scale: 40 ms and 0.1 mV are both one millimetre.
    assert rate == round(60000 / ms) and ms / 40 / (mv / 0.1) == pytest.approx(60 / 40, rel=0.02)
    shot(tab, "2-side")


def test_recordings_overlay(site: Site, tab: Any) -> None:
    """A recording of the demo is chosen, and laid over a case lead by lead."""
    tab.get_by_role("combobox").click()
    tab.get_by_role("option", name="ECG 1 (recording)").click()
    settled(tab)
    tab.get_by_role("button", name="Compare").first.click()
    tab.get_by_text("Overlaid").click()
    sheet = tab.frame_locator("iframe").locator("svg.sheet")
    sheet.wait_for()
    assert sheet.locator("g[clip-path] path").count() == 24
    shot(tab, "3-overlay")


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
    assert "Refined by your marks" in tab.inner_text("body")


def test_edit_and_download(site: Site, tab: Any) -> None:
    """An edited sentence is in the text, in the PDF and in the FHIR resource."""
    pypdfium2 = pytest.importorskip("pypdfium2")
    drop(tab, site.queries / "ECG_1.csv")
    tab.get_by_text("Edit and take away").click()
    field = tab.get_by_label("Sentence 1", exact=True)
    field.fill("Seen by me: größer.")
    field.press("Enter")
    tab.locator(".st-key-edit-report code").get_by_text("Seen by me").wait_for()

    def taken(key: str) -> bytes:
        with tab.expect_download() as coming:
            tab.locator(f".st-key-{key} button").click()
        return Path(coming.value.path()).read_bytes()

    assert "Seen by me: größer." in taken("as-text").decode()
    with pypdfium2.PdfDocument(taken("as-pdf")) as pdf:
        assert "Seen by me: größer." in pdf[0].get_textpage().get_text_bounded()
    tab.locator(".st-key-make-fhir button").click()
    tab.locator(".st-key-as-fhir button").wait_for()
    resource = json.loads(taken("as-fhir"))
    assert resource["resourceType"] == "DiagnosticReport" and resource["status"] == "preliminary"
    assert "Seen by me: größer." in resource["conclusion"]
    from fhir.resources.R4B.diagnosticreport import DiagnosticReport

    DiagnosticReport.model_validate(resource)


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
    for _ in range(60):
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


def test_demo_serves_and_ends(tmp_path: Path) -> None:
    """One command: the address is printed, the page answers though the usual ports are taken; Ctrl-C ends both."""
    import httpx

    blockers = []
    for port in (8000, 8501):
        blocker = socket.socket()
        try:
            blocker.bind(("127.0.0.1", port))
            blocker.listen()
            blockers.append(blocker)
        except OSError:  # somebody else has it: just as good
            blocker.close()
    words = ["demo", "--serve", "--no-open", "--cases", "20", "--encoder", "hashing", "--out", str(tmp_path / "out")]
    demo = subprocess.Popen(
        [sys.executable, "-m", "ecgkin.ui.cli", *words],
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
        assert not {url.rpartition(":")[2] for url in addresses} & {"8000", "8501"}
        assert httpx.get(f"{api[1]}/readyz", trust_env=False).status_code == 200
        assert httpx.get(page[1], trust_env=False).status_code == 200
        demo.send_signal(signal.SIGINT)
        assert demo.wait(60) == 0
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
