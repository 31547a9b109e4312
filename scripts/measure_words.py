"""Search by words: 400 queries with what must come of them, the lines of the issue, and the table of 30 statements.

    python scripts/measure_words.py BASE [--half held] [--seed 2] [--show] [--raw]

Prints a table of figures; --show prints the queries that failed, --raw searches with the embedding alone.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from ecgkin.generation.research.retrieval.text_search import text_queries
from ecgkin.generation.research.retrieval.word_queries import WordQuery, word_queries
from ecgkin.index.case import Case
from ecgkin.retrieval.search.hits import SearchResult
from ecgkin.retrieval.search.search import CaseSearch

K = 10


def right(query: WordQuery, result: SearchResult, cases: Sequence[Case]) -> str:
    """Why an answer is wrong; "" where it is right."""
    if query.kind == "nonsense":
        return "" if result.nothing_similar else "answered"
    if query.kind == "sentence":
        return f"abstained ({result.abstained})" if result.nothing_similar else ""
    if query.kind == "not carried":
        said = {note.code.value for note in result.warnings}
        if "words_in_reports" in said:
            return ""
        return "" if result.nothing_similar and "words_not_carried" in said else "not said that no case carries it"
    fitting = [case for case in cases if _fits(query, case)]
    if result.nothing_similar and fitting and result.abstained != "not_carried":
        return f"abstained ({result.abstained})"
    hits = [hit.case for hit in result.hits]
    for case in hits:
        if set(query.none_of) & set(case.labels):
            return "a denied statement is shown"
        if query.sex is not None and case.sex != query.sex:
            return "the other sex is shown"
        if query.age is not None and not _of_age(query, case):
            return "another age is shown"
    n = min(K, len(fitting))
    found = sum(_fits(query, case) for case in hits[:n])
    return "" if found == n else f"{found} of {n}"


def _of_age(query: WordQuery, case: Case) -> bool:
    assert query.age is not None
    return query.age[0] <= 0 < 150 < query.age[1] or (
        case.age_years is not None and query.age[0] <= case.age_years <= query.age[1]
    )


def _fits(query: WordQuery, case: Case) -> bool:
    return (
        all(set(group) & set(case.labels) for group in query.any_of)
        and not set(query.none_of) & set(case.labels)
        and (query.sex is None or case.sex == query.sex)
        and (query.age is None or _of_age(query, case))
    )


def measure(engine: CaseSearch, queries: Sequence[WordQuery], *, raw: bool, show: bool) -> None:
    """Print how many of each kind are right."""
    cases = engine.base.cases()
    counts: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for query in queries:
        wrong = right(query, engine.by_text(query.text, K, raw=raw), cases)
        for name in (query.kind, "all", *(["with a slip"] if query.slip else [])):
            counts[name][0] += not wrong
            counts[name][1] += 1
        if wrong and show:
            print(f"  {query.kind}: {query.text[:70]!r}: {wrong}")
    for name, (good, n) in sorted(counts.items()):
        print(f"{name:14s} {good:4d} of {n:4d}  {good / n:.3f}")


def table(engine: CaseSearch, *, raw: bool, show: bool) -> None:
    """Print mean P@10 of the table of 30 statements by form."""
    by_form: dict[str, list[float]] = defaultdict(list)
    for code, form, text in text_queries():
        result = engine.by_text(text, K, raw=raw)
        precision = sum(code in hit.case.labels for hit in result.hits) / K
        by_form[form].append(precision)
        if show:
            print(f"  {code:8s} {form:14s} {precision:.1f} {'nothing' if result.nothing_similar else '':8s} {text}")
        by_form["abstained"].append(float(result.nothing_similar))
    for form, values in by_form.items():
        print(f"{form:14s} {sum(values) / len(values):.3f}")


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("base", type=Path)
    parser.add_argument("--half", choices=("fit", "held"), default="fit")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--show", action="store_true")
    parser.add_argument("--raw", action="store_true", help="the embedding alone")
    asked = parser.parse_args()
    with CaseSearch.open(asked.base) as engine:
        queries = word_queries(asked.half, asked.seed)
        print(f"{len(queries)} queries, {asked.half} half, seed {asked.seed}{', embedding alone' if asked.raw else ''}")
        measure(engine, queries, raw=asked.raw, show=asked.show)
        print("table of 30 statements, P@10")
        table(engine, raw=asked.raw, show=asked.show)


if __name__ == "__main__":
    main()
