"""Kinds of files: told by content, worded in two languages, and nothing that decodes more than a picture is opened."""

from __future__ import annotations

import ast
import contextlib
import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, features

from ecgkin.retrieval.ecg import kinds
from ecgkin.retrieval.ecg.formats.pictures import is_picture, open_ecg, open_picture, page_count_of, picture_notes
from ecgkin.retrieval.ecg.kinds import Kind, kind_of
from ecgkin.retrieval.ecg.page.image import MAX_PAGES, load_image, open_image
from ecgkin.retrieval.errors import ImageError


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"", Kind.EMPTY),
        (b"\x89PNG\r\n\x1a\n", Kind.PNG),
        (b"\xff\xd8\xff\xe0", Kind.JPEG),
        (b"GIF89a", Kind.GIF),
        (b"II*\0", Kind.TIFF),
        (b"MM\0*", Kind.TIFF),
        (b"RIFF\0\0\0\0WEBPVP8 ", Kind.WEBP),
        (b"BM\x10\0\0\0\0\0\0\0", Kind.BMP),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", Kind.HEIC),
        (b"\0\0\0\x1cftypmif1\0\0\0\0mif1avifmiaf", Kind.AVIF),
        (b"\0\0\0\x20ftypavif\0\0\0\0avifmif1", Kind.AVIF),
        (b"\0\0\0\x18ftypmp42\0\0\0\0isommp42", Kind.FILM),
        (b"\0\0\1\0\1\0", Kind.ICO),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", Kind.EPS),
        (b"<svg xmlns='http://www.w3.org/2000/svg'>", Kind.SVG),
        (b"%PDF-1.4", Kind.PDF),
        (b"X-Mail: 1\r\n\r\n%PDF-1.4\n%\xe2\xe3", Kind.PDF),
        (bytes(128) + b"DICM", Kind.DICOM),
        (b"@ MFR Standard 12 leads ECG", Kind.MFER),
        (b"0       X X X X", Kind.EDF),
        (b"\xffBIOSEMI", Kind.BDF),
        (b"ISHNE1.0", Kind.ISHNE),
        (b"PK\x03\x04", Kind.ZIP),
        (b"<!DOCTYPE html><html>", Kind.HTML),
        ("<?xml version='1.0'?><a/>".encode("utf-16"), Kind.XML),
        (b'{"data": 1}', Kind.JSON),
        (b"I,II\n1,2\n", Kind.TEXT),
        (b"\x00\x01\x02\x03", Kind.BINARY),
    ],
)
def test_content_tells_the_kind(head: bytes, kind: Kind) -> None:
    assert kind_of(head) is kind


def test_every_kind_has_words_in_both_languages() -> None:
    for language in ("en", "de"):
        words = [kind.words(language) for kind in Kind]
        assert all(words) and len(set(words)) == len(words)
    assert Kind.PDF.words("de") == "ein PDF-Dokument"


def test_no_code_compares_with_the_words_of_a_kind(project_root: Path) -> None:
    """Code branches on `Kind`: no string in a comparison is one of the wordings."""
    words = {text for pair in kinds._WORDS.values() for text in pair} - {"XML", "HTML", "JSON", "Text", "text"}
    for folder in ("retrieval", "index", "generation", "ui"):
        for path in (project_root / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Compare):
                    texts = {n.value for n in ast.walk(node) if isinstance(n, ast.Constant)}
                    assert not texts & words, f"{path}:{node.lineno}"


def test_every_picture_is_opened_through_one_door(project_root: Path) -> None:
    """`Image.open` stands in `page/image.py`, and where it stands it names the formats."""
    found = []
    for folder in ("retrieval", "index", "generation", "ui"):
        for path in (project_root / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call) and ast.unparse(node.func) in (
                    "Image.open",
                    "Pillow.open",
                    "PIL.Image.open",
                ):
                    assert "formats" in {keyword.arg for keyword in node.keywords}, f"{path}:{node.lineno}"
                    found.append(path.relative_to(project_root).as_posix())
    assert "retrieval/ecg/page/image.py" in found


# ---------------------------------------------------------------- pictures


def page(height: int = 60, width: int = 90) -> Image.Image:
    """A smooth picture, so that lossy formats keep it."""
    y, x = np.mgrid[:height, :width]
    return Image.fromarray(np.stack([x * 2, y * 3, 128 + 0 * x], axis=2).astype(np.uint8))


def encoded(kind: str, picture: Image.Image, **more: object) -> bytes:
    stream = io.BytesIO()
    if kind == "HEIF":
        pillow_heif = pytest.importorskip("pillow_heif")
        pillow_heif.from_pillow(picture).save(stream, quality=95)
    else:
        picture.save(stream, kind, **more)
    return stream.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP", "GIF", "BMP", "HEIF", "AVIF"])
