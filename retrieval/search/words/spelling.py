"""Words with a slip of the pen: the nearest word of ECG language by edit distance."""

from __future__ import annotations

from functools import lru_cache

from ecgkin.retrieval.ecg.statements.catalogue import STATEMENTS
from ecgkin.retrieval.ecg.statements.find import stem
from ecgkin.retrieval.ecg.statements.report_text import fold
from ecgkin.retrieval.search.words.lexicon import domain_stems, named_spellings, named_stems

LONGEST = 40
_ONE, _TWO = 5, 9  # letters from which on one and two slips are forgiven


def nearest_word(word: str, most: int = 2) -> str | None:
    """A known word for one that is not known, None where none is near enough.

    One slip (a letter too many, too few, another, two swapped) is forgiven in words of 5 letters and more, two in 9 and
    more; the first letter must be right, or swapped with the second. Names go before other words of the language.

    Args:
        word: As it was written.
        most: Slips to forgive.

    Returns:
        The known word as it is written in a name.

    >>> nearest_word("fibrilation"), nearest_word("pizza")
    ('fibrillation', None)
    """
    if word.isupper() and len(word) in (4, 5):
        near = _abbreviation(word)
        if near is not None:
            return near
    best: tuple[int, int, str] | None = None
    # Folding takes "ae" for a vowel, also where a letter between the two was lost.
    for key in dict.fromkeys((fold(word).replace("-", ""), stem(word), word.lower())):
        if not _ONE <= len(key) <= LONGEST or not key.isalpha():
            continue
        slips = min(most, 2 if len(key) >= _TWO else 1)
        for order, known, meant in _beginning(key):
            if abs(len(known) - len(key)) > slips:
                continue
            far = distance(key, known, slips)
            if far <= slips and (best is None or (far, order) < best[:2]):
                best = (far, order, meant)
    return None if best is None else best[2]


def _abbreviation(word: str) -> str | None:
    """An abbreviation of a statement with a letter too many or few, or two swapped; another letter, another name."""
    known = [short for s in STATEMENTS for short in (s.code, *s.abbreviations) if short.isupper() and len(short) > 3]
    near = [short for short in known if short[0] == word[0] and distance(word, short, 1) == 1]
    return next((short for short in near if len(short) != len(word) or sorted(short) == sorted(word)), None)


def _beginning(key: str) -> list[tuple[int, str, str]]:
    """Known words that begin with the first letter, or with the first two swapped."""
    known = _by_letter()
    swapped = [entry for entry in known.get(key[1], []) if entry[1][1:2] == key[0] != key[1]]
    return known.get(key[0], []) + swapped


@lru_cache(maxsize=1)
def _by_letter() -> dict[str, list[tuple[int, str, str]]]:
    found: dict[str, list[tuple[int, str, str]]] = {}
    for order, words in enumerate((named_spellings(), named_stems(), domain_stems())):
        for known, word in words.items():
            if known.isalpha() and len(known) >= _ONE - 1 and not word.isupper():  # abbreviations: `_abbreviation`
                found.setdefault(known[0], []).append((min(order, 1), known, word))
    return found


def distance(a: str, b: str, most: int) -> int:
    """Letters to add, drop, change or swap with the next (optimal string alignment); most + 1 where it is more.

    Args:
        a, b: Words.
        most: Where counting may stop.

    Returns:
        The number of slips, 0 to most + 1.

    >>> distance("flimmern", "filmmern", 2), distance("abc", "xyz", 2)
    (1, 3)
    """
    before: list[int] = []
    last = list(range(len(b) + 1))
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
