"""Uploads: streamed to a folder of their own, from where `decoding` takes them.

Names that clients give are kept only where they carry meaning (the files of a WFDB record name each other), and only
if they are plain.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, TypeVar

from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError

from ecgkin.retrieval.errors import InputError
from ecgkin.ui.api import problems
from ecgkin.ui.api.decoder import CHUNK, known_suffixes, plain_name
from ecgkin.ui.api.limits import Limits

if TYPE_CHECKING:
    from starlette.requests import Request

    from ecgkin.ui.api.decoding import Decoded, Decoders
    from ecgkin.ui.api.schemas import Units


Model = TypeVar("Model", bound=BaseModel)

MAX_FILES = 8
_MAX_FIELDS = 32
_MAX_FIELD_BYTES = 256 * 1024


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
        path = self.folder / plain_name(name, len(self.files) + 1, known_suffixes() | {".zip"})
        if path in self.files:
            raise InputError(f"{path.name} comes twice")
        self.files.append(path)
        return path

    def decoded(
        self, decoders: Decoders, fs_hz: float | None = None, units: Units | None = None, page: int | None = None
    ) -> Decoded:
        """The ECG in the files. For threads.

        Args:
            decoders: Who decodes them.
            fs_hz, units: Of samples, for a file that does not say.
            page: Of a document, from 1; None for the first that shows an ECG.

        Raises:
            InputError, TooLargeError, BusyError: See `Decoders.decode`.
        """
        return decoders.decode(self.folder, self.files, fs_hz, units, page)


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
