"""Where the demo's cases come from: a PTB-XL folder, a download, or the simulator; and what is asked of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

from ecgkin.retrieval.errors import QueryError
from ecgkin.ui.cli_common import Moved
from ecgkin.ui.demo_cases import choose_cases, choose_query, simulated_gallery, simulated_query

if TYPE_CHECKING:
    from ecgkin.index.case import Case
    from ecgkin.index.ingest_items import IngestItem
    from ecgkin.retrieval.ecg.record import EcgRecord
    from ecgkin.ui.settings import Settings

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
    """
    from ecgkin.ui.download import download_ptbxl
    from ecgkin.ui.fetcher import DownloadError

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
        say(f"no download: {error}")
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

    Raises:
        RecordError: It is no PTB-XL folder.
        QueryError: It holds too few records.
    """
    from ecgkin.index.sources import ptbxl_items
    from ecgkin.retrieval.ecg.record import EcgRecord

    items = {item.case.case_id: item for item in ptbxl_items(root)}
    cases = [item.case for item in items.values()]
    # A folder without the usual folds (a part of the data) still makes a demo: every fifth record is held out.
    held = [case for case in cases if case.meta["fold"] == QUERY_FOLD] or cases[::5]
    held_ids = {case.case_id for case in held}
    pool = [case for case in cases if case.meta["fold"] in GALLERY_FOLDS and case.case_id not in held_ids]
    gallery = choose_cases(pool, n_cases)
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
    """Query and gallery made by `retrieval.ecg.simulate`; arguments as in `ask_ptbxl`."""
    case, record = simulated_query(seed)

    def others(n: int) -> Iterator[EcgRecord]:
        return (simulated_query(further)[1] for further in range(seed + 1, seed + 1 + n))

    return Asked(case, record, simulated_gallery(n_cases), n_cases, others)


def _usable(folder: Path) -> bool:
    from ecgkin.retrieval.ecg.ptbxl import PtbXl
    from ecgkin.retrieval.errors import RecordError

    try:
        return len(PtbXl(folder)) >= USABLE_RECORDS
    except RecordError:
        return False
