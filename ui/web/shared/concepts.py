"""Near in one respect: cases of a search put in another order by what their statements say of rhythm, QRS or ST-T.

A vector is of a whole ECG; there is none of its rhythm alone. What can be asked is how well the statements of a case
fit what is probable for the query, in one group of statements.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ecgkin.ui.api.answers import HitOut

Concept = Literal["all", "rhythm", "qrs", "st_t", "not_rate"]
CONCEPTS: tuple[Concept, ...] = ("all", "rhythm", "qrs", "st_t", "not_rate")
# Cases that are put in another order: the nearest.
AMONG = 50
# No probability counts as certain.
_CLIP = 0.02
_RATE = frozenset({"SBRAD", "STACH"})
_QRS_FORMS = frozenset({"ABQRS", "QWAVE", "LVOLT", "HVOLT", "VCLVH", "PRC(S)"})
_QRS_CLASSES = frozenset({"CD", "HYP", "MI"})
_ST_FORMS = frozenset({"STD_", "STE_", "INVT", "TAB_", "LOWT", "NT_"})
# Conduction before QRS, atria: neither rhythm nor QRS.
_NOT_QRS = frozenset({"1AVB", "2AVB", "3AVB", "LAO/LAE", "RAO/RAE", "LPR"})


def codes_of(concept: Concept) -> frozenset[str]:
    """The statements of a concept.

    >>> "AFIB" in codes_of("rhythm"), "CLBBB" in codes_of("qrs"), "SBRAD" in codes_of("not_rate")
    (True, True, False)
    """
    from ecgkin.retrieval.ecg.statements.catalogue import CODES, statement

    every = [statement(code) for code in CODES]
    if concept == "rhythm":
        return frozenset(one.code for one in every if "rhythm" in one.kinds) | {"1AVB", "2AVB", "3AVB", "PAC", "PVC"}
    if concept == "qrs":
        return (
            frozenset(one.code for one in every if one.superclass in _QRS_CLASSES or one.code in _QRS_FORMS) - _NOT_QRS
        )
    if concept == "st_t":
        return frozenset(one.code for one in every if one.superclass == "STTC" or one.code in _ST_FORMS)
    return frozenset(CODES) - (_RATE if concept == "not_rate" else frozenset())


def fit(statements: Mapping[str, float], labels: Mapping[str, float], codes: frozenset[str]) -> float:
    """How well a case's statements fit what is probable for the query: their mean log-likelihood.

    Args:
        statements: Code to probability, of the query.
        labels: Of the case.
        codes: The statements that count.

    Returns:
        0 and less; larger is better.

    >>> good = fit({"AFIB": 0.9}, {"AFIB": 100.0}, frozenset({"AFIB", "SR"}))
    >>> good > fit({"AFIB": 0.9}, {"SR": 100.0}, frozenset({"AFIB", "SR"}))
    True
    """
    total = 0.0
    for code in codes:
        p = min(1 - _CLIP, max(_CLIP, statements.get(code, 0.0)))
        total += math.log(p if code in labels else 1 - p)
    return total / max(1, len(codes))


def ordered(hits: Sequence[HitOut], statements: Mapping[str, float], concept: Concept, k: int) -> list[HitOut]:
    """The nearest cases in the order of a concept; those that fit alike stay in the order of similarity.

    Args:
        hits: The nearest first.
        statements: Code to probability, of the query.
        concept: Of which statements.
        k: How many are wanted.

    Returns:
        Hits with ranks from 1; their similarity is as it was.
    """
    codes = codes_of(concept)
    best = sorted(hits, key=lambda hit: (-round(fit(statements, hit.case.labels, codes), 6), hit.rank))
    return [hit.model_copy(update={"rank": rank}) for rank, hit in enumerate(best[:k], 1)]


def by_likeness(hits: Sequence[HitOut], alike: Mapping[str, float | None], k: int) -> list[HitOut]:
    """The nearest cases, those first that are most alike in one stretch; those of which that is not known come last.

    Args:
        hits: The nearest first.
        alike: Case id to likeness, larger is more alike.
        k: How many are wanted.

    Returns:
        Hits with ranks from 1; their similarity is as it was.
    """

    def place(hit: HitOut) -> tuple[float, int]:
        value = alike.get(hit.case.case_id)
        return (2.0 if value is None else -value), hit.rank

    return [hit.model_copy(update={"rank": rank}) for rank, hit in enumerate(sorted(hits, key=place)[:k], 1)]


def contrasts(hits: Sequence[HitOut], statements: Mapping[str, float], most: int = 3) -> list[HitOut]:
    """Cases that look alike and have another diagnosis: the nearest that share no superclass with the query.

    Args:
        hits: The nearest first.
        statements: Code to probability, of the query; those of one half and more are its findings.
        most: How many.

    Returns:
        Hits, the nearest first, each of another set of superclasses.
    """
    from ecgkin.retrieval.ecg.statements.catalogue import superclasses

    own = set(superclasses(code for code, p in statements.items() if p >= 0.5))
    out: list[HitOut] = []
    seen: set[tuple[str, ...]] = set()
    for hit in hits:
        theirs = superclasses(hit.case.labels)
        if own and theirs and not own & set(theirs) and theirs not in seen:
            seen.add(theirs)
            out.append(hit)
    return out[:most]
