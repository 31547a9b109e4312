"""Decoding in processes of their own: what a hostile file does to its decoder, and what the others notice of it."""

from __future__ import annotations

import errno
import io
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from ecgkin.index.case import content_hash
from ecgkin.retrieval.ecg.drawing.raster import render
from ecgkin.retrieval.ecg.formats.read import read_ecg
from ecgkin.retrieval.ecg.record import EcgRecord
from ecgkin.retrieval.encoders.hashing import HashingEncoder
from ecgkin.retrieval.errors import EcgkinError, ImageError, InputError, RateUnknownError, RecordError
from ecgkin.retrieval.notes import NoteCode
from ecgkin.ui.api import decoding, problems, uploads
from ecgkin.ui.api.decoding import Decoders
from ecgkin.ui.api.limits import Limits
from ecgkin.ui.api.problems import for_strangers
from ecgkin.ui.api.state import State, public_name
from ecgkin.ui.api.uploads import Upload, remove_abandoned
from ecgkin.ui.demo.serve import write_csv
from ecgkin.ui.server.app import create_app
from ecgkin.ui.server.serving import in_thread
from ecgkin.ui.settings import load_settings

HOSTILE = Path(__file__).parents[1] / "fixtures" / "hostile"
PATIENCE_S = 120.0


@pytest.fixture(scope="module")
def pool() -> Iterator[Decoders]:
    """Two decoders that may take two seconds."""
    made = Decoders(Limits(decode_seconds=2.0))
    yield made
    made.close()


def decoded(pool: Decoders, *files: tuple[str, bytes], **options: float | str | int) -> decoding.Decoded:
    upload = Upload()
    try:
        for name, content in files:
            upload.place(name).write_bytes(content)
        return upload.decoded(pool, **options)  # type: ignore[arg-type]
    finally:
        upload.close()


def wait_for(what: Callable[[], bool]) -> None:
    until = time.monotonic() + PATIENCE_S
    while not what():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.02)


def png(width: int, height: int) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (width, height), "white").save(out, "PNG")
    return out.getvalue()


def test_a_recording_arrives_as_it_was_read(pool: Decoders, made_record: EcgRecord, tmp_path: Path) -> None:
    """Samples, gaps, names and coded notes are the same as without a process between."""
    file = tmp_path / "r.csv"
    write_csv(made_record, file)
    lines = file.read_text().splitlines()
    lines[0] = lines[0].replace("V6 (mV)", "Resp")
    lines[5] = ",".join([lines[5].split(",")[0], "nan", *lines[5].split(",")[2:]])
    file.write_text("\n".join(lines))
    found, here = decoded(pool, ("anything.csv", file.read_bytes())), read_ecg(file)
    assert isinstance(found.query, EcgRecord) and found.digest == content_hash(here)
    np.testing.assert_array_equal(found.query.signal_mv, here.signal_mv)
    assert (found.query.leads, found.query.fs_hz, found.query.notes) == (here.leads, here.fs_hz, here.notes)
    codes = [note.code for note in found.query.notes]  # type: ignore[attr-defined]
    assert NoteCode.LEADS_MISSING in codes and NoteCode.SAMPLES_MISSING in codes


def test_a_picture_arrives_as_it_was_read(pool: Decoders, made_record: EcgRecord) -> None:
    """Pixel for pixel, with the hash of its file."""
    page = render(made_record)
    out = io.BytesIO()
    page.save(out, "PNG")
    found = decoded(pool, ("page.png", out.getvalue()))
    assert isinstance(found.query, Image.Image) and found.digest == content_hash(out.getvalue())
    np.testing.assert_array_equal(np.asarray(found.query), np.asarray(page.convert("RGB")))


def test_errors_arrive_as_they_were_raised(pool: Decoders) -> None:
    """Class, message and hint; never the server's own folder."""
    with pytest.raises(RateUnknownError) as no_rate:
        decoded(pool, ("a.csv", b"I,II\n" + b"0.1,0.2\n" * 30))
    assert no_rate.value.hint
    for name, content, kind in (
        ("a.png", b"\x89PNG\r\n\x1a\n" + b"\0" * 40, ImageError),
        ("a.hea", b"x", RecordError),
        ("a.zip", b"PK\x05\x06" + b"\0" * 18, InputError),
    ):
        with pytest.raises(kind) as broken:
            decoded(pool, (name, content))
        assert "ecgkin-upload" not in str(broken.value) + broken.value.hint


def test_a_file_that_takes_too_long_costs_one_worker(pool: Decoders) -> None:
    """What does not answer in time is ended, and the next file is decoded by another."""
    pool.start()
    for worker in pool._idle:
        os.kill(worker.pid, signal.SIGSTOP)
    with pytest.raises(InputError, match="within 2 s"):
        decoded(pool, ("x.png", png(100, 100)))
    with pytest.raises(InputError, match="within 2 s"):
        decoded(pool, ("x.png", png(100, 100)))
    assert isinstance(decoded(pool, ("x.png", png(100, 100))).query, Image.Image)
    wait_for(lambda: pool.state()["alive"] == 2)


