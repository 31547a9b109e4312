"""The web page without a browser: its pure functions, and the whole page run by Streamlit against a made API."""

from __future__ import annotations

import base64
import csv
import io
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from PIL import Image

from ecgkin.generation.measures.flags import FlagCode
from ecgkin.index.case import Case
from ecgkin.index.filters import Where
from ecgkin.retrieval.ecg.drawing.svg import render_svg
from ecgkin.retrieval.ecg.record import EcgRecord
from ecgkin.retrieval.notes import Note, NoteCode
from ecgkin.ui.api.answers import (
    CaseOut,
    DigitizedOut,
    DraftAnswer,
    ExplanationOut,
    FlagOut,
    HitOut,
    InfoOut,
    MapOut,
    NoteOut,
    PageOut,
    PrintedLeadOut,
    SearchOut,
    SerialOut,
    StretchOut,
)
from ecgkin.ui.api.schemas import PageKnown, Signal
from ecgkin.ui.client import ApiError, DraftEvent
from ecgkin.ui.demo.serve import write_csv
from ecgkin.ui.web import app, serving
from ecgkin.ui.web.panels import (
    answer,
    beside,
    case_map,
    compare,
    draft_compare,
    draft_panel,
    neighbour_cards,
    query_panel,
    quiz,
    reading,
    region,
    saved,
    serial,
    several,
)
from ecgkin.ui.web.panels import report as report_files
from ecgkin.ui.web.shared import concepts, desk, drawings, notes, style, terms, texts, viewer
from ecgkin.ui.web.shared.context import Page
from ecgkin.ui.web.shared.query import Options, Query, where_text
from ecgkin.ui.web.shared.state import Api

EVIL = '<script>alert("x")</script> <img src=x onerror=alert(1)> & {{ 7*7 }}'
EN, DE = texts.words("en"), texts.words("de")
N_HITS = 10


def case_out(number: int, report_text: str = "") -> CaseOut:
    """A made case."""
    return CaseOut(
        case_id=f"made/{number}", patient_id=None, source="made", age_years=60.0 + number, sex="FM"[number % 2],
        recorded_at=None, labels={"AFIB": 100.0, "LVH": 50.0}, report=report_text or f"report {number}", language="en",
        meta={},
    )  # fmt: skip


def search_out(k: int = N_HITS, *, query: str = "record", nothing: bool = False, evil: bool = False) -> SearchOut:
    """A made answer: k hits, a vote for atrial fibrillation."""
    hits = [
        HitOut(rank=n, score=1 - n / 50, case=case_out(n, EVIL if evil and n == 1 else "")) for n in range(1, k + 1)
    ]
    return SearchOut.model_validate(
        {
            "query_id": f"{k:032x}",
            "query": query,
            "hits": [hit.model_dump() for hit in hits],
            "vote": {
                "statements": {"AFIB": 0.9, "LVH": 0.3}, "superclasses": {"HYP": 0.3}, "calibrated": True,
                "n_neighbours": 50, "note": None,
            },
            "abstention": {"nothing_similar": nothing, "best_score": 0.2, "threshold": 0.6},
            "page": None,
            "warnings": [],
            "timings_ms": {"total": 12.0},
        }
    )  # fmt: skip


def draft_answer(language: str = "en") -> DraftAnswer:
    """A made draft: one sentence from cases, one that is measured, one that cites a case nobody gave."""
    sentences: list[dict[str, Any]] = [
        {"text": "Atrial fibrillation (90 %) [1, 2].", "section": "rhythm", "statements": [("AFIB", "present")],
         "citations": ["made/1", "made/2"], "unknown_citations": [], "basis": "cases", "probability": 0.9},
        {"text": "QRS 92 ms.", "section": "axis_intervals", "statements": [], "citations": [], "unknown_citations": [],
         "basis": "measurement", "probability": None},
        {"text": f"{EVIL} [7].", "section": "st_t", "statements": [], "citations": [], "unknown_citations": ["7"],
         "basis": "nothing", "probability": None},
    ]  # fmt: skip
    numbers = [{"number": n, "case_id": f"made/{n}", "score": 0.9, "statements": ["AFIB"]} for n in (1, 2)]
    draft: dict[str, Any] = {
        "status": "preliminary", "disclaimer": "Preliminary draft.", "text": "...", "language": language,
        "model": "consensus", "question": None,
        "sections": [{"name": s["section"], "title": s["section"].title(), "sentences": [s], "abstained": ""}
                     for s in sentences] + [{"name": "infarction", "title": "Infarction", "sentences": [],
                                             "abstained": "not settled"}],
        "sentences": sentences,
        "statements": [{"code": "AFIB", "polarity": "present", "probability": 0.9, "agreement": "agrees",
                        "citations": ["made/1"], "supported_by": ["made/1"]}],
        "evidence": numbers, "unknown_citations": ["7"], "warnings": [], "refusal": "", "probabilities": {},
        "calibrated": True, "measurements": {}, "prompt": "", "tokens_in": None, "tokens_out": None, "seconds": 0.1,
        "citations": ["made/1", "made/2"],
    }  # fmt: skip
    return DraftAnswer.model_validate({"draft": draft, "search": search_out().model_dump()})


class MadeClient:
    """Answers like a server, and remembers what it was asked."""

    def __init__(self, record: EcgRecord, **search: Any) -> None:
        self.record = record
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.made = search
        self.fails: ApiError | None = None

    def info(self) -> InfoOut:
        """What runs here."""
        base = {"n_cases": 40, "sources": {"made": 40}, "labels": {"AFIB": 10, "LVH": 3}}
        return InfoOut(
            version="0", notice="", encoder={"name": "made"}, case_base=base, drafters=["consensus"], limits={"k": 100},
            tokens=False,
        )  # fmt: skip

    def search(self, **given: Any) -> SearchOut:
        """As many hits as asked for."""
        self.asked.append(("search", given))
        if self.fails:
            raise self.fails
        kind = "text" if given.get("text") else "refined" if given.get("query_id") else "record"
        return search_out(given["k"], query=kind, **self.made)

    def draft_events(self, **given: Any) -> Iterator[DraftEvent]:
        """Two pieces and the whole."""
        self.asked.append(("draft", given))
        yield DraftEvent(text="Atrial ")
        yield DraftEvent(answer=draft_answer(given["language"]))

    def case(self, case_id: str) -> CaseOut:
        """Any case."""
        return case_out(int(case_id.rpartition("/")[2]))

    def page(self, case_id: str, form: str, layout: str) -> bytes:
        """The same page for each."""
        return render_svg(self.record.resampled(100.0), drawings_style(layout)).encode()

    def signal(self, case_id: str) -> EcgRecord:
        """The same samples for each."""
        return self.record.resampled(100.0)

    def explain(self, case_id: str, file: Any, fs_hz: float | None = None) -> ExplanationOut:
        """Lead II made it near."""
        self.asked.append(("explain", {"case_id": case_id, "file": file, "fs_hz": fs_hz}))
        return ExplanationOut(case_id=case_id, score=0.9, stretches=[stretch("II", 0.25), stretch("I", -0.01)])

    def map(self, limit: int, query_id: str) -> MapOut:
        """Two cases and the query."""
        points = [{"case_id": f"made/{n}", "x": n, "y": 0, "superclass": kind} for n, kind in ((1, "MI"), (2, ""))]
        return MapOut.model_validate({"points": points, "total": 2, "query": [0.5, 0.5], "explained": 0.4})

    def feedback(self, query_id: str, **given: Any) -> None:
        """Kept for the test."""
        self.asked.append(("feedback", {"query_id": query_id, **given}))

    def calls(self, what: str) -> list[dict[str, Any]]:
        """What was asked of one method."""
        return [given for name, given in self.asked if name == what]


def drawings_style(layout: str) -> Any:
    """The API's style."""
    from ecgkin.retrieval.ecg.drawing.style import RenderStyle

    return RenderStyle(layout=layout)


def test_every_text_in_both_languages() -> None:
    """No text is missing, and both have the same blanks."""
    for name, pair in texts.TEXTS.items():
        assert len(pair) == len(texts.LANGS) and all(pair), name
        assert {*re.findall(r"{\w+}", pair[0])} == {*re.findall(r"{\w+}", pair[1])}, name


@given(
    some.none() | some.tuples(some.integers(0, 60), some.integers(60, 120)),
    some.sampled_from([None, "F", "M"]),
    some.lists(some.sampled_from(["AFIB", "LAO/LAE", "PRC(S)", "1AVB"]), unique=True, max_size=3),
    some.lists(some.text(some.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1), max_size=2),
)
@settings(deadline=None, max_examples=60)
def test_filter_means_what_was_chosen(
    ages: tuple[int, int] | None, sex: str | None, codes: list[str], sources: list[str]
) -> None:
    """The API's parser reads the filter, and it lets exactly the right cases through, whatever a source is called."""
    where = Where.parse(where_text(ages, sex, codes, sources))
    fits = Case(
        "x/1", age_years=60, sex=sex or "F", labels=dict.fromkeys(codes, 100.0), source=sources[0] if sources else "any"
    )
    assert where.matches(fits)
    if ages:
        assert not where.matches(
            Case("x/1", age_years=ages[1] + 1, sex=fits.sex, labels=fits.labels, source=fits.source)
        )
    if codes:
        assert not where.matches(Case("x/1", age_years=60, sex=fits.sex, labels={}, source=fits.source))
    if sources:
        other = Case("x/1", age_years=60, sex=fits.sex, labels=fits.labels, source="".join(sources) + "!")
        assert not where.matches(other)


