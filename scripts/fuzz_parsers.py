"""Fuzz every parser of strangers' bytes with atheris (coverage-guided), within bounds of time and memory an input.

    python scripts/fuzz_parsers.py --seeds FOLDER... [--corpus runs/fuzz] [--minutes 60] [--slice 180] [--only scp]

Each target runs in a process of its own for a slice of seconds, then the next one, until the minutes are over; its
corpus and what it found stay in the corpus folder and are taken up again. An input is a fault when what comes of it is
neither an `EcgkinError` that says something nor a sound result; when it takes more than 20 s, or 2 GB. Seeds: sample
files of the formats; those that are not at hand are replaced by files of this project's own. Needs `pip install
atheris` (Linux).

    python scripts/fuzz_parsers.py --table [--corpus runs/fuzz]

prints target, minutes, inputs, faults.
"""

from __future__ import annotations

import argparse
import binascii
import contextlib
import hashlib
import json
import os
import resource
import shutil
import struct
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

TIMEOUT_S, MEMORY_MB = 20, 2000
SLOW_S = 5.0
LONGEST = 130_000  # bytes of a seed and of an input
_OWN = Path(__file__).resolve().parents[1] / "tests" / "fixtures"


@dataclass
class Found:
    """What a target has come to, over all its slices."""

    seconds: float = 0.0
    inputs: int = 0
    results: int = 0
    errors: int = 0
    peak_mb: float = 0.0
    slowest_s: float = 0.0
    faults: dict[str, str] = field(default_factory=dict)


Work = Callable[[bytes], None]


def whole_ishne(data: bytes) -> bytes:
    """The bytes with the checksum that their header ought to have."""
    variable = min(max(0, int.from_bytes(data[10:14].ljust(4, b"\0"), "little", signed=True)), len(data))
    return data[:8] + struct.pack("<H", binascii.crc_hqx(data[10 : 522 + variable], 0xFFFF)) + data[10:]


def whole_scp(data: bytes) -> bytes:
    """The bytes with the length and the checksums of file and sections that SCP-ECG asks for."""
    out = bytearray(data)
    out[2:6] = struct.pack("<I", len(out))
    at = 6
    while at + 16 <= len(out):  # sections follow each other: checksum, number, length
        (size,) = struct.unpack_from("<I", out, at + 4)
        if not 16 <= size <= len(out) - at:
            break
        out[at : at + 2] = struct.pack("<H", binascii.crc_hqx(bytes(out[at + 2 : at + size]), 0xFFFF))
        at += size
    return struct.pack("<H", binascii.crc_hqx(bytes(out[2:]), 0xFFFF)) + bytes(out[2:])


# Formats whose checksums would have every changed file refused or noted before anything else of it is met.
_WHOLE: dict[str, Callable[[bytes], bytes]] = {".ecg": whole_ishne, ".scp": whole_scp}


def file_target(suffix: str) -> Callable[[Path], Work]:
    """Opens the bytes as a file of that name, and goes on as a search would; checksums are mended in half of them."""
    mended = _WHOLE.get(suffix)

    def made(folder: Path) -> Work:
        from ecgkin.retrieval.ecg.formats.pictures import open_ecg
        from ecgkin.retrieval.ecg.record import EcgRecord

        sys.path.insert(0, str(Path(__file__).parent))
        from fuzz_formats import sound

        path = folder / f"r{suffix}"
        if suffix == ".hea":
            (folder / "r.dat").write_bytes(bytes(range(256)) * 200)

        def work(data: bytes) -> None:
            path.write_bytes(mended(data) if mended and len(data) > 20 and data[-1] & 1 else data)
            found = open_ecg(path)
            if isinstance(found, EcgRecord):
                assert sound(found), found
            else:
                assert found.size > (0, 0)

        return work

    return made


def zip_target(folder: Path) -> Work:
    """Unpacks the bytes as the server unpacks a zip."""
    from ecgkin.ui.api.decoder import known_suffixes, unpack

    path, suffixes = folder / "a.zip", known_suffixes()

    def work(data: bytes) -> None:
        path.write_bytes(data)
        names: list[str] = []

        def place(name: str) -> Path:
            names.append(name)
            return folder / "member"

        unpack(path, place, suffixes, 20_000_000)

    return work


