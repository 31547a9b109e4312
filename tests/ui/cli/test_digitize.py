"""`ecgkin digitize`, called as a person would call it, on pages that are drawn here."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ecgkin.retrieval.ecg import RenderStyle, digitize, read_ecg, render
from ecgkin.retrieval.ecg.formats import tried
from ecgkin.retrieval.ecg.page.overlay import check_overlay
from ecgkin.retrieval.ecg.simulation.simulate import simulate
from ecgkin.ui.cli.commands.digitize import TABLE
from ecgkin.ui.cli.main import main

pytestmark = pytest.mark.weights


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a page, a page below it, and a picture of nothing."""
    folder = tmp_path_factory.mktemp("pages")
    record = simulate(("NORM", "SR"), np.random.default_rng(3), fs_hz=500.0).record
    (folder / "below").mkdir()
    render(record, RenderStyle(px_per_mm=6)).save(folder / "one.png")
    render(record, RenderStyle(layout="6x2", px_per_mm=6)).save(folder / "below" / "one.png")
    Image.fromarray(np.full((600, 900, 3), 200, dtype=np.uint8)).save(folder / "nothing.png")
    return folder


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / TABLE).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_a_folder_with_its_table(pages: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Signals come back through the reader, names from different folders stay apart, what is no ECG is said."""
    with pytest.raises(SystemExit) as stopped:
        main(["digitize", str(pages), "-o", str(tmp_path / "out"), "--check", str(tmp_path / "check")])
    assert stopped.value.code == 2
    table = {Path(row["file"]).relative_to(pages).as_posix(): row for row in rows(tmp_path / "out")}
    assert set(table) == {"one.png", "below/one.png", "nothing.png"}
    assert table["nothing.png"]["error"] and not table["nothing.png"]["output"]
    assert table["one.png"]["output"] != table["below/one.png"]["output"]
    assert table["one.png"]["layout"] == "3x4+1R" and float(table["one.png"]["gain_mm_mv"]) == 10
    record = read_ecg(tmp_path / "out" / table["one.png"]["output"])
    assert record.fs_hz == 500 and len(record.leads) == 12
    standard = record.standard()
    assert np.isfinite(standard[1]).mean() > 0.95  # the strip
    assert 0.2 < np.isfinite(standard[6]).mean() < 0.3  # V1 stands in its column alone
    assert "nothing.png" in capsys.readouterr().err
    with Image.open(tmp_path / "check" / "one.png") as drawn:
        assert drawn.width > 1000


def test_what_is_done_is_passed_over(pages: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second run reads only what is new or was not readable."""
    from ecgkin.ui.cli.commands import digitize as command

    out = str(tmp_path / "out")
    main_ok(["digitize", str(pages / "one.png"), "-o", out])
    first = rows(tmp_path / "out")
    monkeypatch.setattr(command, "_one", lambda *given: pytest.fail("read again"))
    main_ok(["digitize", str(pages / "one.png"), "-o", out])
    assert rows(tmp_path / "out") == first


def test_signals_that_are_there_stay_in_the_table(pages: Path, tmp_path: Path) -> None:
    """Pictures of an earlier run stay named; one that can no longer be read keeps the line of its signals."""
    out, first, second = tmp_path / "out", pages / "one.png", pages / "below" / "one.png"
    main_ok(["digitize", str(first), "-o", str(out)])
    (before,) = rows(out)
    main_ok(["digitize", str(second), "-o", str(out)])
    assert [row["file"] for row in rows(out)] == [str(first), str(second)] and rows(out)[0] == before
    with pytest.raises(SystemExit):
        main(["digitize", str(first), "-o", str(out), "--layout", "6x2"])
    assert before in rows(out) and len(rows(out)) == 2


def test_what_is_put_right_is_read_anew(pages: Path, tmp_path: Path) -> None:
    """Options change the signal, and a picture that stands in the table is read again with them."""
    out, page = tmp_path / "out", str(pages / "one.png")
    main_ok(["digitize", page, "-o", str(out)])
    as_read = read_ecg(out / rows(out)[0]["output"]).standard()
    main_ok(["digitize", page, "-o", str(out), "--gain", "5", "--swap", "V1=V2"])
    (row,) = rows(out)
    put = read_ecg(out / row["output"]).standard()
    assert row["gain_mm_mv"] == "5.0"
    known = np.isfinite(as_read[6]) & np.isfinite(put[7])
    assert known.sum() > 1000 and np.nanmax(np.abs(put[7][known] - 2 * as_read[6][known])) < 0.05


def test_each_page_of_a_document_counts(pages: Path, tmp_path: Path) -> None:
    with Image.open(pages / "one.png") as one, Image.open(pages / "below" / "one.png") as two:
        one.convert("RGB").copy().save(tmp_path / "scan.tif", save_all=True, append_images=[two.convert("RGB").copy()])
    main_ok(["digitize", str(tmp_path / "scan.tif"), "-o", str(tmp_path / "out")])
    table = rows(tmp_path / "out")
    assert [row["file"].rpartition("#")[2] for row in table] == ["1", "2"]
    assert [row["layout"] for row in table] == ["3x4+1R", "6x2"] and table[0]["output"] != table[1]["output"]


def test_edf_names_what_is_missing(pages: Path, tmp_path: Path) -> None:
    """EDF has no missing samples: its annotations name the stretches that are not on the page."""
    import edfio

    main_ok(["digitize", str(pages / "one.png"), "-o", str(tmp_path), "--format", "edf"])
    (path,) = tmp_path.glob("*.edf")
    written = edfio.read_edf(path)
    gaps = {note.text for note in written.annotations}
    long = {note.text for note in written.annotations if (note.duration or 0) > 1}
    assert "V1: no samples" in gaps and "II: no samples" not in long
    found = digitize(pages / "one.png").record.standard()
    one = written.signals[0].data[: found.shape[1]]
    shown = np.isfinite(found[0])
    np.testing.assert_allclose(one[shown], found[0][shown], atol=0.002)


def test_mistakes_are_said(pages: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words, said in (
        (["digitize", str(pages / "one.png"), "-o", str(tmp_path), "--format", "mp3"], "format is 'mp3'"),
        (["digitize", str(pages / "one.png"), "-o", str(tmp_path), "--swap", "V1"], "--swap is 'V1'"),
        (["digitize", str(pages / "one.png"), "-o", str(tmp_path), "--corners", "1,2"], "eight numbers"),
        (["digitize", str(pages / "one.png"), "-o", str(tmp_path), "--layout", "4y3"], "layout is '4y3'"),
        (["digitize", str(pages / "absent.png"), "-o", str(tmp_path)], "no file"),
        (["digitize", str(pages / "nothing.png"), "-o", str(tmp_path / "x")], "no picture could be read"),
        (["digitize", str(pages), "-o", str(tmp_path), "--check", str(tmp_path / "a.png")], "expected a folder"),
    ):
        with pytest.raises(SystemExit) as stopped:
            main(words)
        assert stopped.value.code == 2
        assert said in capsys.readouterr().err


def test_a_document_without_end_is_ended(
    simulated_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """PDFium cannot be interrupted: what it is busy with for ever is tried in a process that can be killed."""
    ended = tried._Trial.ended
    monkeypatch.setattr(tried._Trial, "ended", lambda self, path, page, seconds: ended(self, path, page, 0.5))
    bomb = Path(__file__).parents[2] / "fixtures" / "hostile" / "bomb.pdf"
    commands = (["digitize", str(bomb), "-o", str(tmp_path / "out")], ["search", str(simulated_base), str(bomb)],
                ["draft", str(simulated_base), str(bomb)], ["compare", str(bomb), str(bomb)])  # fmt: skip
    for words in commands:
        with pytest.raises(SystemExit) as stopped:
            main(words)
        told = capsys.readouterr()
        assert stopped.value.code == 2 and "cannot be decoded within" in told.err + told.out, words


def test_the_overlay_lies_on_the_traces(pages: Path) -> None:
    """Coloured pixels stand where the page is dark, in the size of the straightened page."""
    found = digitize(pages / "one.png")
    drawn = check_overlay(found).astype(int)
    assert drawn.shape[:2] == found.fine.lines.shape
    coloured = drawn.max(axis=2) - drawn.min(axis=2) > 60
    assert coloured.sum() > 2000
    # Names stand beside the traces; most of what is coloured lies on ink.
    import cv2

    ink = cv2.dilate(found.fine.lines, np.ones((9, 9), np.uint8)) > 60
    assert (ink & coloured).sum() > 0.5 * coloured.sum()


def main_ok(words: list[str]) -> None:
    """Run a command that must succeed."""
    try:
        main(words)
    except SystemExit as stopped:
        assert stopped.code in (0, None)
