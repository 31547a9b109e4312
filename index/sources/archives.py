"""ZIP archives and DICOM directories as folders of files: read with suspicion, nothing outside of them is touched."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
import warnings
import weakref
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from ecgkin.retrieval.errors import RecordError, why

MAX_MEMBERS = 200_000
MAX_TOTAL_BYTES = 50 << 30
MAX_MEMBER_BYTES = 4 << 30
# Text files of ECGs pack to a tenth; flat lines to a hundredth.
MAX_RATIO = 200
_SLACK_BYTES = 100 << 20  # of small archives: a ratio says little about a few kilobytes
_CHUNK = 1 << 20
_MAX_RECORDS = 1_000_000


class Unpacked:
    """A ZIP archive in a temporary folder, which goes when this object does.

    Attributes:
        folder: Where the files are.

    Raises:
        RecordError: It is broken, encrypted, a member points outside or is a link, or it unpacks to too much.
    """

    def __init__(self, archive: str | os.PathLike[str]) -> None:
        path = Path(archive)
        self.folder = Path(tempfile.mkdtemp(prefix="ecgkin-zip-"))
        # Workers are forked: only the process that unpacked may delete.
        self._remove = weakref.finalize(self, _remove, self.folder, os.getpid())
        try:
            with zipfile.ZipFile(path) as opened:
                _extract(opened, path, self.folder)
        except (
            zipfile.BadZipFile,
            zlib.error,
            EOFError,
            OSError,
            RuntimeError,
            NotImplementedError,
            ValueError,
        ) as error:
            self.close()
            raise RecordError(f"{path.name} cannot be unpacked: {why(error)}") from error
        except RecordError:
            self.close()
            raise

    def close(self) -> None:
        """Delete the files."""
        self._remove()


def dicomdir_files(path: str | os.PathLike[str]) -> list[Path]:
    """Files that a DICOMDIR lists, in its order; what lies outside of its folder is left out.

    Raises:
        RecordError: It is no readable DICOM directory, or lists nothing.
    """
    import pydicom

    file = Path(path)
    root = file.resolve().parent
    found: list[Path] = []
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            data = pydicom.dcmread(file)
            records = list(data.DirectoryRecordSequence)[:_MAX_RECORDS]
            for record in records:
                parts = record.get("ReferencedFileID")
                if parts:
                    names = [parts] if isinstance(parts, str) else [str(part) for part in parts]
                    target = root.joinpath(*names).resolve()
                    if target.is_relative_to(root):
                        found.append(target)
    except Exception as error:  # pydicom raises whatever the values it meets run into
        raise RecordError(f"{file.name} is no readable DICOM directory: {type(error).__name__}") from error
    if not found:
        raise RecordError(f"{file.name} lists no file below its folder")
    return list(dict.fromkeys(found))


def _remove(folder: Path, owner: int) -> None:
    if os.getpid() == owner:
        shutil.rmtree(folder, ignore_errors=True)


def _extract(opened: zipfile.ZipFile, path: Path, folder: Path) -> None:
    members = opened.infolist()
    if len(members) > MAX_MEMBERS:
        raise RecordError(f"{path.name} holds {len(members)} files (at most {MAX_MEMBERS} are read)")
    left = min(MAX_TOTAL_BYTES, MAX_RATIO * path.stat().st_size + _SLACK_BYTES)
    for member in members:
        target = _target(member, path.name, folder)
        if target is None:
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        size = 0
        with opened.open(member) as packed, target.open("xb") as stream:
            # Counted while unpacking: what the directory of the archive says may be a lie.
            while chunk := packed.read(_CHUNK):
                size += len(chunk)
                left -= len(chunk)
                if left < 0 or size > MAX_MEMBER_BYTES:
                    raise RecordError(f"{path.name} unpacks to more than an honest archive of its size")
                stream.write(chunk)


def _target(member: zipfile.ZipInfo, archive: str, folder: Path) -> Path | None:
    """Where a member goes; None for folders and hidden files.

    Raises:
        RecordError: It points outside, is a link, or is encrypted.
    """
    name = member.filename.replace("\\", "/")
    if not name:
        raise RecordError(f"{archive}: a member has no name")
    parts = PurePosixPath(name).parts
    if name.startswith("/") or ".." in parts or ":" in name or "\x00" in name:
        raise RecordError(f"{archive}: a member points outside of the archive")
    if stat.S_ISLNK(member.external_attr >> 16):
        raise RecordError(f"{archive}: a member is a link")
    if member.flag_bits & 1:
        raise RecordError(f"{archive} is encrypted", hint="unpack it first")
    if member.is_dir() or any(part.startswith((".", "__MACOSX")) for part in parts):
        return None
    return folder.joinpath(*parts)
