"""Where a case base on Milvus is: one text that works wherever the folder of a case base does.

    milvus://127.0.0.1:19530/cases                the collection (or alias) "cases" of a server
    milvus://db.clinic.org:19530/cases?tenant=icu  one tenant's partition of it
    cases.db   milvus:///data/cases.db             Milvus Lite in this process, kept in a folder of its own

>>> MilvusAddress.parse("milvus://127.0.0.1:19530/cases?tenant=icu")
MilvusAddress(uri='http://127.0.0.1:19530', collection='cases', tenant='icu')
>>> is_milvus("cases.db"), is_milvus("cases"), is_milvus(Path("milvus://h:1/x"))
(True, False, True)
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs

from ecgkin.index.manifest import MANIFEST
from ecgkin.retrieval.errors import QueryError

SCHEME = "milvus:"
LITE_SUFFIX = ".db"
LITE_COLLECTION = "cases"
TENANT = "main"
# Milvus allows letters, digits and "_" in the names of collections and partitions.
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,199}")
PORT = 19530
"""Milvus's own, where an address names none."""
_HINT = "write milvus://host:port/name, milvus://host:port/name?tenant=x, or a path that ends in .db"


@dataclass(frozen=True)
class MilvusAddress:
    """A case base on Milvus.

    Attributes:
        uri: What pymilvus connects to: "http://host:port", or the path where Milvus Lite keeps its files.
        collection: Name or alias of the collection of cases.
        tenant: Name of the partition.
    """

    uri: str
    collection: str
    tenant: str = TENANT

    @property
    def is_lite(self) -> bool:
        """Milvus runs in this process."""
        return self.uri.endswith(LITE_SUFFIX)

    def __str__(self) -> str:
        tenant = "" if self.tenant == TENANT else f"?tenant={self.tenant}"
        if self.is_lite:
            return f"milvus://{Path(self.uri).resolve()}{tenant}"
        return f"milvus://{self.uri.partition('://')[2]}/{self.collection}{tenant}"

    @classmethod
    def parse(cls, text: str | Path) -> MilvusAddress:
        """The parts of an address.

        Args:
            text: As above. A `pathlib.Path` may have swallowed one of the slashes.

        Raises:
            QueryError: It is none.
        """
        body, _, options = str(text).partition("?")
        given = parse_qs(options, keep_blank_values=True, strict_parsing=True) if options else {}
        tenant = given.pop("tenant", [TENANT])[-1]
        if given or not _NAME.fullmatch(tenant):
            raise QueryError(f"case base address {text} has unknown or wrong options after the ?", hint=_HINT)
        if body.endswith(LITE_SUFFIX):
            return cls(_lite_path(body), LITE_COLLECTION, tenant)
        host, _, name = body.removeprefix(SCHEME).lstrip("/").partition("/")
        if host and ":" not in host:
            host = f"{host}:{PORT}"
        port = host.rpartition(":")[2]
        if not body.startswith(SCHEME) or not port.isdecimal() or not 0 < int(port) < 65536:
            raise QueryError(f"case base address {text} names no host and port", hint=_HINT)
        if not _NAME.fullmatch(name):
            raise QueryError(f"case base address {text}: {name!r} is no name (letters, digits and _)", hint=_HINT)
        return cls(f"http://{host}", name, tenant)


def is_milvus(path: object) -> bool:
    """Whether this names a case base on Milvus rather than a folder."""
    if not isinstance(path, str | Path):
        return False
    text = str(path).partition("?")[0]
    # What Milvus Lite calls its file is a folder, too; one with a manifest is ours.
    return text.startswith(SCHEME) or (text.endswith(LITE_SUFFIX) and not (Path(text) / MANIFEST).exists())


def _lite_path(body: str) -> str:
    if not body.startswith(SCHEME):
        return body
    rest = body.removeprefix(SCHEME)
    # milvus:///a/b.db, and what pathlib makes of it, milvus:/a/b.db.
    return "/" + rest.lstrip("/") if rest.startswith("/") else rest