def test_cards_escape_what_the_base_holds() -> None:
    """A report, a name and a code with markup are text."""
    hit = HitOut(rank=1, score=0.5, case=case_out(1, EVIL).model_copy(update={"case_id": EVIL, "labels": {EVIL: 1.0}}))
    html = neighbour_cards.card_html(hit, frozenset(), "", "en", EN)
    assert "<script" not in html and "<img" not in html and "&lt;script&gt;" in html
    long = neighbour_cards.report_html(EVIL * 20, 'x" onload="', EN)
    assert "<script" not in long and "<details" in long and 'lang="x&quot; onload' in long


def test_a_report_is_rendered_below_the_original() -> None:
    """German reports in English and the other way round, unknown words marked; the original stands first, escaped."""
    word = texts.words("en")
    said = neighbour_cards.report_html("Vorhofflimmern, qwertzblock <b>", "de", word, "en")
    assert said.index("Vorhofflimmern") < said.index("atrial fibrillation") and "<i>qwertzblock</i>" in said
    assert "<b>" not in said
    assert neighbour_cards.gloss_html("sinus rhythm", "en", word) == ""
    assert "Sinusrhythmus" in neighbour_cards.gloss_html("sinus rhythm", "de", texts.words("de"))
    assert word("says_nothing") in neighbour_cards.report_html("trace only requested.", "en", word, "en")


def test_shared_statements_come_first_and_are_marked() -> None:
    """Of a case, the ones that the vote gives to the query; a share below one half is not enough."""
    own = neighbour_cards.voted(search_out().vote)
    html = neighbour_cards.chips_html({"LVH": 100.0, "AFIB": 50.0}, own, "de", DE)
    assert own == {"AFIB"}
    assert html.index("Vorhofflimmern") < html.index("Hypertrophie") and html.count('class="shared"') == 1


def test_draft_links_citations_to_cards() -> None:
    """A citation leads to its card; one of no case is struck; what carries a sentence is said; text is text."""
    first, fourth = HitOut(rank=1, score=0.9, case=case_out(1, EVIL)), HitOut(rank=4, score=0.8, case=case_out(2))
    html = draft_panel.draft_html(draft_answer().draft, {"made/1": first, "made/2": fourth}, EN, "note")
    assert 'class="ek-cite ek-cite-1" href="#case-1"' in html and 'ek-cite-4" href="#case-4"' in html
    assert "<s>[7]</s>" in html and "unsupported" in html and "measured" in html and "not settled" in html
    assert "<script" not in html and "Preliminary draft." in html
    # The evidence is what the cited cases' own reports say.
    assert html.count("<details") == 1 and "report 2" in html and html.count("<q") == 2
    gone = draft_panel.draft_html(draft_answer().draft, {}, EN)
    assert "href" not in gone and "[1]" in gone


def serial_out() -> SerialOut:
    """A made comparison: QTc longer, ST about its limit, two earlier ECGs."""
    return SerialOut.model_validate({
        "earlier": [
            {"case_id": "own/1", "recorded_at": "2001-02-03T04:05:06", "statements": [], "report": EVIL,
             "samples": True},
            {"case_id": "own/0", "recorded_at": None, "statements": [], "report": "", "samples": False},
        ],
        "compared_with": "own/1", "recorded_at": "2001-02-03T04:05:06",
        "rows": [{"name": "qtc_ms", "before": 430.0, "after": 512.0, "change": 82.0, "beyond": True},
                 {"name": "pr_ms", "before": None, "after": None, "change": None, "beyond": False}],
        "changes": [{"code": "qtc", "text": "QTc 430 -> 512 ms", "leads": [], "rule": "ICH E14"}],
        "findings": [{"code": "st_elevation", "name": EVIL, "state": "borderline", "by": "measurement"}],
        "limits": ["the rates differ"], "sentence": "Compared.", "beats_hz": 250.0,
        "beats_mv": {"II": ([0.0, 1.0, None, 0.2], [0.0, 9.0, 0.1, 0.2])},
    })  # fmt: skip


def test_own_earlier_ecgs_have_a_place_of_their_own() -> None:
    """Changes with their rules, beats of both, values, earlier reports; text is text."""
    html = serial.serial_html(serial_out(), "en", EN)
    assert "QTc 430 -&gt; 512 ms" in html and "ICH E14" in html and "the rates differ" in html
    assert html.count('class="beyond"') == 1 and "+82" in html and "PR" not in html
    assert "about the limit in both" in html and "2001-02-03 04:05:06" in html and "own/0" in html
    (drawn,) = re.findall(r'src="data:image/svg\+xml;base64,([^"]+)"', html)
    assert "mm/mV" in base64.b64decode(drawn).decode() and html.count("<li>") == 2
    assert "<script" not in html and "NaN" not in html
    urgent = {"state": "new", "urgent": True, "name": "ST <up>"}
    unlike = {"state": "not_compared", "why": "<leads>"}
    kept = [serial_out().findings[0].model_copy(update=update) for update in (urgent, unlike)]
    shown = serial.serial_html(serial_out().model_copy(update={"findings": kept}), "de", DE)
    assert shown.index("neu: ST &lt;up&gt;") < shown.index("ICH E14") and "nicht verglichen (&lt;leads&gt;)" in shown
    calm = serial_out().model_copy(update={"changes": [], "rows": [], "beats_mv": {}, "earlier": []})
    told = serial.serial_html(calm, "de", DE)
    assert "Compared." in told and "<img" not in told and "<table" not in told


def test_the_earlier_ecg_is_asked_for(made_record: EcgRecord) -> None:
    client = MadeClient(made_record)
    api = Api(client)  # type: ignore[arg-type]
    query = Query("ecg", "a", (("a.csv", b"x"),))
    api.search(query, Options(previous="anna"))
    list(api.draft_events(query, Options(previous="anna"), "en"))
    list(api.draft_events(query, Options(), "en"))
    assert [given.get("previous") for _, given in client.asked] == ["anna", "anna", None]


def test_drafters_beside_each_other() -> None:
    """A model comes with and without the neighbours; what drafts say differently stands first and is marked."""
    arms = draft_compare.arms_of(["consensus", "pulse"])
    assert [arm.name(DE) for arm in arms] == ["consensus", "pulse, mit Nachbarn", "pulse, ohne Nachbarn"]
    one = draft_answer().draft
    item = one.statements[0]
    agreed, alone = item.model_copy(update={"code": "LVH"}), item.model_copy(update={"polarity": "possible"})
    two = one.model_copy(update={"statements": [agreed]})
    drafts = {"<b>x</b>": one.model_copy(update={"statements": [agreed, alone]}), "y": two}
    html = draft_compare.differences_html(drafts, search_out().vote, "en", EN)
    assert html.index("atrial fibrillation") < html.index("left ventricular hypertrophy")
    assert html.count('class="differ"') == 1 and html.count("not mentioned") == 1 and "possible" in html
    assert "90 %" in html and "<b>x</b>" not in html
    nothing = one.model_copy(update={"statements": []})
    assert "<table" not in draft_compare.differences_html({"x": nothing}, search_out().vote, "en", EN)


def test_bars_are_as_long_as_their_shares() -> None:
    """The largest first, small ones left out."""
    html = draft_panel.bars_html("x", {"LVH": 0.25, "AFIB": 0.9, "MI": 0.001}, "en")
    assert [float(share) for share in re.findall(r"width:([\d.]+)%", html)] == [90.0, 25.0]


def test_style_lights_up_each_card() -> None:
    """One rule for each neighbour, in light and dark."""
    for dark in (False, True):
        assert len(re.findall(r"has\(a.ek-cite-\d+:is", style.css(dark, "en"))) == style.MOST_CARDS
    assert style.css(True, "en") != style.css(False, "en") != style.css(False, "de")
    assert "innerHTML" not in style.script()


def test_page_facts_in_words() -> None:
    """Quality has a word, a missing scale is said."""
    read = PageOut(
        layout="3x4", n_rows=3, leads=["I"], px_per_mm=None, rotation_deg=-12.2, quality=0.5, corners=[(0, 0)] * 4
    )
    facts = dict(query_panel.page_facts(read, EN))
    assert facts["Quality"] == "fair (0.50)" and "turned by -12°" in facts["Scale"] and "no grid" in facts["Scale"]
    known = dict(query_panel.page_facts(read.model_copy(update={"px_per_mm": 8.0, "rotation_deg": 0.0}), EN))
    assert known["Scale"] == "25 mm/s, 10 mm/mV (assumed)"


def test_speed_and_gain_are_read_or_said_to_be_assumed() -> None:
    """What the server read off the page counts; what it did not read is the usual, and is said to be assumed."""

    class Read:
        speed_mm_s: float | None = 50.0
        gain_mm_mv: float | None = None

    read: Any = Read()
    assert drawings.paper_scale(read) == (50.0, 10.0, True)
    read.gain_mm_mv = 5.0
    assert drawings.paper_scale(read) == (50.0, 5.0, False)
    assert drawings.paper_scale(None) == (25.0, 10.0, True)
    sheet = drawings.Sheet("data:,", 100, 80, speed_mm_s=50.0, gain_mm_mv=5.0, assumed=True)
    packed = re.search(r"const DATA = (.*?);</script>", viewer.viewer_html([(sheet, "", "")], EN, dark=False))
    assert packed
    page = json.loads(packed[1])["pages"][0]
    assert (page["speed"], page["gain"], page["assumed"]) == (50.0, 5.0, True)


