"""Percentiles of bytes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from ecgkin.retrieval.ecg.page.counts import byte_percentile

BYTES = arrays.arrays(np.uint8, arrays.array_shapes(min_dims=1, max_dims=2, max_side=40))


@given(BYTES, st.sampled_from([0, 1, 20, 50, 75, 92, 99, 100]))
def test_they_are_those_of_numpy(values: np.ndarray, percent: int) -> None:
    assert byte_percentile(values, percent) == pytest.approx(np.percentile(values, percent), abs=1e-9)
