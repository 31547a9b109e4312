"""Layouts by the names that were read, and the limb leads' laws."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ecgkin.retrieval.ecg.page.einthoven import einthoven_db, triple_db
from ecgkin.retrieval.ecg.page.names import Layout, PlacedName, agreement, cabrera, layouts_of


def _names(layout: Layout, score: float = 0.9) -> tuple[PlacedName, ...]:
    return tuple(
        PlacedName(layout.lead(row, column), row, (column + 0.1) / layout.columns, score)
        for column in range(layout.columns)
        for row in range(layout.rows)
    )


@pytest.mark.parametrize(
    ("rows", "first"),
    [(3, "3x4"), (4, "3x4+1R"), (5, "3x4+2R"), (6, "3x4+3R"), (7, "6x2+1R"), (12, "12x1"), (13, "12x1+1R")],
)
def test_rows_name_a_layout(rows: int, first: str) -> None:
    assert layouts_of(rows)[0].name == first


def test_names_tell_layouts_of_as_many_rows_apart() -> None:
    for layout in layouts_of(6):
        assert max(layouts_of(6), key=lambda other: agreement(other, _names(layout))) == layout


def test_cabrera_is_read_off_the_names() -> None:
    standard = layouts_of(3)[0]
    other = cabrera(standard)
    assert other is not None and other.lead(2, 0) == "-aVR"
    assert agreement(other, _names(other)) > agreement(standard, _names(other))


def test_any_three_limb_leads_fulfil_a_law() -> None:
    one, two = np.random.default_rng(0).normal(size=(2, 800))
    leads = {
        "I": one, "II": two, "III": two - one,
        "aVR": -(one + two) / 2, "aVL": one - two / 2, "aVF": two - one / 2,
    }  # fmt: skip
    for three in (("I", "II", "III"), ("aVL", "I", "aVR"), ("II", "aVF", "III")):
        value = triple_db(leads, three)
        assert value is not None and value > 60
    whole = einthoven_db(leads)
    assert whole is not None and whole > 60
    swapped = einthoven_db({"I": two, "II": one, "III": two - one})
    assert swapped is not None and swapped < 6
    assert einthoven_db({"V1": one}) is None


def test_names_above_the_middle_of_their_columns_speak_for_their_layout() -> None:
    layout = layouts_of(4)[0]
    middle = tuple(replace(name, share=name.share + 0.09) for name in _names(layout))
    assert agreement(layout, middle) > 4.0
    assert max(layouts_of(4), key=lambda other: agreement(other, middle)) == layout
    elsewhere = tuple(replace(name, share=min(0.99, name.share + 0.24)) for name in _names(layout))
    assert agreement(layout, elsewhere) < 0.0


def test_names_stand_at_the_beginnings_of_uneven_columns() -> None:
    layout = layouts_of(3)[0]
    begins = (0.0, 0.1, 0.4, 0.7)  # the page is cut within its first column
    shifted = tuple(
        replace(name, share=begins[column] + 0.02)
        for column in range(1, 4) for name in _names(layout)[3 * column : 3 * column + 3]
    )  # fmt: skip
    assert agreement(layout, shifted, begins) > agreement(layout, shifted) + 2.0