def test_viewer_keeps_data_as_data() -> None:
    """No text ends the script or becomes markup."""
    sheet = drawings.Sheet("data:image/png;base64,", 100, 80)
    html = viewer.viewer_html([(sheet, EVIL, "</script><b>")], EN, dark=True)
    assert html.count("</script>") == 2 and "alert" in html and "<b>" not in html
    packed = re.search(r"const DATA = (.*?);</script>", html, re.DOTALL)
    assert packed and json.loads(packed[1])["pages"][0]["title"] == EVIL


def test_card_keeps_every_lead(made_record: EcgRecord) -> None:
    """Shortened to tenths of a millimetre, a card's drawing still shows twelve leads, in colours of its theme."""
    svg = render_svg(made_record, drawings_style("3x4"))
    made = base64.b64decode(drawings.card_address(svg, "3x4", True).partition(",")[2]).decode()
    assert made.count('class="trace"') == 12 and len(made) < 0.7 * len(svg) and "#151416" in made
    before, after = (re.search(r'class="trace"[^>]*d="M([\d. L-]+)"', text) for text in (svg, made))
    assert before and after
    heights = [[float(p.split()[1]) for p in match[1].split("L")] for match in (before, after)]
    assert max(heights[0]) == pytest.approx(max(heights[1]), abs=0.051)
    assert min(heights[0]) == pytest.approx(min(heights[1]), abs=0.051)


def test_picture_has_its_millimetres() -> None:
    """The sheet's size and outline are in mm of the picture's own grid; a large picture is packed smaller."""
    rgb = np.full((2000, 4000, 3), 255, np.uint8)
    read = PageOut(
        layout="3x4", n_rows=3, leads=[], px_per_mm=10.0, rotation_deg=0, quality=1, corners=[(0, 0), (4000, 0)]
    )
    sheet = drawings.picture_sheet(rgb, read)
    assert (sheet.width_mm, sheet.height_mm, sheet.scaled) == (400.0, 200.0, True) and sheet.outline[1] == (400.0, 0.0)
    assert not drawings.picture_sheet(rgb, None).scaled


def test_picture_that_lies_on_its_side_is_shown_upright() -> None:
    """Its traces run across, so that calipers measure ms along them; what was read lies where it was."""
    from ecgkin.retrieval.ecg.drawing.raster import render
    from ecgkin.retrieval.ecg.page.reading import read_page
    from ecgkin.retrieval.ecg.simulation.simulate import simulate

    upright = render(simulate(["SR"], np.random.default_rng(0)).record).convert("RGB")
    sheets = []
    for angle in (0, 270):
        picture = np.asarray(upright.rotate(angle, expand=True))
        page = PageOut.of(read_page(picture))
        sheets.append(drawings.picture_sheet(picture, page))
    first, lying = sheets
    assert lying.turned_px == upright.height and lying.width_mm == pytest.approx(first.width_mm, rel=0.02)
    np.testing.assert_allclose(lying.outline, first.outline, atol=2)


def test_overlay_meets_at_a_beat(made_record: EcgRecord) -> None:
    """The same ECG 120 ms later is moved back by 120 ms; missing leads and samples stay missing."""
    late = np.roll(made_record.signal_mv, 60, axis=1)
    other = EcgRecord(late, 500.0, made_record.leads)
    data = drawings.overlay_data(made_record, other, ("a", "b"))
    assert data["shift_ms"] == pytest.approx(-120, abs=8) and data["fs"] == 250.0
    some_leads = EcgRecord(made_record.signal_mv[:2], 500.0, made_record.leads[:2])
    assert drawings.overlay_data(made_record, some_leads, ("a", "b"))["b"][2:] == [None] * 10


def test_query_files_are_read_as_the_server_does(made_record: EcgRecord, tmp_path: Path) -> None:
    """The demo's table comes back sample for sample; a picture has no samples."""
    from PIL import Image

    write_csv(made_record, tmp_path / "ECG_1.csv")
    query = Query("ecg", "x", (("ECG_1.csv", (tmp_path / "ECG_1.csv").read_bytes()),))
    record = drawings.read_query(query)
    assert isinstance(record, EcgRecord) and record.fs_hz == 500.0
    np.testing.assert_allclose(record.signal_mv, made_record.signal_mv, atol=6e-4)
    packed = io.BytesIO()
    Image.new("RGB", (300, 200)).save(packed, "PNG")
    read = drawings.read_query(Query("ecg", "x", (("a.png", packed.getvalue()),)))
    assert isinstance(read, np.ndarray) and read.shape == (200, 300, 3)


def test_warnings_in_the_language_of_the_page() -> None:
    """What readers say every day is German on a German page; what nobody foresaw stays as it is."""
    from ecgkin.retrieval.ecg.drawing.raster import render
    from ecgkin.retrieval.ecg.page.reading import read_page
    from ecgkin.retrieval.ecg.simulation.simulate import simulate

    page = render(simulate(["SR"], np.random.default_rng(0)).record).convert("RGB").rotate(5, fillcolor="white")
    warnings = [NoteOut.of(note) for note in read_page(page).warnings]
    assert "page_rotated" in {note.code for note in warnings}
    assert notes.said(warnings, "en") == [note.text for note in warnings]
    german = notes.said(warnings, "de")
    assert len(german) == len(warnings) and not set(german) & {note.text for note in warnings}
    assert any("gedreht" in text for text in german)
    free, newer = NoteOut.of("a 17th lead"), NoteOut(code="from_next_year", text="something new")
    assert notes.said([free, newer, free], "de") == ["a 17th lead", "something new"]
    assert notes.said(warnings, "de", known=warnings) == []
    nothing = NoteOut.of(Note(NoteCode.NOTHING_SIMILAR, best=0.1, threshold=0.2))
    assert notes.said([nothing], "en") == []


def test_errors_name_the_file_that_was_sent(made_record: EcgRecord, examples: Path) -> None:
    """The server's own names for uploads, and hints for programmers, are not shown to people."""
    client = MadeClient(made_record)
    client.fails = ApiError(
        "upload-1.csv does not say its sampling rate", hint="pass fs_hz=...", status=422, kind="rate-unknown"
    )
    page = chosen(client, examples)
    # A rate that is missing is asked for at once, by the name that the visitor knows.
    assert "ECG 1 (recording) does not say" in html_of(page) and not page.error and "fs_hz" not in html_of(page)
    client.fails = ApiError("upload-1.csv: no ECG", hint="send another", status=422, kind="record")
    page = chosen(client, examples)
    said = " ".join(text.value for text in page.text)
    assert "ECG_1.csv: no ECG" in said and "upload" not in said
    assert EN("problem_record") in page.error[0].value


def test_a_rate_that_is_missing_is_asked_at_once(made_record: EcgRecord, examples: Path) -> None:
    client = MadeClient(made_record)
    client.fails = ApiError("no rate", hint="pass fs_hz=...", status=422, kind="rate-unknown")
    page = chosen(client, examples)
    assert not page.exception and not page.error
    page.pills(key="rate-usual").set_value(500)
    client.fails = None
    next(button for button in page.button if button.label == "Search").click().run()
    assert client.calls("search")[-1]["fs_hz"] == 500.0 and client.calls("draft")[-1]["fs_hz"] == 500.0
    assert "ek-draft" in html_of(page)


def reviewed_all(**changes: Any) -> report_files.Reviewed:
    """The made draft with every sentence accepted."""
    kept = tuple(report_files.plain(sentence.text) for sentence in draft_answer().draft.sentences)
    return report_files.Reviewed(kept, accepted=len(kept), **changes)


def test_report_leaves_with_what_was_accepted() -> None:
    """Sentences, added statements, own words, cases, who reviewed and the notice, in this order; nothing rejected."""
    draft = draft_answer().draft
    reviewed = report_files.Reviewed(("Atrial fibrillation.", "", ""), 1, 0, 2, ("CLBBB",), " own ")
    text = report_files.report_text(draft, reviewed, "en", EN)
    parts = (
        "Rhythm: Atrial",
        "Added: Complete left bundle",
        "own",
        "made/1",
        "1 of the draft",
        "2 rejected",
        "Preliminary",
    )
    order = [text.index(part) for part in parts]
    assert order == sorted(order) and "QRS 92" not in text
    assert report_files.Reviewed(("", "", "")).empty and not report_files.Reviewed(("", "", ""), own="x").empty


def test_what_leaves_has_no_code_of_the_program() -> None:
    """Flags stand in the text by what they say, not by "[st_elevation]"; so in PDF and FHIR, which take this text."""
    flags = [
        FlagOut(code=str(code), severity="urgent", title=f"flag {n}", text=f"flag {n}. Why.", leads=["V2"], measured={})
        for n, code in enumerate(FlagCode)
    ]
    draft = draft_answer().draft.model_copy(update={"flags": flags})
    text = report_files.report_text(draft, reviewed_all(), "de", DE)
    assert "Flag 0.\n" in text and "Flag 1.\n" in text
    assert not re.search(r"[a-z]+_[a-z_0-9]+", text.replace("made_", "")), text


