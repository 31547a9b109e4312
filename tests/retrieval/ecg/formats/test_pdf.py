"""PDF pages whose traces are lines: the known signals come back, from two writers; what is open to doubt is refused."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import fuzz_formats as fuzzing
import numpy as np
import pdf_made as drawn
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from ecgkin.index import open_base
from ecgkin.index.ingest.pipeline import ingest_records, open_or_create
from ecgkin.index.sources.folder import folder_items
from ecgkin.retrieval.ecg.drawing.raster import render
from ecgkin.retrieval.ecg.drawing.style import RenderStyle
from ecgkin.retrieval.ecg.formats.pdf.drawing import Line
from ecgkin.retrieval.ecg.formats.pdf.scale import grid_pitches, pulse_at_start, stated
from ecgkin.retrieval.ecg.formats.pdf.traces import NoTracesError, ecg_pages, read_pdf
from ecgkin.retrieval.ecg.formats.pictures import open_ecg, open_picture, picture_notes
from ecgkin.retrieval.ecg.formats.read import read_ecg
from ecgkin.retrieval.ecg.record import EcgRecord
from ecgkin.retrieval.ecg.simulation.simulate import simulate
from ecgkin.retrieval.encoders.hashing import HashingEncoder
from ecgkin.retrieval.errors import ImageError, RecordError
from ecgkin.retrieval.search.search import CaseSearch


@pytest.fixture(scope="module")
def record() -> EcgRecord:
    """A simulated ECG of 10 s at 500 Hz whose limb leads fit together."""
    return simulate(("AFIB", "CLBBB"), np.random.default_rng(3)).record


def farthest_mv(back: EcgRecord, record: EcgRecord) -> float:
    """Largest difference of any sample that came back, apart from each lead's zero, which no page shows."""
    worst = 0.0
    at = np.arange(record.n_samples) / record.fs_hz
    for name in back.leads:
        got, truth = back.lead(name), record.lead(name)
        assert got is not None and truth is not None
        seen = np.isfinite(got)
        difference = got[seen] - np.interp(np.flatnonzero(seen) / back.fs_hz, at, truth)
        worst = max(worst, float(np.abs(difference - np.median(difference)).max()))
    return worst


@pytest.mark.parametrize(
    ("style", "options"),
    [
        (RenderStyle(), {}),
        (RenderStyle(layout="3x4+3R"), {"turned": True}),
        (RenderStyle(layout="12x1"), {"fit": 0.7}),
        (RenderStyle(layout="6x2", order="cabrera"), {"fit": 1.3, "grid": False}),
        (RenderStyle(speed_mm_s=50.0, calibration="none"), {}),
        (RenderStyle(gain_chest_mm_mv=5.0, calibration="right"), {}),
        (RenderStyle(gain_mm_mv=5.0, gain_chest_mm_mv=None), {"pages": 2}),
        (RenderStyle(layout="6x2"), {"one_line": True}),
        (RenderStyle(), {"one_line": True, "grid": False}),
    ],
)
def test_own_drawing_comes_back(record: EcgRecord, style: RenderStyle, options: dict[str, Any]) -> None:
    """Every sample that the page shows, to 1 uV: the drawing writes micrometres, 0.1 uV at 10 mm/mV."""
    back = read_pdf(drawn.from_svg(record, style, **options))
    assert back.missing_leads == () and back.fs_hz == 500 and abs(back.duration_s - 10) < 0.01
    assert farthest_mv(back, record) < 1.5e-3
    shown = {"12x1": 1.0, "6x2": 0.5}.get(style.layout, 0.25)
    got = back.lead("V3")
    assert got is not None and np.isfinite(got).mean() == pytest.approx(shown, abs=0.01)
    assert f"{style.speed_mm_s:g} mm/s" in back.notes[0] and back.header is not None
    if options.get("pages"):
        assert "the document has 2 pages: page 1 is read" in back.notes


@pytest.mark.parametrize("layout", ["12x1", "3x4"])
def test_a_second_writer(record: EcgRecord, layout: str) -> None:
    """matplotlib: sample by sample where it writes every corner; else as far as it leaves corners out (0.04 mm)."""
    exact = read_pdf(drawn.by_matplotlib(record, layout, simplify=False))
    assert exact.fs_hz == 500 and exact.missing_leads == () and farthest_mv(exact, record) < 1e-3
    coarse = read_pdf(drawn.by_matplotlib(record, layout))
    assert farthest_mv(coarse, record) < 0.2 and any("not evenly spaced" in note for note in coarse.notes)


