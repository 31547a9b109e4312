"""Which columns of a vector mean what.

What a picture says is three maps of the same features, each of unit length before it gets its share: the joint map,
aligned with the signal network; the identity map, which tells records apart; and the label map, which puts alike label
sets together. Words know nothing of identity: their vector is zero there and free in the other two.

An encoder with a signal network has its columns behind these, with a share of their own. What has no samples - words,
or a page whose curves could not be followed - is given the place there that its own columns let expect
(`samples.Expected`): zeros would cost it much of its similarity to every case.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ecgkin.retrieval.encoders.model import Architecture

Vectors = NDArray[np.float32]


def join_parts(joint: Vectors, appended: Vectors, architecture: Architecture) -> Vectors:
    """Put a picture's vector together.

    Args:
        joint: Any length, (n, `architecture.dim`).
        appended: Identity and label map in their shares (`IdentityHead`), any length, (n, `identity_dim`).
        architecture: Gives the shares.

    Returns:
        Unit rows, (n, dim + identity_dim).
    """
    own, rest = np.sqrt(architecture.identity_share), np.sqrt(1 - architecture.identity_share)
    return np.concatenate([rest * unit(joint), own * unit(appended)], axis=1).astype(np.float32)


def what_words_meet(vectors: Vectors, architecture: Architecture) -> Vectors:
    """The columns of pictures' vectors that words have as well: (n, dim + identity_dim) -> (n, text_dim).

    Args:
        vectors: Rows of pictures, (n, dim + identity_dim).
        architecture: Says which columns are which.

    Returns:
        The columns that the text tower has as well, (n, text_dim).
    """
    return np.delete(vectors, architecture.identity_columns, axis=1)


def place_words(words: Vectors, architecture: Architecture) -> Vectors:
    """The text tower's output (n, text_dim) -> unit rows (n, dim + identity_dim), zero where identity is.

    Args:
        words: Output of the text tower, (n, text_dim).
        architecture: Says which columns are which.

    Returns:
        Unit rows (n, dim + identity_dim), zero in the identity columns.
    """
    out = np.zeros((len(words), architecture.dim + architecture.identity_dim), dtype=np.float32)
    keep = np.ones(out.shape[1], dtype=bool)
    keep[architecture.identity_columns] = False
    out[:, keep] = unit(words)
    return out


def join_signals(image: Vectors, signal: Vectors, architecture: Architecture) -> Vectors:
    """Put what a picture or words say and what the samples say into one vector.

    Args:
        image: Any length, (n, image_dim).
        signal: Any length, (n, signal_dim).
        architecture: Gives the share.

    Returns:
        Unit rows, (n, vector_dim).
    """
    share = architecture.signal_share
    joined = [np.sqrt(1 - share) * unit(image), np.sqrt(share) * unit(signal)]
    return np.concatenate(joined, axis=1).astype(np.float32)


def unit(rows: Vectors) -> Vectors:
    """Rows at length 1; rows of zeros stay."""
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.maximum(norms, 1e-12), dtype=np.float32)