def test_pdf_can_be_read() -> None:
    """All of it is in the file, with German letters; foreign ones become question marks; the ECG is a picture in it."""
    pypdfium2 = pytest.importorskip("pypdfium2")
    from PIL import Image

    packed = io.BytesIO()
    Image.new("RGB", (300, 120), "white").save(packed, "JPEG")
    words = "EKG-Befund\n\nST-Hebung größer – 0,2 mV\n" + "Zeile\n" * 90
    made = report_files.report_pdf(words, "EKG-Befund", "ECG Ω", packed.getvalue())
    with pypdfium2.PdfDocument(made) as pages:
        text = "".join(page.get_textpage().get_text_bounded() for page in pages)
        n_pages = len(pages)
        images = [item for item in pages[0].get_objects() if item.type == pypdfium2.raw.FPDF_PAGEOBJ_IMAGE]
    assert n_pages > 1 and "ST-Hebung größer - 0,2 mV" in text and text.count("Zeile") == 90 and "ECG ?" in text
    assert len(images) == 1


def test_fhir_follows_the_review() -> None:
    """Untouched it is the server's; a changed sentence takes its code away; an added statement brings one."""
    draft = draft_answer().draft
    code = {"coding": [{"system": "scp", "code": "AFIB"}], "text": "atrial fibrillation"}
    other = {"coding": [{"system": "scp", "code": "LVH"}], "text": "left ventricular hypertrophy"}
    resource = {"resourceType": "DiagnosticReport", "conclusion": "x", "conclusionCode": [code, other]}
    whole = reviewed_all()
    assert report_files.edited_fhir(resource, draft, whole, "t") is resource
    edited = report_files.edited_fhir(
        resource, draft, report_files.Reviewed(("", *whole.kept[1:]), added=("1AVB",)), "new <text>"
    )
    assert edited["conclusionCode"][0] == other and edited["conclusion"] == "new <text>"
    assert [coding["code"] for coding in edited["conclusionCode"][1]["coding"]][-1] == "1AVB"
    assert "new &lt;text&gt;" in edited["text"]["div"] and resource["conclusionCode"] == [code, other]


def stretch(lead: str, loss: float, begin: float = 0.0, end: float = 1.0, **place: Any) -> StretchOut:
    """Part of a recording of ten seconds."""
    given: dict[str, Any] = {"row": 0, "begin_s": 10 * begin, "end_s": 10 * end, "corners": []} | place
    return StretchOut(lead=lead, begin=begin, end=end, loss=loss, **given)


def test_stretches_have_their_place(made_record: EcgRecord) -> None:
    """The strongest is as strong as can be, the others in proportion to loss and length; each lies on its lead."""
    parts = [stretch("V5", 0.2, 0.5, 0.75), stretch("I", 0.2), stretch("aVR", -0.1)]
    places = [compare.on_record(made_record, part) for part in parts]
    marks = compare.stretch_marks(parts, places)
    assert [mark.strength for mark in marks] == [compare.STRONGEST, compare.STRONGEST / 4]
    xs, ys = zip(*marks[0].points, strict=True)
    _, _, width, height = drawings.crop(compare.WHY_LAYOUT)
    assert 0.4 * width < min(xs) < max(xs) < 0.8 * width and 0.7 * height < min(ys) < max(ys) <= height + 1
    assert max(y for _, y in marks[1].points) < 0.3 * height
    assert (
        compare.stretch_marks([parts[2]], [places[2]]) == ()
        and compare.on_record(made_record, stretch("V9", 0.1)) == ()
    )
    assert [compare.stretch_name(part, EN) for part in parts] == ["V5 5.0-7.5 s", "I", "aVR"]


def test_stretches_of_a_picture() -> None:
    """In mm of the sheet; named by lead, or by row where the leads are not known."""
    nowhere = {"begin_s": None, "end_s": None, "corners": [(10, 20), (30, 20), (30, 40), (10, 40)]}
    part = stretch("", 0.1, 0.25, 0.5, **nowhere | {"row": 2})
    sheet = drawings.Sheet("", 100, 100, px_per_mm=10.0)
    assert compare.on_picture(sheet, part) == ((1, 2), (3, 2), (3, 4), (1, 4))
    assert compare.stretch_name(part, EN) == "row 2 25-50 %" and compare.stretch_name(part, DE) == "Zeile 2 25-50 %"


def test_map_has_every_case_and_the_query(made_record: EcgRecord) -> None:
    """One row a case, the star last; a click on the star opens nothing."""
    found = MadeClient(made_record).map(10, "q")
    spec = case_map.map_spec(found, {"made/1": 3}, "de", DE, dark=True)
    rows = spec["data"]["values"]
    # Neighbours lie above the other cases, the star above all.
    assert [row["class"] for row in rows] == ["andere", "Myokardinfarkt", "Anfrage"]
    assert [row["rank"] for row in rows] == [0, 3, 0]
    scales = [spec["encoding"][name]["scale"] for name in ("color", "shape")]
    assert {len(scale["domain"]) for scale in scales} == {len(scale["range"]) for scale in scales} == {7}
    assert case_map.picked_case({"selection": {"pick": [{"case_id": "made/1"}]}}) == "made/1"
    assert case_map.picked_case({"selection": {"pick": [{"case_id": ""}]}}) is None


def test_map_of_the_server_keeps_distances() -> None:
    """Vectors that lie in a plane keep their distances on the map; the axes carry all of their variance."""
    from ecgkin.ui.api.routes.map import plane

    rng = np.random.default_rng(1)
    flat = rng.normal(size=(40, 2)) @ np.linalg.qr(rng.normal(size=(16, 2)))[0].T + rng.normal(size=16)
    places, axes, mean, share = plane(flat)
    before, after = (np.linalg.norm(p[:, None] - p[None], axis=2) for p in (flat, places))
    np.testing.assert_allclose(after, before, atol=1e-9)
    assert share == pytest.approx(1.0) and np.allclose((flat - mean) @ axes, places)


def test_api_asks_once_for_a_drawing(made_record: EcgRecord) -> None:
    """A drawing stays at hand; a case without samples has none; other failures are told."""
    client = MadeClient(made_record)
    api = Api(client)  # type: ignore[arg-type]
    count = []

    def page(case_id: str, form: str, layout: str) -> bytes:
        count.append(case_id)
        if case_id == "made/2":
            raise ApiError("none", status=404)
        if case_id == "made/3":
            raise ApiError("down", status=0)
        return b"<svg></svg>"

    client.page = page  # type: ignore[method-assign]
    assert api.svg("made/1") == api.svg("made/1") == "<svg></svg>" and count == ["made/1"]
    assert api.svg("made/2") is None
    with pytest.raises(ApiError):
        api.svg("made/3")


def test_marks_go_to_the_server_before_the_search(made_record: EcgRecord) -> None:
    """Similar and not similar, each to its side."""
    client = MadeClient(made_record)
    Api(client).again("q", {"a": True, "b": False}, Options(k=3))  # type: ignore[arg-type]
    assert client.calls("feedback") == [{"query_id": "q", "similar": ["a"], "not_similar": ["b"]}]
    assert client.calls("search")[0]["query_id"] == "q"


