"""Hostile input through the real command line: each an error in words or a stated fallback, never a traceback."""

from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import wfdb
from PIL import Image

from ecgkin.retrieval.ecg.leads import LEADS
from ecgkin.retrieval.ecg.page.printed import read_printed
from ecgkin.retrieval.ecg.simulation.simulate import simulate
from ecgkin.retrieval.encoders.hashing import HashingEncoder
from ecgkin.ui.cli.main import main

FS_HZ = 100
EIGHT = ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6")
IO_ERROR = Path("/proc/self/mem")  # a plain file that cannot be read from its beginning, not even by root


class Done(NamedTuple):
    """What a command left behind."""

    status: int
    out: str
    err: str


class ReadingEncoder(HashingEncoder):
    """The encoder without weights, asking the page reader first, as the trained one does."""

    def encode_printed(self, printed: list[Any]) -> Any:
        return HashingEncoder.encode_images(self, [Image.fromarray(one.seen.trace_map) for one in printed])

    def encode_images(self, images: Any) -> Any:
        return self.encode_printed([read_printed(image) for image in images])


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Done]:
    """Run `ecgkin WORDS` in this process, and hold it to what is promised of every command."""
    from ecgkin.retrieval import encoders

    real = encoders.load_encoder
    monkeypatch.setenv("ECGKIN_ENCODER", "hashing")

    def load(name: str = "default", device: str = "cpu") -> Any:
        return ReadingEncoder() if name == "hashing" else real(name, device)

    monkeypatch.setattr(encoders, "load_encoder", load)

    def run(*words: object) -> Done:
        capsys.readouterr()
        status = 0
        try:
            main([str(word) for word in words])
        except SystemExit as stopped:
            status = stopped.code if isinstance(stopped.code, int) else int(stopped.code is not None)
        captured = capsys.readouterr()
        return kept_promise(Done(status, captured.out, captured.err), words)

    return run


def kept_promise(done: Done, words: tuple[object, ...]) -> Done:
    """No traceback, no fault of ecgkin's own, JSON or nothing on stdout; errors say so in one line and a hint."""
    assert "Traceback" not in done.err and "fault of ecgkin" not in done.err, (words, done)
    assert "Warning" not in done.err, (words, done)
    if "--json" in words and done.out:
        json.loads(done.out)
    if done.status:
        assert done.err.strip(), (words, done)
        last = done.err.rstrip().splitlines()[-2:]
        assert any(line.startswith(("ecgkin: ", "│ ", "╰")) for line in last), (words, done)
    return done


def write(folder: Path, name: str, signal: np.ndarray, leads: tuple[str, ...] = LEADS) -> Path:
    """A WFDB record of samples in mV, shape (n, n_leads)."""
    n = len(leads)
    wfdb.wrsamp(
        name, FS_HZ, ["mV"] * n, list(leads), p_signal=signal, fmt=["16"] * n, adc_gain=[1000.0] * n, baseline=[0] * n,
        write_dir=str(folder),
    )  # fmt: skip
    return folder / f"{name}.hea"


def simulated(seconds: float = 10.0) -> np.ndarray:
    """A normal ECG, shape (n, 12), mV."""
    ecg = simulate(["NORM"], np.random.default_rng(3), fs_hz=FS_HZ, duration_s=seconds)
    return ecg.record.standard().T.astype(np.float64)


