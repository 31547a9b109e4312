"""Records, their leads and what a reader makes of channels: stretches, other rates, derived leads, odd amplitudes."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecgkin.retrieval.ecg.assemble import assemble
from ecgkin.retrieval.ecg.leads import LEADS, LIMB_LEADS, derive_limb_leads
from ecgkin.retrieval.ecg.record import EcgRecord
from ecgkin.retrieval.errors import RecordError
from ecgkin.retrieval.notes import Note, NoteCode


def numbered(n: int, fs_hz: float, leads: tuple[str, ...] = ("I", "V2")) -> EcgRecord:
    """Each sample says where it was."""
    rows = np.arange(n, dtype=np.float32) + 10_000 * np.arange(len(leads), dtype=np.float32)[:, None]
    return EcgRecord(rows, fs_hz, leads)


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(2, 3000), fs_hz=st.sampled_from([100.0, 128.0, 250.0, 360.0, 500.0]),
    start=st.floats(0, 0.95), share=st.floats(0.01, 2.0),
)  # fmt: skip
def test_a_window_is_the_samples_of_its_time(n: int, fs_hz: float, start: float, share: float) -> None:
    """It begins at the sample nearest to its start and holds as many as its length says, cut where the record ends."""
    record = numbered(n, fs_hz)
    start_s, length_s = start * record.duration_s, share * record.duration_s
    first, many = round(start_s * fs_hz), max(1, round(length_s * fs_hz))
    if first >= n:
        return
    part = record.window(start_s, length_s)
    assert part.fs_hz == fs_hz and part.leads == record.leads
    np.testing.assert_array_equal(part.signal_mv, record.signal_mv[:, first : first + many])
    assert part.n_samples == min(many, n - first)


def test_a_window_outside_is_refused() -> None:
    with pytest.raises(RecordError, match=r"outside the record of 2\.00 s"):
        numbered(200, 100.0).window(2.0, 1.0)


@pytest.mark.parametrize("to_hz", [50.0, 250.0, 500.0])
def test_what_is_missing_stays_missing_at_another_rate(to_hz: float) -> None:
    """At the same times; what is there keeps its shape."""
    t = np.arange(1000) / 100
    rows = np.stack([np.sin(2 * np.pi * 3 * t), np.cos(2 * np.pi * 3 * t)]).astype(np.float32)
    rows[1, 300:500] = np.nan
    other = EcgRecord(rows, 100.0, ("I", "II")).resampled(to_hz)
    at = np.arange(other.n_samples) / to_hz
    assert other.n_samples == round(10 * to_hz)
    missing = np.isnan(other.signal_mv)
    assert not missing[0].any()
    np.testing.assert_array_equal(missing[1], (at >= 3.0) & (at < 5.0))
    inside = (at > 0.2) & (at < 9.8)
    np.testing.assert_allclose(other.signal_mv[0][inside], np.sin(2 * np.pi * 3 * at)[inside], atol=0.02)


def test_leads_by_name_whatever_their_order() -> None:
    rows = np.stack([np.full(10, 5.0), np.full(10, np.nan), np.full(10, 1.0)]).astype(np.float32)
    record = EcgRecord(rows, 100.0, ("V5", "V6", "I"))
    assert record.lead("V6") is None and record.lead("II") is None
    one = record.lead("I")
    assert one is not None and one[0] == 1.0
    assert record.standard()[LEADS.index("V5"), 0] == 5.0 and np.isnan(record.standard()[LEADS.index("aVL")]).all()
    assert record.missing_leads == tuple(lead for lead in LEADS if lead not in ("V5", "I"))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.floats(-3, 3, width=32), st.floats(-3, 3, width=32)), min_size=1, max_size=20))
def test_any_two_of_the_bipolar_leads_give_all_six(pairs: list[tuple[float, float]]) -> None:
    """Einthoven 1913 (II = I + III) and Goldberger 1942, from whichever two are there."""
    one, two = np.array(pairs, dtype=np.float32).T
    full = {
        "I": one, "II": two, "III": two - one, "aVR": -(one + two) / 2, "aVL": one - two / 2, "aVF": two - one / 2,
    }  # fmt: skip
    for known in combinations(("I", "II", "III"), 2):
        made = derive_limb_leads({lead: full[lead] for lead in known})
        assert set(made) == set(LIMB_LEADS) - set(known)
        for lead, row in made.items():
            np.testing.assert_allclose(row, full[lead], atol=1e-5, err_msg=f"{lead} from {known}")
    assert derive_limb_leads({"I": one, "aVF": full["aVF"]}) == {}


@pytest.mark.parametrize(("mv", "odd"), [(-12.5, True), (12.5, True), (-11.5, False), (11.5, False)])
def test_amplitudes_that_no_ecg_has_are_noted_either_way(mv: float, odd: bool) -> None:
    row = np.zeros(500, dtype=np.float32)
    row[100], row[200] = mv, -np.sign(mv)
    record = assemble([("V1", row)], 100.0, where="made")
    codes = [note.code for note in record.notes if isinstance(note, Note)]
    assert (NoteCode.AMPLITUDE_IMPLAUSIBLE in codes) is odd
