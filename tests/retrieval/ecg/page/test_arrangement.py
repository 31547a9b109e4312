"""Columns of leads by the room between them and by names; layouts that show a part of the usual order."""

from __future__ import annotations

import numpy as np
import pytest

from ecgkin.retrieval.ecg.leads import LEADS
from ecgkin.retrieval.ecg.page.arrangement import columns_by_gaps, columns_by_names, named_layouts
from ecgkin.retrieval.ecg.page.calibration import Calibration
from ecgkin.retrieval.ecg.page.columns import Extent, find_extent
from ecgkin.retrieval.ecg.page.names import Layout, PlacedName
from ecgkin.retrieval.ecg.page.tracks import Tracks

_PX = 4.0  # a millimetre


def _rows(*rows: list[tuple[float, float]], width_mm: float = 320.0) -> tuple[Tracks, np.ndarray]:
    """Rows that are inked from mm to mm."""
    x_mm = np.tile(np.arange(round(width_mm * _PX)) / _PX, (len(rows), 1))
    y = np.full(x_mm.shape, np.nan)
    for row, runs in enumerate(rows):
        for begin, end in runs:
            y[row, (x_mm[row] >= begin) & (x_mm[row] < end)] = 100.0 * (row + 1)
    return Tracks(y, y - 1, y + 1, np.isfinite(y).astype(float), 2.0), x_mm


def _names(*names: tuple[str, int, float]) -> tuple[PlacedName, ...]:
    return tuple(PlacedName(lead, row, share, 0.9) for lead, row, share in names)


def _extent(tracks: Tracks, x_mm: np.ndarray, pulse: Calibration | None = None) -> Extent:
    return find_extent(tracks, x_mm, _PX, pulse, (0.0, float(x_mm.shape[1])))


def test_room_between_columns_is_no_time() -> None:
    spread = [(10.0 + 75 * k, 72.5 + 75 * k) for k in range(4)]
    tracks, x_mm = _rows(spread, spread, spread, [(10.0, 260.0)])
    extent = _extent(tracks, x_mm)
    found = columns_by_gaps(tracks, x_mm, extent, 3)
    assert found is not None and found.length_mm == pytest.approx(62.5, abs=0.5)
    assert [begin for begin, _ in found.parts] == pytest.approx([10, 85, 160, 235], abs=0.5)
    through, places = _rows(*[[(10.0, 260.0)]] * 4)
    assert columns_by_gaps(through, places, _extent(through, places), 3) is None


def test_ink_that_a_machine_leaves_out_between_columns_is_time() -> None:
    spread = [(10.0 + 62.5 * k, 70.0 + 62.5 * k) for k in range(4)]
    tracks, x_mm = _rows(spread, spread, spread)
    assert columns_by_gaps(tracks, x_mm, _extent(tracks, x_mm), 3) is None


def test_rows_do_not_end_at_a_pulse_between_columns() -> None:
    spread = [(10.0 + 75 * k, 72.5 + 75 * k) for k in range(4)]
    tracks, x_mm = _rows(spread, spread, spread)
    amid = Calibration(226.0, 231.0, 40.0, True, 3, np.full(3, 228.0))
    extent = _extent(tracks, x_mm, amid)
    assert extent.right == pytest.approx(297.0, abs=1.0)
    behind, places = _rows(*[[(10.0, 260.0), (262.0, 272.0)]] * 3)
    last = Calibration(264.0, 269.0, 40.0, True, 3, np.full(3, 266.0))
    assert _extent(behind, places, last).right == pytest.approx(260.0, abs=1.0)


def test_names_tell_the_columns_of_a_page_that_is_cut() -> None:
    extent = Extent(0.0, 200.0, np.tile([0.0, 200.0], (3, 1)), ())
    places = (0.1, 0.4125, 0.725)  # behind 0.2 of the first column's 62.5 mm
    names = _names(*[(LEADS[3 * (k + 1) + row], row, places[k]) for k in range(3) for row in range(3)])
    found = columns_by_names(names, extent, 3)
    assert found is not None and found.length_mm == pytest.approx(62.5, abs=1.0)
    layout = named_layouts(3, len(found.parts), names, found.begins(extent))
    assert layout is not None
    shown = {layout.lead(0, column) for column in range(layout.columns)}
    assert {"aVR", "V1", "V4"} <= shown
    even = _names(*[(LEADS[3 * k + row], row, k / 4 + 0.02) for k in range(4) for row in range(3)])
    assert columns_by_names(even, extent, 3) is None  # nothing that the usual layouts do not say


@pytest.mark.parametrize(
    "layout",
    [
        Layout(6, 1, 0, LEADS[6:]),
        Layout(4, 3, 0, tuple(LEADS[k] for k in range(12))),
        Layout(2, 3, 1, ("II", "III", "aVL", "aVF", "V2", "V3")),  # the upper row is cut off
        Layout(3, 3, 1, LEADS[3:]),  # the left column is
        Layout(2, 6, 0, tuple(lead for pair in zip(LEADS[:6], LEADS[6:], strict=True) for lead in pair)),
    ],
)
def test_names_say_which_part_of_the_order_is_shown(layout: Layout) -> None:
    begins = tuple(column / layout.columns for column in range(layout.columns))
    names = _names(*[
        (layout.lead(row, column), row, begins[column] + 0.02)
        for row in range(layout.rows) for column in range(layout.columns)
    ])  # fmt: skip
    found = named_layouts(layout.rows + layout.strips, layout.columns, names, begins)
    assert found is not None and (found.rows, found.leads) == (layout.rows, layout.leads)
    assert named_layouts(layout.rows + layout.strips, layout.columns, names[:1], begins) is None