def huge_png(path: Path) -> None:
    """A sound PNG of 30,000 x 30,000 px, one bit each: 0.1 MB on the disk, 0.9 to 2.7 GB when decoded to bytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    packer = zlib.compressobj(1)
    thousand_rows = bytes(1000 * (1 + 30_000 // 8))
    data = b"".join(packer.compress(thousand_rows) for _ in range(30)) + packer.flush()
    head = struct.pack(">IIBBBBB", 30_000, 30_000, 1, 0, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b""))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of everything that goes wrong."""
    root = tmp_path_factory.mktemp("hostile")
    good = simulated()
    write(root, "good", good)
    cut = write(root, "cut_data", good).with_suffix(".dat")
    cut.write_bytes(cut.read_bytes()[:9000])
    cut = write(root, "cut_header", good)
    cut.write_text("".join(cut.read_text().splitlines(keepends=True)[:5]))
    write(root, "no_data", good).with_suffix(".dat").unlink()
    write(root, "wrong_names", good, tuple(f"X{k}" for k in range(12)))
    write(root, "one_wrong_name", good, (*LEADS[:-1], "Resp"))
    with_nan = good.copy()
    with_nan[200:300, 3] = np.nan
    write(root, "nan", with_nan)
    write(root, "only_nan", np.full_like(good, np.nan))
    flat = good.copy()
    flat[:, 7] = 0.25
    write(root, "flat_lead", flat)
    write(root, "all_flat", np.zeros_like(good))
    write(root, "eight", good[:, [LEADS.index(name) for name in EIGHT]], EIGHT)
    write(root, "five_s", simulated(5.0))
    write(root, "sixty_s", simulated(60.0))
    write(root, "tenth_s", good[:10])
    gain = write(root, "gain_0", good)
    gain.write_text(gain.read_text().replace("1000.0(0)/mV", "0(0)/mV"))
    gain = write(root, "gain_tiny", good)
    gain.write_text(gain.read_text().replace("1000.0(0)/mV", "1e-9(0)/mV"))
    for name in ("empty.hea", "empty.csv", "empty.png", "empty"):
        (root / name).write_bytes(b"")
    (root / "letter.png").write_text("Dear colleague,\nthank you for referring Mr X.\n")
    (root / "letter.csv").write_text("Dear colleague,\nthank you for referring Mr X.\n")
    y, x = np.mgrid[:600, :800]
    waves = np.stack([(x // 4) % 256, (y // 3) % 256, ((x + y) // 6) % 256], axis=-1).astype(np.uint8)
    Image.fromarray(waves).save(root / "no_ecg.png")
    huge_png(root / "huge.png")
    (root / "cut.png").write_bytes((root / "no_ecg.png").read_bytes()[:2000])
    (root / "folder.hea").mkdir()
    os.mkfifo(root / "pipe.png")
    os.mkfifo(root / "pipe.csv")
    (root / "endless.png").symlink_to("/dev/zero")
    (root / "loop.csv").symlink_to("loop.csv")
    (root / "dangling.hea").symlink_to("nowhere.hea")
    if IO_ERROR.exists():
        for name in ("unreadable", "unreadable.hea", "unreadable.png"):
            (root / name).symlink_to(IO_ERROR)
    return root


# File: what the error says.
REFUSED = {
    "cut_data.hea": "cut_data.dat is cut off: 375 samples a lead, cut_data.hea says 1000",
    "cut_data.dat": "cut_data.dat is cut off",
    "cut_header.hea": "describes 4 of 12 signals",
    "no_data.hea": "data file no_data.dat of no_data.hea is missing",
    "wrong_names.hea": "no channel is a standard lead (found 'X0', 'X1'",
    "only_nan.hea": "the leads hold no samples",
    "gain_tiny.hea": "mV (no ECG is above 10000)",
    "empty.hea": "empty.hea is empty",
    "empty.csv": "empty.csv is empty",
    "empty.png": "empty.png is empty",
    "empty": "empty is empty",
    "letter.csv": "letter.csv holds no table of numbers",
    "pipe.csv": "is a pipe or a device",
    "folder.hea": "is a folder",
    "loop.csv": "no file",
    "dangling.hea": "no file",
    "absent.hea": "no file",
    "absent.png": "absent.png",
    "absent": "no file",
}
# Only searching: there is no ECG to compare, though a page could be drawn.
NOT_SEARCHED = {
    "all_flat.hea": "every lead is flat: no ECG in this record",
    "tenth_s.hea": "the record holds 0.1 s",
    "letter.png": "begins with the text 'Dear colleague,",
    "no_ecg.png": "",  # the page reader has its own words, and its own tests
    "huge.png": "has 900 megapixels (expected at most 100)",
    "cut.png": "breaks off or is damaged",
    "pipe.png": "is a folder or a device",
    "endless.png": "is a folder or a device",
}
NOT_DRAWN = {
    "letter.png": "looks like text, not like an ECG record",
    "no_ecg.png": "looks like a PNG picture, not like an ECG record",
    "huge.png": "looks like a PNG picture, not like an ECG record",
    "cut.png": "looks like a PNG picture, not like an ECG record",
    "pipe.png": "is a pipe or a device",
    "endless.png": "is a pipe or a device",
}
# Read all the same, and what was done is said.
FALLBACKS = {
    "one_wrong_name.hea": ("channel 'Resp' is none of the twelve leads: left out", "missing leads: V6"),
    "nan.hea": ("aVR: 100 of 1000 samples are missing",),
    "flat_lead.hea": ("flat leads: V2",),
    "eight.hea": ("III, aVR, aVL, aVF computed from I and II",),
    "gain_0.hea": ("gain is 0 or missing, taken as 200 per mV (WFDB's default)",),
    "five_s.hea": ("the record lasts 5 s",),
    "sixty_s.hea": ("the record lasts 60 s", "seconds 0 to 10 are"),
}
UNREADABLE = ("unreadable", "unreadable.hea", "unreadable.png")
needs_proc = pytest.mark.skipif(not IO_ERROR.exists(), reason="no /proc here")


@pytest.mark.parametrize("more", [(), ("--json",)], ids=["table", "json"])
@pytest.mark.parametrize("name", [*REFUSED, *NOT_SEARCHED])
def test_search_refuses(call: Callable[..., Done], simulated_base: Path, files: Path, name: str, more: Any) -> None:
    """Status 2, nothing on stdout, one line that says what was found, at most one hint."""
    done = call("search", simulated_base, files / name, *more)
    assert (done.status, done.out) == (2, ""), done
    assert {**REFUSED, **NOT_SEARCHED}[name] in done.err and len(done.err.splitlines()) <= 2
    assert done.err.startswith("ecgkin: ")


@pytest.mark.parametrize("name", [*REFUSED, *NOT_DRAWN])
def test_render_refuses(call: Callable[..., Done], files: Path, tmp_path: Path, name: str) -> None:
    """The same for `render`; no page is written."""
    done = call("render", files / name, "-o", tmp_path / "page.png", "--json")
    assert (done.status, done.out) == (2, "") and not (tmp_path / "page.png").exists()
    assert {**REFUSED, **NOT_DRAWN}[name] in done.err and len(done.err.splitlines()) <= 2


@needs_proc
@pytest.mark.parametrize("name", UNREADABLE)
def test_a_disk_that_does_not_answer(
    call: Callable[..., Done], simulated_base: Path, files: Path, tmp_path: Path, name: str
) -> None:
    """Files that the system cannot read are named with its reason."""
    for done in (call("search", simulated_base, files / name), call("render", files / name, "-o", tmp_path / "p.png")):
        assert (done.status, done.out) == (2, "") and "input/output error" in done.err


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_without_permission(call: Callable[..., Done], simulated_base: Path, files: Path, tmp_path: Path) -> None:
    """A file of somebody else."""
    secret = shutil.copy(files / "no_ecg.png", tmp_path / "secret.png")
    os.chmod(secret, 0)
    done = call("search", simulated_base, secret)
    assert (done.status, done.out) == (2, "") and "permission denied" in done.err


@pytest.mark.parametrize("name", FALLBACKS)
def test_search_states_its_fallback(call: Callable[..., Done], simulated_base: Path, files: Path, name: str) -> None:
    """Hits come out, and what was done stands on stderr and in the JSON."""
    done = call("search", simulated_base, files / name, "-k", "3", "--json")
    found = json.loads(done.out)
    warnings = [note["text"] for note in found["warnings"]]
    assert done.status == 0 and len(found["hits"]) == 3
    for words in FALLBACKS[name]:
        assert words in done.err and any(words in warning for warning in warnings)
    assert len(warnings) == len(set(warnings)) <= 4
    plain = call("search", simulated_base, files / name, "-k", "3")
    assert plain.status == 0 and plain.out and all(words in plain.err for words in FALLBACKS[name])


@pytest.mark.parametrize("name", FALLBACKS)
def test_render_states_its_fallback(call: Callable[..., Done], files: Path, tmp_path: Path, name: str) -> None:
    """The page is drawn, and what was done is said."""
    page = tmp_path / "page.png"
    done = call("render", files / name, "-o", page, "--json", "--width", "800")
    with Image.open(page) as picture:
        assert done.status == 0 and picture.size == tuple(json.loads(done.out)["size_px"])
    words = FALLBACKS[name]
    assert all(word in done.err and any(word in note for note in json.loads(done.out)["notes"]) for word in words)


def test_long_records_by_the_page(call: Callable[..., Done], simulated_base: Path, files: Path) -> None:
    """`--start` chooses the page of a long record, and the same ten seconds give the same hits."""
    first, later = (
        json.loads(call("search", simulated_base, files / "sixty_s.hea", "--start", s, "--json").out) for s in (0, 30)
    )
    (window,) = (note for note in later["warnings"] if note["code"] == "record_windowed")
    assert window["values"]["start_s"] == 30 and "seconds 30 to 40 are used" in window["text"]
    assert [hit["score"] for hit in first["hits"]] != [hit["score"] for hit in later["hits"]]
    for start in ("60", "59.5", "-1", "nan"):
        done = call("search", simulated_base, files / "sixty_s.hea", "--start", start)
        assert (done.status, done.out) == (2, ""), done
    good = json.loads(call("search", simulated_base, files / "good.hea", "--json").out)
    assert "record_windowed" not in {note["code"] for note in good["warnings"]}


def test_ingest_of_all_of_it(call: Callable[..., Done], files: Path, tmp_path: Path) -> None:
    """Each file that cannot be used is named with the reason, each fallback is noted, and the rest is there."""
    base = tmp_path / "base"
    done = call("ingest", "folder", files, "--base", base, "--json")
    report = json.loads(done.out)
    failed = {Path(name).name: reason for name, reason in report["failed"]}
    notes = {Path(name).name: words for name, words in report["notes"]}
    absent = {"absent", "absent.hea", "absent.png", "cut_data.dat", "folder.hea"}
    refused = {**REFUSED, **NOT_SEARCHED, "loop.csv": "", "dangling.hea": "", "empty.png": "", "pipe.png": "pipe"}
    refused["endless.png"] = "pipe or a device"
    expected = {name: words for name, words in refused.items() if name not in absent}
    if IO_ERROR.exists():
        expected |= dict.fromkeys(UNREADABLE, "input/output error")
    assert set(failed) == set(expected)
    for name, words in expected.items():
        assert words in failed[name], name
    assert set(notes) == set(FALLBACKS)
    for name, several in FALLBACKS.items():
        assert all(words in notes[name] for words in several)
    assert done.status == 2 and report["added"] == report["n_cases"] == len(FALLBACKS) + 1
    assert "not read: " in done.err and "more (not read); --json names all" in done.err
    again = json.loads(call("ingest", "folder", files, "--base", base, "--json").out)
    assert (again["added"], again["skipped"], again["notes"]) == (0, len(FALLBACKS) + 1, [])
    found = json.loads(call("search", base, files / "eight.hea", "--json").out)["hits"][0]
    assert found["case"]["case_id"].endswith("/eight") and found["score"] == pytest.approx(1, abs=1e-5)


def test_ingest_of_what_is_no_folder(call: Callable[..., Done], files: Path, tmp_path: Path) -> None:
    """Nothing came in: status not 0, and no empty case base is left behind."""
    (tmp_path / "empty").mkdir()
    base = tmp_path / "base"
    for root, more, words in (
        (tmp_path / "absent", (), "is not a folder"),
        (files / "good.hea", (), "is a file (expected a folder"),
        (tmp_path / "empty", (), "there is no file to ingest"),
        (files, ("--table", files / "letter.csv"), "has no column 'file'"),
        (files, ("--table", tmp_path / "absent.csv"), "is not a readable table"),
    ):
        done = call("ingest", "folder", root, "--base", base, "--json", *more)
        assert (done.status, done.out) == (2, "") and words in done.err and not base.exists()
    assert call("ingest", "ptbxl", tmp_path / "empty", "--base", base).status == 2 and not base.exists()


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _overwrite(path: Path) -> None:
    whole = bytearray(path.read_bytes())
    whole[4096 : 3 * 4096] = np.random.default_rng(0).bytes(2 * 4096)
    path.write_bytes(whole)


DAMAGE: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "no manifest": ("manifest.json", Path.unlink, "manifest.json is missing"),
    "manifest cut off": ("manifest.json", _cut, "manifest.json cannot be read"),
    "manifest of something else": ("manifest.json", lambda p: p.write_text("[1, 2]"), "is not the manifest"),
    "no cases": ("cases.sqlite", Path.unlink, "cases.sqlite is missing"),
    "cases are text": ("cases.sqlite", lambda p: p.write_text("hello " * 999), "cases.sqlite is damaged"),
    "cases overwritten": ("cases.sqlite", _overwrite, "cases.sqlite is damaged"),
    "no vectors": ("index-*", Path.unlink, "is missing (manifest.json names it)"),
    "vectors cut off": ("index-*", _cut, "bytes (expected"),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_broken_case_base(
    call: Callable[..., Done], simulated_base: Path, files: Path, tmp_path: Path, what: str
) -> None:
    """Status 3 from whatever opens it, what is wrong, and what to do; nothing in it is changed."""
    base = tmp_path / "base"
    shutil.copytree(simulated_base, base)
    pattern, damage, words = DAMAGE[what]
    damage(next(base.glob(pattern)))
    before = {path.name: path.read_bytes() for path in base.iterdir() if "-" not in path.suffix}
    for command in (
        ("search", base, files / "good.hea", "--json"),
        ("info", base, "--json"),
        ("ingest", "folder", files, "--base", base, "--json"),
    ):
        done = call(*command)
        assert (done.status, done.out) == (3, "") and words in done.err and "  hint: " in done.err
    after = {path.name: path.read_bytes() for path in base.iterdir()}
    assert {name: after[name] for name in before} == before


def test_no_case_base(call: Callable[..., Done], files: Path, tmp_path: Path) -> None:
    """A folder of other things, a file, nothing at all."""
    for base in (files, files / "good.hea", tmp_path / "absent"):
        for command in (("search", base, files / "good.hea"), ("info", base)):
            done = call(*command)
            assert (done.status, done.out) == (3, "") and "hint: make one with `ecgkin ingest`" in done.err
    done = call("ingest", "folder", files, "--base", files / "good.hea")
    assert (done.status, done.out) == (3, "") and "is not a case base" in done.err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("-k", "0"), "-k is 0 (expected 1 to 1000)"),
        (("-k", "-3"), "-k is -3 (expected 1 to 1000)"),
        (("-k", "1001"), "-k is 1001 (expected 1 to 1000)"),
        (("-k", "99999999999999999999"), "expected 1 to 1000"),
        (("-k", "ten"), "-k"),
        (("--where", "age>>60"), "filter, character 5: found '>', expected a value, in 'age>>60'"),
        (("--where", "sex=F", "--where", "agee>60"), "found 'agee', expected a field"),
        (("--where", "(" * 500), "filter"),
        (("--where", "sex=X"), "sex is 'X' (expected F, M or none)"),
        (("--where", "date<never"), "expected an ISO date"),
        (("--where", "age>" + "9" * 5000), "filter"),
        (("--text", " "), "query text is ' ' (expected words)"),
        (("--text", "x" * 10_001), "has 10001 characters"),
        (("--text", "a", "--weight", "nan"), "weight is nan"),
        (("--as", "picture"), "is not a picture"),
        (("--fs", "0"), "fs_hz and units are for files that do not say"),
        (("--units", "kV"), "kV"),
    ],
)
def test_bad_questions(call: Callable[..., Done], simulated_base: Path, files: Path, words: Any, says: str) -> None:
    """What was asked is at fault: status 2, and the words say what was expected."""
    done = call("search", simulated_base, files / "good.hea", "--json", *words)
    assert (done.status, done.out) == (2, "") and says in done.err and len(done.err) < 2000


