"""Reading pages: drawn pages against their own geometry, turned pages, pictures without an ECG, broken files."""

from __future__ import annotations

import io
import os
import struct
import zlib
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from ecgkin.retrieval.ecg.drawing.geometry import RenderStyle, page_geometry
from ecgkin.retrieval.ecg.drawing.raster import render_array
from ecgkin.retrieval.ecg.drawing.trace_map import draw_trace_map
from ecgkin.retrieval.ecg.leads import LEADS
from ecgkin.retrieval.ecg.page.ink import has_upright_lines, paper_normalised, quarter, working_copy
from ecgkin.retrieval.ecg.page.network.classes import CLASSES, working_size
from ecgkin.retrieval.ecg.page.network.segment import PageLooks
from ecgkin.retrieval.ecg.page.paper import line_field
from ecgkin.retrieval.ecg.page.reading import (
    MAP_HEIGHT,
    MAP_WIDTH,
    _agreement,
    _find_hinted,
    _find_learned,
    _learned,
    _Work,
    load_image,
    read_page,
    to_trace_map,
)
from ecgkin.retrieval.ecg.record import EcgRecord
from ecgkin.retrieval.errors import ImageError

ByteImage = NDArray[np.uint8]
FS_HZ = 250.0


@pytest.fixture(scope="module")
def record() -> EcgRecord:
    """Ten seconds of twelve leads made of P, QRS and T bumps, each lead with amplitudes of its own."""
    time_s = np.arange(int(10 * FS_HZ)) / FS_HZ
    rng = np.random.default_rng(7)
    rows = []
    for _ in LEADS:
        amplitudes = rng.uniform(0.3, 1.8, 4) * np.array([0.12, 1.0, -0.3, 0.28]) * rng.choice([1.0, 1.0, -1.0])
        row = np.zeros_like(time_s)
        for beat_s in np.arange(0.45, 10.0, 0.83):
            shifts, widths = (-0.16, 0.0, 0.03, 0.27), (0.022, 0.011, 0.012, 0.05)
            for shift, width, height in zip(shifts, widths, amplitudes, strict=True):
                row += height * np.exp(-0.5 * ((time_s - beat_s - shift) / width) ** 2)
        rows.append(row)
    return EcgRecord(np.array(rows, dtype=np.float32), FS_HZ, LEADS)


def signal_area(style: RenderStyle, record: EcgRecord, with_pulse: bool) -> tuple[ByteImage, tuple[int, int]]:
    """Trace ink of a page by its geometry, cropped to the signal area, and the horizontal range in px."""
    # The names of 12x1 stand in a column of their own and are cropped off; elsewhere they stand among the traces.
    names = style.layout == "12x1"
    bare = replace(style, grid="none", lead_names=names, header_text="", footer_text="", ink=(0, 0, 0))
    geometry = page_geometry(bare)
    ink = 255 - render_array(record, bare)[..., 0]
    pulse_mm = 0.4 * style.speed_mm_s if with_pulse and style.calibration != "none" else 0.0
    start_mm = geometry.trace_x_mm - (pulse_mm if style.calibration == "left" else 0.0)
    end_mm = geometry.trace_x_mm + geometry.trace_width_mm + (pulse_mm if style.calibration == "right" else 0.0)
    left, right = int(start_mm * geometry.px_per_mm), int(np.ceil(end_mm * geometry.px_per_mm))
    ink = ink[:, left:right]
    rows = np.flatnonzero((ink > 60).any(axis=1))
    return np.ascontiguousarray(ink[max(0, rows[0] - 13) : rows[-1] + 14]), (left, right)


def agreement(first: ByteImage, second: ByteImage, tolerance_px: int = 2) -> float:
    """Share of the ink of each map that lies within a tolerance of the other's (harmonic mean)."""
    kernel = np.ones((2 * tolerance_px + 1, 2 * tolerance_px + 1), np.uint8)
    a, b = first > 100, second > 100
    near_a, near_b = cv2.dilate(a.astype(np.uint8), kernel) > 0, cv2.dilate(b.astype(np.uint8), kernel) > 0
    precision, recall = float(near_b[a].mean()), float(near_a[b].mean())
    return 2 * precision * recall / (precision + recall)


