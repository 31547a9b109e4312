"""Uploads: streamed to a folder of their own, from where `decoding` takes them.

Names that clients give are kept only where they carry meaning (the files of a WFDB record name each other), and only
if they are plain.
"""

from __future__ import annotations

import asyncio
import atexit
import errno
import logging
import os
import shutil
import tempfile
import threading
from pathlib import Path
from typing import IO, TYPE_CHECKING, BinaryIO, TypeVar

from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError

from ecgkin.retrieval.errors import InputError
from ecgkin.ui.api import problems
from ecgkin.ui.api.decoder import CHUNK, known_suffixes, plain_name

if TYPE_CHECKING:
    from starlette.requests import Request

    from ecgkin.ui.api.decoding import Decoded, Decoders
    from ecgkin.ui.api.schemas import Units


_LOG = logging.getLogger(__name__)
Model = TypeVar("Model", bound=BaseModel)

MAX_FILES = 8
_MAX_FIELDS = 32
_NAME = 200  # characters of a client's name of a file
_MAX_FIELD_BYTES = 256 * 1024


_PREFIX, _LOCK = "ecgkin-uploads-", "lock"
_turn = threading.Lock()
_own: dict[tuple[int, str], tuple[Path, IO[bytes]]] = {}


def own_folder() -> Path:
    """The folder for the uploads of this process, locked as long as the process lives.

    The first call also deletes what killed servers left behind.
    """
    parent = tempfile.gettempdir()
    with _turn:
        key = (os.getpid(), parent)
        if key in _own and _own[key][0].is_dir():
            return _own[key][0]
        remove_abandoned(Path(parent))
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
        lock = (folder / "lock.new").open("wb")
        _locked(lock)
        os.rename(lock.name, folder / _LOCK)  # others see the lock file only once it is locked
        _own[key] = (folder, lock)
        atexit.register(_leave, folder, lock)
        return folder


def _leave(folder: Path, lock: IO[bytes]) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    lock.close()


def leave_own_folder() -> None:
    """Delete this process's folder where no upload is in it: a server that is ended by a signal runs no exit hooks."""
    with _turn:
        for key, (folder, lock) in list(_own.items()):
            if key[0] == os.getpid() and not any(entry.name != _LOCK for entry in folder.glob("*")):
                _leave(folder, lock)
                del _own[key]


def remove_abandoned(parent: Path) -> int:
    """Delete the upload folders of processes that live no more; how many there were."""
    n = 0
    for folder in parent.glob(f"{_PREFIX}*"):
        try:
            if folder.is_symlink() or folder.stat().st_uid != os.getuid():
                continue
            with (folder / _LOCK).open("rb+") as lock:
                if not _locked(lock):
                    continue
                shutil.rmtree(folder, ignore_errors=True)
                n += 1
        except (OSError, AttributeError):  # no lock: just being made; or not ours
            continue
    if n:
        _LOG.info("abandoned uploads removed folders=%d", n)
    return n


def _locked(file: IO[bytes]) -> bool:
    """Lock a file for as long as it is open; False where another process has locked it, or locks are not known."""
    try:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (ImportError, OSError):
        return False
    return True


class Upload:
    """What came with a multipart request. Close it."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="upload-", dir=own_folder(), ignore_cleanup_errors=True)
        self.folder = Path(self._folder.name)
        self.files: list[Path] = []
        self.fields: dict[str, str] = {}
        self.names: dict[Path, str] = {}  # as the client calls them

    def close(self) -> None:
        """Delete the files."""
        self._folder.cleanup()

    def place(self, name: str) -> Path:
        """Where a file of that name goes.

        Raises:
            InputError: The name is not plain, or comes twice.
        """
        path = self.folder / plain_name(name, len(self.names) + 1, known_suffixes() | {".zip"})
        if path in self.files:
            raise InputError(f"{path.name} comes twice")
        self.files.append(path)
        self.names[path] = name[-_NAME:]
        return path

    def decoded(
        self, decoders: Decoders, fs_hz: float | None = None, units: Units | None = None, page: int | None = None
    ) -> Decoded:
        """The ECG in the files. For threads.

        Args:
            decoders: Who decodes them.
            fs_hz, units: Of samples, for a file that does not say.
            page: Of a document, from 1; None for the first that shows an ECG.

        Returns:
            Records or pictures, and what was odd.

        Raises:
            InputError, TooLargeError, BusyError: See `Decoders.decode`.
        """
        return decoders.decode(self.folder, self.files, fs_hz, units, page)


async def receive(request: Request, max_files: int = MAX_FILES) -> Upload:
    """Take in a multipart body.

    Args:
        request: Not read yet.
        max_files: In it.

    Raises:
        MediaTypeError: It is something else.
        TooLargeError, SlowBodyError: See `Gate`.
        StorageFullError: The temporary folder takes no more.
        HTTPException: It is broken.
    """
    try:
        return await _received(request, max_files)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.ENOENT):
            _LOG.error("uploads folder unusable error=%s", errno.errorcode[error.errno])
            raise problems.StorageFullError(
                "there is no room for uploads on this server", hint="try again later, or tell its owner"
            ) from None
        raise


async def _received(request: Request, max_files: int) -> Upload:
    upload = Upload()
    try:
        async with request.form(max_files=max_files, max_fields=_MAX_FIELDS, max_part_size=_MAX_FIELD_BYTES) as form:
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
    """A body as a model, checked.

    Args:
        model: What is expected.
        content: JSON, or the fields of a form.

    Returns:
        The model.

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