def test_more_hits_than_cases(call: Callable[..., Done], simulated_base: Path, files: Path) -> None:
    """All there are, and nothing where the filter lets nothing through: both are said."""
    done = call("search", simulated_base, files / "good.hea", "-k", "1000", "--json")
    assert len(json.loads(done.out)["hits"]) == 40 and "only 40 of the 1000" in done.err
    done = call("search", simulated_base, files / "good.hea", "--where", "age>120", "--json")
    assert json.loads(done.out)["hits"] == [] and "no case passes the filter" in done.err
    assert call("search", simulated_base, files / "good.hea", "--where", " ").status == 0


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--layout", "4x3"), "layout is '4x3' (expected one of 3x4, 3x4+1R, 3x4+3R, 6x2, 12x1)"),
        (("--order", "random"), "order is 'random'"),
        (("--grid", "purple"), "grid is 'purple'"),
        (("--speed", "0"), "speed_mm_s is 0.0"),
        (("--gain", "nan"), "gain_mm_mv is nan"),
        (("--px-per-mm", "1e9"), "at most 100 million pixels"),
        (("--width", "100000"), "at most 100 million pixels"),
        (("--width", "-1"), "width_px is -1"),
        (("--height", "3"), "the page would be 7 x 3 px (expected at least 48 px each way"),
        (("--start", "10"), "--start is 10 s (the record lasts 10 s)"),
        (("--start", "-1"), "start_s is -1.0"),
    ],
)
def test_bad_pages(call: Callable[..., Done], files: Path, tmp_path: Path, words: Any, says: str) -> None:
    """A page that cannot be: status 2, no file."""
    done = call("render", files / "good.hea", "-o", tmp_path / "page.png", "--json", *words)
    assert (done.status, done.out) == (2, "") and says in done.err and not (tmp_path / "page.png").exists()