@settings(max_examples=5, deadline=None)
@given(
    seed=st.integers(0, 99),
    speed=st.sampled_from([25.0, 50.0]),
    gain=st.sampled_from([5.0, 10.0, 20.0]),
    fit=st.floats(0.5, 2.0),
    grid=st.booleans(),
)
def test_any_print_out(seed: int, speed: float, gain: float, fit: float, grid: bool) -> None:
    record = simulate(("NORM",), np.random.default_rng(seed)).record
    style = RenderStyle(speed_mm_s=speed, gain_mm_mv=gain)
    assert farthest_mv(read_pdf(drawn.from_svg(record, style, fit=fit, grid=grid)), record) < 4e-3


def test_a_gap_stays_a_gap(record: EcgRecord) -> None:
    signal = record.signal_mv.copy()
    signal[1, 700:760] = np.nan
    signal[8, 2600:3900] = np.nan  # V3, all but the beginning of what 3x4 shows of it
    holed = EcgRecord(signal, record.fs_hz, record.leads)
    back = read_pdf(drawn.from_svg(holed))
    two, three = back.lead("II"), back.lead("V3")
    assert two is not None and np.isnan(two[702:758]).all() and np.isfinite(two[:700]).all()
    assert three is None or np.isnan(three[2602:3700]).all()
    assert farthest_mv(back, record) < 1.5e-3


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"words": False}, "does not say its speed in mm/s and gain in mm/mV"),
        ({"names": {"25 mm/s   10 mm/mV": "10 mm/mV"}}, "does not say its speed"),
        ({"names": {"25 mm/s   10 mm/mV": "25 mm/s   20 mm/mV"}}, "calibration pulse is 10.0 mm high"),
        ({"names": {"25 mm/s   10 mm/mV": "25 mm/s   12 mm/mV"}}, "gain is"),
        ({"names": {"I": "II", "II": "I"}}, "contradict Einthoven"),
        ({"names": dict.fromkeys(("V1", "V2", "V3", "V4", "V5", "V6", "aVR"), "x")}, "have no lead's name"),
        ({"grid": False, "style": RenderStyle(calibration="none")}, "neither a grid nor a calibration pulse"),
    ],
)
def test_doubt_is_refused(tmp_path: Path, record: EcgRecord, options: dict[str, Any], says: str) -> None:
    """As samples it is refused by name; the same file is opened as a picture, which says why."""
    style = options.pop("style", RenderStyle())
    path = tmp_path / "a.pdf"
    path.write_bytes(drawn.from_svg(record, style, **options))
    with pytest.raises(RecordError, match=says):
        read_ecg(path)
    picture = open_ecg(path)
    assert isinstance(picture, Image.Image)
    assert "not read as numbers" in picture_notes(picture)[0] and picture_notes(open_picture(path)) == ()


def test_scans_are_pictures(tmp_path: Path, record: EcgRecord) -> None:
    path = tmp_path / "scan.pdf"
    Image.effect_noise((600, 400), 50).convert("RGB").save(path, "PDF")
    with pytest.raises(NoTracesError, match="0 lines look like traces"):
        read_pdf(path)
    picture = open_ecg(path)
    assert isinstance(picture, Image.Image) and picture_notes(picture) == ()
    with pytest.raises(ImageError, match="page is 2"):
        open_ecg(path, 2)
    with pytest.raises(RecordError, match="page is 3"):
        read_pdf(drawn.from_svg(record, pages=2), 3)