def best_agreement(trace_map: ByteImage, style: RenderStyle, record: EcgRecord) -> float:
    """Agreement with the map of the default page of the same layout, which every page is redrawn as."""
    default = RenderStyle(layout=style.layout, order=style.order)
    return agreement(trace_map, np.asarray(draw_trace_map(record, default), dtype=np.uint8))


@pytest.mark.parametrize("grid", ["pink", "grey", "none"])
@pytest.mark.parametrize("layout", ["3x4", "3x4+1R", "3x4+3R", "6x2", "12x1"])
def test_drawn_page_gives_the_map_of_its_geometry(record: EcgRecord, layout: str, grid: str) -> None:
    style = RenderStyle(layout=layout, grid=grid, header_text="Age 61  F\nID 12345  Sinus rhythm, normal ECG")
    if layout == "12x1":  # rows stand close: a header would move them, without the footer the top row leaves the page
        style = replace(style, header_text="")
    reading = read_page(render_array(record, style))
    assert reading.layout == layout
    assert reading.leads == LEADS
    assert reading.trace_map.shape == (MAP_HEIGHT, MAP_WIDTH) and reading.trace_map.dtype == np.uint8
    assert best_agreement(reading.trace_map, style, record) > 0.93
    assert reading.quality > 0.8
    if grid != "none":
        assert reading.px_per_mm == pytest.approx(page_geometry(style).px_per_mm, rel=0.02)


@pytest.mark.parametrize("style", [
    RenderStyle(layout="3x4+1R", speed_mm_s=50.0), RenderStyle(layout="6x2", order="cabrera", calibration="right"),
    RenderStyle(layout="3x4+1R", gain_mm_mv=5.0, grid="blue"), RenderStyle(layout="3x4", width_px=1100),
    RenderStyle(layout="3x4+3R", background=(250, 236, 214), grid="red", ink=(40, 40, 110)),
], ids=["50mm/s", "cabrera", "5mm/mV", "small", "tinted"])  # fmt: skip
def test_other_pages(record: EcgRecord, style: RenderStyle) -> None:
    reading = read_page(render_array(record, style))
    assert reading.layout == style.layout
    assert best_agreement(reading.trace_map, style, record) > 0.9


def test_map_has_strokes_near_full_ink_and_thin(record: EcgRecord) -> None:
    trace_map = read_page(render_array(record, RenderStyle())).trace_map
    inked = trace_map[trace_map > 60]
    assert np.percentile(inked, 80) > 200  # anti-aliased lines of one pixel, as `draw_trace_map` has them
    columns = (trace_map > 100).sum(axis=0) / 4
    assert 0.8 <= np.median(columns) <= 2.2  # px of ink a row and column: about one and a half


def test_corners_lie_on_the_signal_area(record: EcgRecord) -> None:
    style = RenderStyle(layout="3x4+1R", calibration="none")
    reading = read_page(render_array(record, style))
    _, (left, right) = signal_area(style, record, False)
    assert reading.corners[[0, 3], 0] == pytest.approx(left, abs=0.015 * (right - left))
    assert reading.corners[[1, 2], 0] == pytest.approx(right, abs=0.015 * (right - left))
    assert reading.corners[0, 1] < page_geometry(style).row_y_mm[0] * page_geometry(style).px_per_mm
    assert reading.warnings == ()


