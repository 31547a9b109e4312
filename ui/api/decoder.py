"""What decodes a stranger's file, in a process of its own: zips, documents, pictures, recordings.

`decoding` starts this module (`python -m ecgkin.ui.api.decoder`), sends one job a line as JSON on stdin, and reads one
answer a line from stdout. Pixels and samples come back as raw bytes in a file beside the upload: nothing that this
process says is ever unpickled or executed. Memory, processor time and the size of what is written are bounded by the
operating system (`setrlimit`); what takes too long is killed from outside.
"""

from __future__ import annotations

import errno
import json
import os
import re
import stat
import sys
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from ecgkin.retrieval.errors import EcgkinError, InputError, why

MB = 1_000_000
RESULT = "decoded.raw"
"""Name of the file of pixels or samples."""
WFDB_SUFFIXES = frozenset({".hea", ".dat", ".mat"})
CHUNK = 1 << 18  # bytes that are copied at a time
# Scans of 10 to 99 megapixels inside a PDF document took 45 to 130 MB to draw, traces 3; nested forms take all there
# is.
DOCUMENT_MB = 400
_MAX_MEMBERS = 64
_MAX_DIRECTORY_BYTES = 64 * 1024
_HEADER_CHARACTERS = 64 * 1024
_PLAIN = re.compile(r"\w[\w.-]{0,120}\Z", re.ASCII)


class OutsizeError(InputError):
    """More bytes, pixels, samples or memory than the server takes."""


@dataclass(frozen=True)
class Job:
    """One upload to decode.

    Attributes:
        folder: Where its files lie; what is unpacked and decoded is written there.
        files: Their names.
        fs_hz, units: Of samples, for a file that does not say.
        page: Of a document, from 1; None for the first that shows an ECG.
        max_bytes: Of what a zip unpacks to.
        max_record_bytes: Of a recording, and of its samples a sixteenth part: text takes more bytes than numbers.
        max_pixels: Of a picture.
        seconds: Processor time.
    """

    folder: str
    files: tuple[str, ...]
    fs_hz: float | None
    units: str | None
    page: int | None
    max_bytes: int
    max_record_bytes: int
    max_pixels: int
    seconds: float


def known_suffixes() -> frozenset[str]:
    """Endings of the files that are read here, zips of them included."""
    from ecgkin.retrieval.ecg.formats.read import READERS
    from ecgkin.retrieval.ecg.kinds import PICTURE_SUFFIXES

    return frozenset(PICTURE_SUFFIXES) | {suffix for reader in READERS for suffix in reader.suffixes}


def plain_name(name: str, number: int, suffixes: Collection[str]) -> str:
    """What a file of a stranger is called here.

    The files of a WFDB record name each other and keep their names; all others are numbered.

    Args:
        name: As the stranger gave it, with or without folders.
        number: Of the file, from 1.
        suffixes: Endings that are kept.

    Returns:
        A name without folders.

    Raises:
        InputError: A name of a WFDB file is not plain.

    >>> plain_name("../my page.PNG", 1, {".png"}), plain_name("a/rec.hea", 2, {".png"}), plain_name("x.exe", 3, {})
    ('upload-1.png', 'rec.hea', 'upload-3')
    """
    base = PurePosixPath(name.replace("\\", "/")).name
    suffix = PurePosixPath(base).suffix.lower()
    if suffix in WFDB_SUFFIXES:
        if not _PLAIN.match(base):
            raise InputError("the name of a WFDB file has other characters than letters, digits, _ . -")
        return base
    return f"upload-{number}{suffix if suffix in suffixes else ''}"


def unpack(
    path: Path,
    place: Callable[[str], Path],
    suffixes: Collection[str],
    max_bytes: int,
    max_members: int = _MAX_MEMBERS,
) -> None:
    """Put the useful members of a zip where they belong.

    What a zip says about itself is not believed: sizes count while it is unpacked.

    Args:
        path: The zip.
        place: Says where a member of a name goes; raises InputError where it may not.
        suffixes: Endings (".png") of the members that are wanted; others, and hidden ones, are left in the zip.
        max_bytes: Of all members together.
        max_members: That are taken out of it.

    Raises:
        InputError: A member would land elsewhere, is a link, or is packed in an unusual way; the zip is broken.
        OutsizeError: It unpacks to more than `max_bytes`.
    """
    placed = 0
    try:
        _check_directory(path)
        with zipfile.ZipFile(path) as archive:
            if len(archive.filelist) > 16 * _MAX_MEMBERS:
                raise InputError("the zip has too many members", hint=f"pack at most {_MAX_MEMBERS} files")
            left = max_bytes
            for member in archive.infolist():
                if not _is_useful(member, suffixes) or member.is_dir():
                    continue
                placed += 1
                if placed > 16 * max_members:
                    raise InputError("the zip has too many members", hint=f"pack at most {max_members} files")
                target = place(member.filename)
                with archive.open(member) as packed, target.open("wb") as file:
                    while chunk := packed.read(CHUNK):
                        left -= len(chunk)
                        if left < 0:
                            raise OutsizeError(f"the zip unpacks to more than {max_bytes / MB:g} MB")
                        file.write(chunk)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise InputError(f"the zip cannot be unpacked: {why(error)}") from error
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError, ValueError) as error:
        raise InputError(f"the zip cannot be unpacked: {type(error).__name__}") from error
    if not placed:
        raise InputError("the zip holds no picture and no recording")


