"""Words with a slip of the pen: the nearest word of ECG language by edit distance."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from ecgkin.retrieval.search.words.lexicon import domain_stems, named_stems

LONGEST = 40
_ONE, _TWO = 5, 9  # letters from which on one and two slips are forgiven


def nearest_word(key: str, most: int = 2) -> str | None:
    """A known word for a stem that is not known, None where none is near enough.

    One slip (a letter too many, too few, another, two swapped) is forgiven in stems of 5 letters and more, two in 9 and
    more; the first letter must be right, or swapped with the second. Names go before other words of the language.

    Args:
        key: The stem.
        most: Slips to forgive.

    >>> nearest_word("fibrilation"), nearest_word("pizza")
    ('fibrillation', None)
    """
    if not _ONE <= len(key) <= LONGEST or not key.isalpha():
        return None
    slips = min(most, 2 if len(key) >= _TWO else 1)
    best: tuple[int, int, str] | None = None
    for order, words in enumerate((named_stems(), domain_stems())):
        for known, word in _beginning(words, key):
            if abs(len(known) - len(key)) > slips or len(known) < _ONE - 1:
                continue
            far = distance(key, known, slips)
            if far <= slips and (best is None or (far, order) < best[:2]):
                best = (far, order, word)
    return None if best is None else best[2]


def _beginning(words: Mapping[str, str], key: str) -> list[tuple[str, str]]:
    by_letter = _by_letter(words is named_stems())
    return by_letter.get(key[0], []) + [p for p in by_letter.get(key[1], []) if p[0][1:2] == key[0] != key[1]]


@lru_cache(maxsize=2)
def _by_letter(named: bool) -> dict[str, list[tuple[str, str]]]:
    found: dict[str, list[tuple[str, str]]] = {}
    for known, word in (named_stems() if named else domain_stems()).items():
        if known.isalpha():
            found.setdefault(known[0], []).append((known, word))
    return found


def distance(a: str, b: str, most: int) -> int:
    """Letters to add, drop, change or swap with the next (optimal string alignment); most + 1 where it is more.

    >>> distance("flimmern", "filmmern", 2), distance("abc", "xyz", 2)
    (1, 3)
    """
    before, last = [], list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        row = [i]
        for j, y in enumerate(b, 1):
            cost = min(last[j] + 1, row[j - 1] + 1, last[j - 1] + (x != y))
            if i > 1 and j > 1 and x == b[j - 2] and a[i - 2] == y:
                cost = min(cost, before[j - 2] + 1)
            row.append(cost)
        if min(row) > most:
            return most + 1
        before, last = last, row
    return min(last[-1], most + 1)
