"""Files that an agent names: paths of this machine, as far as they are let in, or their content in the call."""

from __future__ import annotations

import base64
import binascii
import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote

from ecgkin.retrieval.errors import InputError, QueryError

_HEAD = re.compile(r"data:[^,]*,", re.ASCII)
_LONGEST_HEAD = 1000
_SUFFIX = re.compile(r"\.[A-Za-z0-9]{1,8}\Z")


class Files:
    """What may be opened.

    Args:
        roots: Folders below which paths may lie; None: everywhere that the process may read.
        max_bytes: Of one file.
    """

    def __init__(self, roots: Sequence[Path] | None, max_bytes: int) -> None:
        self._roots = None if roots is None else tuple(root.resolve() for root in roots)
        self._max_bytes = max_bytes

    @contextmanager
    def opened(self, file: str) -> Iterator[Path]:
        """The path of a file for as long as this lasts.

        Args:
            file: A path, or "data:;name=ecg.xml;base64,..." with the content.

        Raises:
            InputError: It is not let in, too large, or no base64.
        """
        if not file.startswith("data:"):
            yield self._let_in(Path(file).expanduser())
            return
        name, content = self._decoded(file)
        suffix = _SUFFIX.search(name)
        with tempfile.TemporaryDirectory(prefix="ecgkin-mcp-") as folder:
            path = Path(folder) / f"ecg{suffix.group().lower() if suffix else ''}"
            path.write_bytes(content)
            yield path

    def _let_in(self, path: Path) -> Path:
        if self._roots is not None and not any(path.resolve().is_relative_to(root) for root in self._roots):
            hint = "send the content: data:;name=ecg.xml;base64,... (or start the server with --files FOLDER)"
            raise QueryError("files at this path are not open to agents", hint=hint)
        if not path.is_file():
            hint = "send the content: data:;name=ecg.xml;base64,..., or a path as the server's machine has it"
            raise InputError(f"{str(path)[:300]!r} is no file of the server's machine", hint=hint)
        size = path.stat().st_size
        if size > self._max_bytes:
            raise InputError(f"the file has {size} bytes (at most {self._max_bytes})")
        return path

    def _decoded(self, text: str) -> tuple[str, bytes]:
        head = _HEAD.match(text[:_LONGEST_HEAD])
        if head is None or not head.group()[:-1].endswith(";base64"):
            raise InputError("the file is no data URI in base64", hint="data:;name=ecg.xml;base64,...")
        body = text[head.end() :]
        if len(body) * 3 // 4 > self._max_bytes + 3:
            raise InputError(f"the file has about {len(body) * 3 // 4} bytes (at most {self._max_bytes})")
        try:
            content = base64.b64decode(body, validate=True)
        except (binascii.Error, ValueError):
            raise InputError("the file's content is no base64") from None
        parameters = dict(part.partition("=")[::2] for part in head.group()[5:-1].split(";"))
        return unquote(parameters.get("name", "")), content