def test_a_record_named_without_its_suffix_is_searched(
    call: Callable[..., Done], simulated_base: Path, files: Path
) -> None:
    """WFDB names records, not files."""
    named, whole = (call("search", simulated_base, files / name, "--json") for name in ("good", "good.hea"))
    assert named.status == 0, named
    assert json.loads(named.out)["hits"] == json.loads(whole.out)["hits"]


def test_pages_that_cannot_be_written(call: Callable[..., Done], files: Path, tmp_path: Path) -> None:
    """A folder in the way, a folder that is missing, a full disk, an unknown ending."""
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "full.png").symlink_to("/dev/full")
    for target, says in (
        ("folder.png", "is a directory"),
        ("absent/page.png", "hint: make the folder"),
        ("full.png", "no space left on device"),
        ("page.xyz", "ends in '.xyz' (expected one of"),
    ):
        done = call("render", files / "good.hea", "-o", tmp_path / target)
        assert (done.status, done.out) == (2, "") and says in done.err


def test_amplitudes_beyond_all_measure(call: Callable[..., Done], files: Path, tmp_path: Path) -> None:
    """Points far off the page neither overflow nor warn: the page stays blank there."""
    for words in (("--gain", "1e9"), ("--speed", "1e-6")):
        assert call("render", files / "good.hea", "-o", tmp_path / "p.png", "--width", "600", *words).status == 0