@pytest.mark.parametrize("angle", [-3.0, 3.0, 12.0])
@pytest.mark.parametrize("grid", ["pink", "none"])
def test_rotation_is_undone(record: EcgRecord, angle: float, grid: str) -> None:
    style = RenderStyle(layout="3x4+1R", grid=grid)
    page = render_array(record, style)
    height, width = page.shape[:2]
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), -angle, 0.85)
    turned = np.asarray(cv2.warpAffine(page, matrix, (width, height), borderValue=(255, 255, 255)), dtype=np.uint8)
    reading = read_page(turned)
    assert reading.rotation_deg == pytest.approx(angle, abs=0.6)
    assert any("rotated" in warning for warning in reading.warnings)
    assert best_agreement(reading.trace_map, style, record) > 0.85


@pytest.mark.parametrize("turns", [1, 3])
def test_page_on_its_side_is_turned(record: EcgRecord, turns: int) -> None:
    style = RenderStyle(layout="3x4+1R", calibration="none")
    page = render_array(record, style)
    picture = np.ascontiguousarray(np.rot90(page, turns))
    reading = read_page(picture)
    assert any("side" in warning for warning in reading.warnings)
    # A page without a pulse may as well be upside down; it is redrawn as what it then seems to show.
    upright = best_agreement(reading.trace_map, style, record)
    over = agreement(reading.trace_map, read_page(np.ascontiguousarray(np.rot90(page, 2))).trace_map)
    assert max(upright, over) > 0.9
    assert (reading.corners >= -1).all()
    assert (reading.corners <= np.array([picture.shape[1], picture.shape[0]])).all()


@pytest.mark.parametrize("layout", ["3x4", "3x4+1R", "3x4+3R", "6x2", "12x1"])
@pytest.mark.parametrize("turns", [1, 2, 3])
def test_pulses_tell_which_end_is_the_top(record: EcgRecord, layout: str, turns: int) -> None:
    style = RenderStyle(layout=layout)
    page = render_array(record, style)
    upright = read_page(page)
    assert not any("upside" in warning for warning in upright.warnings)
    reading = read_page(np.ascontiguousarray(np.rot90(page, turns)))
    assert agreement(reading.trace_map, upright.trace_map) > 0.97
    said = " ".join(reading.warnings)
    assert ("upside down: turned by 180" in said) == (turns == 2) and "may be" not in said
    # The corner at the page's own top left, where it now lies in the picture.
    height, width = page.shape[:2]
    x, y = upright.corners[0]
    there = {1: (y, width - 1 - x), 2: (width - 1 - x, height - 1 - y), 3: (height - 1 - y, x)}[turns]
    assert np.abs(reading.corners[0] - there).max() < 8
    # np.rot90 turns counter-clockwise.
    clockwise = {1: -90.0, 2: 180.0, 3: 90.0}[turns]
    assert abs((reading.rotation_deg - clockwise + 180) % 360 - 180) < 1


def test_page_on_a_dark_table_in_perspective(record: EcgRecord) -> None:
    style = RenderStyle(layout="3x4+1R")
    page = render_array(record, style)
    height, width = page.shape[:2]
    source = np.array([[0, 0], [width, 0], [width, height], [0, height]], dtype=np.float32)
    target = np.array([[190, 120], [2050, 200], [1980, 1560], [120, 1490]], dtype=np.float32)
    matrix = cv2.getPerspectiveTransform(source, target)
    view = cv2.warpPerspective(page, matrix, (2200, 1700), borderValue=(60, 45, 40))
    reading = read_page(np.asarray(view, dtype=np.uint8))
    assert reading.layout == "3x4+1R"
    assert best_agreement(reading.trace_map, style, record) > 0.85


def test_reading_is_deterministic_and_leaves_its_input_alone(record: EcgRecord) -> None:
    page = render_array(record, RenderStyle())
    before = page.copy()
    page.setflags(write=False)
    first, second = read_page(page), read_page(Image.fromarray(page))
    assert np.array_equal(first.trace_map, second.trace_map)
    assert np.array_equal(first.corners, second.corners)
    assert np.array_equal(page, before)