def test_wrapped_into_dicom_and_page_by_page(tmp_path: Path, record: EcgRecord) -> None:
    """Each page of a document is a case, wrapped or not; cases of drawn pages have samples, and are found again."""
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import UID, ExplicitVRLittleEndian, generate_uid

    clinic = tmp_path / "clinic"
    clinic.mkdir()
    other = simulate(("NORM",), np.random.default_rng(5)).record
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UID("1.2.840.10008.5.1.4.1.1.104.1")
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data = FileDataset("x", {}, file_meta=meta, preamble=b"\0" * 128)
    data.SOPClassUID, data.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    document = drawn.from_svg(record, pages=2)
    data.MIMETypeOfEncapsulatedDocument = "application/pdf"
    data.EncapsulatedDocument = document + b"\0" * (len(document) % 2)
    data.save_as(clinic / "a.dcm", enforce_file_format=True)
    (clinic / "b.pdf").write_bytes(drawn.from_svg(other))
    assert farthest_mv(read_ecg(clinic / "a.dcm"), record) < 1.5e-3
    encoder = HashingEncoder()
    items = folder_items(clinic)
    assert [item.case.case_id for item in items] == ["clinic/a.dcm#1", "clinic/a.dcm#2", "clinic/b.pdf"]
    with open_or_create(tmp_path / "base", encoder) as base:
        report = ingest_records(base, items, encoder)
        assert (report.added, report.failed) == (3, [])
        assert any("PDF, traces drawn as lines: 25 mm/s" in words for _, words in report.notes)
    with open_base(tmp_path / "base") as base:
        kept = base.record("clinic/b.pdf")
        assert kept is not None and farthest_mv(kept, other) < 2e-3
        assert base.get("clinic/b.pdf").meta["format"] == "PDF, traces drawn as lines"
        found = CaseSearch(base, encoder).by_ecg(clinic / "b.pdf", 3)
        assert found.hits[0].case.case_id == "clinic/b.pdf" and found.hits[0].score > 0.999


def test_doubt_is_said_in_ingest_and_search(tmp_path: Path, record: EcgRecord) -> None:
    (tmp_path / "clinic").mkdir()
    path = tmp_path / "clinic" / "a.pdf"
    path.write_bytes(drawn.from_svg(record, names={"I": "II", "II": "I"}, pages=2))
    encoder = HashingEncoder()
    with open_or_create(tmp_path / "base", encoder) as base:
        report = ingest_records(base, folder_items(tmp_path / "clinic"), encoder)
        said = dict(report.notes)[f"{path}#2"]
        assert "page 2 is read" in said and "contradict Einthoven" in said
        picture = open_ecg(path)
        assert isinstance(picture, Image.Image)
        warnings = CaseSearch(base, encoder).by_image(picture, 1).warnings
        assert any("the document has 2 pages: page 1 is read" in w for w in warnings)
        assert any("contradict Einthoven" in w for w in warnings)


def test_a_page_is_compared_in_the_layouts_that_it_fills(record: EcgRecord) -> None:
    """A print-out in 3x4 holds a quarter of each lead: a drawing in 12x1 would be blank for the rest."""
    from ecgkin.retrieval.encoders.dual import _filled

    styles = [RenderStyle(), RenderStyle(layout="12x1")]
    assert _filled(record, styles) == styles
    for layout, left in (("3x4+1R", 1), ("6x2", 1), ("12x1", 2)):
        printed = read_pdf(drawn.from_svg(record, RenderStyle(layout=layout)))
        assert _filled(printed, styles) == styles[:left], layout


def test_words_and_pulses() -> None:
    assert stated("Limb: 5 mm/mV Chest: 10.0 mm/mV 25mm/sec", "a") == (25.0, (5.0, 10.0))
    assert stated("no scale", "a") == (None, None)
    for text, says in (("25 mm/s 50 mm/s", "paper speed"), ("5 mm/mV 10 mm/mV", "not said for which"), ("3 mm/s", "3")):
        with pytest.raises(RecordError, match=says):
            stated(text, "a")
    square = np.array([[0, 0], [2, 0], [2, -10], [7, -10], [7, 0], [9, 0]], dtype=float)
    pulse = pulse_at_start(square)
    assert pulse is not None and (pulse.width, pulse.height, pulse.n_points) == (5.0, 10.0, 6)
    assert pulse_at_start(square * (1, -1)) is None  # downwards
    triangle = np.array([[0, 0], [2, 0], [4, -10], [6, 0], [8, 0]], dtype=float)
    assert pulse_at_start(triangle) is None