def test_in_a_process_of_its_own(simulated_base: Path, files: Path, tmp_path: Path) -> None:
    """What the shell sees: exit status, stdout and stderr, and little memory for the huge picture."""
    code = (
        # VmHWM, not getrusage: that one remembers how large the test process was when it forked.
        "import sys\nfrom ecgkin.ui.cli.main import main\n"
        "try:\n    main(sys.argv[1:])\nfinally:\n"
        "    peak = next(line for line in open('/proc/self/status') if line.startswith('VmHWM'))\n"
        "    print('peak_kb', peak.split()[1], file=sys.stderr)\n"
    )
    environment = {**os.environ, "ECGKIN_ENCODER": "hashing"}
    for status, words in (
        (2, ("search", simulated_base, files / "huge.png", "--json")),
        (2, ("render", files / "cut_data.hea", "-o", tmp_path / "p.png")),
        (0, ("render", files / "eight.hea", "-o", tmp_path / "p.png")),
    ):
        command = [sys.executable, "-c", code, *map(str, words)]
        run = subprocess.run(command, capture_output=True, text=True, env=environment, check=False, timeout=120)
        *lines, peak = run.stderr.splitlines()
        done = kept_promise(Done(run.returncode, run.stdout, "\n".join(lines)), words)
        assert (done.status, bool(done.out)) == (status, status == 0), done
        assert int(peak.split()[1]) < 500_000