def test_pictures_of_every_kind_come_as_they_were(tmp_path: Path, kind: str) -> None:
    """Under a name that says nothing: content decides."""
    data = encoded(kind, page())
    (tmp_path / "page").write_bytes(data)
    assert is_picture(tmp_path / "page")
    for source in (data, tmp_path / "page"):
        off = np.abs(load_image(source).astype(int) - np.asarray(page()).astype(int))
        assert off.mean() < 5, kind


ICO = struct.pack("<3H4B2H2I", 0, 1, 1, 0, 0, 0, 0, 1, 32, 40, 22) + bytes(40)
EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 100 100\n{} loop\n"


@pytest.mark.parametrize("data", [ICO, EPS, b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"8BPS" + bytes(40)])
def test_decoders_that_do_more_than_decode_are_not_asked(
    tmp_path: Path, data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "open", lambda *args, **more: pytest.fail("a decoder was asked"))
    (tmp_path / "page.png").write_bytes(data)
    with pytest.raises(ImageError, match="is not a picture that is read here"):
        open_picture(tmp_path / "page.png")


def test_pixels_are_counted_before_they_are_decoded() -> None:
    header = b"IHDR" + struct.pack(">2I5B", 20000, 20000, 8, 0, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    png += struct.pack(">I", 1000) + b"IDAT" + bytes(1004)
    with pytest.raises(ImageError, match="megapixels"):
        load_image(png)
    with open_image(io.BytesIO(encoded("PNG", page()))) as picture:
        assert picture.size == (90, 60)


def test_pages_of_a_tiff_file(tmp_path: Path) -> None:
    """Each page can be opened, and what is read of several is said; thumbnails are no pages."""
    first, second = page(), Image.fromarray(255 - np.asarray(page()))
    small = page(50, 50)
    file = tmp_path / "scan.tif"
    small.encoderinfo = {"tiffinfo": {254: 1}}
    first.save(file, save_all=True, append_images=[small, second])
    assert page_count_of(file) == 2
    assert np.array_equal(np.asarray(open_picture(file, 2)), np.asarray(second))
    opened = open_ecg(file)
    assert isinstance(opened, Image.Image) and picture_notes(opened) == ("the document has 2 pages: page 1 is read",)
    with pytest.raises(ImageError, match=r"page is 3, but scan\.tif has 2 pages"):
        open_picture(file, 3)


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "AVIF", "HEIF"])
def test_frames_of_an_animation_are_pages(kind: str, tmp_path: Path) -> None:
    """The first is read and the others are said to be there; each can be asked for; there is no fourth of three."""
    if kind == "HEIF":
        pytest.importorskip("pillow_heif").register_heif_opener()
    elif not features.check("avif") and kind == "AVIF":
        pytest.skip("this Pillow has no AVIF")
    frames = [page(), Image.fromarray(255 - np.asarray(page())), Image.new("RGB", (90, 60), "red")]
    file = tmp_path / f"sweep.{kind.lower()}"
    frames[0].save(file, kind, save_all=True, append_images=frames[1:], **({"duration": 100} if kind != "HEIF" else {}))
    assert page_count_of(file) == 3
    opened = open_ecg(file)
    assert isinstance(opened, Image.Image) and picture_notes(opened) == ("the document has 3 pages: page 1 is read",)
    for number, frame in enumerate(frames, 1):
        found = np.asarray(open_picture(file, number), dtype=int)
        assert np.abs(found - np.asarray(frame)).mean() < 12, number
    with pytest.raises(ImageError, match="page is 4, but"):
        open_picture(file, 4)
    frames[1].save(file, kind)
    assert page_count_of(file) == 1


def test_frames_are_counted_within_bounds(tmp_path: Path) -> None:
    """A GIF file of very many frames, an APNG file that announces more than it holds, files that break off."""
    out = io.BytesIO()
    page().convert("P").save(out, "GIF")
    whole = out.getvalue()
    at = whole.index(b",\0\0\0\0")
    (tmp_path / "many.gif").write_bytes(whole[:at] + whole[at:-1] * 2000 + b";")
    assert page_count_of(tmp_path / "many.gif") == MAX_PAGES
    for cut in range(11, len(whole), 7):
        (tmp_path / "cut.gif").write_bytes(whole[:cut])
        with contextlib.suppress(ImageError):
            assert page_count_of(tmp_path / "cut.gif") in (1, 2)
    out = io.BytesIO()
    page().save(out, "PNG", save_all=True, append_images=[Image.new("RGB", (90, 60), "red")])
    data = out.getvalue()
    at = data.index(b"acTL")
    told = b"acTL" + struct.pack(">2I", 2**31 - 1, 0)
    data = data[:at] + told + struct.pack(">I", zlib.crc32(told)) + data[at + 16 :]
    (tmp_path / "many.png").write_bytes(data)
    assert page_count_of(tmp_path / "many.png") == MAX_PAGES
    assert isinstance(open_picture(tmp_path / "many.png"), Image.Image)
    with pytest.raises(ImageError, match=r"page 300 of .*many\.png is damaged"):
        open_picture(tmp_path / "many.png", 300)