def _check_directory(path: Path) -> None:
    """A directory of a million members would fill the memory before the first one is looked at.

    The limits of the process hold against records that are forged to look smaller.
    """
    with path.open("rb") as file:
        file.seek(0, 2)
        file.seek(max(0, file.tell() - 22 - 0xFFFF - 20))
        tail = file.read()
    # As zipfile does: the last bytes where no comment follows them, so that a signature inside the record is none.
    plain = tail[-22:-18] == b"PK\x05\x06" and tail[-2:] == b"\0\0"
    at = len(tail) - 22 if plain else tail.rfind(b"PK\x05\x06")
    size = int.from_bytes(tail[at + 12 : at + 16], "little")
    if at < 0 or b"PK\x06\x07" in tail or size > _MAX_DIRECTORY_BYTES:
        raise InputError("the zip has too many members, or none", hint=f"pack at most {_MAX_MEMBERS} files")


def _is_useful(member: zipfile.ZipInfo, suffixes: Collection[str]) -> bool:
    """Whether to unpack it.

    Raises:
        InputError: It is not what an honest zip holds.
    """
    name = member.filename.replace("\\", "/")
    if not name:
        raise InputError("a member of the zip has no name")
    if name.startswith("/") or ".." in name.split("/") or ":" in name or "\x00" in name:
        raise InputError("a member of the zip points outside of it")
    if stat.S_ISLNK(member.external_attr >> 16):
        raise InputError("a member of the zip is a link")
    if member.flag_bits & 1:
        raise InputError("the zip is encrypted")
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise InputError("the zip is packed in an unusual way", hint="use the ordinary method, deflate")
    path = PurePosixPath(name)
    hidden = any(part.startswith((".", "__MACOSX")) for part in path.parts)
    return not hidden and path.suffix.lower() in suffixes


def decode(job: Job) -> dict[str, Any]:
    """Decode an upload into `RESULT`, and say what is there.

    Returns:
        `kind` "picture" with `shape`, or "record" with `shape`, `fs_hz`, `leads`, `record_id`, `patient_id`,
        `age_years`, `sex`; `notes` as [code, values, text]; `digest` of the file that was read or, of a record, of its
        samples.

    Raises:
        InputError: The files are no ECG, broken, or several.
        OutsizeError: They are larger than this server takes.
    """
    from ecgkin.retrieval.ecg.formats.pictures import is_picture, open_ecg, picture_notes
    from ecgkin.retrieval.ecg.formats.read import read_ecg
    from ecgkin.retrieval.ecg.kinds import Kind, kind_of_file
    from ecgkin.retrieval.ecg.record import EcgRecord

    folder = Path(job.folder)
    path, files = _chosen(job, folder)
    if kind_of_file(path) is Kind.PDF:
        less_memory(DOCUMENT_MB * MB)
    picture = path.suffix.lower() != ".hea" and is_picture(path)
    if not picture:
        if job.page is not None:
            raise InputError(
                "page is given, and the file is a recording", hint="page is for PDF documents and TIFF files"
            )
        size = sum(file.stat().st_size for file in files)
        if size > job.max_record_bytes:
            raise OutsizeError(
                f"the recording has {size / MB:.1f} MB (expected at most {job.max_record_bytes / MB:g})",
                hint="send the ten seconds that matter",
            )
        opened: Any = read_ecg(path, fs_hz=job.fs_hz, units=job.units)  # type: ignore[arg-type]
    else:
        _check_pixels(path, job)
        opened = open_ecg(path, job.page)
    given = [name for name, value in (("fs_hz", job.fs_hz), ("units", job.units)) if value is not None]
    if picture and given:
        found = "draws its samples to scale" if isinstance(opened, EcgRecord) else "is a picture"
        raise InputError(f"{' and '.join(given)} given for a recording, and the file {found}", hint="leave it out")
    if isinstance(opened, EcgRecord):
        return _record_result(opened, folder, job)
    return _picture_result(opened, picture_notes(opened), path, folder, job)