def test_a_document_of_nested_forms_is_refused_within_its_memory() -> None:
    """It is ended by memory (Linux) or by time, long before it has what a large picture may take."""
    pool = Decoders(Limits(decoders=1, decode_seconds=5.0 if sys.platform != "linux" else PATIENCE_S))
    try:
        with pytest.raises(InputError, match=r"takes its decoder down|within 5 s"):
            decoded(pool, ("page.pdf", (HOSTILE / "bomb.pdf").read_bytes()))
        assert isinstance(decoded(pool, ("x.png", png(100, 100))).query, Image.Image)
    finally:
        pool.close()


@pytest.mark.skipif(sys.platform != "linux", reason="setrlimit(RLIMIT_AS) is kept by Linux")
def test_less_memory_for_a_document_ends_with_it() -> None:
    """Inside a job the limit sinks, and is what it was afterwards."""
    asked = (
        "import resource\n"
        "from ecgkin.ui.api import decoder\n"
        "decoder.limit_process(900_000_000, 1_000_000)\n"
        "before = resource.getrlimit(resource.RLIMIT_AS)\n"
        "with decoder._memory_kept():\n"
        "    decoder.less_memory(100_000_000)\n"
        "    try:\n"
        "        bytes(200_000_000)\n"
        "    except MemoryError:\n"
        "        print('less')\n"
        "assert resource.getrlimit(resource.RLIMIT_AS) == before\n"
        "print(len(bytes(200_000_000)))\n"
    )
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["less", "200000000"]


def test_the_size_of_a_directory_is_read_where_zipfile_reads_it(pool: Decoders) -> None:
    """A signature in the place of an offset does not hide a directory of thousands of members."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for k in range(3000):
            archive.writestr(zipfile.ZipInfo(f"{k}.csv"), b"")
    whole = bytearray(packed.getvalue())
    whole[-6:-2] = b"PK\x05\x06"
    for content in (bytes(whole), packed.getvalue()):
        with pytest.raises(InputError, match="too many members"):
            decoded(pool, ("a.zip", content))


def test_postscript_named_png_is_never_run(pool: Decoders) -> None:
    """What it is decides, not what it is called."""
    with pytest.raises(ImageError, match="PostScript"):
        decoded(pool, ("page.png", (HOSTILE / "eps_loop.png").read_bytes()))


@pytest.mark.skipif(sys.platform != "linux", reason="setrlimit(RLIMIT_AS) is kept by Linux")
def test_memory_of_a_decoder_is_bounded() -> None:
    """An honest 40-megapixel picture does not fit into 60 MB; a small one does, in the same process."""
    small = Decoders(Limits(decoders=1, decode_bytes=60_000_000, decode_seconds=PATIENCE_S))
    try:
        with pytest.raises(EcgkinError) as refused:
            decoded(small, ("large.png", png(8000, 5000)))
        assert 400 <= problems.kind_of(refused.value).status < 500
        assert isinstance(decoded(small, ("x.png", png(100, 100))).query, Image.Image)
    finally:
        small.close()


def test_what_a_decoder_may_write_is_bounded() -> None:
    """More pixels than the server takes: refused before they are unpacked, and 413."""
    small = Decoders(Limits(decoders=1, pixels=1_000_000))
    try:
        with pytest.raises(problems.TooLargeError, match="megapixels"):
            decoded(small, ("large.png", png(2000, 1000)))
    finally:
        small.close()


@pytest.mark.parametrize(
    "answer",
    [
        b'{"kind": "picture", "shape": [9, 9, 3], "notes": [], "digest": ""}\n',
        b'{"kind": "record", "shape": [2, 5], "fs_hz": 500, "leads": ["I"], "notes": []}\n',
        b'{"kind": "picture", "shape": [-1, 1, 3], "notes": [["no_such_code", {}, "x"]], "digest": ""}\n',
        b"[1, 2]\n", b"no JSON\n", b"\xff" * 5_000_000,
    ],
)  # fmt: skip
def test_a_decoder_is_not_believed(answer: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a decoder that was taken over says, the caller gets an InputError and nothing else happens."""
    (tmp_path / "evil.py").write_text(
        "import sys\nsys.stdout.buffer.write(b'{\"ready\": true}\\n'); sys.stdout.flush()\n"
        f"sys.stdin.readline(); sys.stdout.buffer.write({answer[:200]!r} * {max(1, len(answer) // 200)})\n"
        "sys.stdout.flush(); sys.stdin.readline()\n"
    )
    monkeypatch.setattr("ecgkin.ui.api.decoder.__name__", "evil")
    monkeypatch.syspath_prepend(str(tmp_path))
    evil = Decoders(Limits(decoders=1, decode_seconds=PATIENCE_S))
    try:
        with pytest.raises(InputError):
            decoded(evil, ("x.png", png(9, 9)))
    finally:
        evil.close()


