"""Philips' XLI packing of a lead: LZW with codes of 10 bits over what a straight line through two samples misses.

Own code: the package sierraecg unpacks the same byte by byte in Python (half a second a file, and without a bound on
what a forged chunk unpacks to). The tests hold it against that package.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ecgkin.retrieval.ecg.scp_huffman import integrate

_BITS = 10
_LAST_CODE = (1 << _BITS) - 2  # the highest one is the end
_OFFSET = 64  # what is added to each correction
MAX_SAMPLES = 2_000_000
"""Most samples of a lead: an hour at 500 Hz. A forged chunk may stand for hundreds of times its size."""


def xli_lead(chunk: bytes, correction: int) -> NDArray[np.int64] | None:
    """Samples of one lead.

    Args:
        chunk: Its packed bytes, without the 8 bytes in front.
        correction: What those say of the third sample: how far it lies below the line through the first two.

    Returns:
        Shape (n,), or None where the bytes are no such packing: fewer than two samples, more than `MAX_SAMPLES`,
        samples beyond 16 bits.
    """
    data = _lzw(chunk)
    if data is None or len(data) < 4:
        return None
    if len(data) % 2:
        data += b"\0"
    # All high bytes come first, then all low ones.
    high, low = np.frombuffer(data, dtype=np.uint8).reshape(2, -1)
    stored = ((high.astype(np.uint16) << 8) | low).view(np.int16).astype(np.int64)
    bends = np.concatenate([[correction], stored[2:-1] - _OFFSET])[: stored.size - 2]
    samples = integrate(np.concatenate([stored[:2], -bends]), 2)
    return samples if np.abs(samples).max() <= 32768 else None


def _lzw(chunk: bytes) -> bytes | None:
    """Unpacked bytes; None beyond the largest size or where a code comes before its word."""
    size = len(chunk) * 8 // _BITS
    bits = np.unpackbits(np.frombuffer(chunk, dtype=np.uint8))[: size * _BITS].reshape(size, _BITS)
    codes = bits @ (1 << np.arange(_BITS - 1, -1, -1))
    words: dict[int, bytes] = {code: bytes([code]) for code in range(256)}
    out: list[bytes] = []
    before, following, total = b"", 256, 0
    for code in codes.tolist():
        if code > _LAST_CODE:
            break
        word = words.get(code)
        if word is None:
            if not before:
                return None
            word = words[code] = before + before[:1]
        if before and following <= _LAST_CODE:
            words[following] = before + word[:1]
            following += 1
        total += len(word)
        if total > 2 * MAX_SAMPLES:
            return None
        out.append(word)
        before = word
    return b"".join(out)
