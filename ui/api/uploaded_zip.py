"""Zips from strangers: unpacked with suspicion.

What a zip says about itself is not believed: its size counts while it is unpacked. Where a member lands is up to
`uploads.Upload.place`.
"""

from __future__ import annotations

import stat
import zipfile
import zlib
from collections.abc import Callable, Collection
from pathlib import Path, PurePosixPath

from ecgkin.retrieval.errors import InputError
from ecgkin.ui.api import problems
from ecgkin.ui.api.limits import MB, Limits

CHUNK = 1 << 18  # bytes that are copied at a time
_MAX_MEMBERS = 64
_MAX_DIRECTORY_BYTES = 64 * 1024


def unpack(path: Path, place: Callable[[str], Path], suffixes: Collection[str], limits: Limits) -> None:
    """Put the useful members of a zip where they belong.

    Args:
        path: The zip.
        place: Says where a member of a name goes; raises InputError where it may not.
        suffixes: Endings (".png") of the members that are wanted; others, and hidden ones, are left in the zip.
        limits: In force; the members together may be as large as a body.

    Raises:
        InputError: A member would land elsewhere, is a link, or is packed in an unusual way; the zip is broken.
        TooLargeError: It unpacks to more than the server takes; noticed while unpacking, whatever its directory says.
    """
    placed = 0
    try:
        _check_directory(path)
        with zipfile.ZipFile(path) as archive:
            left = limits.body_bytes
            for member in archive.infolist():
                if member.is_dir() or not _is_useful(member, suffixes):
                    continue
                target = place(member.filename)
                placed += 1
                with archive.open(member) as packed, target.open("wb") as file:
                    while chunk := packed.read(CHUNK):
                        left -= len(chunk)
                        if left < 0:
                            raise problems.TooLargeError(f"the zip unpacks to more than {limits.body_bytes / MB:g} MB")
                        file.write(chunk)
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, NotImplementedError, ValueError) as error:
        raise InputError(f"the zip cannot be unpacked: {type(error).__name__}") from error
    if not placed:
        raise InputError("the zip holds no picture and no recording")


def _check_directory(path: Path) -> None:
    """A directory of a million members would fill the memory before the first one is looked at."""
    with path.open("rb") as file:
        file.seek(0, 2)
        file.seek(max(0, file.tell() - 22 - 0xFFFF - 20))
        tail = file.read()
    at = tail.rfind(b"PK\x05\x06")
    size = int.from_bytes(tail[at + 12 : at + 16], "little")
    if at < 0 or b"PK\x06\x07" in tail or size > _MAX_DIRECTORY_BYTES:
        raise InputError("the zip has too many members, or none", hint=f"pack at most {_MAX_MEMBERS} files")


def _is_useful(member: zipfile.ZipInfo, suffixes: Collection[str]) -> bool:
    """Whether to unpack it.

    Raises:
        InputError: It is not what an honest zip holds.
    """
    name = member.filename.replace("\\", "/")
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
