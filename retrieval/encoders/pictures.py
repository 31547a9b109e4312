"""Pictures of ECGs as vectors, by what an encoder looks at: the page that was read, its signals, or the picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ecgkin.retrieval.encoders.base import Encoder
from ecgkin.retrieval.encoders.space import Vectors
from ecgkin.retrieval.errors import ImageError

if TYPE_CHECKING:
    from ecgkin.retrieval.ecg.page.printed import PrintedEcg


def reads_pages(encoder: Encoder) -> bool:
    """Whether a picture has to be read before this encoder can look at it: as a page, or as signals."""
    return hasattr(encoder, "encode_printed") or bool(getattr(encoder, "reads_signals", False))


def encode_printed(encoder: Encoder, printed: Sequence[PrintedEcg]) -> Vectors:
    """Pictures that were read -> unit rows (n, dim).

    An encoder with `encode_printed` is given all of it, one that `reads_signals` (a published system) the signals that
    were read off them, any other the pictures themselves.

    Args:
        encoder: Any.
        printed: What was read of each picture.

    Returns:
        Unit rows, (n, dim).

    Raises:
        ImageError: The encoder compares signals, and those of a page could not be read.
    """
    whole: Any = encoder
    if not printed:
        return np.empty((0, encoder.dim), dtype=np.float32)
    if hasattr(encoder, "encode_printed"):
        return np.asarray(whole.encode_printed(printed), dtype=np.float32)
    if not getattr(encoder, "reads_signals", False):
        return np.asarray(encoder.encode_images([one.picture for one in printed]), dtype=np.float32)
    records = [one.record for one in printed if one.record is not None]
    if len(records) < len(printed):
        raise ImageError(
            f"the curves of this page could not be read, and {encoder.name} compares signals",
            hint="give a sharper picture, or the recording",
        )
    return np.asarray(encoder.encode_records(records), dtype=np.float32)