def text_target(name: str) -> Callable[[Path], Work]:
    """Gives the bytes as text to a reader of texts."""

    def made(_: Path) -> Work:
        from ecgkin.index.filters import Where
        from ecgkin.index.ingest.deidentify import scrubbed
        from ecgkin.retrieval.ecg.header import age_of, iso_time
        from ecgkin.retrieval.ecg.statements.find import find_statements
        from ecgkin.retrieval.ecg.statements.glossary import gloss
        from ecgkin.retrieval.ecg.statements.report_text import clean_report, normalise_report
        from ecgkin.retrieval.search.words.understand import understand

        def reports(text: str) -> None:
            for hit in find_statements(normalise_report(clean_report(text))):
                assert hit.code
            gloss(text, "de")
            scrubbed(text, None)

        def filters(text: str) -> None:
            where: Any = text
            if text[:1] == "{":
                with contextlib.suppress(ValueError, RecursionError):
                    where = json.loads(text)
            if isinstance(where, (str, dict)):
                Where.parse(where).sql()

        def words(text: str) -> None:
            assert understand(text).parts is not None

        def fields(text: str) -> None:
            age = age_of(text)
            assert age is None or 0 <= age <= 150
            iso_time(text)

        work = {"reports": reports, "filters": filters, "words": words, "fields": fields}[name]
        return lambda data: work(_text_of(data[:10_000]))

    return made


def _text_of(data: bytes) -> str:
    """With halves of characters where the bytes allow it."""
    with contextlib.suppress(UnicodeDecodeError):
        return data.decode("utf-8", "surrogatepass")
    return data.decode("utf-8", "replace")


def sound_base(folder: Path) -> tuple[Path, Path]:
    """A base of five simulated cases of a second each and a snapshot of it, made once."""
    from dataclasses import replace

    import numpy as np

    from ecgkin.index.ingest.pipeline import ingest_records, open_or_create
    from ecgkin.index.transfer.backup import take_snapshot
    from ecgkin.retrieval.ecg.simulation.simulate import simulate
    from ecgkin.retrieval.encoders.hashing import HashingEncoder
    from ecgkin.ui.demo.cases import simulated_gallery

    base, snapshot = folder / "sound", folder / "sound-snapshot"
    if not snapshot.is_dir():
        shutil.rmtree(base, ignore_errors=True)
        encoder = HashingEncoder()
        with open_or_create(base, encoder) as made:
            ingest_records(made, simulated_gallery(5), encoder, keep_records=False)
            record = simulate(["SR"], np.random.default_rng(0)).record
            short = replace(record, signal_mv=record.signal_mv[:, :250])
            made.update(made.cases(limit=1), records=[short])
        take_snapshot(base, snapshot)
    return base, snapshot


def used(base: Path) -> None:
    """Opens a base, as a search, `info` and `verify` do."""
    from ecgkin.index import open_base

    with open_base(base) as opened:
        vector = None
        for case in opened.cases():
            assert case.case_id
            vector = opened.vector(case.case_id)
        if vector is not None:
            opened.search(vector, 3)
        opened.verify()


def manifest_target(folder: Path) -> Work:
    """Reads the bytes as the manifest of a base and as the list of a snapshot; checksums of objects are mended."""
    from ecgkin.index.transfer.backup import restore_snapshot
    from ecgkin.retrieval.errors import EcgkinError

    base, snapshot = sound_base(folder)
    identity = json.loads((base / "manifest.json").read_text())
    listed = json.loads((snapshot / "snapshot.json").read_text())
    files, sound_digest = listed["files"], listed["digest"]

    def work(data: bytes) -> None:
        content = None
        with contextlib.suppress(ValueError, RecursionError):
            content = json.loads(data)
        if isinstance(content, dict) and "files" not in content:
            content.pop("checksum", None)
            content = {name: identity.get(name) if value == "OWN" else value for name, value in content.items()}
            canonical = json.dumps(content, sort_keys=True).encode("utf-8", "surrogatepass")
            content["checksum"] = hashlib.blake2b(canonical, digest_size=16).hexdigest()
            data = json.dumps(content).encode()
        elif isinstance(content, dict) and isinstance(content["files"], dict):
            named = {identity["index_file"] if name == "OWN" else name: to for name, to in content["files"].items()}
            content["digest"] = sound_digest if content.get("digest") == "OWN" else content.get("digest")
            content["files"] = {name: files.get(name, to) if to == "OWN" else to for name, to in named.items()}
            data = json.dumps(content).encode()
        (snapshot / "snapshot.json").write_bytes(data)
        (base / "manifest.json").write_bytes(data)
        with contextlib.suppress(EcgkinError):
            restore_snapshot(snapshot, folder / "restored")
        shutil.rmtree(folder / "restored", ignore_errors=True)
        used(base)

    return work


