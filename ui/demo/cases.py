"""Where the demo's cases come from: a PTB-XL folder, a download, or the simulator; and what is asked of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias, TypeVar

import numpy as np

from ecgkin.retrieval.errors import QueryError
from ecgkin.ui.console import Moved

if TYPE_CHECKING:
    from ecgkin.index.case import Case
    from ecgkin.index.sources.items import IngestItem
    from ecgkin.retrieval.ecg.record import EcgRecord
    from ecgkin.retrieval.ecg.simulation.simulate import SimulatedEcg
    from ecgkin.ui.settings import Settings


# Cases of each statement that the base holds before it is filled up at random (all of them where there are fewer).
MIN_PER_STATEMENT = 8
# A query should have company: at least as many cases with its rarest statement as hits are shown.
MIN_COMPANY = 10
# Two seeds, so that no query is in its own gallery.
GALLERY_SEED, QUERY_SEED = 20, 21
SIMULATED_HZ = 250.0
EARLY = 240  # cases behind the first page


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
    from ecgkin.index.sources.items import IngestItem
    from ecgkin.retrieval.ecg.simulation.simulate import simulate_corpus

    for number, made in enumerate(simulate_corpus(n, GALLERY_SEED, SIMULATED_HZ), 1):
        case, record = _simulated_case(made, f"simulated/{number}")
        yield IngestItem(case, partial(_same, record))


def simulated_query(seed: int) -> tuple[Case, EcgRecord]:
    """A simulated ECG with a finding, drawn apart from every gallery."""
    from ecgkin.retrieval.ecg.simulation.simulate import simulate_corpus

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


HITS = 10  # that are shown; so many cases and one more are needed
GALLERY_FOLDS = range(1, 9)
QUERY_FOLD = 9
# An unfinished download with fewer records than this is no better than simulated cases.
USABLE_RECORDS = 200

Say: TypeAlias = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Source:
    """Where the demo's cases come from.

    Attributes:
        kind: "ptbxl", "download" or "simulated".
        words: The same for people.
        root: PTB-XL folder; None for simulated cases.
    """

    kind: Literal["ptbxl", "download", "simulated"]
    words: str
    root: Path | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """The ECG that is asked about, and the cases that are searched.

    Attributes:
        case: The query with what its source says; the search is given its picture alone.
        record: Its samples.
        gallery: What is searched, on its way into a case base.
        n_gallery: How many there are.
        others: Further ECGs of other patients than the gallery's, to ask about on the web page.
    """

    case: Case
    record: EcgRecord
    gallery: Iterable[IngestItem]
    n_gallery: int
    others: Callable[[int], Iterator[EcgRecord]]


def find_source(settings: Settings, say: Say, moved: Moved) -> Source:
    """The first of: the folder that was named, an earlier download, a new download, simulated cases.

    Args:
        settings: PTB-XL folder, user folder, address for the download.
        say: Told in words what is going on.
        moved: Told how far a download is.

    Returns:
        Where the cases come from.
    """
    from ecgkin.ui.download.fetcher import DownloadError
    from ecgkin.ui.download.ptbxl import download_ptbxl

    if settings.ptbxl is not None:
        return Source("ptbxl", f"PTB-XL in {settings.ptbxl}", settings.ptbxl)
    folder = settings.home / "ptbxl"
    whole = settings.home / "ptbxl-complete"
    earlier = Source("download", f"PTB-XL, downloaded to {folder}", folder)
    if whole.is_file() and _usable(folder):
        return earlier
    say(f"fetching about {settings.demo_cases} records of PTB-XL from {settings.physionet_url}")
    try:
        download_ptbxl(
            folder,
            base_url=settings.physionet_url,
            records=settings.demo_cases,
            timeout_s=settings.download_timeout_s,
            progress=lambda done, total, name: moved(done, total, f"download {name}"),
        )
    except DownloadError as error:
        say(
            f"no download, simulated cases instead: {error}"
            if not _usable(folder)
            else f"no download, the earlier one is used: {error}"
        )
        if _usable(folder):
            return earlier
        return Source("simulated", "SIMULATED cases, made by ecgkin: no real patients, and no network for real ones")
    whole.write_text(settings.physionet_url + "\n", encoding="utf-8")
    return earlier


def ask_ptbxl(root: Path, n_cases: int, seed: int) -> Asked:
    """Query and gallery from a PTB-XL folder, complete or in part.

    Args:
        root: The folder.
        n_cases: Cases of the gallery at most.
        seed: Which held-out ECG is asked about.

    Returns:
        The query and the cases.

    Raises:
        RecordError: It is no PTB-XL folder.
        QueryError: It holds too few records.
    """
    from ecgkin.index.sources.ptbxl import ptbxl_items
    from ecgkin.retrieval.ecg.record import EcgRecord

    items = {item.case.case_id: item for item in ptbxl_items(root)}
    cases = [item.case for item in items.values()]
    # A folder without the usual folds (a part of the data) still makes a demo: every fifth record is held out.
    held = [case for case in cases if case.meta["fold"] == QUERY_FOLD] or cases[::5]
    held_ids = {case.case_id for case in held}
    pool = [case for case in cases if case.meta["fold"] in GALLERY_FOLDS and case.case_id not in held_ids]
    gallery = choose_cases(pool, n_cases)
    # Those that are drawn first stand for all: every statement is among them.
    early = choose_cases(gallery, EARLY, per_statement=3)
    first = {case.case_id for case in early}
    gallery = [*early, *(case for case in gallery if case.case_id not in first)]
    query = choose_query([case for case in held if case.report], gallery, seed=seed)
    if query is None or len(gallery) <= HITS:
        raise QueryError(
            f"{root} holds too few records for a demo: {len(gallery)} cases, {len(held)} held out "
            f"(expected more than {HITS} cases, and an ECG of another patient)",
            hint="leave --ptbxl away to fetch records, or unpack more folds",
        )
    record = items[query.case_id].load()
    if not isinstance(record, EcgRecord):
        raise QueryError(f"{query.case_id} is a picture (expected samples)")

    def others(n: int) -> Iterator[EcgRecord]:
        taken = {query.case_id}
        for further in range(seed + 1, seed + 1 + 3 * n):
            left = [case for case in held if case.report and case.case_id not in taken]
            case = choose_query(left, gallery, seed=further)
            if case is None or len(taken) > n:
                return
            taken.add(case.case_id)
            other = items[case.case_id].load()
            if isinstance(other, EcgRecord):
                yield other

    return Asked(query, record, [items[case.case_id] for case in gallery], len(gallery), others)


def ask_simulated(n_cases: int, seed: int) -> Asked:
    """Query and gallery made by `retrieval.ecg.simulation`.

    Args:
        n_cases: Cases of the gallery.
        seed: Which ECG is asked about; the gallery is always the same.

    Returns:
        The query and the cases.
    """
    case, record = simulated_query(seed)

    def others(n: int) -> Iterator[EcgRecord]:
        return (simulated_query(further)[1] for further in range(seed + 1, seed + 1 + n))

    return Asked(case, record, simulated_gallery(n_cases), n_cases, others)


def _usable(folder: Path) -> bool:
    from ecgkin.retrieval.ecg.formats.ptbxl import PtbXl
    from ecgkin.retrieval.errors import RecordError

    try:
        return len(PtbXl(folder)) >= USABLE_RECORDS
    except RecordError:
        return False