def test_damaged_pages(tmp_path: Path, record: EcgRecord) -> None:
    """30 mutations of a page that is written as text: an error, a picture, or a sound record."""
    path = tmp_path / "in" / "page.pdf"
    path.parent.mkdir()
    path.write_bytes(drawn.from_svg(record.resampled(100), grid=False, compressed=False))
    assert fuzzing.verdict(path) == "record"
    (tmp_path / "out").mkdir()
    found, wrong = fuzzing.fuzz(path, 30, 0, tmp_path / "out")
    assert not wrong, wrong[0]
    assert sum(found.values()) == 30 and found["record"] and found["error"]


def joined(*documents: bytes) -> bytes:
    """Several documents as one."""
    import pypdfium2

    whole = pypdfium2.PdfDocument.new()
    for document in documents:
        part = pypdfium2.PdfDocument(document)
        whole.import_pages(part)
        part.close()
    stream = io.BytesIO()
    whole.save(stream)
    whole.close()
    return stream.getvalue()


def cover() -> bytes:
    """A page of words, a frame and a small logo, as the exports of watches begin."""
    from fpdf import FPDF

    sheet = FPDF(unit="mm", format="A4")
    sheet.add_page()
    sheet.set_font("Helvetica", size=12)
    for k in range(20):
        sheet.text(20, 30 + 8 * k, f"Recorded on 1 January, finding number {k}")
    sheet.rect(15, 15, 180, 250)
    return bytes(sheet.output())


def test_pages_behind_a_cover_are_found_and_named(record: EcgRecord, tmp_path: Path) -> None:
    """The first page that shows an ECG is read, the others are named; a page that is asked for is read."""
    other = simulate(("NORM",), np.random.default_rng(5)).record
    file = tmp_path / "export.pdf"
    file.write_bytes(joined(cover(), drawn.from_svg(record), drawn.from_svg(other), cover()))
    assert ecg_pages(file) == [2, 3]
    back = open_ecg(file)
    assert isinstance(back, EcgRecord) and farthest_mv(back, record) < 1.5e-3
    assert "the document has 4 pages: page 2 is read" in back.notes
    assert any("pages 2, 3 of the document show an ECG" in note for note in back.notes)
    third = open_ecg(file, 3)
    assert isinstance(third, EcgRecord) and farthest_mv(third, other) < 1.5e-3
    assert isinstance(open_ecg(file, 1), Image.Image)


def test_scans_behind_a_cover_are_found(record: EcgRecord, tmp_path: Path) -> None:
    page = render(record, RenderStyle(px_per_mm=6.0))
    stream = io.BytesIO()
    page.save(stream, "PDF", resolution=150)
    file = tmp_path / "scan.pdf"
    file.write_bytes(joined(cover(), stream.getvalue()))
    assert ecg_pages(file) == [2]
    picture = open_ecg(file)
    assert isinstance(picture, Image.Image) and picture_notes(picture) == ("the document has 2 pages: page 2 is read",)
    file.write_bytes(joined(cover(), cover()))
    assert ecg_pages(file) == [] and isinstance(open_ecg(file), Image.Image)


def test_bytes_before_the_document(record: EcgRecord, tmp_path: Path) -> None:
    """Mail gateways leave some in front; the content is a PDF document all the same."""
    file = tmp_path / "a.bin"
    file.write_bytes(b"X-Header: 16 b\r\n" + drawn.from_svg(record))
    back = open_ecg(file)
    assert isinstance(back, EcgRecord) and farthest_mv(back, record) < 1.5e-3


@pytest.mark.parametrize("pitch", [2.835, 5.67, 14.17])
def test_thin_lines_of_a_grid_whose_fifth_are_thick(pitch: float) -> None:
    """Thick lines are another kind: among the thin ones every fifth is missing, which does not change their pitch."""
    thin, thick = (250, 180, 180, 0.3), (240, 150, 150, 0.8)
    lines = []
    for k in range(51):
        style = thick if k % 5 == 0 else thin
        at = 30 + k * pitch
        lines.append(Line(np.array([[at, 20.0], [at, 820.0]]), style))
        lines.append(Line(np.array([[20.0, at], [820.0, at]]), style))
    found = grid_pitches(lines)
    assert sorted(set(np.round(found, 3))) == pytest.approx([pitch, 5 * pitch], abs=0.002)
    assert grid_pitches([line for line in lines if line.style == thin]) == pytest.approx([pitch], abs=0.002)
