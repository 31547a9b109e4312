"""How far written reports overlap with true ones, in words: BLEU, ROUGE-L and METEOR.

Texts are measured against one reference each, with bootstrap intervals over patients. Words are runs of
letters and digits in lower case. BLEU is a measure of a whole set: its counts are kept per text, so that it can be
computed anew in each resample.

- BLEU: Papineni et al. 2002; corpus level, clipped counts, brevity penalty, no smoothing.
- ROUGE-L: Lin 2004; F measure with equal weights, mean over texts.
- METEOR: Banerjee and Lavie 2005 with exact matches only (reports are German, English and Swedish: no stemmer and no
  synonyms serve all three), F = 10 P R / (R + 9 P), penalty 0.5 (chunks / matches)^3, mean over texts.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ecgkin.generation.research.retrieval.bootstrap import Doubles, Interval, interval, mean_interval
from ecgkin.retrieval.errors import QueryError

MEASURES: tuple[str, ...] = ("BLEU-1", "BLEU-4", "ROUGE-L", "METEOR")
_ORDERS = 4
_WORD = re.compile(r"\w+")


def words(text: str) -> list[str]:
    """The words of a text.

    >>> words("Sinusrhythmus, 72/min; Lagetyp: Linkstyp")
    ['sinusrhythmus', '72', 'min', 'lagetyp', 'linkstyp']
    """
    return _WORD.findall(text.lower())


def overlap(texts: Sequence[str], references: Sequence[str], weights: NDArray[np.float32]) -> dict[str, Interval]:
    """All measures of `MEASURES`.

    Args:
        texts: What was written; an empty text counts as one without a word in common.
        references: One for each; texts whose reference has no word are left out.
        weights: Bootstrap weights, (resamples, n).

    Returns:
        Measure -> its value with its interval.

    Raises:
        QueryError: Texts, references and weights do not pair up.
    """
    if not len(texts) == len(references) == weights.shape[1]:
        raise QueryError(f"{len(texts)} texts, {len(references)} references and weights of {weights.shape[1]}")
    pairs = [(words(text), words(reference)) for text, reference in zip(texts, references, strict=True)]
    known = np.array([bool(reference) for _, reference in pairs], dtype=bool)
    counts = np.array([_bleu_counts(text, reference) for text, reference in pairs], dtype=np.float64)
    plain = np.ones((1, len(texts)), dtype=np.float64)
    out: dict[str, Interval] = {}
    for order in (1, _ORDERS):
        value = _bleu(plain[:, known] @ counts[known], order)
        drawn = _bleu(weights[:, known].astype(np.float64) @ counts[known], order)
        out[f"BLEU-{order}"] = interval(float(value[0]), drawn)
    for name, measure in (("ROUGE-L", rouge_l), ("METEOR", meteor)):
        each = np.array([measure(*pair) if fine else np.nan for pair, fine in zip(pairs, known, strict=True)])
        out[name] = mean_interval(each, weights)
    return out


def _bleu_counts(text: Sequence[str], reference: Sequence[str]) -> list[int]:
    """Length of text and reference, then clipped matches and n-grams of each order."""
    out = [len(text), len(reference)]
    for order in range(1, _ORDERS + 1):
        mine, theirs = _grams(text, order), _grams(reference, order)
        out += [sum(min(count, theirs[gram]) for gram, count in mine.items()), sum(mine.values())]
    return out


def _grams(tokens: Sequence[str], order: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(tokens[i : i + order]) for i in range(len(tokens) - order + 1))


def _bleu(totals: Doubles, orders: int) -> Doubles:
    """BLEU of summed counts, (n, 2 + 2 orders) -> (n,)."""
    length, reference = totals[:, 0], totals[:, 1]
    matches, grams = totals[:, 2 : 2 + 2 * orders : 2], totals[:, 3 : 3 + 2 * orders : 2]
    with np.errstate(divide="ignore", invalid="ignore"):
        precision = np.where(grams > 0, matches / grams, 0.0)
        mean = np.exp(np.log(precision).mean(axis=1))
        brevity = np.where(length >= reference, 1.0, np.exp(1.0 - reference / length))
    return np.asarray(np.where((precision > 0).all(axis=1) & (length > 0), mean * brevity, 0.0))


def rouge_l(text: Sequence[str], reference: Sequence[str]) -> float:
    """F of the longest common subsequence.

    Args:
        text: Words.
        reference: Words.

    Returns:
        F, 0 to 1.

    >>> rouge_l(words("sinus rhythm, normal ecg"), words("sinus rhythm, left axis, normal ecg"))
    0.8
    """
    if not text or not reference:
        return 0.0
    last = [0] * (len(reference) + 1)
    for word in text:
        row = [0]
        for place, other in enumerate(reference, 1):
            row.append(last[place - 1] + 1 if word == other else max(last[place], row[-1]))
        last = row
    return 2 * last[-1] / (len(text) + len(reference))


def meteor(text: Sequence[str], reference: Sequence[str]) -> float:
    """Harmonic mean of precision and recall of single words, less for every break in their order.

    Args:
        text: Words.
        reference: Words.

    Returns:
        The score, 0 to 1.

    >>> round(meteor(["a", "b", "c"], ["a", "b", "c"]), 3), meteor(["x"], ["a"])
    (0.981, 0.0)
    """
    places: dict[str, list[int]] = {}
    for place, word in enumerate(reference):
        places.setdefault(word, []).append(place)
    matched: list[int | None] = []
    before: int | None = None
    for word in text:
        free = places.get(word)
        if not free:
            matched.append(None)
            before = None
            continue
        # The place right behind the last match keeps a chunk together; else the first free one.
        at = free.index(before + 1) if before is not None and before + 1 in free else 0
        before = free.pop(at)
        matched.append(before)
    n = sum(place is not None for place in matched)
    if n == 0:
        return 0.0
    chunks = 0
    last: int | None = None
    for found in matched:
        if found is not None and (last is None or found != last + 1):
            chunks += 1
        last = found
    precision, recall = n / len(text), n / len(reference)
    return 10 * precision * recall / (recall + 9 * precision) * (1 - 0.5 * (chunks / n) ** 3)
