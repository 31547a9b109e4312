"""What files say beside the samples: dates in every order, ages in every unit."""

from __future__ import annotations

import pytest

from ecgkin.retrieval.ecg.header import age_at, age_of, iso_time


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("25/04/2020", "2020-04-25"),
        ("04/25/2020", "2020-04-25"),
        ("05/05/2020", "2020-05-05"),  # the same either way
        ("03/04/2020", None),  # the third of April, or the fourth of March
        ("03.04.2020", "2020-04-03"),
        ("31.02.2020", None),
        ("Jan 2, 1980", "1980-01-02"),
        ("2. Mai 1980 13:05", "1980-05-02T13:05:00"),
    ],
)
def test_a_date_only_where_there_is_no_doubt(text: str, wanted: str | None) -> None:
    assert iso_time(text) == wanted


def test_a_format_may_settle_the_order() -> None:
    assert iso_time("03/04/2020", day_first=True) == "2020-04-03"


@pytest.mark.parametrize(
    ("text", "unit", "years"),
    [
        ("54", "", 54), ("054Y", "", 54), ("18 months", "", 1.5), ("26 Wochen", "", 26 * 7 / 365.25),
        ("8 Tage", "", 8 / 365.25), ("36 hours", "", 1.5 / 365.25), ("12", "h", 0.5 / 365.25), ("6", "M", 0.5),
        (">=89", "", 90), ("91+", "", 90), (">50", "", None), ("300", "", 90), ("151", "", None), ("7", "parsec", None),
    ],
)  # fmt: skip
def test_ages_are_years_whatever_they_are_counted_in(text: str, unit: str, years: float | None) -> None:
    assert age_of(text, unit) == (None if years is None else pytest.approx(years, rel=1e-3))


def test_birthdays_count() -> None:
    """One is as old as the number of birthdays that were."""
    assert age_at("1950-06-15", "2020-06-14") == 69 and age_at("1950-06-15", "2020-06-15T00:10:00") == 70