def _chosen(job: Job, folder: Path) -> tuple[Path, list[Path]]:
    """The file to read, and all of its record."""
    files = [folder / name for name in job.files]
    if len(files) == 1 and zipfile.is_zipfile(files[0]):
        packed, unpacked, known = files[0], folder / "unpacked", known_suffixes()
        unpacked.mkdir()
        members: list[Path] = []

        def place(name: str) -> Path:
            target = unpacked / plain_name(name, len(members) + 1, known)
            if target in members:
                raise InputError(f"{target.name} comes twice")
            members.append(target)
            return target

        unpack(packed, place, known, job.max_bytes)
        files = members
    headers = [file for file in files if file.suffix.lower() == ".hea"]
    if len(headers) == 1:
        _check_belong(headers[0], files)
        return headers[0], files
    if len(files) != 1 or headers:
        raise InputError(
            f"{len(files)} files with {len(headers)} WFDB headers (expected one picture, one table, "
            "one zip, or one WFDB record with its .hea)"
        )
    return files[0], files


def named_in(header: Path) -> set[str]:
    """What the lines of a WFDB header begin with, files of signals among it: without folders, in small letters."""
    with header.open(encoding="latin-1") as stream:
        lines = stream.read(_HEADER_CHARACTERS).splitlines()
    first = (line.split(maxsplit=1)[0] for line in lines if line.strip())
    return {PurePosixPath(word.replace("\\", "/")).name.lower() for word in first}


def _check_belong(header: Path, files: Sequence[Path]) -> None:
    """Refuse what came beside a WFDB record without being of it: one of the two ECGs would go unanswered."""
    named = named_in(header)
    for file in files:
        own = file.stem.lower() == header.stem.lower() and file.suffix.lower() in WFDB_SUFFIXES
        if not own and file.name.lower() not in named:
            raise InputError(
                f"{file.name} came beside the record {header.name}, whose header does not name it",
                hint="send one ECG a request; several at once are a job (/v1/jobs)",
            )


def _check_pixels(path: Path, job: Job) -> None:
    """Refuse a picture by its head, before anything of it is decoded; documents are drawn at a size of ours."""
    from PIL import Image

    from ecgkin.retrieval.ecg.kinds import kind_of_file
    from ecgkin.retrieval.ecg.page.image import open_image
    from ecgkin.retrieval.errors import ImageError

    if not kind_of_file(path).is_picture:
        return
    try:
        with path.open("rb") as stream, open_image(stream, path.name) as picture:
            width, height = picture.size
    except ImageError as error:
        if isinstance(error.__cause__, Image.DecompressionBombError):
            raise OutsizeError("the picture has far too many pixels", hint=error.hint) from error
        raise
    if width * height > job.max_pixels:
        raise OutsizeError(
            f"the picture has {width * height / 1e6:.1f} megapixels (expected at most {job.max_pixels / 1e6:g})",
            hint="reduce it first; a page of 2200 x 1700 px is plenty",
        )


def _record_result(record: Any, folder: Path, job: Job) -> dict[str, Any]:
    import numpy as np

    from ecgkin.index.case import content_hash

    signal = np.ascontiguousarray(record.signal_mv, dtype="<f4")
    if signal.nbytes > 8 * job.max_record_bytes:
        raise OutsizeError(
            f"the recording holds {signal.size} samples (expected at most {2 * job.max_record_bytes})",
            hint="send the ten seconds that matter",
        )
    if np.isinf(signal).any():
        from ecgkin.retrieval.errors import RecordError

        raise RecordError("a sample is infinite (expected millivolts)")
    (folder / RESULT).write_bytes(signal.tobytes())
    return {
        "kind": "record",
        "shape": list(signal.shape),
        "fs_hz": float(record.fs_hz),
        "leads": list(record.leads),
        "record_id": record.record_id,
        "patient_id": record.patient_id,
        "age_years": record.age_years,
        "sex": record.sex,
        "notes": _plain_notes(record.notes),
        "digest": content_hash(record),
    }


def _picture_result(picture: Any, notes: Sequence[str], path: Path, folder: Path, job: Job) -> dict[str, Any]:
    from ecgkin.index.case import content_hash
    from ecgkin.retrieval.ecg.page.image import load_image

    width, height = picture.size
    if width * height > job.max_pixels:
        raise OutsizeError(
            f"the picture has {width * height / 1e6:.1f} megapixels (expected at most {job.max_pixels / 1e6:g})",
            hint="reduce it first; a page of 2200 x 1700 px is plenty",
        )
    rgb = load_image(picture)
    with (folder / RESULT).open("wb") as file:
        rgb.tofile(file)
    return {
        "kind": "picture",
        "shape": list(rgb.shape),
        "notes": _plain_notes(notes),
        "digest": content_hash(path.read_bytes()),
    }


