"""Measuring a picture: the signals that were read off the page are measured as those of a record."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from ecgkin.generation.measures.measure import measure
from ecgkin.generation.measures.values import Measurements
from ecgkin.retrieval.errors import ImageError

if TYPE_CHECKING:
    from PIL import Image

    from ecgkin.retrieval.ecg.page.printed import PrintedEcg

_LOG = logging.getLogger(__name__)


def measure_printed(
    printed: PrintedEcg, *, age_years: float | None = None, sex: str | None = None
) -> Measurements | None:
    """Measure the ECG on a page that was read; None where nothing says that it is one, or its curves were not followed.

    Numbers off curves that do not beat together would mislead (`PageEvidence.grade`).

    Args:
        printed: The page.
        age_years, sex: Of the person, where known: the limits of ST elevation depend on them.

    Returns:
        Values with reasons for those that are missing.
    """
    if printed.record is None or printed.grade == "poor":
        return None
    return measure(replace(printed.record, age_years=age_years, sex=sex))


def measure_picture(
    picture: Image.Image, *, age_years: float | None = None, sex: str | None = None
) -> Measurements | None:
    """Read a picture and measure the ECG on it; None where no signals can be read off it.

    Args:
        picture: Drawing, scan or photograph; not changed.
        age_years, sex: Of the person, where known.

    Returns:
        Values with reasons for those that are missing.
    """
    from ecgkin.retrieval.ecg.page.printed import read_printed

    try:
        return measure_printed(read_printed(picture), age_years=age_years, sex=sex)
    except ImageError as error:
        _LOG.info("page not read: %s", error)
        return None
