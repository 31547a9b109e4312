"""Drawn training pages: their labels and their truth agree with what is on the picture."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import wfdb

from ecgkin.retrieval.ecg.page.network.classes import CLASSES, LEADS, working_size
from ecgkin.retrieval.ecg.page.training.camera import KINDS, place, to_picture
from ecgkin.retrieval.ecg.page.training.fit import FitConfig, half_planes, page_crops, targets
from ecgkin.retrieval.ecg.page.training.layouts import draw_layout
from ecgkin.retrieval.ecg.page.training.lettering import Lettering, text_mask
from ecgkin.retrieval.ecg.page.training.pages import WildPage, wild_page
from ecgkin.retrieval.ecg.page.training.signals import N_SAMPLES, SignalSource, collect
from ecgkin.retrieval.ecg.page.training.wording import name_spelling

TRACE, TEXT = CLASSES.index("trace"), CLASSES.index("text")


def _page(seed: int, kind: str) -> WildPage:
    return wild_page(np.random.default_rng((seed, 7)), negatives=0.0, kind=kind, size=0.6)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(3))
def test_curves_lie_on_trace_pixels(kind: str, seed: int) -> None:
    page = _page(seed, kind)
    on, n = 0, 0
    near = cv2.dilate((page.planes[TRACE] > 40).astype(np.uint8), np.ones((3, 3), np.uint8))
    hidden = cv2.dilate((page.planes[CLASSES.index("outside")] > 0).astype(np.uint8), np.ones((5, 5), np.uint8))
    for lead in page.leads:
        points = lead.points_px[lead.visible]
        columns, rows = np.floor(points).astype(int).T
        shown = hidden[rows, columns] == 0
        on += int(near[rows[shown], columns[shown]].sum())
        n += int(shown.sum())
    assert n == 0 or on / n > 0.9  # redaction bars may hide a little


@pytest.mark.parametrize("kind", KINDS)
def test_trace_pixels_belong_to_a_curve(kind: str) -> None:
    page = _page(11, kind)
    drawn = np.zeros(page.classes.shape, dtype=np.uint8)
    for lead in page.leads:
        fixed = np.clip(np.rint((lead.points_px - 0.5) * 16), -(2**20), 2**20).astype(np.int32)
        cv2.polylines(drawn, [fixed.reshape(-1, 1, 2)], False, 1, 9, cv2.LINE_8, 4)
    trace = page.classes == TRACE
    assert trace.sum() > 200
    assert drawn[trace].mean() > 0.98


def test_truth_is_subpixel_on_a_flat_page() -> None:
    """Centre of gravity of the ink in columns that a flat stretch of one lead crosses, against the truth."""
    errors = []
    for seed in range(6):
        page = _page(seed + 40, "screenshot")
        for lead in page.leads:
            points = lead.points_px[lead.visible]
            for x in range(20, page.image.shape[1] - 20, 37):
                here = points[np.abs(points[:, 0] - x - 0.5) < 1.5]
                if len(here) < 2 or np.ptp(here[:, 1]) > 0.4:
                    continue
                y = float(here[:, 1].mean())
                rows = np.arange(max(0, int(y) - 6), min(page.image.shape[0], int(y) + 7))
                ink = page.planes[TRACE][rows, x].astype(float)
                if ink.sum() > 200 and ink[0] == ink[-1] == 0:
                    errors.append(float((ink * (rows + 0.5)).sum() / ink.sum()) - y)
    assert len(errors) > 50
    assert abs(np.median(errors)) < 0.1
    assert np.quantile(np.abs(errors), 0.9) < 0.5


@pytest.mark.parametrize("seed", range(8))
def test_classes_cover_each_pixel_once(seed: int) -> None:
    page = wild_page(np.random.default_rng(seed), size=0.5)
    assert page.image.dtype == np.uint8 and page.image.shape[:2] == page.planes.shape[1:]
    assert (page.planes.astype(int).sum(axis=0) == 255).all()


def test_name_boxes_hold_text() -> None:
    covered, names = [], 0
    for seed in range(10):
        page = _page(seed, "scan")
        ink = page.planes[TEXT].astype(int) + page.planes[TRACE]  # a curve through a name hides it
        for lead, corners in page.names:
            assert lead in LEADS
            x0, y0 = np.clip(np.floor(corners.min(axis=0)), 0, None).astype(int)
            x1, y1 = np.ceil(corners.max(axis=0)).astype(int)
            part = ink[y0:y1, x0:x1]
            covered.append((part > 60).mean())
            names += 1
    assert names > 30
    assert min(covered) > 0.02 and np.median(covered) > 0.15


def test_the_same_seed_gives_the_same_page() -> None:
    one, two = (wild_page(np.random.default_rng(5), size=0.5) for _ in range(2))
    assert np.array_equal(one.image, two.image) and np.array_equal(one.planes, two.planes)
    without = wild_page(np.random.default_rng(5), size=0.5, truth=False)
    assert np.array_equal(one.image, without.image) and not without.leads


def test_negatives_have_no_curves() -> None:
    for seed in range(6):
        page = wild_page(np.random.default_rng(seed), negatives=1.0)
        assert page.layout is None and not page.names
        assert page.planes[TRACE].max() == 0


def test_frame_gives_the_local_scale() -> None:
    """Two printed samples a second apart are speed * px/mm apart, along the first axis of the frame."""
    checked = 0
    for seed in range(12):
        page = _page(seed, "photo")
        assert page.layout is not None
        for lead in page.leads:
            base = lead.points_px
            for i in range(0, len(base) - 500, 250):
                x, y = base[i : i + 500].mean(axis=0)
                row, column = int(y // 16), int(x // 16)
                if not (0 <= row < page.frame.shape[1] and 0 <= column < page.frame.shape[2]):
                    continue
                dx = np.median(np.diff(base[i : i + 500, 0])) * 500
                log_px, _, angle, _ = page.frame[:, row, column]
                wanted = page.layout.speed_mm_s * np.exp(log_px) * np.cos(angle)
                if np.ptp(lead.samples_mv[i : i + 500]) < 0.8:
                    assert dx == pytest.approx(wanted, rel=0.12)
                    checked += 1
    assert checked > 20


def test_the_map_and_its_inverse_agree() -> None:
    rng = np.random.default_rng(3)
    for _ in range(5):
        view = place((900, 600), (20.0, 20.0, 880.0, 560.0), (960, 640), "photo", rng)
        points = rng.uniform((100, 100), (800, 500), (50, 2))
        there = to_picture(view, points)
        assert np.abs(view.geometry.to_page(there) - points).max() < 0.02
        columns, rows = np.floor(there).astype(int).T
        inside = (columns >= 0) & (columns < 959) & (rows >= 0) & (rows < 639)
        dense = view.fine[rows[inside], columns[inside]] + 0.5
        assert np.abs(dense - points[inside]).max() < 3.0  # within the pixel it falls into


def test_crops_are_cut_from_the_page() -> None:
    page = _page(1, "screenshot")
    planes = half_planes(page)
    crop = targets(page, planes, 32, 16, 128)
    assert np.array_equal(crop["image"], np.moveaxis(page.image[16:144, 32:160], -1, 0))
    assert np.array_equal(crop["pixels"], planes[:, 8:72, 16:80])
    config = FitConfig(crop=256, crops_per_page=3)
    crops = page_crops(config, 2, SignalSource(), np.random.default_rng(0))
    assert [c["image"].shape for c in crops] == [(3, 256, 256)] * 3
    for c in crops:
        peaks = (c["names"][:-1] == 1.0).sum()
        assert peaks == (c["names"][-1] > 0).sum() or peaks > 0  # two names in one cell share their height
        assert set(c) >= {"image", "pixels", "names", "frame"}


def test_layouts_stay_on_the_page() -> None:
    rng = np.random.default_rng(0)
    kinds = set()
    for _ in range(200):
        plan = draw_layout(rng)
        kinds.add(plan.name.split("+")[0].split(" ")[0])
        for s in plan.stretches:
            assert s.lead in LEADS
            assert s.t0_s >= 0 and s.t0_s + s.duration_s <= 10.0 + 1e-9
            assert s.x_mm >= 0 and s.x_mm + s.duration_s * plan.speed_mm_s <= plan.width_mm + 1e-6
            assert 0 <= s.y_mm <= plan.height_mm
    assert {"3x4", "6x2", "12x1", "6x1", "3x2", "2x6"} <= kinds


def test_signals_have_every_lead() -> None:
    signals = SignalSource().draw(np.random.default_rng(1))
    assert set(signals) == set(LEADS)
    assert all(s.shape == (N_SAMPLES,) and s.dtype == np.float32 and np.isfinite(s).all() for s in signals.values())
    assert np.array_equal(signals["-aVR"], -signals["aVR"])


def test_spellings() -> None:
    rng = np.random.default_rng(0)
    seen = {lead: {name_spelling(lead, scheme, rng) for scheme in range(1000)} for lead in LEADS}
    assert {"I", "L1", "DI"} <= seen["I"] and {"aVR", "AVR", "aVr"} <= seen["aVR"] and {"V1", "C1"} <= seen["V1"]
    assert all(text.startswith("-") for text in seen["-aVR"])


def test_letters_are_cut_to_their_ink() -> None:
    for lettering in (Lettering("hershey:0"), Lettering("hershey:3", bold=True), Lettering("hershey:0", matrix=True)):
        mask = text_mask("aVF", 24, lettering)
        assert mask.shape[0] > 8 and mask.shape[1] > 16
        assert mask[0].any() and mask[-1].any() and mask[:, 0].any() and mask[:, -1].any()


def test_working_size_keeps_the_shape() -> None:
    for height, width in ((1700, 2200), (612, 1200), (4000, 3000), (200, 200), (300, 3000)):
        w, h = working_size(height, width)
        assert w % 32 == h % 32 == 0 and max(w, h) <= 1664
        assert w * h < 1.5e6 and w <= 2.2 * width + 32
        assert w / h == pytest.approx(width / height, rel=0.2)


def test_recorded_signals_are_collected(tmp_path: Path) -> None:
    """Records of the training folds, every second one, in microvolts; those of folds 9 and 10 stay out."""
    rng = np.random.default_rng(0)
    rows = ["ecg_id,strat_fold,filename_lr"]
    truth = []
    for number, fold in enumerate((1, 2, 9, 8, 10, 3)):
        signal = rng.normal(0, 0.3, (1000, 12)).round(3)
        wfdb.wrsamp(
            f"r{number}", fs=100, units=["mV"] * 12, sig_name=list(LEADS[:12]), p_signal=signal, fmt=["16"] * 12,
            adc_gain=[1000.0] * 12, baseline=[0] * 12, write_dir=str(tmp_path),
        )  # fmt: skip
        rows.append(f"{number},{fold},r{number}")
        if fold <= 8:
            truth.append(signal.T)
    (tmp_path / "ptbxl_database.csv").write_text("\n".join(rows) + "\n")
    assert collect(tmp_path, tmp_path / "signals.npy") == 2
    source = SignalSource.from_file(tmp_path / "signals.npy")
    assert source.recorded is not None
    assert np.abs(np.asarray(source.recorded) / 1000.0 - np.stack(truth[::2])).max() < 0.0011
    assert all(np.isfinite(source.draw(np.random.default_rng(n))["II"]).all() for n in range(4))
