"""Uploads: streamed to a folder of their own, unpacked (`uploaded_zip`), and taken for a picture or a recording.

Names that clients give are kept only where they carry meaning (the files of a WFDB record name each other), and only
if they are plain.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import stat
import tempfile
import threading
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, BinaryIO, TypeAlias, TypeVar

import numpy as np
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError

from ecgkin.retrieval.ecg.formats.read import READERS
from ecgkin.retrieval.ecg.kinds import PICTURE_SUFFIXES, Kind, kind_of_file
from ecgkin.retrieval.ecg.record import EcgRecord
from ecgkin.retrieval.errors import EcgkinError, ImageError, InputError, RecordError
from ecgkin.ui.api import problems
from ecgkin.ui.api.limits import MB, Limits, PixelBudget

if TYPE_CHECKING:
    from starlette.requests import Request

    from ecgkin.ui.api.schemas import Units


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


Model = TypeVar("Model", bound=BaseModel)
Query: TypeAlias = EcgRecord | Path

MAX_FILES = 8
_MAX_FIELDS = 32
_MAX_FIELD_BYTES = 256 * 1024
_WFDB = frozenset({".hea", ".dat", ".mat"})
_RECORDS = frozenset(suffix for reader in READERS for suffix in reader.suffixes) - _WFDB
_PICTURES = frozenset(PICTURE_SUFFIXES)
_PLAIN = re.compile(r"\w[\w.-]{0,120}\Z", re.ASCII)
# Bytes in memory for each byte of a text table or of a sampled file while it is read, as pixels of three bytes.
_PIXELS_PER_BYTE = 4
# PDFium must not be called by two threads at a time.
_ONE_DOCUMENT = threading.Lock()


class Upload:
    """What came with a multipart request. Close it."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="ecgkin-upload-", ignore_cleanup_errors=True)
        self.folder = Path(self._folder.name)
        self.files: list[Path] = []
        self.fields: dict[str, str] = {}

    def close(self) -> None:
        """Delete the files."""
        self._folder.cleanup()

    def place(self, name: str) -> Path:
        """Where a file of that name goes.

        Raises:
            InputError: The name is not plain, or comes twice.
        """
        base = PurePosixPath(name.replace("\\", "/")).name
        suffix = PurePosixPath(base).suffix.lower()
        if suffix in _WFDB:
            if not _PLAIN.match(base):
                raise InputError("the name of a WFDB file has other characters than letters, digits, _ . -")
            path = self.folder / base
        else:
            known = suffix if suffix in _RECORDS | _PICTURES | {".zip"} else ""
            path = self.folder / f"upload-{len(self.files) + 1}{known}"
        if path in self.files:
            raise InputError(f"{path.name} comes twice")
        self.files.append(path)
        return path

    @contextmanager
    def query(
        self,
        limits: Limits,
        budget: PixelBudget,
        fs_hz: float | None = None,
        units: Units | None = None,
        page: int = 1,
    ) -> Iterator[Query]:
        """The record, or the path of the picture; memory for it is reserved while this lasts. For threads.

        Args:
            limits: In force.
            budget: What is taken from it is given back in the end.
            fs_hz, units: Of samples, for a file that does not say.
            page: Of a PDF document, from 1.

        Raises:
            InputError: It is none, or several.
            TooLargeError: It is larger than this server takes.
        """
        with self._clean_names():
            if len(self.files) == 1 and zipfile.is_zipfile(self.files[0]):
                unpack(self.files.pop(), self.place, _WFDB | _RECORDS | _PICTURES, limits)
            kind, path = self._chosen()
            if kind == "document":
                opened = self._opened(path, page, budget)
                if isinstance(opened, EcgRecord):
                    yield opened
                    return
                path = opened
            if kind != "record":
                with budget.take(_pixels(path)):
                    yield path
                return
            size = sum(file.stat().st_size for file in self.files)
            if size > limits.text_bytes:
                raise problems.TooLargeError(
                    f"the recording has {size / MB:.1f} MB (expected at most {limits.text_bytes / MB:g})",
                    hint="send the ten seconds that matter",
                )
            with budget.take(min(budget.pixels, _PIXELS_PER_BYTE * size)):
                from ecgkin.retrieval.ecg.formats.read import read_ecg
                from ecgkin.retrieval.ecg.formats.wfdb import is_packed

                if path.suffix.lower() == ".hea" and is_packed(path):
                    raise RecordError(
                        "WFDB files packed with FLAC are not taken over the network", hint="use format 16"
                    )
                record = read_ecg(path, fs_hz=fs_hz, units=units)
                if np.isinf(record.signal_mv).any():
                    raise RecordError("a sample is infinite (expected millivolts)")
                yield record

    def _opened(self, path: Path, page: int, budget: PixelBudget) -> Query:
        """The ECG on a page of a document: samples where its traces are lines, else a picture of it beside the file."""
        from ecgkin.retrieval.ecg.formats.pictures import open_ecg

        drawn = self.folder / "page.png"
        # What is inside a document is not known before: one at a time, and no picture beside it.
        with budget.take(budget.pixels), _ONE_DOCUMENT:
            opened = open_ecg(path, page)
            if isinstance(opened, EcgRecord):
                return opened
            opened.save(drawn, compress_level=1)
        return drawn

    def _chosen(self) -> tuple[str, Path]:
        """What the files are, and the one to read."""
        from ecgkin.retrieval.ecg.formats.pictures import document_in

        headers = [file for file in self.files if file.suffix.lower() == ".hea"]
        if len(headers) == 1:
            return "record", headers[0]
        if len(self.files) != 1 or headers:
            raise InputError(
                f"{len(self.files)} files with {len(headers)} WFDB headers (expected one picture, one table, "
                "one zip, or one WFDB record with its .hea)"
            )
        (path,) = self.files
        kind = kind_of_file(path)
        if kind in (Kind.PDF, Kind.DICOM) and document_in(path) is not None:
            return "document", path
        picture = kind.is_picture or (path.suffix in _PICTURES)
        return ("picture" if picture else "record"), path

    @contextmanager
    def _clean_names(self) -> Iterator[None]:
        """Messages without the path of the temporary folder."""
        try:
            yield
        except EcgkinError as error:
            text = str(error).replace(f"{self.folder}/", "").replace(str(self.folder), "the upload")
            error.args = (text,)
            raise