def test_a_worker_that_died_is_replaced_and_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed while idle; and where none can be started, that is said."""
    pool = Decoders(Limits(decoders=1))
    try:
        pool.start()
        (worker,) = pool._idle
        os.kill(worker.pid, signal.SIGKILL)
        wait_for(lambda: not worker.alive)
        assert isinstance(decoded(pool, ("x.png", png(100, 100))).query, Image.Image)
        assert pool.state() == {"alive": 1, "of": 1}
        monkeypatch.setattr(sys, "executable", shutil.which("false"))
        os.kill(pool._idle[0].pid, signal.SIGKILL)
        wait_for(lambda: not pool._idle[0].alive)
        with pytest.raises(problems.BusyError, match="cannot be started"):
            pool.state()
        monkeypatch.undo()
        assert pool.state() == {"alive": 1, "of": 1}
    finally:
        pool.close()


def test_waiting_for_a_decoder_ends() -> None:
    """Few may wait, and none for ever."""
    pool = Decoders(Limits(decoders=1, workers=2, seconds=0.2))
    try:
        pool.start()
        held = pool._take(time.monotonic() + PATIENCE_S)
        with pytest.raises(problems.BusyError, match="no decoder is free"):
            decoded(pool, ("x.png", png(100, 100)))
        pool._waiting = pool.limits.decoders_waiting
        with pytest.raises(problems.BusyError, match="too many"):
            decoded(pool, ("x.png", png(100, 100)))
        pool._waiting = 0
        pool._give_back(held)
    finally:
        pool.close()


def test_the_server_goes_on(simulated_base: Path, tmp_path: Path) -> None:
    """The PDF that stopped every search: 4xx, others are answered meanwhile, readiness names the decoders."""
    shutil.copytree(simulated_base, tmp_path / "base")
    config = load_settings(api_port=0, api_drafters=(), api_decode_seconds=2.0)
    state = State(tmp_path / "base", config, HashingEncoder())
    bomb = (HOSTILE / "bomb.pdf").read_bytes()
    with in_thread(create_app(config, state), config) as url, httpx.Client(base_url=url, timeout=PATIENCE_S) as http:
        for _ in range(3):
            answer = http.post("/v1/search", files={"file": ("x.pdf", bomb)})
            # Its time or its memory is over first, by the machine.
            assert answer.status_code == 422
            assert re.search("within 2 s|takes its decoder down", answer.json()["detail"])
            assert http.post("/v1/search", json={"text": "LBBB"}).status_code == 200
        assert http.post("/v1/search", files={"file": ("x.png", png(300, 200))}).status_code == 200
        wait_for(lambda: http.get("/readyz").json()["decoders"] == {"alive": 2, "of": 2})
    assert not state.decoders._idle


def test_uploads_of_a_killed_server_are_deleted(tmp_path: Path) -> None:
    """And those of a server that lives are not."""
    code = (
        "import os, sys\nfrom ecgkin.ui.api.uploads import Upload\n"
        "upload = Upload(); upload.place('a.csv').write_text('secret'); print(upload.folder, flush=True)\n"
        "sys.stdin.readline()\n"
    )
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    started = [
        subprocess.Popen([sys.executable, "-c", code], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for _ in range(2)
    ]
    folders = [Path(process.stdout.readline().decode().strip()) for process in started if process.stdout]
    assert all(folder.is_relative_to(tmp_path) and list(folder.iterdir()) for folder in folders)
    started[0].kill()
    started[0].communicate()
    assert remove_abandoned(tmp_path) == 1
    assert [folder.exists() for folder in folders] == [False, True]
    started[1].communicate(b"\n", timeout=PATIENCE_S)
    assert not list(tmp_path.iterdir())  # one that ends by itself cleans up


def test_a_full_temporary_folder_is_said(simulated_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """507, and the log names the error; what needs no folder is answered."""
    shutil.copytree(simulated_base, tmp_path / "base")
    config = load_settings(api_port=0, api_drafters=())
    state = State(tmp_path / "base", config, HashingEncoder())

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "/tmp/secret")

    with in_thread(create_app(config, state), config) as url, httpx.Client(base_url=url, timeout=PATIENCE_S) as http:
        monkeypatch.setattr(uploads, "_save", full)
        answer = http.post("/v1/search", files={"file": ("x.png", png(100, 100))})
        assert answer.status_code == 507 and answer.json()["type"].endswith("#storage-full")
        assert "secret" not in answer.text and "retry-after" in answer.headers
        assert http.post("/v1/search", json={"text": "LBBB"}).status_code == 200


def test_messages_for_strangers(tmp_path: Path) -> None:
    """No folder of this machine, no address behind it; addresses of the API and fractions stay."""
    said = for_strangers(f"{tmp_path}/base/cases.sqlite is locked (a/b, 3/4, 25 mm/s); see /v1/info and /docs")
    assert said == "cases.sqlite is locked (a/b, 3/4, 25 mm/s); see /v1/info and /docs"
    assert for_strangers(f"no case base at '{tmp_path}'") == f"no case base at '{tmp_path.name}'"
    assert for_strangers("made at http://10.0.0.7:8000/v1 failed twice") == "made failed twice"
    assert public_name("made at http://10.0.0.7:8000/v1") == "made"