@pytest.fixture
def examples(made_record: EcgRecord, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with one ECG to choose."""
    write_csv(made_record.resampled(100.0), tmp_path / "ECG_1.csv")
    monkeypatch.setenv(serving.EXAMPLES_VARIABLE, str(tmp_path))
    return tmp_path


def opened(client: MadeClient, lang: str = "en") -> Any:
    """The page, run once."""
    from streamlit.testing.v1 import AppTest

    page = AppTest.from_file(app.__file__, default_timeout=60)
    page.session_state["api"] = Api(client)  # type: ignore[arg-type]
    page.query_params["lang"] = lang
    return page.run()


def html_of(page: Any) -> str:
    """All HTML on the page."""
    bodies = (str(element.proto.body) for element in page.get("html"))
    return "\n".join(body for body in bodies if body != style.script())


def chosen(client: MadeClient, examples: Path) -> Any:
    """The page after an ECG of the demo was chosen."""
    page = opened(client)
    page.selectbox(key="example").select_index(0)
    return page.run()


def work_of(page: Any) -> desk.Work:
    """The question of the page's address."""
    named = page.query_params["q"]
    work = desk.shelf().get(named if isinstance(named, str) else named[0])
    assert work is not None
    return work


def test_page_shows_hits_and_draft(made_record: EcgRecord, examples: Path) -> None:
    """Notice, ten cards, a draft with citations, and one call of each kind; nothing hostile gets through."""
    client = MadeClient(made_record, evil=True)
    page = chosen(client, examples)
    html = html_of(page)
    assert not page.exception and not page.error
    assert "does not replace a clinician" in html and html.count("ek-card-head") - html.count(".ek-card-head") == N_HITS
    assert 'href="#case-1"' in html and "<script" not in html and "&lt;script&gt;" in html
    assert len(client.calls("search")) == 1 and len(client.calls("draft")) == 1


def test_page_says_nothing_similar(made_record: EcgRecord, examples: Path) -> None:
    """The abstention is shown as such, in German."""
    page = opened(MadeClient(made_record, nothing=True))
    page.segmented_control(key="lang").set_value("de")
    page.run()
    page.selectbox(key="example").select_index(0)
    page.run()
    assert any("nichts Ähnliches" in warning.value for warning in page.warning)


def test_marks_then_again(made_record: EcgRecord, examples: Path) -> None:
    """A thumb up and a thumb down, then the search follows them, and there is a way back."""
    client = MadeClient(made_record)
    page = chosen(client, examples)
    assert page.button(key="again").disabled
    page.button(key="thumb_up-1-made/1").click().run()
    page.button(key="thumb_down-3-made/3").click().run()
    page.button(key="again").click().run()
    assert client.calls("feedback")[0]["similar"] == ["made/1"] and client.calls("feedback")[0]["not_similar"] == [
        "made/3"
    ]
    assert not page.exception and page.button(key="original")


def test_compare_and_back(made_record: EcgRecord, examples: Path) -> None:
    """The case beside the query, overlaid, and back to the neighbours without another search."""
    client = MadeClient(made_record)
    page = chosen(client, examples)
    page.button(key="compare-2-made/2").click().run()
    assert not page.exception and "report 2" in html_of(page)
    page.toggle(key="why").set_value(True).run()
    assert not page.exception and any("II (+0.250)." in caption.value for caption in page.caption)
    page.segmented_control(key="view").set_value("overlay")
    page.run()
    assert not page.exception
    page.button(key="back").click().run()
    assert "ek-draft" in html_of(page) and len(client.calls("search")) == 1


def verdicts(page: Any) -> list[Any]:
    """The sign-off of each sentence."""
    return [control for control in page.segmented_control if str(control.key).startswith("verdict-")]


def test_report_holds_what_was_accepted_alone(made_record: EcgRecord, examples: Path) -> None:
    """Nothing at first; a sentence that is changed or accepted, not one that is rejected; kept while a case is open."""
    client = MadeClient(made_record)
    page = chosen(client, examples)
    found = work_of(page).found
    assert not page.code and found is not None and found.first is not None
    for verdict, control in zip(("accept", "accept", None), verdicts(page), strict=True):
        control.set_value(verdict)
    page.run()
    assert "Atrial fibrillation" in page.code[0].value and "QRS 92 ms" in page.code[0].value
    assert "2 of the draft accepted, 0 changed, 0 rejected, 1 not decided" in page.code[0].value
    verdicts(page)[1].set_value("reject")
    page.run()
    field = next(text for text in page.text_input if text.label == "Sentence 1")
    field.set_value("Flutter, I think.").run()
    said = page.code[0].value
    assert "Flutter, I think." in said and "QRS 92" not in said and "1 changed, 1 rejected" in said
    page.button(key="compare-2-made/2").click().run()
    page.button(key="back").click().run()
    assert "Flutter, I think." in page.code[0].value
    assert not page.exception and len(client.calls("draft")) == 1


def test_words_and_filters(made_record: EcgRecord) -> None:
    """A search by words carries the filter; there is no draft for it."""
    client = MadeClient(made_record)
    page = opened(client)
    page.segmented_control(key="way").set_value("words")
    page.run()
    page.multiselect(key="codes").select("AFIB")
    page.slider(key="k").set_value(4)
    page.text_input(key="words").set_value("Vorhofflimmern")
    next(button for button in page.button if button.label == "Search").click().run()
    asked = client.calls("search")[-1]
    assert (asked["text"], asked["k"], asked["where"]) == ("Vorhofflimmern", 4, 'label:"AFIB"')
    assert not client.calls("draft") and not page.exception


def test_problem_is_told(made_record: EcgRecord, examples: Path) -> None:
    """What the server says about a wrong file is on the page, as text."""
    client = MadeClient(made_record)
    client.fails = ApiError(f"no ECG in it {EVIL}", hint="send another", status=422)
    page = chosen(client, examples)
    assert page.error and any(EVIL in text.value and "send another" in text.value for text in page.text)
    assert not page.exception


def again(page: Any, client: MadeClient) -> Any:
    """What a reload, a link or Back shows: a new session at the same address."""
    from streamlit.testing.v1 import AppTest

    other = AppTest.from_file(app.__file__, default_timeout=60)
    for name, value in page.query_params.items():
        other.query_params[name] = value
    other.session_state["api"] = Api(client)  # type: ignore[arg-type]
    return other.run()


def test_a_reload_keeps_question_marks_filters_and_review(made_record: EcgRecord, examples: Path) -> None:
    """A new session at the address of a question shows it as it was left; nothing is asked of the server again."""
    client = MadeClient(made_record)
    page = chosen(client, examples)
    page.slider(key="k").set_value(4)
    page.run()
    page.button(key="thumb_down-3-made/3").click().run()
    verdicts(page)[0].set_value("accept")
    page.run()
    next(text for text in page.text_input if text.label == "Sentence 2").set_value("QRS narrow.").run()
    asked = len(client.asked)
    other = again(page, client)
    assert not other.exception and len(client.asked) == asked
    assert other.slider(key="k").value == 4 and "marked not similar" in html_of(other)
    assert "Atrial fibrillation" in other.code[0].value and "QRS narrow." in other.code[0].value
    other.button(key="compare-2-made/2").click().run()
    assert other.query_params["case"] in ("made/2", ["made/2"])
    third = again(other, client)
    assert not third.exception and "report 2" in html_of(third) and not third.code


def test_an_address_that_is_no_longer_kept_is_said(made_record: EcgRecord, examples: Path) -> None:
    from streamlit.testing.v1 import AppTest

    page = AppTest.from_file(app.__file__, default_timeout=60)
    page.query_params["q"] = "nobody-knows"
    page.session_state["api"] = Api(MadeClient(made_record))  # type: ignore[arg-type]
    page.run()
    assert not page.exception and any("no longer kept" in info.value for info in page.info)


def test_words_in_the_address_are_searched(made_record: EcgRecord) -> None:
    """A link to words works on every server, also after a restart that forgot all questions."""
    from streamlit.testing.v1 import AppTest

    client = MadeClient(made_record)
    page = AppTest.from_file(app.__file__, default_timeout=60)
    page.query_params["q"], page.query_params["words"] = "long-gone", "LBBB"
    page.session_state["api"] = Api(client)  # type: ignore[arg-type]
    page.run()
    assert not page.exception and client.calls("search")[0]["text"] == "LBBB"
    page.run()
    assert len(client.calls("search")) == 1 and page.text_input(key="words").value == "LBBB"


def test_another_language_keeps_the_review(made_record: EcgRecord, examples: Path) -> None:
    """The same sentences of the other language are signed off as they were; words of one's own stay as they are."""
    client = MadeClient(made_record)
    page = chosen(client, examples)
    verdicts(page)[0].set_value("accept")
    verdicts(page)[1].set_value("reject")
    page.run()
    next(area for area in page.text_area if area.label == EN("own")).set_value("Seen by me.").run()
    page.segmented_control(key="lang").set_value("de")
    page.run()
    assert not page.exception and [one.value for one in verdicts(page)] == ["accept", "reject", None]
    assert "Seen by me." in page.code[0].value and "1 verworfen" in page.code[0].value
    assert client.calls("draft")[-1]["language"] == "de" and len(client.calls("search")) == 1


def test_an_outage_keeps_the_question(made_record: EcgRecord, examples: Path) -> None:
    """The server goes away before the search: the question is kept, and answered once the server is back."""
    client = MadeClient(made_record)
    client.fails = ApiError("did not answer", status=0)
    page = chosen(client, examples)
    assert any("is kept" in warning.value for warning in page.warning) and not page.error
    client.fails = None
    page.button(key="look-again").click().run()
    assert not page.exception and "ek-draft" in html_of(page) and not page.warning


def png(shade: int) -> bytes:
    """A small picture."""
    packed = io.BytesIO()
    Image.new("RGB", (64, 48), (shade, shade, shade)).save(packed, "PNG")
    return packed.getvalue()


def test_two_pictures_are_both_there(made_record: EcgRecord) -> None:
    """Both can be looked at; going from one to the other asks the server for neither again."""
    client = MadeClient(made_record)
    page = opened(client)
    page.file_uploader[0].set_value([("a.png", png(9), "image/png"), ("b.png", png(99), "image/png")])
    page.run()
    assert not page.exception and page.segmented_control(key="which").value == "a.png"
    for name in ("b.png", "a.png", "b.png"):
        page.segmented_control(key="which").set_value(name)
        page.run()
    assert not page.exception and work_of(page).query.name == "b.png"
    assert [given["file"][0][0] for given in client.calls("search")] == ["a.png", "b.png"]
    # Its file is taken away: the other one is shown.
    page.file_uploader[0].set_value([("a.png", png(9), "image/png")])
    page.run()
    assert not page.exception and work_of(page).query.name == "a.png"


def test_several_ecgs_are_listed_with_flags_and_first_case(made_record: EcgRecord) -> None:
    """Each is its own question; what was found for the list is not asked for again when it is opened."""
    client = MadeClient(made_record)
    page = opened(client)
    page.file_uploader[0].set_value([(f"{name}.png", png(shade), "image/png") for shade, name in enumerate("abc")])
    page.run()
    works = [desk.shelf().get(work_id) for work_id in page.session_state["together"]]
    assert not page.exception and [work.query.name for work in works if work] == ["a.png", "b.png", "c.png"]
    here = Page(Api(client), client.info(), "en", texts.words("en"), False)  # type: ignore[arg-type]
    second, third = works[1:]
    assert second is not None and third is not None
    assert "waiting" in several.row_html(here, second, Options())
    several.look_at(here, second, Options())
    assert several.done(here, second, Options()) and not several.done(here, third, Options())
    row = several.row_html(here, second, Options())
    assert "<b>0." in row and "flagged" not in row
    # A flag comes first; a search with other options is another search.
    draft = next(iter(second.written.values())).answer
    assert draft is not None
    flag = {"code": "x", "title": "ST <elevation>", "text": "ST.", "severity": "urgent", "leads": [], "measured": {}}
    flagged = DraftAnswer.model_validate(draft.model_dump() | {"draft": draft.draft.model_dump() | {"flags": [flag]}})
    second.written[next(iter(second.written))].answer = flagged
    assert several.row_html(here, second, Options()).index("ST &lt;elevation&gt;") < row.index("<b>0.") + 200
    assert not several.done(here, second, Options(k=3))
    client.fails = ApiError("damaged", status=422)
    several.look_at(here, third, Options())
    assert "damaged" in several.row_html(here, third, Options())
    client.fails = None
    page.run()
    assert "2 of 3 looked at" in html_of(page) or "3 of 3 looked at" in html_of(page)
    next(button for button in page.button if str(button.key).startswith("open-1")).click().run()
    assert not page.exception and work_of(page).query.name == "b.png"
    assert [given["file"][0][0] for given in client.calls("search")].count("b.png") == 1


def test_files_make_up_ecgs() -> None:
    """All of a WFDB record by its name, in whatever order they come; each other file alone."""
    names = ["a.png", "r.dat", "s.hea", "R.hea", "a.png", "s.dat"]
    sets = desk.groups([(name, b"") for name in names], (".hea", ".dat", ".mat"))
    assert [[name for name, _ in one] for one in sets] == [["a.png"], ["r.dat", "R.hea"], ["s.hea", "s.dat"], ["a.png"]]


def test_the_shelf_forgets_the_oldest_first() -> None:
    """Too many, too large, too old; an id says nothing about another one."""
    kept = desk.Shelf(hours=1, most=3, most_bytes=100)
    works = [kept.put(Query("ecg", str(n), ((str(n), bytes(10)),))) for n in range(4)]
    assert kept.get(works[0].work_id) is None and kept.get(works[1].work_id) is works[1] and len(kept) == 3
    large = kept.put(Query("ecg", "x", (("x", bytes(200)),)))
    assert len(kept) == 1 and kept.get(large.work_id) is large
    large.seen -= 3601
    assert kept.get(large.work_id) is None and kept.get("") is None
    assert len({work.work_id for work in works}) == 4 and all(len(work.work_id) >= 22 for work in works)


def test_sentences_have_names_in_each_language() -> None:
    sentences = draft_answer().draft.sentences
    twice = [*sentences, sentences[0]]
    names = desk.sentence_names(twice)
    assert len(set(names)) == 4
    german = [one.model_copy(update={"text": "Vorhofflimmern"}) for one in twice]
    assert desk.sentence_names(german) == names


def test_the_answer_says_where_each_value_comes_from() -> None:
    """Measured, read from a print (what is assumed is said), or unknown with its reason; flags first; text is text."""
    # fmt: off
    flags = [{"code": "x", "severity": "urgent", "title": EVIL, "text": EVIL + ". More.", "leads": ["V2"],
              "measured": {"V2": 0.3, "qtc_ms": 554.0}},
             {"code": "y", "severity": "note", "title": "A note", "text": "", "leads": [], "measured": {"pr_ms": 1.0}}]
    # fmt: on
    given = draft_answer().draft.model_dump() | {
        "measurements": {"rate_bpm": 83.2, "qtc_ms": 554.0},
        "st_mv": {"V2": 0.31, "I": 0.01},
        "unmeasured": {"pr_ms": "no constant P wave"},
        "flags": flags,
    }  # fmt: skip
    draft = type(draft_answer().draft).model_validate(given)
    html = answer.answer_html(draft, None, {}, EN)
    assert "<script" not in html and html.index("ek-flag urgent") < html.index("ek-tiles") and "A note" not in html
    assert "83<small>" in html and "Measured on the recording" in html and "PR: no constant P wave" in html
    assert html.count('class="ek-unknown"') == 3 and html.count("hot") == 2 and "+0.31" in html
    printed = answer.answer_html(draft, page_out(speed_mm_s=None), {}, DE)
    assert "Vom Ausdruck gelesen; 25 mm/s" in printed and "angenommen" in printed
    assert "read from this print" in answer.source(draft_answer().draft, page_out(), EN)
    assert "Rhythm" not in html and "Atrial fibrillation" in html


def test_the_room_for_an_ecg_is_what_it_will_need() -> None:
    """Nothing moves when the ECG comes: its frame is known from what the server read."""
    page = page_out(corners=[(100, 100), (900, 100), (900, 500), (100, 500)])
    sheet = drawings.picture_sheet(np.full((600, 1000, 3), 255, np.uint8), page)
    frame = drawings.framed(sheet.outline, (sheet.width_mm, sheet.height_mm))
    assert query_panel.shape(page) == pytest.approx(frame[2:])
    assert query_panel.shape(None) == drawings.crop("3x4+1R")[2:]
    left, _, width, _ = drawings.crop("3x4+1R")
    # At 1,024 px, less the page's margins, a millimetre has 3.8 px.
    assert 19.7 > left > 0 and (1024 - 19.2) / width >= 3.8


def test_values_findings_and_beats_beside_each_other(made_record: EcgRecord, examples: Path) -> None:
    """Both measured in the same way; what both have stands first; what one of them lacks is marked; text is text."""
    client = MadeClient(made_record)
    page = chosen(client, examples)
    page.button(key="compare-2-made/2").click().run()
    html = html_of(page)
    assert not page.exception and "Values of both" in html and "Rate /min" in html and "Median beats" in html
    found = beside.findings_html(search_out().vote, {"AFIB": 100.0, EVIL: 50.0}, "en", EN)
    assert found.index("atrial fibrillation") < found.index("&lt;script") and found.count('class="differ"') == 1
    assert "<script" not in found and "90 %" in found
    # Next and previous by button; the same buttons have the arrow keys.
    page.button(key="after").click().run()
    assert page.query_params["case"] in ("made/3", ["made/3"]) and not page.exception


def test_cases_in_the_order_of_a_concept() -> None:
    """Rhythm first, similarity among those alike; probabilities at 0 and 1 are not certain."""
    hits = [
        HitOut(rank=n, score=1 - n / 50, case=case_out(n).model_copy(update={"labels": dict.fromkeys(codes, 100.0)}))
        for n, codes in enumerate((["SR", "CLBBB"], ["AFIB"], ["AFIB", "CLBBB"], ["SR"]), 1)
    ]
    p = {"AFIB": 1.0, "CLBBB": 0.9}
    by_rhythm = concepts.ordered(hits, p, "rhythm", 3)
    assert [hit.case.case_id for hit in by_rhythm] == ["made/2", "made/3", "made/1"]
    assert [hit.rank for hit in by_rhythm] == [1, 2, 3] and by_rhythm[0].score == hits[1].score
    assert [hit.case.case_id for hit in concepts.ordered(hits, p, "qrs", 2)] == ["made/1", "made/3"]
    slow = {"SBRAD": 1.0, "AFIB": 0.6}
    labels = {"AFIB": 100.0}
    assert concepts.fit(slow, labels, concepts.codes_of("not_rate")) > concepts.fit(
        slow, labels, concepts.codes_of("all")
    )


def test_contrasts_have_another_diagnosis() -> None:
    """The nearest of each other set of superclasses; none where the query has no diagnosis."""
    kinds = (["NORM"], ["CLBBB"], ["LVH"], ["IMI"], ["AMI"], ["SR"])
    hits = [
        HitOut(rank=n, score=0.5, case=case_out(n).model_copy(update={"labels": dict.fromkeys(codes, 100.0)}))
        for n, codes in enumerate(kinds, 1)
    ]
    found = concepts.contrasts(hits, {"NORM": 0.8, "CLBBB": 0.2})
    assert [hit.case.case_id for hit in found] == ["made/2", "made/3", "made/4"]
    assert concepts.contrasts(hits, {"SR": 0.9}) == []


def test_a_concept_is_asked_for_once_and_can_be_left(made_record: EcgRecord, examples: Path) -> None:
    client = MadeClient(made_record)
    page = chosen(client, examples)
    for concept in ("rhythm", "qrs", "all"):
        page.segmented_control(key="concept").set_value(concept)
        page.run()
        assert not page.exception
    assert [given["k"] for given in client.calls("search")] == [10, 50]
    assert "ek-draft" in html_of(page)


def test_a_frame_on_a_lead_orders_the_nearest_cases(made_record: EcgRecord, examples: Path) -> None:
    """The nearest 50 are fetched once and compared there; the order, each likeness and the frame are shown."""

    class Others(MadeClient):
        """Cases with odd numbers have their V2 upside down."""

        def signal(self, case_id: str) -> EcgRecord:
            self.asked.append(("signal", {"case_id": case_id}))
            values = self.record.signal_mv.copy()
            if int(case_id.rpartition("/")[2]) % 2:
                values[self.record.leads.index("V2")] *= -1
            return replace(self.record, signal_mv=values)

    client = Others(made_record)
    page = chosen(client, examples)
    page.text_input(key="region").set_value("v2 1,0-1,6").run()
    assert not page.exception and page.text_input(key="region").value == "V2 1.00-1.60"
    assert [given["k"] for given in client.calls("search")] == [10, 50] and len(client.calls("signal")) == 50
    shown = html_of(page)
    first = shown.index('id="case-1"')
    assert "made/2" in shown[first : shown.index('id="case-2"')] and "V2: 1.00" in shown
    assert "most alike in V2" in shown
    # Another respect takes its place; an empty field brings the first order back.
    page.segmented_control(key="concept").set_value("rhythm")
    page.run()
    assert page.text_input(key="region").value == "" and "most alike in V2" not in html_of(page)
    page.segmented_control(key="concept").set_value("all")
    page.run()
    page.text_input(key="region").set_value("V2 1-1.6").run()
    page.text_input(key="region").set_value("").run()
    shown = html_of(page)
    assert "made/1" in shown[shown.index('id="case-1"') : shown.index('id="case-2"')] and "V2: 1.00" not in shown
    assert len(client.calls("signal")) == 50, "samples are asked for once"


@pytest.mark.parametrize("text", ["V9 1-2", "somewhere", "V2 1.0-1.01", "V2 1"])
def test_a_frame_that_means_nothing_is_said_to(text: str, made_record: EcgRecord, examples: Path) -> None:
    client = MadeClient(made_record)
    page = chosen(client, examples)
    page.text_input(key="region").set_value(text).run()
    assert not page.exception and len(page.toast) == 1 and page.text_input(key="region").value == ""
    assert "ek-tag near" not in html_of(page)


def test_places_of_leads_on_a_sheet(made_record: EcgRecord) -> None:
    """Each lead of a page has its place, seconds and all; a frame is drawn where the lead is shown at that time."""
    sheet = drawings.record_sheet(made_record, dark=False)
    assert {area.lead for area in sheet.areas} == set(made_record.leads) and len(sheet.areas) == 13
    for area in sheet.areas:
        assert 0 <= area.x < area.x + area.width <= sheet.width_mm + 0.5 and area.height > 5
    v2 = next(area for area in sheet.areas if area.lead == "V2")
    marks = region.framed_on(sheet, f"V2 {v2.start_s + 0.5:.2f}-{v2.start_s + 1:.2f}").marks
    assert len(marks) == 1 and marks[0].points[0][0] == pytest.approx(v2.x + 0.5 * v2.width / v2.length_s, abs=0.01)
    assert not region.framed_on(sheet, "V2 0.00-0.50").marks, "V2 is not shown then"
    assert len(region.framed_on(sheet, "II 0.50-1.00").marks) == 2, "in its column and as the rhythm strip"
    assert region.framed_on(sheet, "").marks == ()


def test_places_of_leads_on_a_picture() -> None:
    """Of a picture they are where the curves were followed."""
    line = {"points": [(100, 200), (400, 260)], "doubtful": False}
    printed = [
        {"lead": "V3", "upside_down": False, "row": 1, "start_s": 5.0, "seconds": 2.5, "strip": False, "doubtful": 0.0,
         "lines": [line]},
    ]  # fmt: skip
    found = DigitizedOut.model_construct(printed=[PrintedLeadOut.model_validate(one) for one in printed])
    sheet = reading.curves_on(drawings.Sheet("", 100, 80, px_per_mm=10.0), found)
    (area,) = sheet.areas
    assert (area.lead, area.x, area.width, area.start_s, area.length_s) == ("V3", 10, 30, 5.0, 2.5)
    assert area.y < 20 and area.y + area.height > 26
    assert area.part(5.0, 6.25)[1][0] == pytest.approx(25.0) and area.part(1.0, 2.0) == ()


def test_rejected_cases_do_not_come_back_in_another_order() -> None:
    """The refined search leaves them out, and so does the order by a concept of its fifty nearest."""
    one = search_out(4, query="text")
    hits = [HitOut(rank=n, score=0.9 - n / 100, case=case_out(n)) for n in range(1, 5)]
    wide = one.model_copy(update={"query_id": "refined", "hits": hits})
    found = desk.Found(("key",), Query("text", "x", text="x"), first=one, concept="rhythm", sent={"made/2": False})
    found.refined = wide.model_copy(update={"hits": [hits[0], hits[2]]})
    found.wide["refined"] = wide
    assert found.shown is not None
    assert {hit.case.case_id for hit in found.shown.hits} == {"made/1", "made/3"}


def test_marks_stay_after_the_search_that_followed_them(made_record: EcgRecord, examples: Path) -> None:
    """They are on their cards, with the first similarity where it changed; the button waits for other marks."""
    client = MadeClient(made_record)
    page = chosen(client, examples)
    page.button(key="thumb_up-1-made/1").click().run()
    page.button(key="again").click().run()
    assert "marked similar" in html_of(page) and page.button(key="again").disabled
    assert "Refined by your marks" in html_of(page), "what was read of the ECG stays, and this is said beside it"
    page.button(key="thumb_down-2-made/2").click().run()
    assert not page.button(key="again").disabled
    html = neighbour_cards.card_html(
        HitOut(rank=1, score=0.91, case=case_out(1)), frozenset(), "", "de", DE, first=0.84, mark=False
    )
    assert "zuerst 0.84" in html and "als nicht ähnlich markiert" in html


def test_a_quiz_hides_everything_until_it_is_committed(made_record: EcgRecord, examples: Path) -> None:
    """No draft, no case, no value; then one's own findings stand beside the draft's, also after a reload."""
    client = MadeClient(made_record)
    page = opened(client)
    page.toggle(key="quiz").set_value(True).run()
    page.selectbox(key="example").select_index(0)
    page.run()
    html = html_of(page).replace(style.css(False, "en"), "")
    assert not page.exception and not client.calls("draft")
    assert "ek-card-head" not in html and "ek-answer" not in html and "fibrillation" not in html
    commit = next(button for button in page.button if button.label == EN("quiz_commit"))
    commit.click().run()
    assert any(EN("quiz_empty") in warning.value for warning in page.warning)
    page.text_area(key="quiz-own").set_value("Vorhofflimmern, kein Linksschenkelblock")
    page.multiselect(key="quiz-codes").select("LVH")
    next(button for button in page.button if button.label == EN("quiz_commit")).click().run()
    assert not page.exception and quiz.own_codes(work_of(page)) == ["LVH", "AFIB"]
    for shown in (page, again(page, client)):
        assert re.search(r"<dt>Both</dt><dd>atrial fibrillation</dd><dt>You alone</dt><dd>left", html_of(shown))
        assert "ek-draft" in html_of(shown)


def test_hits_can_be_taken_away() -> None:
    """All that a table needs, marks and both similarities among it; nothing in it is a formula."""
    found = desk.Found(("x",), Query("ecg", "a.png"), first=search_out(2))
    found.marks["made/1"] = False
    shown = search_out(2)
    shown.hits[0] = shown.hits[0].model_copy(update={"score": 0.5, "case": case_out(1, "=1+1")})
    table = list(csv.DictReader(io.StringIO(saved.hits_csv(found, shown).decode("utf-8-sig"))))
    assert [row["case_id"] for row in table] == ["made/1", "made/2"]
    assert (table[0]["score"], table[0]["first_score"], table[0]["marked"]) == ("0.5", "0.98", "not similar")
    assert table[0]["report"] == "'=1+1" and table[0]["labels"] == "AFIB:100 LVH:50"
    packed = json.loads(saved.hits_json(found, shown, Options(where="age>=60")))
    assert packed["query"]["where"] == "age>=60" and packed["hits"][1]["age_years"] == 62.0
    assert packed["vote"] == {"AFIB": 0.9, "LVH": 0.3}


def test_terms_are_explained_and_escaped() -> None:
    said = terms.explained("QT/QTc 352/408 ms, PRX, ST-T <b>", "de")
    assert said.count("<abbr") == 2 and "korrigiert" in said and "<b>" not in said and "PRX" in said
    for names, english, german in terms.TERMS:
        assert names and english and german


def test_understood_words_can_be_changed(made_record: EcgRecord) -> None:
    """A part is turned round, taken away, and all of it put back; each is asked of the server with these parts."""
    parts = [
        {"kind": "statement", "code": "AFIB", "polarity": "present", "joined": "and", "text": "AF"},
        {"kind": "sex", "sex": "F", "text": "women"},
        {"kind": "unknown", "text": "pizza"},
        {"kind": "words", "text": "atrial fibrillation"},
    ]

    class Understanding(MadeClient):
        def search(self, **given: Any) -> SearchOut:
            found = super().search(**given)
            return found.model_copy(update={"understood": given.get("understood", parts)})

    client = Understanding(made_record)
    page = opened(client)
    page.segmented_control(key="way").set_value("words")
    page.run()
    page.text_input(key="words").set_value("AF in women pizza")
    next(button for button in page.button if button.label == "Search").click().run()
    assert "pizza: not known" in html_of(page) and "understood" not in client.calls("search")[-1]
    page.button(key="turn-0").click().run()
    assert client.calls("search")[-1]["understood"][0]["polarity"] == "absent"
    page.button(key="away-1").click().run()
    assert [part["kind"] for part in client.calls("search")[-1]["understood"]] == ["statement", "unknown", "words"]
    page.button(key="as-typed").click().run()
    assert "understood" not in client.calls("search")[-1] and not page.exception


@pytest.mark.parametrize(
    ("lang", "codes", "said"),
    [
        ("en", {"what": ("atrial fibrillation", "Vorhofflimmern")}, "No case that passes the filters carries atrial"),
        ("de", {"what": ("atrial fibrillation", "Vorhofflimmern")}, "Kein Fall, der zu den Filtern passt, trägt Vorh"),
        ("en", None, "No case carries what you asked for. The cases below"),
        ("de", None, "Kein Fall trägt, wonach Sie gefragt haben. Die Fälle unten"),
    ],
)
def test_a_finding_that_only_the_filters_leave_out_is_not_called_missing(
    made_record: EcgRecord, lang: str, codes: dict[str, tuple[str, str]] | None, said: str
) -> None:
    notes = [] if codes is None else [NoteOut.of(Note(NoteCode.WORDS_NONE_WITHIN, **codes))]

    class Within(MadeClient):
        def search(self, **given: Any) -> SearchOut:
            found = search_out(query="text", nothing=True)
            far = found.abstention.model_copy(update={"reason": "not_carried"})
            return found.model_copy(update={"abstention": far, "warnings": notes})

    page = opened(Within(made_record), lang=lang)
    page.segmented_control(key="way").set_value("words")
    page.run()
    page.text_input(key="words").set_value("AF in women under 50")
    next(button for button in page.button if button.label in ("Search", "Suchen")).click().run()
    (box,) = [box.value for box in page.warning if "ase" in box.value or "Fall" in box.value]
    assert said in box and not page.exception


def test_a_quiz_says_what_is_nearly_the_same(made_record: EcgRecord) -> None:
    """An anterior infarction beside the draft's anteroseptal one stands with what both say."""
    draft = draft_answer().draft
    stated = [item.model_copy(update={"code": code}) for item in draft.statements[:1] for code in ("ASMI", "AFIB")]
    html = quiz.compared_html(["AMI", "LVH"], "", draft.model_copy(update={"statements": stated}), "en", EN)
    both, own, theirs = re.findall(r"<dd>(.*?)</dd>", html)
    assert both == "anterior myocardial infarction ≈ anteroseptal myocardial infarction"
    assert (own, theirs) == ("left ventricular hypertrophy", "atrial fibrillation")
    assert quiz.compared_html(["AMI"], "", None, "en", EN).count("<dd>…</dd>") == 3


def test_a_person_is_left_out(made_record: EcgRecord, examples: Path) -> None:
    client = MadeClient(made_record)
    page = chosen(client, examples)
    page.text_input(key="leave-out").set_value(" anna ").run()
    assert client.calls("search")[-1]["exclude_patient"] == client.calls("draft")[-1]["exclude_patient"] == "anna"
    page.segmented_control(key="concept").set_value("qrs")
    page.run()
    assert client.calls("search")[-1]["exclude_patient"] == "anna" and not page.exception


def test_citations_have_the_numbers_of_cards() -> None:
    """Also where the cases on the page are in another order than those of the draft."""
    sentence = draft_answer().draft.sentences[0]
    hits = {"made/1": HitOut(rank=2, score=0.9, case=case_out(1))}
    html = draft_panel.sentence_html(sentence, {1: "made/1", 2: "made/2"}, hits, EN)
    # The first is card 2; the second has no card, and must not look like card 2.
    assert 'href="#case-2" title="made/1">[2]</a>' in html and ">[made/2]</span>" in html


def page_out(**changed: Any) -> PageOut:
    """What was read of a made picture."""
    facts: dict[str, Any] = {
        "layout": "3x4+1R", "n_rows": 4, "leads": ["I", "II", "V1", "V2"], "px_per_mm": 4.0, "rotation_deg": 0.0,
        "speed_mm_s": 25.0, "gain_mm_mv": 10.0, "quality": 0.9, "corners": [(10, 10), (90, 10), (90, 70), (10, 70)],
    }  # fmt: skip
    return PageOut.model_validate(facts | changed)


def digitized_out(record: EcgRecord) -> DigitizedOut:
    """A made reading: lead V1 in two parts, one of them doubtful, and -aVR."""
    lines = [{"points": [(10, 20), (30, 25)], "doubtful": False}, {"points": [(30, 25), (40, 20)], "doubtful": True}]
    lead = {"row": 1, "start_s": 0.0, "seconds": 2.5, "strip": False, "doubtful": 0.2}
    return DigitizedOut.model_validate(
        {
            "page": page_out().model_dump(), "digitized": True, "seconds": 10.0, "einthoven_db": 12.3,
            "confidence": {"V1": 0.5, "aVR": 0.9}, "warnings": [], "signal": Signal.of(record).model_dump(),
            "printed": [{**lead, "lead": "V1", "upside_down": False, "lines": lines},
                        {**lead, "lead": "aVR", "upside_down": True, "lines": lines[:1]}],
        }
    )  # fmt: skip


class PictureClient(MadeClient):
    """Answers searches by a picture."""

    def search(self, **given: Any) -> SearchOut:
        """With what was read of it."""
        found = super().search(**given)
        return found.model_copy(update={"query": "image", "page": page_out()})

    def digitize(self, file: Any, **given: Any) -> DigitizedOut:
        """The same reading for each."""
        self.asked.append(("digitize", given))
        return digitized_out(self.record.resampled(100.0))


def test_what_was_put_right() -> None:
    """Only what differs from the reading is known by the visitor; swaps add up, and two of the same undo each other."""
    page = page_out()
    assert reading.put_right(PageKnown(), page, layout="3x4+1R", speed=25.0, gain=10.0) == PageKnown()
    known = reading.put_right(PageKnown(), page, layout="6x2", speed=50.0, gain=5.0, swap=["V1", "V2"])
    assert isinstance(known, PageKnown)
    assert (known.layout, known.speed_mm_s, known.gain_mm_mv) == ("6x2", 50.0, 5.0)
    more = reading.put_right(known, page_out(layout="6x2", speed_mm_s=50.0, gain_mm_mv=5.0), layout="6x2", speed=50.0,
                             gain=5.0, swap=["V1", "II"])  # fmt: skip
    assert isinstance(more, PageKnown) and more.leads == {"II": "V1", "V1": "V2", "V2": "II"} and more.layout == "6x2"
    back = reading.put_right(PageKnown(leads={"V1": "V2", "V2": "V1"}), page, swap=["V1", "V2"])
    assert isinstance(back, PageKnown) and not back.leads
    assert reading.put_right(PageKnown(), page, swap=["V1"]) == "two_to_swap"
    assert reading.put_right(PageKnown(), page, corners="1,2 3,4") == "eight_numbers"
    cut = reading.put_right(PageKnown(), page, corners="0,0 500,0 500.5,400 0,400")
    assert isinstance(cut, PageKnown) and cut.corners == [(0, 0), (500, 0), (500.5, 400), (0, 400)]


def test_curves_lie_over_the_picture_in_its_millimetres(made_record: EcgRecord) -> None:
    sheet = drawings.picture_sheet(np.full((100, 100, 3), 255, np.uint8), page_out())
    curves = reading.curves_on(sheet, digitized_out(made_record.resampled(100.0))).curves
    assert [curve.name for curve in curves] == ["V1", "", "-aVR"] and [c.doubtful for c in curves] == [
        False,
        True,
        False,
    ]
    assert curves[0].points == ((2.5, 5.0), (7.5, 6.25)) and curves[0].colour == curves[1].colour != curves[2].colour
    html = viewer.viewer_html([(reading.curves_on(sheet, digitized_out(made_record.resampled(100.0))), "", "")], EN,
                              dark=False)  # fmt: skip
    (packed,) = re.findall(r"const DATA = (.*?);</script>", html)
    assert json.loads(packed)["pages"][0]["curves"][2]["name"] == "-aVR"


def test_a_picture_is_checked_and_put_right(
    made_record: EcgRecord, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Curves are asked for when they are wanted; what is put right goes with search and draft, and can be undone."""
    picture = np.full((100, 100, 3), 255, np.uint8)
    Image.fromarray(picture).save(tmp_path / "ECG_1.png")
    monkeypatch.setenv(serving.EXAMPLES_VARIABLE, str(tmp_path))
    client = PictureClient(made_record)
    page = chosen(client, tmp_path)
    assert not page.exception and not client.calls("digitize")
    page.toggle(key="check-curves").set_value(True)
    page.run()
    assert client.calls("digitize") == [{"curves": True}]
    assert "least sure: V1 (50 %)" in html_of(page) and "12 dB" in html_of(page)
    page.selectbox(key="fix-gain").set_value(5.0)
    page.multiselect(key="fix-swap").set_value(["V1", "V2"])
    next(button for button in page.button if button.label == "Read again").click()
    page.run()
    assert not page.exception
    known = client.calls("search")[-1]["known"]
    assert known.gain_mm_mv == 5.0 and known.leads == {"V1": "V2", "V2": "V1"}
    assert client.calls("draft")[-1]["known"] == known and client.calls("digitize")[-1]["known"] == known
    page.button(key="as-read").click()
    page.run()
    assert "known" not in client.calls("search")[-1]


def test_an_unreadable_page_is_said_apart(made_record: EcgRecord, examples: Path) -> None:
    class Unreadable(PictureClient):
        def search(self, **given: Any) -> SearchOut:
            found = super().search(**given)
            away = found.abstention.model_copy(update={"nothing_similar": True, "reason": "unreadable"})
            return found.model_copy(update={"abstention": away})

    page = chosen(Unreadable(made_record), examples)
    assert any("cannot be read well enough" in warning.value for warning in page.warning)
    assert not any("Nothing similar" in warning.value for warning in page.warning)


def test_what_was_read_of_a_picture_stays_after_a_refined_search() -> None:
    """A search after marks knows a vector only; the page goes on to say what the first one read off the picture."""
    read, hits = object(), [object()]
    first = SearchOut.model_construct(query="image", page=read, hits=[], query_id="a")
    refined = SearchOut.model_construct(query="vector", page=None, hits=hits, query_id="b")
    found = desk.Found(("key",), query=None, first=first)  # type: ignore[arg-type]
    assert found.latest is first
    found.refined = refined
    latest = found.latest
    assert latest is not None and (latest.query, latest.page, latest.query_id) == ("image", read, "b")
    assert latest.hits is hits
