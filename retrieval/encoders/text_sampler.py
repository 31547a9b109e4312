"""Texts for the text stage, and the ECGs that each of them fits.

Texts are reports and what clinicians type: statement names, synonyms, abbreviations and sentences with them
(`statements.query_texts`), descriptions that do not name the finding (`descriptions`), alone and two at a time. A
text's target is spread over all ECGs that it fits, so that neither the same report nor the same finding in another
patient is ever a negative.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ecgkin.retrieval.ecg.report_text import has_findings
from ecgkin.retrieval.ecg.statements import CODES, query_texts
from ecgkin.retrieval.encoders.corpus import Corpus
from ecgkin.retrieval.encoders.descriptions import descriptions

QUERY_SHARE = 0.55  # of the texts in a batch that are statement queries instead of reports
DESCRIPTION_SHARE = 0.4  # of the queries that describe a finding instead of naming it
PAIR_SHARE = 0.25  # of the queries that ask for two findings
JOINERS = (", ", " and ", " mit ", " with ", " ", " und ")


@dataclass(frozen=True)
class TextBatch:
    """Texts and what they ask for.

    Attributes:
        texts: n texts.
        targets: What share of a text's mass lies on each ECG, (n, n_rows), rows summing to 1.
        statements: Number of the one statement that a text asks for; -1 for reports and for two findings, (n,).
        asks: Whether a text is a query instead of a report, (n,).
    """

    texts: list[str]
    targets: NDArray[np.float32]
    statements: NDArray[np.int64]
    asks: NDArray[np.bool_]


class TextSampler:
    """Draws texts and the ECGs that each fits.

    Args:
        corpus: Records, reports and labels.
        rows: Training rows of the corpus.
    """

    def __init__(self, corpus: Corpus, rows: NDArray[np.int64]) -> None:
        self.labels = corpus.labels[rows].astype(bool)
        self.reports = [corpus.reports[r] for r in rows]
        self.speaking = np.flatnonzero([has_findings(text) for text in self.reports])
        _, self.same = np.unique([corpus.normalised[r] for r in rows], return_inverse=True)
        self.names = [query_texts(code) for code in CODES]
        self.descriptions = [descriptions(code) for code in CODES]
        counts = self.labels.sum(axis=0)
        # Rare statements are asked for more often than they occur, common ones less: the root of the count.
        share = np.where(counts > 0, np.sqrt(counts), 0.0)
        self.share = share / share.sum()
        weights = np.log((len(rows) + 1) / (counts + 1)).clip(0.3, 6.0) ** 0.5
        self.weighted = (self.labels * weights).astype(np.float32)
        self.plain = self.labels.astype(np.float32)
        self.mass = self.weighted.sum(axis=1)

    def vocabulary(self) -> list[str]:
        """Every text that may be drawn, for the tokenizer."""
        return [*self.reports, *(t for group in (*self.names, *self.descriptions) for t in group)]

    def draw(self, n: int, rng: np.random.Generator) -> TextBatch:
        """`n` texts."""
        texts: list[str] = []
        targets = np.zeros((n, len(self.reports)), dtype=np.float32)
        statements = np.full(n, -1, dtype=np.int64)
        asks = np.zeros(n, dtype=bool)
        reported: list[tuple[int, int]] = []
        for i in range(n):
            if rng.random() < QUERY_SHARE:
                text, chosen = self._query(rng)
                targets[i] = self.labels[:, chosen].all(axis=1)
                asks[i] = True
                if len(chosen) == 1:
                    statements[i] = chosen[0]
            else:
                text, row = self._report(rng)
                reported.append((i, row))
            texts.append(text)
        if reported:
            at, rows = (np.array(column) for column in zip(*reported, strict=True))
            targets[at] = self._report_targets(rows)
        return TextBatch(texts, targets / targets.sum(axis=1, keepdims=True), statements, asks)

    def _query(self, rng: np.random.Generator) -> tuple[str, list[int]]:
        first = int(rng.choice(len(CODES), p=self.share))
        chosen = [first]
        if rng.random() < PAIR_SHARE:
            # A second finding that occurs beside the first: take it from one of the records that carry the first.
            carrier = int(rng.choice(np.flatnonzero(self.labels[:, first])))
            others = [int(c) for c in np.flatnonzero(self.labels[carrier]) if c != first]
            if others:
                chosen.append(int(rng.choice(others)))
        return JOINERS[int(rng.integers(len(JOINERS)))].join(self._words(c, rng) for c in chosen), chosen

    def _words(self, statement: int, rng: np.random.Generator) -> str:
        if rng.random() < DESCRIPTION_SHARE:
            group = self.descriptions[statement]
            return _thinned(group[int(rng.integers(len(group)))], rng)
        names = self.names[statement]
        return names[int(rng.integers(len(names)))]

    def _report(self, rng: np.random.Generator) -> tuple[str, int]:
        row = int(rng.choice(self.speaking))
        return _thinned(self.reports[row], rng), row

    def _report_targets(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Most of the mass on ECGs with the same report, the rest on those with similar (rarity-weighted) labels."""
        shared = self.weighted[rows] @ self.plain.T
        union = self.mass[rows][:, None] + self.mass[None] - shared
        near = np.exp((shared / np.maximum(union, 1e-6) - 1) / 0.12)
        fits = (self.same[rows][:, None] == self.same[None]).astype(np.float32)
        mixed = 0.7 * fits / fits.sum(axis=1, keepdims=True) + 0.3 * near / near.sum(axis=1, keepdims=True)
        return np.asarray(mixed, dtype=np.float32)


def _thinned(text: str, rng: np.random.Generator) -> str:
    """Now and then some words are missing: nobody types a report or a description to the letter."""
    if rng.random() >= 0.3:
        return text
    words = text.split()
    kept = [w for w in words if rng.random() > 0.15]
    return " ".join(kept or words)