def _plain_notes(notes: Sequence[str]) -> list[list[Any]]:
    from ecgkin.retrieval.notes import Note

    coded = [Note.of(note) for note in notes]
    return [[note.code.value, dict(note.values), str(note)] for note in coded[:200]]


def limit_process(memory_bytes: int, file_bytes: int) -> None:
    """Bound what this process may take, beyond what it has taken already; on systems that know `setrlimit`.

    Args:
        memory_bytes: Address space beyond what is in use when this is called (RLIMIT_AS).
        file_bytes: Largest file that may be written (RLIMIT_FSIZE).
    """
    try:
        import resource
    except ImportError:  # Windows: time is bounded from outside, memory is not
        return
    most = _address_space() + memory_bytes
    for what, value in ((resource.RLIMIT_AS, most), (resource.RLIMIT_FSIZE, file_bytes), (resource.RLIMIT_CORE, 0)):
        resource.setrlimit(what, (value, value))


def _address_space() -> int:
    """Bytes of address space in use; 0 where the system does not say."""
    status = Path("/proc/self/statm")
    return int(status.read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE") if status.exists() else 0


@contextmanager
def _memory_kept() -> Iterator[None]:
    """Inside, `less_memory` may have lowered the limit; afterwards it is what it was."""
    try:
        import resource
    except ImportError:
        yield
        return
    before = resource.getrlimit(resource.RLIMIT_AS)
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def less_memory(memory_bytes: int) -> None:
    """Lower the limit of this process to so much beyond what is in use, until the job is over."""
    try:
        import resource
    except ImportError:
        return
    if not _address_space():  # macOS does not keep this limit
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    most = _address_space() + memory_bytes
    if soft == resource.RLIM_INFINITY or most < soft:
        resource.setrlimit(resource.RLIMIT_AS, (most, hard))


def _limit_time(seconds: float) -> None:
    """A process whose server was killed ends by itself, too."""
    try:
        import resource
    except ImportError:
        return
    used = resource.getrusage(resource.RUSAGE_SELF)
    resource.setrlimit(resource.RLIMIT_CPU, (int(used.ru_utime + used.ru_stime + seconds) + 2, resource.RLIM_INFINITY))


def answered(line: str) -> dict[str, Any]:
    """The answer to one job: a result, or what is wrong with the upload."""
    given = json.loads(line)
    job = Job(**{**given, "files": tuple(given["files"])})
    _limit_time(job.seconds)
    try:
        with _memory_kept():
            return decode(job)
    except EcgkinError as error:
        return {"error": type(error).__name__, "message": _clean(str(error), job), "hint": _clean(error.hint, job)}
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return {"error": "StorageFullError", "message": "the server has no room to decode the upload", "hint": ""}
        return {"error": "InputError", "message": f"the file cannot be read: {why(error)}", "hint": ""}
    except MemoryError:
        return {"error": "OutsizeError", "message": "the file needs more memory than this server gives", "hint": ""}
    except Exception as error:  # decoders raise whatever they stumble over
        return {"error": "InputError", "message": f"the file cannot be read: {why(error)}", "hint": ""}


def _clean(text: str, job: Job) -> str:
    """Without the path of the temporary folder."""
    for folder in (f"{job.folder}/unpacked", job.folder):
        text = text.replace(f"{folder}/", "").replace(folder, "the upload")
    return text[:2000]


def job_line(job: Job) -> bytes:
    """A job as it is sent."""
    return json.dumps(asdict(job)).encode() + b"\n"


def preload() -> None:
    """Load what decoding needs, before memory is bounded and before the first job waits for it."""
    from ecgkin.index import case
    from ecgkin.retrieval.ecg.formats import pictures, read
    from ecgkin.retrieval.ecg.page import image

    assert case and pictures and read and image


def main() -> None:
    """Answer jobs until stdin ends. Arguments: memory and largest file in bytes."""
    out = os.fdopen(os.dup(1), "wb")
    silent = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silent, 1)  # libraries that print do not write between the answers
    os.dup2(silent, 2)
    preload()
    limit_process(int(sys.argv[1]), int(sys.argv[2]))
    out.write(b'{"ready": true}\n')
    out.flush()
    for line in sys.stdin:
        out.write(json.dumps(answered(line)).encode() + b"\n")
        out.flush()


if __name__ == "__main__":
    main()
