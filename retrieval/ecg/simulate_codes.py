"""Which statements the simulator knows, which go together, and mixes of them as they come in a hospital."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from ecgkin.retrieval.ecg.statements import CODES, STATEMENTS
from ecgkin.retrieval.errors import QueryError

SUPPORTED: tuple[str, ...] = (
    "NORM", "SR", "AFIB", "AFLT", "STACH", "SBRAD", "SARRH", "PVC", "BIGU", "PAC", "1AVB", "CLBBB", "CRBBB", "IRBBB",
    "LAFB", "LVH", "IMI", "ASMI", "PACE", "LOWT", "LVOLT", "STD_", "WPW", "LNGQT",
)  # fmt: skip
RHYTHMS: frozenset[str] = frozenset({"SR", "AFIB", "AFLT", "STACH", "SBRAD", "SARRH", "PACE"})
_SINUS = ("SR", "STACH", "SBRAD", "SARRH")
_FINDINGS = tuple(code for code in SUPPORTED if code not in {*RHYTHMS, "NORM"})


def _pairs() -> dict[frozenset[str], str]:
    table: dict[frozenset[str], str] = {}

    def refuse(first: Sequence[str], second: Sequence[str], why: str) -> None:
        for a in first:
            for b in second:
                if a != b:
                    table[frozenset((a, b))] = why

    refuse(["NORM"], [*_FINDINGS, "AFIB", "AFLT", "PACE"], "a normal ECG has no other finding")
    refuse(_SINUS, _SINUS, "there is one sinus rhythm at a time")
    del table[frozenset(("SBRAD", "SARRH"))]
    refuse(_SINUS, ["AFIB", "AFLT"], "the atria either follow the sinus node or they do not")
    refuse(["AFIB"], ["AFLT"], "the atria do one or the other")
    refuse(["PACE"], ["AFLT", "STACH", "SBRAD", "SARRH", "SR"], "the pacemaker sets this rhythm")
    refuse(["CLBBB"], ["CRBBB", "IRBBB"], "one bundle branch at a time")
    refuse(["CRBBB"], ["IRBBB"], "a block is complete or incomplete")
    refuse(["PACE"], _FINDINGS, "the paced QRS hides or excludes it")
    refuse(["WPW"], [c for c in _FINDINGS if c not in {"PAC", "PVC"}], "pre-excitation hides or excludes it")
    refuse(["WPW"], ["AFIB", "AFLT"], "pre-excitation is simulated in sinus rhythm only")
    refuse(["CLBBB"], ["LAFB", "LVH", "IMI", "ASMI", "LOWT", "STD_"], "left bundle branch block hides it")
    refuse(["CRBBB", "IRBBB"], ["LVH", "ASMI"], "the criteria of both overlap in V1")
    refuse(["LAFB"], ["IMI"], "both claim the inferior leads")
    refuse(["LVH"], ["LVOLT", "LOWT", "ASMI"], "the criteria exclude each other")
    refuse(["LVOLT"], ["CLBBB", "LAFB", "CRBBB", "IRBBB", "IMI", "ASMI"], "waves this small do not show it")
    refuse(["LOWT"], ["CRBBB", "IMI", "ASMI", "LNGQT", "AFLT"], "T has a shape of its own there")
    refuse(["STD_"], ["LVH", "CRBBB", "IMI", "ASMI", "AFLT"], "ST has a course of its own there")
    refuse(["LNGQT"], ["STACH", "AFIB", "AFLT"], "the end of T cannot be seen or measured")
    refuse(["1AVB"], ["AFIB", "AFLT", "STACH"], "there is no PR interval to measure")
    refuse(["PAC"], ["AFIB", "AFLT", "SARRH", "STACH", "BIGU", "1AVB"], "a premature P wave cannot be told there")
    refuse(["BIGU"], ["AFIB", "AFLT", "STACH", "SBRAD", "SARRH", "LNGQT", "1AVB"], "not simulated with bigeminy")
    refuse(["PVC"], ["AFLT", "SARRH"], "not simulated with extrasystoles")
    return table


_REFUSED = _pairs()


def complete_codes(codes: Iterable[str]) -> tuple[str, ...]:
    """The statements in the order of `SUPPORTED`, checked, with what they imply (a rhythm, PVC with BIGU).

    Raises:
        QueryError: A code is unknown or not simulated, none is given, or two exclude each other.

    >>> complete_codes(["CLBBB"]), complete_codes(["AFIB", "LVH"])
    (('SR', 'CLBBB'), ('AFIB', 'LVH'))
    """
    wanted = set(codes)
    unknown = sorted(wanted - set(SUPPORTED))
    if unknown or not wanted:
        what = f"{', '.join(unknown)}: {'not simulated' if set(unknown) <= set(CODES) else 'unknown statement'}"
        raise QueryError(what if unknown else "no statement given", hint=f"the simulator knows {', '.join(SUPPORTED)}")
    if "BIGU" in wanted:
        wanted.add("PVC")
    if not wanted & RHYTHMS:
        wanted.add("SR")
    for pair, why in _REFUSED.items():
        if pair <= wanted:
            a, b = sorted(pair)
            raise QueryError(f"{a} and {b} cannot be simulated together: {why}", hint="leave one of them out")
    return tuple(code for code in SUPPORTED if code in wanted)


def compatible(codes: Iterable[str]) -> bool:
    """Whether `complete_codes` accepts them."""
    try:
        complete_codes(codes)
    except QueryError:
        return False
    return True


def likelihoods(codes: Iterable[str]) -> dict[str, float]:
    """Labels in PTB-XL's way: 100 for diagnostic statements, 0 for those of form and rhythm (where it says nothing)."""
    diagnostic = {s.code for s in STATEMENTS if "diagnostic" in s.kinds}
    return {code: 100.0 if code in diagnostic else 0.0 for code in codes}


# How often each comes first in a made-up corpus: normal ECGs often, every other statement often enough to be found.
_MIX: dict[str, float] = {code: 1.0 for code in SUPPORTED if code != "SR"} | {"NORM": 6.0, "AFIB": 2.0, "LVH": 1.5}


def draw_codes(number: int, rng: np.random.Generator) -> tuple[str, ...]:
    """Statements for the `number`-th record of a corpus: the first round goes once through all, then by chance."""
    if number < len(SUPPORTED):
        first = SUPPORTED[number]
    else:
        names = tuple(_MIX)
        weights = np.array([_MIX[n] for n in names])
        first = names[int(rng.choice(len(names), p=weights / weights.sum()))]
    codes = {first}
    for _ in range(2):
        if first not in {"NORM", "SR"} and rng.random() < 0.35:
            other = SUPPORTED[int(rng.integers(2, len(SUPPORTED)))]
            if compatible({*codes, other}):
                codes.add(other)
    return complete_codes(codes)
