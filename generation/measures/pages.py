"""Measuring a picture: the signals are read off the page first, then measured as those of a record."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from ecgkin.generation.measures.measure import measure
from ecgkin.generation.measures.values import Measurements
from ecgkin.retrieval.errors import EcgkinError

if TYPE_CHECKING:
    from PIL import Image

_LOG = logging.getLogger(__name__)

_SURE = 0.4  # a curve followed with less confidence is left out


def measure_picture(
    picture: Image.Image, *, age_years: float | None = None, sex: str | None = None
) -> Measurements | None:
    """Measure the ECG on a page; None where no signals can be read off it.

    Args:
        picture: Drawing, scan or photograph; not changed.
        age_years, sex: Of the person, where known: the limits of ST elevation depend on them.
    """
    from ecgkin.retrieval.ecg.page.digitize import digitize

    try:
        read = digitize(picture)
    except EcgkinError as error:
        _LOG.info("page not digitised: %s", type(error).__name__)
        return None
    signal = read.record.signal_mv.copy()
    for row, name in enumerate(read.record.leads):
        if read.confidence.get(name, 0.0) < _SURE:
            signal[row] = np.nan
    if np.isnan(signal).all():
        return None
    return measure(replace(read.record, signal_mv=signal, age_years=age_years, sex=sex))