def png_header(width: int, height: int) -> bytes:
    """A PNG of which only the header is true: whoever decodes it fails, whoever reads the header knows its size."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")


def test_bad_files_say_what_was_found(tmp_path: Path) -> None:
    cases = {
        "huge.png": (png_header(30_000, 30_000), "900 megapixels"),
        "empty.png": (b"", "empty"),
        "text.png": (b"this is no picture at all, only text", "text"),
        "page.pdf": (b"%PDF-1.7 something", "PDF"),
        "tiny.png": (png_header(20, 20), "20 x 20"),
        "broken.png": (png_header(600, 400), "damaged"),
    }
    for name, (content, words) in cases.items():
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(ImageError, match=words) as caught:
            read_page(path)
        assert caught.value.hint, name
    with pytest.raises(ImageError, match="cannot be read"):
        read_page(tmp_path / "missing.png")


def test_truncated_jpeg_is_refused(record: EcgRecord) -> None:
    stream = io.BytesIO()
    Image.fromarray(render_array(record, RenderStyle())).save(stream, "JPEG")
    with pytest.raises(ImageError, match="damaged"):
        load_image(stream.getvalue()[: len(stream.getvalue()) // 2])


def test_large_jpeg_is_decoded_smaller() -> None:
    stream = io.BytesIO()
    Image.new("L", (12_000, 10_000), 200).save(stream, "JPEG", quality=30)
    loaded = load_image(stream.getvalue())
    assert loaded.shape[0] * loaded.shape[1] < 40e6
    assert abs(loaded.shape[1] / loaded.shape[0] - 1.2) < 0.01


def test_modes_give_the_same_page(tmp_path: Path) -> None:
    grey = np.tile(np.linspace(0, 255, 200).astype(np.uint8), (100, 1))
    rgb = np.repeat(grey[..., None], 3, axis=2)
    picture = Image.fromarray(grey)
    variants: dict[str, Image.Image] = {
        "L": picture, "RGB": picture.convert("RGB"), "P": picture.convert("P"), "LA": picture.convert("LA"),
        "CMYK": picture.convert("RGB").convert("CMYK"), "I;16": Image.fromarray(grey.astype(np.uint16) * 257),
    }  # fmt: skip
    for name, variant in variants.items():
        loaded = load_image(variant)
        assert loaded.shape == rgb.shape and loaded.dtype == np.uint8, name
        assert np.abs(loaded.astype(int) - rgb).max() <= 2, name
    clear = np.zeros((100, 200, 4), dtype=np.uint8)
    assert (load_image(Image.fromarray(clear)) == 255).all()
    assert (load_image(clear) == 255).all()


def test_exif_orientation_is_applied() -> None:
    page = np.zeros((60, 120, 3), dtype=np.uint8)
    page[:, :60] = 255
    picture = Image.fromarray(page)
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held upright: turn by 90 degrees clockwise
    stream = io.BytesIO()
    picture.save(stream, "JPEG", exif=exif, quality=95)
    loaded = load_image(stream.getvalue())
    assert loaded.shape == (120, 60, 3)
    assert loaded[:50].mean() > 240 and loaded[-50:].mean() < 15


@settings(max_examples=25, deadline=None)
@given(height=st.integers(5, 400), width=st.integers(40, 900), seed=st.integers(0, 10_000), share=st.floats(0.0, 0.2))
def test_trace_map_has_its_shape_and_is_centred(height: int, width: int, seed: int, share: float) -> None:
    ink = (np.random.default_rng(seed).random((height, width)) < share).astype(np.uint8) * np.uint8(255)
    trace_map = to_trace_map(ink)
    assert trace_map.shape == (MAP_HEIGHT, MAP_WIDTH) and trace_map.dtype == np.uint8
    used = min(MAP_HEIGHT, max(1, round(height * MAP_WIDTH / width)))
    margin = (MAP_HEIGHT - used) // 2
    assert not trace_map[:margin].any() and not trace_map[margin + used :].any()


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 100_000), height=st.integers(48, 300), width=st.integers(48, 300))
def test_any_array_gives_a_reading_or_an_image_error(seed: int, height: int, width: int) -> None:
    rng = np.random.default_rng(seed)
    array = rng.integers(0, 256, (height, width, 3)).astype(np.uint8)
    array[rng.integers(0, height) :] = rng.integers(0, 256)
    try:
        reading = read_page(array)
    except ImageError as error:
        assert error.hint
    else:
        assert reading.trace_map.shape == (MAP_HEIGHT, MAP_WIDTH)


@pytest.fixture(scope="module")
def shared() -> Path:
    root = os.environ.get("ECGKIN_SHARED")
    if not root:
        pytest.skip("ECGKIN_SHARED is not set: foreign pictures are not here")
    return Path(root)


@pytest.mark.slow
def test_foreign_pages_with_known_layout(shared: Path) -> None:
    pictures = sorted((shared / "photos").glob("*.png")) + sorted((shared / "photos").glob("*.jpg"))
    assert len(pictures) == 19
    readings = {path.name: read_page(path) for path in pictures}
    right = [name for name, reading in readings.items() if reading.layout == "3x4+1R"]
    assert len(right) >= 18, sorted(set(readings) - set(right))


@pytest.mark.slow
def test_foreign_printouts_are_read(shared: Path) -> None:
    pictures = [p for p in sorted((shared / "ood" / "printouts").iterdir()) if p.suffix in (".png", ".jpg")]
    refused = []
    for path in pictures:
        try:
            read_page(path)
        except ImageError:
            refused.append(path.name)
    assert len(pictures) == 54
    assert len(refused) <= 2, refused


def test_faint_upright_lines_are_told_from_beats_in_step() -> None:
    """Grid lines that a coarse JPEG leaves are faint from top to bottom, beats in step in twelve rows are dark."""
    ink = np.zeros((600, 800), dtype=np.uint8)
    ink[:, 20::80] = 255
    assert not has_upright_lines(ink)
    ink[np.arange(600) % 8 < 6, 60::80] = 60
    assert has_upright_lines(ink)


@pytest.mark.parametrize("size", [(48, 48), (700, 241), (701, 500), (3000, 97)])
def test_pixels_of_pictures_of_any_size_are_theirs(size: tuple[int, int]) -> None:
    """Also of pictures that are handed over in strips."""
    pixels = np.random.default_rng(7).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    assert np.array_equal(load_image(stream.getvalue()), pixels)
    assert np.array_equal(load_image(Image.fromarray(pixels)), pixels)


def test_a_faint_map_of_the_network_is_raised(record: EcgRecord) -> None:
    page = render_array(record, RenderStyle(grid="none", lead_names=False, header_text="", footer_text=""))
    height, width = page.shape[:2]
    size = working_size(height, width)
    planes = np.zeros((len(CLASSES), size[1] // 2, size[0] // 2), dtype=np.uint8)
    ink = cv2.resize(255 - page[..., 0], (size[0] // 2, size[1] // 2), interpolation=cv2.INTER_AREA)
    planes[CLASSES.index("trace")] = np.where(ink > 60, 85, 0)
    looks = PageLooks(planes, size, (size[0] / width, size[1] / height), (), np.zeros((4, 0, 0), np.float32))
    work, scale = working_copy(page)
    to_work = np.diag([scale, scale, 1.0])
    dark, lines = paper_normalised(work, quarter(work))
    seen = _Work(page, to_work, scale, dark, lines, None, line_field(lines))
    with pytest.raises(ImageError):
        _find_hinted(_learned(looks, to_work), seen, 1.0)
    found = _find_learned(_learned(looks, to_work), seen)
    assert len(found.rows.baselines) == 4
    taken, right = _agreement(found)
    assert taken > 0.5 and right > 0.9
    lost = found.rows.trace.copy()
    lost[: round(found.rows.baselines[1]) + 20] = 0  # two rows of four
    assert _agreement(replace(found, rows=replace(found.rows, trace=lost)))[0] < 0.7 * taken
