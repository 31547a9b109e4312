"""Zero-shot by text prompts: an ECG's score for a class is the cosine of its picture to the class's words.

Groups as in the tables of MERL and D-BETA (field.md 4): superclass, subclass, form, rhythm. As in the PTB-XL benchmark
a group is measured on the queries that carry at least one of its labels. Those systems were trained on MIMIC-IV-ECG
and never saw a PTB-XL label; the shipped encoder was trained on PTB-XL's folds 1 to 8, labels included, so its rows say
how well words find findings, not what it knows of an unseen archive.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ecgkin.generation.research.retrieval.bootstrap import AucTable, Doubles, Interval, patient_weights
from ecgkin.generation.research.retrieval.labels import BoolMatrix, LabelledRow, default_space
from ecgkin.generation.research.retrieval.metrics import clean_columns
from ecgkin.generation.research.retrieval.ranking import Floats, patient_numbers, unit_rows
from ecgkin.retrieval.ecg.statements.catalogue import STATEMENTS, SUPERCLASS_NAMES, Statement, statement
from ecgkin.retrieval.encoders.base import Encoder
from ecgkin.retrieval.errors import QueryError

GROUPS: tuple[str, ...] = ("superclass", "subclass", "form", "rhythm")
PROMPTS: tuple[str, ...] = ("name", "terms")


@dataclass(frozen=True)
class ZeroShotResult:
    """One group with one kind of prompt.

    Attributes:
        group: One of `GROUPS`.
        prompts: "name": the class's English name alone. "terms": the mean direction of the names and synonyms of its
            statements in English.
        n: Queries with a label of the group.
        macro, clean: Macro-AUC over all columns with both classes, and over those with at least ten positives.
        n_labels, n_clean: How many these are.
        per_label: Label to (AUC, positives).
        resampled: Macro-AUC in each resample, for paired tests.
    """

    group: str
    prompts: str
    n: int
    macro: Interval
    clean: Interval
    n_labels: int
    n_clean: int
    per_label: Mapping[str, tuple[float, int]]
    resampled: Doubles = field(repr=False)


def group_labels(group: str) -> tuple[str, ...]:
    """Labels of a group in their order.

    Raises:
        QueryError: No such group.

    >>> [len(group_labels(group)) for group in GROUPS]
    [5, 23, 19, 12]
    """
    space = default_space()
    if group == "superclass":
        return space.superclasses
    if group == "subclass":
        return space.subclasses
    if group in ("form", "rhythm"):
        return tuple(s.code for s in STATEMENTS if group in s.kinds)
    raise QueryError(f"group is {group!r} (expected one of {', '.join(GROUPS)})")


def group_truth(group: str, rows: Sequence[LabelledRow]) -> BoolMatrix:
    """Multi-hot labels of a group, shape (n, n_labels).

    Args:
        group: One of `GROUPS`.
        rows: Labels of the records.

    Returns:
        (n, n_labels).
    """
    space = default_space()
    statements = space.statements([row.labels for row in rows])
    if group == "superclass":
        return space.superclass_matrix(statements)
    if group == "subclass":
        return space.subclass_matrix(statements)
    return statements[:, [space.codes.index(code) for code in group_labels(group)]]


def class_texts(group: str, prompts: str) -> dict[str, tuple[str, ...]]:
    """The texts of each label of a group.

    Args:
        group: One of `GROUPS`.
        prompts: One of `PROMPTS`.

    Returns:
        Label -> its texts.

    Raises:
        QueryError: No such group or kind of prompt.
    """
    if prompts not in PROMPTS:
        raise QueryError(f"prompts is {prompts!r} (expected one of {', '.join(PROMPTS)})")
    out: dict[str, tuple[str, ...]] = {}
    for label in group_labels(group):
        members = [s for s in STATEMENTS if _label_of(s, group) == label]
        if prompts == "terms":
            out[label] = tuple(dict.fromkeys(term for s in members for term in s.terms("en")))
        elif group == "superclass":
            out[label] = (SUPERCLASS_NAMES[label][0],)
        elif group == "subclass":
            # A subclass bears the name of the statement of that code; some (IMI, AMI, STTC ...) are wider than it.
            own = [s for s in members if s.code == label] or members
            out[label] = tuple(s.name_en for s in own)
        else:
            out[label] = (statement(label).name_en,)
    return out


def _label_of(one: Statement, group: str) -> str | None:
    if group == "superclass":
        return one.superclass
    return one.subclass if group == "subclass" else one.code


def class_vectors(encoder: Encoder, group: str, prompts: str) -> Floats:
    """Unit rows, one a label, shape (n_labels, dim): the mean of its texts' vectors.

    Args:
        encoder: Has a text tower.
        group: One of `GROUPS`.
        prompts: One of `PROMPTS`.

    Returns:
        Unit rows, float32 (n_labels, dim).
    """
    texts = class_texts(group, prompts)
    flat = [text for group_of in texts.values() for text in group_of]
    vectors = encoder.encode_texts(flat)
    ends = np.cumsum([len(group_of) for group_of in texts.values()])[:-1]
    return unit_rows(np.stack([part.mean(axis=0) for part in np.split(vectors, ends)]))


def evaluate_zero_shot(
    encoder: Encoder,
    query_emb: Floats,
    rows: Sequence[LabelledRow],
    *,
    groups: Sequence[str] = GROUPS,
    prompts: Sequence[str] = PROMPTS,
    weights: NDArray[np.float32] | None = None,
) -> list[ZeroShotResult]:
    """AUCs of the cosine between pictures and words.

    Args:
        encoder: For the words.
        query_emb: Unit rows of the pictures, shape (n, dim).
        rows: Their labels and patients.
        groups, prompts: Which.
        weights: Bootstrap weights, shape (resamples, n); drawn over patients when None.

    Returns:
        AUCs with intervals, one result a group and kind of prompt.

    Raises:
        QueryError: Embeddings and rows do not fit, or an unknown group or kind of prompt.
    """
    if len(query_emb) != len(rows):
        raise QueryError(f"{len(query_emb)} embeddings for {len(rows)} rows")
    if weights is None:
        weights = patient_weights(patient_numbers([row.patient_id for row in rows])[0])
    out = []
    for group in groups:
        truth = group_truth(group, rows)
        asked = truth.any(axis=1)
        if not asked.any():
            continue
        clean = clean_columns(truth[asked])
        for kind in prompts:
            scores = query_emb[asked] @ class_vectors(encoder, group, kind).T
            table = AucTable.of(truth[asked], scores, weights[:, asked])
            every, kept = table.macro(), table.macro(clean)
            out.append(
                ZeroShotResult(
                    group=group,
                    prompts=kind,
                    n=int(asked.sum()),
                    macro=every.interval,
                    clean=kept.interval,
                    n_labels=every.n_labels,
                    n_clean=kept.n_labels,
                    per_label={
                        label: (float(auc), int(n))
                        for label, auc, n in zip(
                            group_labels(group), table.plain, truth[asked].sum(axis=0), strict=True
                        )
                    },
                    resampled=every.resampled,
                )
            )
    return out