def store_target(folder: Path) -> Work:
    """Reads the bytes as the database of a base."""
    from ecgkin.index.folder.base import FolderBase

    base = folder / "damaged"
    base.mkdir(exist_ok=True)

    def work(data: bytes) -> None:
        for left in base.iterdir():
            left.unlink()
        (base / "cases.sqlite").write_bytes(data)
        FolderBase.repair(base).close()  # as `base restore` does
        used(base)

    return work


def index_target(folder: Path) -> Work:
    """Reads the bytes as the index of a base whose manifest gives their checksum."""
    from ecgkin.index.atomic import file_digest
    from ecgkin.index.manifest import Manifest

    base, _ = sound_base(folder)
    manifest = Manifest.read(base)
    index = base / manifest.index_file

    def work(data: bytes) -> None:
        index.write_bytes(data)
        changes = {"index_bytes": len(data), "index_digest": file_digest(index)}
        manifest.model_copy(update=changes).write(base)
        used(base)

    return work


_FILES = {
    "wfdb": ".hea", "dicom": ".dcm", "scp": ".scp", "xml": ".xml", "edf": ".edf", "mfer": ".mwf", "ishne": ".ecg",
    "pdf": ".pdf", "csv": ".csv", "picture": ".png",
}  # fmt: skip
TARGETS: dict[str, Callable[[Path], Work]] = {
    **{name: file_target(suffix) for name, suffix in _FILES.items()},
    "zip": zip_target,
    **{name: text_target(name) for name in ("reports", "filters", "words", "fields")},
    "base": manifest_target,
    "store": store_target,
    "index": index_target,
}
_SUFFIXES = {
    "csv": (".csv", ".txt"),
    "ishne": (".ecg", ".ishne"),
    "picture": (".png", ".jpg", ".webp", ".avif", ".heic"),
}
_TEXTS: dict[str, Sequence[str]] = {
    "reports": (
        "Sinus rhythm. Neither LBBB nor RBBB. ST depression not excluded.",
        "Vorhofflimmern liegt nicht vor. Linksschenkelblock, V.a. Infarkt.",
        "sinusrytm. inget LBBB. ST-T förändring",
    ),
    "words": (
        "LBBB without AF in women over 70", "QTc > 480 ms, Mann 60-70 Jahre, kein Vorhofflimmern", "förmaksflimmer",
    ),
    "filters": (
        'age>=60 and sex=F and not label:PACE', 'label in (AFIB,"LVH") or (report:"x" and date<2020-01-02)',
        '{"age": {">=": 60}, "label": ["AFIB", {"LVH": {">=": 50}}], "or": [{"sex": "F"}]}',
    ),
    "fields": ("3 months", "71Y", ">89", "02.01.2020 10:30:00", "20200102103000.000+0100", "8 days"),
    "base": (
        '{"base_id": "OWN", "dim": "OWN", "drawing_version": "OWN", "encoder_name": "OWN", "fingerprint": "OWN", '
        '"format": "ecgkin-casebase", "generation": "OWN", "index_bytes": "OWN", "index_digest": "OWN", '
        '"index_file": "OWN", "index_kind": "flat", "max_row": 5, "n_cases": 5, "preprocessing": "OWN", '
        '"schema_version": 1}',
        '{"source": "x", "taken_at": "2026-01-02T03:04:05+00:00", "n_cases": 5, "digest": "OWN", '
        '"files": {"cases.sqlite": "OWN", "manifest.json": "OWN", "OWN": "OWN"}, "format": "ecgkin-snapshot-1"}',
    ),
}  # fmt: skip


