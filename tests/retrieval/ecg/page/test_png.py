"""Plain PNG files are read as Pillow reads them; whatever is not plain, or not whole, is left to Pillow."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from ecgkin.retrieval.ecg.page.image import load_image
from ecgkin.retrieval.ecg.page.png import plain_png
from ecgkin.retrieval.errors import ImageError


def encoded(picture: Image.Image, **options: Any) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, "PNG", **options)
    return stream.getvalue()


def noise(mode: str = "RGB", size: tuple[int, int] = (64, 50), seed: int = 0) -> Image.Image:
    planes = len(Image.new(mode, (1, 1)).getbands())
    values = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], planes), dtype=np.uint8)
    return Image.fromarray(values[..., 0] if planes == 1 else values, mode)


def parts(raw: bytes) -> list[tuple[bytes, bytes]]:
    found, at = [], 8
    while at < len(raw):
        (length,) = struct.unpack(">I", raw[at : at + 4])
        found.append((raw[at + 4 : at + 8], raw[at + 8 : at + 8 + length]))
        at += 12 + length
    return found


def joined(chunks: list[tuple[bytes, bytes]]) -> bytes:
    body = [struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(body)


def plain(raw: bytes) -> Any:
    return plain_png(raw, 48, 1e6)


@given(
    mode=st.sampled_from(["RGB", "L"]), width=st.integers(48, 90), height=st.integers(48, 90),
    seed=st.integers(0, 99), level=st.integers(0, 9), smooth=st.booleans(),
)  # fmt: skip
def test_plain_files_are_read_as_pillow_reads_them(
    mode: str, width: int, height: int, seed: int, level: int, smooth: bool
) -> None:
    picture = noise(mode, (width, height), seed)
    if smooth:  # other filters of lines
        picture = picture.resize((9, 9)).resize((width, height))
    raw = encoded(picture, compress_level=level, dpi=(300, 300))
    expected = np.asarray(picture.convert("RGB"))
    assert np.array_equal(plain(raw), expected)
    assert np.array_equal(load_image(raw), expected)


def test_colours_are_not_corrected() -> None:
    chunks = parts(encoded(noise()))
    told = [chunks[0], (b"gAMA", struct.pack(">I", 45455)), (b"sRGB", b"\0"), (b"tEXt", b"Title\0ECG"), *chunks[1:]]
    assert np.array_equal(plain(joined(told)), np.asarray(noise()))


def test_what_is_not_plain_is_left_to_pillow() -> None:
    text = PngImagePlugin.PngInfo()
    text.add_text("Comment", "x" * 500, zip=True)
    turned = Image.Exif()
    turned[0x0112] = 6
    sixteen = Image.fromarray(np.full((50, 64), 40000, np.uint16))
    for raw in (
        encoded(noise("RGBA")), encoded(noise("LA")), encoded(noise().quantize(16)), encoded(sixteen),
        encoded(noise(), transparency=(1, 2, 3)), encoded(noise(), pnginfo=text), encoded(noise(), exif=turned),
        encoded(noise(size=(40, 60))), b"", b"\x89PNG\r\n\x1a\n", b"GIF89a",
    ):  # fmt: skip
        assert plain(raw) is None
    assert load_image(encoded(noise(), exif=turned)).shape == (64, 50, 3)
    assert plain_png(encoded(noise()), 48, 64 * 50 - 1) is None


@given(at=st.integers(8, 4000), bit=st.integers(0, 7))
def test_a_damaged_file_is_never_taken_for_a_whole_one(at: int, bit: int) -> None:
    raw = bytearray(encoded(noise()))
    raw[at % len(raw)] ^= 1 << bit
    assert plain(bytes(raw)) is None


@given(length=st.integers(0, 9000))
def test_nor_is_a_file_that_breaks_off(length: int) -> None:
    raw = encoded(noise())
    assert plain(raw[: min(length, len(raw) - 1)]) is None
    assert plain(raw + b"more") is None


@pytest.mark.parametrize("change", [lambda d: d[: len(d) // 2], lambda d: b"", lambda d: zlib.compress(b"\0" * 500)])
def test_data_that_are_damaged_under_a_sound_checksum(change: Any) -> None:
    raw = joined([(k, change(d) if k == b"IDAT" else d) for k, d in parts(encoded(noise()))])
    assert plain(raw) is None
    with pytest.raises(ImageError):
        load_image(raw)
