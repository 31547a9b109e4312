"""Case bases: `create_base`, `open_base` and `base_exists` choose the kind, a folder or Milvus, by the address."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ecgkin.index.base import CaseBase
    from ecgkin.retrieval.encoders.base import Encoder

__all__ = ["base_exists", "create_base", "is_milvus", "open_base"]


def is_milvus(address: object) -> bool:
    """Whether an address names a case base on Milvus ("milvus://...", "*.db") rather than a folder."""
    from ecgkin.index.milvus import address as milvus

    return milvus.is_milvus(address)


def create_base(
    address: str | Path,
    encoder_name: str,
    fingerprint: str,
    dim: int,
    *,
    drawing_version: str = "",
    preprocessing: Mapping[str, Any] | None = None,
    kind: str = "auto",
) -> CaseBase:
    """Make an empty case base and open it.

    Args:
        address: A folder, not there yet or empty; or an address on Milvus (`ecgkin.index.milvus.address`).
        encoder_name: Name of the encoder whose vectors will come.
        fingerprint: Its fingerprint.
        dim: Length of its vectors, >= 1.
        drawing_version: Version of the drawing code whose pictures the encoder sees.
        preprocessing: How those pictures are prepared, JSON values.
        kind: Kind of index (`engines.faiss.KINDS`, `milvus.table.INDEXES`), or "auto" to choose by size.

    Returns:
        The open base.

    Raises:
        CaseBaseError: Something is there already, or it cannot be written.
        EncoderMismatchError: A collection of this name on Milvus holds vectors of another encoder.
        QueryError: dim or kind is out of range, or the address cannot be read.
    """
    from ecgkin.index.manifest import Manifest
    from ecgkin.retrieval.errors import QueryError

    if dim < 1:
        raise QueryError(f"dim is {dim} (expected >= 1)")
    plain = json.loads(json.dumps(dict(preprocessing or {})))
    manifest = Manifest(
        base_id=uuid.uuid4().hex, encoder_name=encoder_name, fingerprint=fingerprint, dim=dim,
        drawing_version=drawing_version, preprocessing=plain,
    )  # fmt: skip
    if is_milvus(address):
        from ecgkin.index.milvus.address import MilvusAddress
        from ecgkin.index.milvus.base import MilvusBase

        return MilvusBase.make(MilvusAddress.parse(address), manifest, kind)
    from ecgkin.index.folder.base import FolderBase

    return FolderBase.make(Path(address), manifest, kind)


def open_base(address: str | Path, encoder: Encoder | None = None, *, device: str = "auto") -> CaseBase:
    """Open a case base.

    Args:
        address: Its folder, or its address on Milvus. A link or an alias is followed once, here: the base stays the
            one that it was, wherever the name may point later.
        encoder: If given, it must be the one that the base was built with.
        device: Where a flat index of a folder is searched: "auto", "cpu", "cuda".

    Returns:
        The open base; close it, or use `with`.

    Raises:
        CaseBaseError: There is none.
        ManifestError: Its files do not belong together, are cut short or were edited.
        EncoderMismatchError: It was built with another encoder.
        QueryError: The address cannot be read.
    """
    base: CaseBase
    if is_milvus(address):
        from ecgkin.index.milvus.address import MilvusAddress
        from ecgkin.index.milvus.base import MilvusBase

        base = MilvusBase(MilvusAddress.parse(address))
    else:
        from ecgkin.index.folder.base import FolderBase

        base = FolderBase.at(address, device=device)
    if encoder is not None:
        try:
            base.check_encoder(encoder)
        except BaseException:
            base.close()
            raise
    return base


def base_exists(address: str | Path) -> bool:
    """Whether something is there already: a folder that is not empty, a partition of a collection on Milvus.

    Raises:
        CaseBaseError: The Milvus server does not answer.
        QueryError: The address cannot be read.
    """
    if is_milvus(address):
        from ecgkin.index.milvus.address import MilvusAddress
        from ecgkin.index.milvus.base import MilvusBase

        return MilvusBase.exists(MilvusAddress.parse(address))
    folder = Path(address)
    return folder.exists() and not (folder.is_dir() and not any(folder.iterdir()))