def seeds_of(target: str, folders: Sequence[Path], to: Path) -> None:
    """Sample files of a target, put into its corpus; large ones are left out."""
    suffixes = _SUFFIXES.get(target, (_FILES.get(target, "?"),))
    files = [f for folder in (*folders, _OWN) for f in sorted(folder.rglob("*")) if f.suffix.lower() in suffixes]
    if target == "pdf":  # PDFium never returns from one of them; readers of strangers' files end it from outside
        files = [file for file in files if "hostile" not in file.parts]
    contents = [text.encode() for text in _TEXTS.get(target, ())]
    contents += [file.read_bytes() for file in files if file.is_file() and file.stat().st_size < LONGEST][:40]
    if target == "wfdb":
        contents = [_with_own_samples(content) for content in contents]
    if target in _MADE:
        with tempfile.TemporaryDirectory() as folder:
            contents += _MADE[target](Path(folder))
    if target == "zip":
        import io
        import zipfile

        for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            packed = io.BytesIO()
            with zipfile.ZipFile(packed, "w", method) as archive:
                archive.writestr("a/r.hea", "r 1 100 5\n")
                archive.writestr("r.csv", "I,II\n" + "0.1,0.2\n" * 20)
            contents.append(packed.getvalue())
    for content in contents:
        (to / hashlib.sha1(content, usedforsecurity=False).hexdigest()).write_bytes(content)


def _ishne_seeds(folder: Path) -> list[bytes]:
    """Files of one to twelve leads."""
    from formats_made import steps, write_ishne

    made = folder / "r.ecg"
    ways = ((1, 2500, False), (3, 1000, True), (12, 100, False))
    return [
        write_ishne(
            made, steps(300, leads), tuple(range(5, 5 + leads)), step_nv=step_nv, together=together
        ).read_bytes()
        for leads, step_nv, together in ways
    ]


def _base_seeds(name: str) -> Callable[[Path], list[bytes]]:
    """A file of a sound base."""
    return lambda folder: [next(sound_base(folder)[0].glob(name)).read_bytes()]


_MADE: dict[str, Callable[[Path], list[bytes]]] = {
    "ishne": _ishne_seeds,
    "store": _base_seeds("cases.sqlite"),
    "index": _base_seeds("index-*.faiss"),
}


def _with_own_samples(header: bytes) -> bytes:
    """The header, its samples named r.dat."""
    lines = header.split(b"\n")
    for k, line in enumerate(lines[1:], 1):
        if line.strip() and not line.startswith(b"#"):
            lines[k] = b"r.dat" + (line[line.find(b" ") :] if b" " in line else b"")
    return b"\n".join(lines)


