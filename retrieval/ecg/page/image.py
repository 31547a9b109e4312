"""Any picture as RGB bytes: paths, encoded bytes, Pillow images and arrays, with every refusal explained."""

from __future__ import annotations

import io
import re
import warnings as python_warnings
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from ecgkin.retrieval.ecg.kinds import HEAD_BYTES, PILLOW_FORMATS, Kind, kind_of
from ecgkin.retrieval.ecg.page.png import plain_png
from ecgkin.retrieval.errors import ImageError, why

ByteImage = NDArray[np.uint8]

# A page scanned at 600 dpi has 35 Mpx, the largest phone sensors 200 Mpx (which their cameras bin to 50).
LARGEST_MPX = 100.0
_LEAST_PX = 48
_ORIENTATION = 0x0112  # EXIF tag
LARGEST_FILE = 512 << 20  # bytes: 100 Mpx of 16-bit RGB without compression are 600 MB, a scan is never near
_MOSTLY_VISIBLE, _LIGHT = 0.6, 170  # share of a picture that is not transparent; of 255
_STRIP_BYTES = 1 << 19
MAX_PAGES = 500  # of a TIFF file or an animation, as of a PDF document
_SUBFILE, _REDUCED = 254, 1  # TIFF tag and bit that mark a page as the thumbnail of another one


def open_image(stream: BinaryIO, name: str = "the picture") -> Image.Image:
    """The one door through which the project opens picture files: header read, nothing decoded yet.

    What may decode a file is decided by its content, from a list of the kinds that ECG pictures come in
    (`kinds.PILLOW_FORMATS`). Left out are formats whose decoders do more than that (PostScript runs a program, icons
    decode before their size is known).

    Args:
        stream: Seekable; stays open as long as the picture is used.
        name: For messages.

    Returns:
        A picture whose size is known. Its pixel count is not judged here (`load_image` does).

    Raises:
        ImageError: It is none of these kinds, or its header is broken, or states more pixels than Pillow bears.
    """
    head = stream.read(HEAD_BYTES)
    stream.seek(0)
    kind = kind_of(head)
    allowed = PILLOW_FORMATS.get(kind)
    if allowed is None:
        seen = kind.words() if kind not in (Kind.TEXT, Kind.BINARY) else _describe(head[:16])
        raise ImageError(
            f"{name} is not a picture that is read here: it begins with {seen}",
            hint="give a PNG, JPEG, TIFF, WebP, GIF, BMP, HEIC or AVIF file",
        )
    if kind is Kind.HEIC and not _heif_registered():
        raise ImageError(f"{name} is a HEIC picture, and pillow-heif is not installed", hint="save it as JPEG")
    try:
        # Pillow only warns between one and two times its own limit; the header is judged here, before any decoding.
        with python_warnings.catch_warnings():
            python_warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            return Image.open(stream, formats=allowed)
    except UnidentifiedImageError as error:
        raise ImageError(
            f"{name} begins as {kind.words()}, but its header is broken", hint="export the picture again"
        ) from error
    except Image.DecompressionBombError as error:
        pixels = re.search(r"\d{6,20}", str(error))  # Pillow refuses before it gives the picture's size
        found = f"{int(pixels.group()) / 1e6:.0f}" if pixels else "far too many"
        raise ImageError(
            f"{name} has {found} megapixels (expected at most {LARGEST_MPX:.0f})",
            hint="reduce it first; a page of 2200 x 1700 px is plenty",
        ) from error
    except Exception as error:  # Pillow's plugins raise whatever they stumble over
        text = f"{type(error).__name__}: {error}"[:200]
        raise ImageError(f"{name} cannot be opened as a picture: {text}", hint="export the picture again") from error


@cache
def _heif_registered() -> bool:
    """Whether Pillow can read HEIC, by the package pillow-heif."""
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        return False
    register_heif_opener(thumbnails=False)
    return True


def count_pages(stream: BinaryIO, name: str = "the picture") -> int:
    """Pages of a picture file: those of a TIFF file without its thumbnails, frames of an animation or a sequence.

    Args:
        stream: The file, opened for reading bytes.
        name: What to call it in messages.

    Returns:
        How many, at most `MAX_PAGES`; 1 for pictures of other kinds.

    Raises:
        ImageError: As `open_image`.
    """
    with open_image(stream, name) as picture:
        return len(_pages(picture, stream))


