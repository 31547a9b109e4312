"""The costly half of an ingest, reading and encoding, apart from the base: for other processes and other machines.

`prepare` does it for a few items and is all that a worker runs. `ingest_in_processes` spreads it over the cores of one
machine: this process looks up what is there already, and alone writes to the base, batch by batch as `ingest_records`.
"""

from __future__ import annotations

import logging
import multiprocessing
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np

from ecgkin.index.case import Case, content_hash
from ecgkin.index.engines.protocol import Vectors
from ecgkin.index.folder.base import CaseBase
from ecgkin.index.ingest.pipeline import Pending, encoded, filled, notes_of, reason, take_over
from ecgkin.index.sources.items import IngestItem, IngestReport
from ecgkin.retrieval.ecg.record import EcgRecord
from ecgkin.retrieval.ecg.searchable import searchable
from ecgkin.retrieval.encoders.base import Encoder
from ecgkin.retrieval.errors import CaseBaseError

_LOG = logging.getLogger(__name__)

AHEAD = 2  # chunks that wait for each worker, so that none is idle while this process writes
CHUNK = 16  # items a chunk at most: pictures of 12 megapixels take 36 MB each
_PR_SET_PDEATHSIG, _SIGKILL = 1, 9  # linux/prctl.h


@dataclass(frozen=True)
class Prepared:
    """What a worker made of an item.

    Attributes:
        title: The item's name in reports.
        case: With its content hash; None where reading failed.
        vector: Unit vector, shape (dim,); None where reading or encoding failed.
        record: The samples, if they are to be kept.
        notes: What the record is not as it should be.
        error: Why there is no vector.
    """

    title: str
    case: Case | None = None
    vector: Vectors | None = None
    record: EcgRecord | None = None
    notes: str = ""
    error: str = ""


def prepare(items: Sequence[IngestItem], encoder: Encoder, keep_records: bool = True) -> list[Prepared]:
    """Read and encode items; what fails is named, the rest goes on. One answer for each item, in their order."""
    pending: dict[int, Pending] = {}
    out = [Prepared(item.title) for item in items]
    for i, item in enumerate(items):
        try:
            digest = item.content() if item.content is not None else ""
            loaded = item.load()
            if not digest:
                digest = content_hash(loaded if isinstance(loaded, EcgRecord) else loaded.convert("RGB").tobytes())
            case = filled(replace(item.case, content_hash=digest), loaded)
            shown = searchable(loaded) if isinstance(loaded, EcgRecord) else loaded
            pending[i] = Pending(item, case, loaded, shown, True)
        except Exception as error:  # as in `ingest_records`: one odd file must not end the ingest
            out[i] = replace(out[i], error=reason(error))
    report = IngestReport()
    place = {id(p): i for i, p in pending.items()}
    for p, vector in encoded(list(pending.values()), encoder, report):
        record = p.loaded if keep_records and isinstance(p.loaded, EcgRecord) else None
        notes = "; ".join(notes_of(p.shown))
        out[place[id(p)]] = Prepared(p.item.title, p.case, np.asarray(vector, dtype=np.float32), record, notes)
    failed = dict(report.failed)
    return [
        replace(one, error=one.error or failed.get(one.title, "it was not encoded")) if one.vector is None else one
        for one in out
    ]


def write_prepared(base: CaseBase, prepared: Sequence[Prepared], report: IngestReport) -> None:
    """Write what workers have made: new cases are added, those that are there replaced, twins passed over."""
    fresh: dict[str, Prepared] = {}
    for one in prepared:
        if one.case is None or one.vector is None:
            report.failed.append((one.title, one.error))
            continue
        twins = list(base.case_ids_with_content(one.case.content_hash))
        twins += [case_id for case_id, other in fresh.items() if _same_content(other, one)]
        if one.case.case_id in fresh:
            report.failed.append((one.title, f"case id {one.case.case_id!r} comes twice"))
        elif twins and one.case.case_id not in twins:
            report.duplicates.append((one.title, twins[0]))
        else:
            fresh[one.case.case_id] = one
    known = {case.case_id: case for case in base.some(list(fresh))[0]}
    new = [one for case_id, one in fresh.items() if case_id not in known]
    old = [one for case_id, one in fresh.items() if case_id in known]
    same = [one for one in old if one.case is not None and known[one.case.case_id] == one.case]
    changed = [one for one in old if one not in same]
    for some, write in ((new, base.add), (changed, base.update)):
        if some:
            cases = [one.case for one in some if one.case is not None]
            write(cases, np.stack([one.vector for one in some if one.vector is not None]), [one.record for one in some])
    report.added += len(new)
    report.updated += len(changed)
    report.skipped += len(same)
    report.notes += [(one.title, one.notes) for one in (*new, *changed) if one.notes]


