"""Which cases the demo shows: a small base that covers every statement, and a query from a patient outside it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Protocol, TypeVar

import numpy as np

if TYPE_CHECKING:
    from ecgkin.index.case import Case
    from ecgkin.index.ingest_items import IngestItem
    from ecgkin.retrieval.ecg.record import EcgRecord
    from ecgkin.retrieval.ecg.simulate import SimulatedEcg

# Cases of each statement that the base holds before it is filled up at random (all of them where there are fewer).
MIN_PER_STATEMENT = 8
# A query should have company: at least as many cases with its rarest statement as hits are shown.
MIN_COMPANY = 10
# Two seeds, so that no query is in its own gallery.
GALLERY_SEED, QUERY_SEED = 20, 21
SIMULATED_HZ = 250.0


class Labelled(Protocol):
    """What is asked of a row: its statements and its patient."""

    @property
    def labels(self) -> Mapping[str, float]:
        """Statement code to likelihood."""

    @property
    def patient_id(self) -> str | None:
        """Who."""


Row = TypeVar("Row", bound=Labelled)


def choose_cases(rows: Sequence[Row], n: int, *, seed: int = 0, per_statement: int = MIN_PER_STATEMENT) -> list[Row]:
    """At most n rows that cover every statement, rare ones first, the rest drawn at random.

    Args:
        rows: To choose from.
        n: How many; fewer come back where there are fewer.
        seed: Of the draw: the same rows and seed give the same choice.
        per_statement: How many cases each statement should have.

    Returns:
        The chosen rows in the order they were given.
    """
    order = np.random.default_rng(seed).permutation(len(rows))
    frequency = Counter(code for row in rows for code in row.labels)
    chosen: dict[int, None] = {}
    have: Counter[str] = Counter()
    for code in sorted(frequency, key=lambda c: (frequency[c], c)):
        for i in order:
            if have[code] >= per_statement or len(chosen) >= n:
                break
            if code in rows[i].labels and int(i) not in chosen:
                chosen[int(i)] = None
                have.update(rows[i].labels.keys())
    for i in order:
        if len(chosen) >= n:
            break
        chosen[int(i)] = None
    return [rows[i] for i in sorted(chosen)]


def choose_query(rows: Sequence[Row], gallery: Sequence[Row], *, seed: int = 0) -> Row | None:
    """A row with a finding, whose patient is not in the gallery and whose statements are.

    Args:
        rows: Held-out rows.
        gallery: The rows that will be searched.
        seed: Which of the suitable rows.

    Returns:
        A row with a statement other than NORM and SR and with company for all of its statements; where there is none,
        the row whose rarest statement has most company; None where no row has a patient of its own.
    """
    patients = {row.patient_id for row in gallery if row.patient_id}
    frequency = Counter(code for row in gallery for code in row.labels)
    apart = [row for row in rows if row.patient_id not in patients and row.labels]
    if not apart:
        return None
    telling = [row for row in apart if set(row.labels) - {"NORM", "SR"}] or apart

    def company(codes: Collection[str]) -> int:
        return min(frequency[code] for code in codes)

    suitable = [row for row in telling if company(row.labels) >= MIN_COMPANY]
    if not suitable:
        return max(telling, key=lambda row: company(row.labels))
    return suitable[int(np.random.default_rng(seed).integers(len(suitable)))]


def simulated_gallery(n: int) -> Iterator[IngestItem]:
    """n simulated cases with a mix of findings; always the same ones."""
    from ecgkin.index.ingest_items import IngestItem
    from ecgkin.retrieval.ecg.simulate import simulate_corpus

    for number, made in enumerate(simulate_corpus(n, GALLERY_SEED, SIMULATED_HZ), 1):
        case, record = _simulated_case(made, f"simulated/{number}")
        yield IngestItem(case, partial(_same, record))


def simulated_query(seed: int) -> tuple[Case, EcgRecord]:
    """A simulated ECG with a finding, drawn apart from every gallery."""
    from ecgkin.retrieval.ecg.simulate import simulate_corpus

    telling = (
        made for made in simulate_corpus(2 * seed + 64, QUERY_SEED, SIMULATED_HZ) if set(made.labels) - {"NORM", "SR"}
    )
    return _simulated_case(next(islice(telling, seed, None)), f"simulated/query-{seed}")


def _same(record: EcgRecord) -> EcgRecord:
    return record


def _simulated_case(made: SimulatedEcg, case_id: str) -> tuple[Case, EcgRecord]:
    from ecgkin.index.case import Case

    record = made.record
    case = Case(
        case_id,
        patient_id=case_id,
        source="simulated",
        age_years=record.age_years,
        sex=record.sex,
        labels=made.labels,
        report=made.report_en,
        language="en",
    )
    return case, record