def _pages(picture: Image.Image, stream: BinaryIO) -> list[int]:
    """Frames that are pages; the picture stands where it stood afterwards."""
    if picture.format == "GIF":  # Pillow would walk through them all, however many there are
        at = stream.tell()
        found = list(range(_gif_frames(stream)))
        stream.seek(at)
        return found or [0]
    if picture.format in ("PNG", "WEBP", "AVIF", "HEIF"):
        first = picture.tell()  # HEIC: the one that is shown need not stand first
        others = range(min(int(getattr(picture, "n_frames", 1)), MAX_PAGES))
        return [first, *(frame for frame in others if frame != first)]
    if picture.format != "TIFF":
        return [0]
    found = []
    try:
        for frame in range(MAX_PAGES):
            picture.seek(frame)
            if not int(picture.tag_v2.get(_SUBFILE, 0) or 0) & _REDUCED:  # type: ignore[attr-defined]
                found.append(frame)
    except (EOFError, OSError, ValueError, TypeError, KeyError, SyntaxError):  # the end, or a broken page
        pass
    picture.seek(0)
    return found or [0]


def _gif_frames(stream: BinaryIO) -> int:
    """Images of a GIF file, at most `MAX_PAGES`: its blocks are stepped over, nothing is decoded."""
    stream.seek(10)
    packed = stream.read(3)[:1]
    stream.seek(13 + _colours(packed))
    frames = 0
    while frames < MAX_PAGES:
        kind = stream.read(1)
        if kind == b"!":
            stream.read(1)
        elif kind == b",":
            described = stream.read(9)
            stream.seek(_colours(described[8:]) + 1, io.SEEK_CUR)
            frames += len(described) == 9
        else:  # the end, or what should not be there
            break
        while size := stream.read(1):
            if size == b"\0":
                break
            stream.seek(size[0], io.SEEK_CUR)
    return frames


def _colours(packed: bytes) -> int:
    """Bytes of the table of colours that a field of a GIF file announces."""
    return 3 << ((packed[0] & 7) + 1) if packed and packed[0] & 0x80 else 0


def load_image(source: str | Path | bytes | Image.Image | NDArray[Any], page: int = 1) -> ByteImage:
    """A picture as RGB bytes, upright by its EXIF tag.

    Args:
        source: Path, encoded bytes, PIL image, or array (h, w), (h, w, 1), (h, w, 3) or (h, w, 4); arrays of floats
            are taken as 0..1, of 16 bits as 0..65535.
        page: Of a TIFF file of several pages, or frame of an animation, from 1.

    Returns:
        uint8 (h, w, 3). The source is never modified; transparent parts lie on white, under light lines on black.

    Raises:
        ImageError: No picture, a broken one, or one of more than `LARGEST_MPX` that cannot be decoded smaller.
    """
    if isinstance(source, np.ndarray):
        return _from_array(source)
    if isinstance(source, Image.Image):
        return _from_pil(source, "the picture")
    if isinstance(source, (bytes, bytearray)):
        name, size, raw = "the picture", len(source), bytes(source)
    else:
        path = Path(source)
        name = str(path)
        try:
            if path.exists() and not path.is_file():
                raise ImageError(f"{name} is a folder or a device (expected a picture)", hint="name one file")
            size = path.stat().st_size
            if size > LARGEST_FILE:
                raise ImageError(
                    f"{name} has {size / 2**20:.0f} MiB (expected at most {LARGEST_FILE >> 20})",
                    hint="export the page smaller",
                )
            raw = path.read_bytes()
        except OSError as error:
            raise ImageError(
                f"{name} cannot be read: {why(error)}", hint="check the path and its permissions"
            ) from error
    if size == 0:
        raise ImageError(f"{name} is empty (0 bytes)", hint="copy or export the picture again")
    if page == 1 and (plain := plain_png(raw, _LEAST_PX, LARGEST_MPX * 1e6)) is not None:
        return plain
    opened = io.BytesIO(raw)
    picture = open_image(opened, name)
    if page != 1:
        pages = _pages(picture, opened)
        if not 1 <= page <= len(pages):
            raise ImageError(f"page is {page} ({name} has {len(pages)})")
        try:
            picture.seek(pages[page - 1])
        except Exception as error:  # Pillow's plugins raise whatever they stumble over
            raise ImageError(f"page {page} of {name} is damaged: {error}"[:300], hint="export it again") from error
    return _from_pil(picture, name)


def _describe(head: bytes) -> str:
    if head.startswith(b"%PDF"):
        return "%PDF (a PDF document)"
    text = head.decode("utf-8", errors="replace")
    return (
        f"the text {text!r}" if text.isprintable() or text.strip().isprintable() else f"the bytes {head[:8].hex(' ')}"
    )