def ingest_in_processes(
    base: CaseBase,
    items: Iterable[IngestItem],
    encoder: Encoder,
    workers: int,
    *,
    batch: int = 64,
    keep_records: bool = True,
    progress: Callable[[IngestReport], None] | None = None,
) -> IngestReport:
    """`ingest_records` with reading and encoding in `workers` other processes, each with one thread.

    Raises:
        CaseBaseError: A worker was killed (memory?); what is counted as added is in the base, start again to go on.
    """
    every = list(items)
    report = IngestReport()
    told = progress or (lambda now: None)
    done: list[Prepared] = []
    _STATE.update(items=every, encoder=encoder, keep=keep_records)
    try:
        # Forked: items hold closures, and the encoder's weights are shared between the processes.
        context = multiprocessing.get_context("fork")
        with ProcessPoolExecutor(workers, mp_context=context, initializer=_begin_worker) as pool:
            waiting: deque[Future[list[Prepared]]] = deque()
            for chunk in _chunks(base, every, report, told, min(CHUNK, batch)):
                waiting.append(pool.submit(_work, chunk))
                if len(waiting) > AHEAD * workers:
                    done += waiting.popleft().result()
                    done = _write_full(base, done, batch, report, told)
            while waiting:
                done += waiting.popleft().result()
                done = _write_full(base, done, batch, report, told)
            _write_full(base, done, 1, report, told)
    except BrokenProcessPool as error:
        raise CaseBaseError(
            "a worker process ended before its time", hint="too little memory? try fewer workers; start again to go on"
        ) from error
    finally:
        _STATE.clear()
    return report


_STATE: dict[str, object] = {}  # what forked workers find


def _chunks(
    base: CaseBase, items: Sequence[IngestItem], report: IngestReport, told: Callable[[IngestReport], None], size: int
) -> Iterator[list[int]]:
    """Numbers of the items that have to be read, some at a time; those that are there already are passed over."""
    chunk: list[int] = []
    for i, item in enumerate(items):
        if item.content is not None and item.case.case_id in base:
            known = base.get(item.case.case_id)
            with suppress(Exception):  # a file that cannot be read is named by the worker
                if item.content() == known.content_hash:
                    take_over(base, known, item.case, report)
                    told(report)
                    continue
        chunk.append(i)
        if len(chunk) >= size:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _write_full(
    base: CaseBase, done: list[Prepared], batch: int, report: IngestReport, told: Callable[[IngestReport], None]
) -> list[Prepared]:
    while done and len(done) >= batch:
        write_prepared(base, done[: max(batch, 1)] if batch > 1 else done, report)
        done = done[batch:] if batch > 1 else []
        told(report)
    return done


def _begin_worker() -> None:
    import ctypes

    if "torch" in sys.modules:  # an encoder without it need not wait for its import
        import torch

        torch.set_num_threads(1)
    # Without this the workers of a killed ingest would wait for ever: each holds the others' pipes open.
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, _SIGKILL)


def _work(numbers: list[int]) -> list[Prepared]:
    items, encoder, keep = _STATE["items"], _STATE["encoder"], _STATE["keep"]
    return prepare([items[i] for i in numbers], encoder, bool(keep))  # type: ignore[index, arg-type]


def _same_content(one: Prepared, other: Prepared) -> bool:
    hashes = {p.case.content_hash for p in (one, other) if p.case is not None}
    return len(hashes) == 1 and "" not in hashes