def run_target(target: str, corpus: Path, seconds: int) -> None:
    """Fuzz one target in this process; does not return."""
    import atheris

    from ecgkin.retrieval.errors import EcgkinError

    warnings.simplefilter("ignore")
    folder = Path("/dev/shm" if Path("/dev/shm").is_dir() else "/tmp") / f"ecgkin-fuzz-{os.getuid()}" / target
    folder.mkdir(parents=True, exist_ok=True)
    seeds = corpus / target / "corpus"
    stats = corpus / target / "found.json"
    found = Found(**json.loads(stats.read_text())) if stats.exists() else Found()
    before, started, written = found.seconds, time.monotonic(), time.monotonic()
    with atheris.instrument_imports(include=["ecgkin.retrieval", "ecgkin.index", "ecgkin.ui.api.decoder", "wfdb"]):
        work = TARGETS[target](folder)
        for seed in sorted(seeds.iterdir())[:60]:  # modules that are loaded late are loaded here
            with contextlib.suppress(Exception):
                work(seed.read_bytes())

    def save() -> None:
        found.seconds = before + time.monotonic() - started
        found.peak_mb = max(found.peak_mb, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
        stats.with_suffix(".part").write_text(json.dumps(found.__dict__, indent=1))
        stats.with_suffix(".part").replace(stats)

    def blame(name: str, told: str, data: bytes) -> None:
        if name not in found.faults and len(found.faults) < 200:
            found.faults[name] = told
            digest = hashlib.sha1(data, usedforsecurity=False).hexdigest()[:12]
            (corpus / target / f"fault-{digest}").write_bytes(data)
            found.faults[name] += f"\ninput: fault-{digest}"
            save()

    def one(data: bytes) -> None:
        nonlocal written
        begun = time.process_time()
        try:
            work(data)
            found.results += 1
        except EcgkinError as error:
            found.errors += 1
            if not 10 < len(str(error)) < 1500:
                blame(f"message {type(error).__name__} of {len(str(error))}", str(error)[:300], data)
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            frames = [f for f in traceback.extract_tb(error.__traceback__) if "fuzz_" not in f.filename]
            own = [
                f for f in frames if "ecgkin" in f.filename or "/retrieval/" in f.filename or "/index/" in f.filename
            ]
            at = (own or frames or traceback.extract_tb(error.__traceback__))[-1]
            blame(f"{type(error).__name__} {Path(at.filename).name}:{at.lineno}", traceback.format_exc()[-1500:], data)
        took = time.process_time() - begun
        found.slowest_s = max(found.slowest_s, took)
        if took > SLOW_S:
            blame(f"slow {took:.0f} s", f"{len(data)} bytes took {took:.1f} s", data)
        found.inputs += 1
        if time.monotonic() - written > 5:
            written = time.monotonic()
            save()

    atheris.Setup(
        [
            sys.argv[0], str(seeds), f"-max_total_time={seconds}", f"-timeout={TIMEOUT_S}", "-verbosity=0",
            f"-rss_limit_mb={MEMORY_MB}", f"-max_len={LONGEST}", f"-artifact_prefix={corpus / target}/",
        ],
        one,
    )  # fmt: skip
    atheris.Fuzz()


def campaign(targets: Sequence[str], seeds: Sequence[Path], corpus: Path, minutes: float, slice_s: int) -> None:
    """One target after the other, again and again."""
    sys.path.insert(0, str(_OWN.parent))
    until = time.monotonic() + 60 * minutes
    for target in targets:
        (corpus / target / "corpus").mkdir(parents=True, exist_ok=True)
        seeds_of(target, seeds, corpus / target / "corpus")
    while time.monotonic() < until:
        for target in targets:
            left = until - time.monotonic()
            if left < 10:
                return
            command = [sys.executable, __file__, "--target", target, "--corpus", str(corpus), "--slice", str(slice_s)]
            with (corpus / target / "log").open("ab") as log, contextlib.suppress(subprocess.TimeoutExpired):
                subprocess.run(command, stdout=log, stderr=log, timeout=slice_s + 60, check=False)


def table(corpus: Path) -> None:
    """What was found, a line a target."""
    print("| parser | minutes | inputs | read | refused | faults | peak MB | slowest s |")
    print("|---|--:|--:|--:|--:|--:|--:|--:|")
    for stats in sorted(corpus.glob("*/found.json")):
        found = Found(**json.loads(stats.read_text()))
        ended = [f.name for kind in ("timeout-*", "oom-*", "crash-*", "slow-*") for f in stats.parent.glob(kind)]
        print(
            f"| {stats.parent.name} | {found.seconds / 60:.0f} | {found.inputs:,} | {found.results:,} "
            f"| {found.errors:,} | {len(found.faults) + len(ended)} | {found.peak_mb:.0f} | {found.slowest_s:.1f} |"
        )
        for name, told in found.faults.items():
            print(f"  {name}: {told.splitlines()[-2][:150] if len(told.splitlines()) > 1 else told}", file=sys.stderr)
        for name in ended:
            print(f"  {stats.parent.name}/{name}", file=sys.stderr)


def main() -> None:
    """Fuzz all, or one, or print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=Path, nargs="*", default=[])
    parser.add_argument("--corpus", type=Path, default=Path("runs/fuzz"))
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--slice", type=int, default=180, help="seconds a target at a time")
    parser.add_argument("--only", nargs="*", choices=TARGETS, default=[])
    parser.add_argument("--target", choices=TARGETS, help="in this process")
    parser.add_argument("--table", action="store_true")
    asked = parser.parse_args()
    corpus = asked.corpus.resolve()
    if asked.table:
        table(corpus)
    elif asked.target:
        run_target(asked.target, corpus, asked.slice)
    else:
        campaign(asked.only or [*TARGETS], asked.seeds, corpus, asked.minutes, asked.slice)


if __name__ == "__main__":
    main()