def _from_pil(picture: Image.Image, name: str) -> ByteImage:
    width, height = picture.size
    if width * height > LARGEST_MPX * 1e6 and picture.format == "JPEG":
        # JPEG decodes at 1/2, 1/4 or 1/8 without ever holding the full picture.
        picture.draft(
            "RGB", (width // 8, height // 8) if width * height > 16 * LARGEST_MPX * 1e6 else (width // 4, height // 4)
        )
        width, height = picture.size
    if width * height > LARGEST_MPX * 1e6:
        raise ImageError(
            f"{name} has {width} x {height} px = {width * height / 1e6:.0f} megapixels "
            f"(expected at most {LARGEST_MPX:.0f})",
            hint="reduce it first; a page of 2200 x 1700 px is plenty",
        )
    if min(width, height) < _LEAST_PX:
        raise ImageError(
            f"{name} has {width} x {height} px (expected at least {_LEAST_PX} px each way)", hint="use a larger picture"
        )
    try:
        if picture.getexif().get(_ORIENTATION, 1) != 1:  # `exif_transpose` copies upright pictures as well
            picture = ImageOps.exif_transpose(picture)
        if picture.mode in ("I;16", "I;16B", "I;16L", "I", "F"):
            return _from_array(np.asarray(picture))
        if picture.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in picture.info:
            layered = picture.convert("RGBA")
            ground = Image.new("RGBA", picture.size, _ground_of(np.asarray(layered)))
            picture = Image.alpha_composite(ground, layered)
        return _pixels(picture if picture.mode == "RGB" else picture.convert("RGB"))
    except Exception as error:  # Pillow's plugins raise whatever they stumble over
        raise ImageError(
            f"{name} breaks off or is damaged: {error}", hint="copy or export the picture again"
        ) from error


def _pixels(picture: Image.Image) -> ByteImage:
    """The bytes of an RGB picture, (h, w, 3).

    Strip by strip: Pillow hands large pictures out in many small pieces and joins them, which costs four times as much.
    """
    width, height = picture.size
    if width * height * 3 <= _STRIP_BYTES:
        return np.asarray(picture, dtype=np.uint8)
    picture.load()
    out = np.empty((height, width, 3), dtype=np.uint8)
    step = max(1, _STRIP_BYTES // (width * 3))
    for top in range(0, height, step):
        below = min(height, top + step)
        out[top:below] = np.asarray(picture.crop((0, top, width, below)))
    return out


def _ground_of(rgba: ByteImage) -> str:
    """What a transparent picture was drawn to lie on: black where what is visible is nearly all light."""
    visible = rgba[rgba[..., 3] > 127]
    if not visible.size or len(visible) > _MOSTLY_VISIBLE * rgba.shape[0] * rgba.shape[1]:
        return "white"
    return "black" if float(np.median(visible[:, :3].max(axis=1))) > _LIGHT else "white"


def _from_array(array: NDArray[Any]) -> ByteImage:
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)) or min(array.shape[:2]) < 48:
        raise ImageError(
            f"array of shape {array.shape} is no picture "
            "(expected (h, w), (h, w, 3) or (h, w, 4), 48 px or more each way)",
            hint="pass RGB or gray pixels, rows first",
        )
    if array.shape[0] * array.shape[1] > LARGEST_MPX * 1e6:
        raise ImageError(f"array of shape {array.shape} exceeds {LARGEST_MPX:.0f} megapixels", hint="reduce it first")
    if array.dtype == np.bool_:
        array = array.astype(np.uint8) * np.uint8(255)
    elif array.dtype != np.uint8:
        values = np.nan_to_num(array.astype(np.float32))
        largest = 1.0 if array.dtype.kind == "f" and values.max() <= 1.0 else 65535.0 if values.max() > 255 else 255.0
        array = np.clip(values * (255.0 / largest), 0, 255).astype(np.uint8)
    if array.ndim == 2 or array.shape[2] == 1:
        return np.repeat(array.reshape(*array.shape[:2], 1), 3, axis=2)
    if array.shape[2] == 4:
        alpha = array[..., 3:].astype(np.uint16)
        ground = 255 if _ground_of(np.asarray(array, dtype=np.uint8)) == "white" else 0
        return ((array[..., :3] * alpha + ground * (255 - alpha)) // 255).astype(np.uint8)
    return np.asarray(array, dtype=np.uint8)