async def receive(request: Request, limits: Limits) -> Upload:
    """Take in a multipart body.

    Raises:
        MediaTypeError: It is something else.
        TooLargeError, SlowBodyError: See `Gate`.
        HTTPException: It is broken.
    """
    upload = Upload()
    try:
        async with request.form(max_files=MAX_FILES, max_fields=_MAX_FIELDS, max_part_size=_MAX_FIELD_BYTES) as form:
            for name, value in form.multi_items():
                if isinstance(value, str):
                    if name in upload.fields:
                        raise InputError(f"the field {name[:40]} comes twice")
                    upload.fields[name] = value
                elif name not in ("file", "files"):
                    raise InputError(f"a file comes in the field {name[:40]!r} (expected file)")
                else:
                    target = upload.place(value.filename or "")
                    await asyncio.to_thread(_save, value.file, target)
        if not upload.files:
            raise InputError("no file came in the field file")
        return upload
    except BaseException:
        upload.close()
        raise


async def body_bytes(request: Request) -> bytes:
    """A JSON body; how large it may be is up to `Gate`.

    Raises:
        MediaTypeError: It is not said to be JSON.
    """
    kind = media_type(request)
    if kind != "application/json":
        raise problems.MediaTypeError(
            f"the body is {kind[:80] or 'of no stated kind'}", hint="send application/json or multipart/form-data"
        )
    return await request.body()


def media_type(request: Request) -> str:
    """Kind of the body, without parameters."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def parsed(model: type[Model], content: bytes | dict[str, str]) -> Model:
    """JSON, or the fields of a form, as a model.

    Raises:
        RequestValidationError: It does not fit.
    """
    try:
        if isinstance(content, bytes):
            return model.model_validate_json(content)
        return model.model_validate(content)
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False, include_input=False)
        raise RequestValidationError(found) from None


def _save(source: BinaryIO, target: Path) -> None:
    with target.open("wb") as file:
        shutil.copyfileobj(source, file, CHUNK)


def _pixels(path: Path) -> int:
    """Width times height, from the head of the file alone."""
    from PIL import Image

    from ecgkin.retrieval.ecg.page.image import open_image

    try:
        with path.open("rb") as stream, open_image(stream, path.name) as picture:
            return picture.width * picture.height
    except ImageError as error:
        if isinstance(error.__cause__, Image.DecompressionBombError):
            raise problems.TooLargeError("the picture is far too large") from error
        hint = "send a PNG, JPEG, TIFF, BMP, GIF, WebP, HEIC or AVIF file, or a recording under its own name"
        raise ImageError(f"{path.name} is no picture, or a damaged one", hint=hint) from error
