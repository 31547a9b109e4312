"""From files to a case base: what is there already is passed over, what cannot be read is reported, the rest goes on.

One pipeline: `_planned` looks up what the base holds and makes jobs of the rest, an executor reads and encodes them
(`executors`), and `write_prepared` commits them. Each batch is one transaction, so an ingest that is killed goes on
where it stood when it is started again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import MISSING, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ecgkin.index import base_exists, create_base, open_base
from ecgkin.index.base import CaseBase
from ecgkin.index.case import Case
from ecgkin.index.ingest.executors import Executor, Job, Prepared, processes, serial
from ecgkin.index.sources.items import IngestItem, IngestReport
from ecgkin.retrieval.encoders.base import Encoder
from ecgkin.retrieval.errors import EncoderMismatchError

FIRST = 8  # items of the first batch, which doubles: whoever waits sees soon that it goes on, and how fast
CHUNK = 16  # items that are sent to another process at most: pictures of 12 megapixels take 36 MB each
Progress = Callable[[IngestReport], None]


def open_or_create(path: str | Path, encoder: Encoder, *, preprocessing: dict[str, Any] | None = None) -> CaseBase:
    """The case base at an address, made if it is not there, for this encoder.

    Args:
        path: Folder, or address on Milvus.
        encoder: The one whose vectors it holds, or will hold.
        preprocessing: How pictures are prepared for the encoder, kept in the manifest of a base that is made.

    Returns:
        The open base.

    Raises:
        EncoderMismatchError: It is there and was built with another encoder, or with other drawings.
        CaseBaseError: It cannot be opened or made.
    """
    from ecgkin.retrieval.ecg.drawing.raster import DRAWING_VERSION

    version = str(DRAWING_VERSION)
    if not base_exists(path):
        about = {"drawing_version": version, "preprocessing": preprocessing}
        return create_base(path, encoder.name, encoder.fingerprint, encoder.dim, **about)  # type: ignore[arg-type]
    base = open_base(path, encoder)
    found = base.manifest.drawing_version
    if found != version:
        base.close()
        raise EncoderMismatchError(
            f"case base {path} was built with drawing version {found} (this is version {version})",
            hint="search it as it is, or ingest into a new folder",
        )
    return base


def ingest_records(
    base: CaseBase,
    items: Iterable[IngestItem],
    encoder: Encoder,
    *,
    batch: int = 64,
    keep_records: bool = True,
    progress: Progress | None = None,
    workers: int = 1,
) -> IngestReport:
    """Put items into a base.

    Args:
        base: Built with this encoder.
        items: In any order; ids that are there already are passed over if they are as they were.
        encoder: Makes the vectors: `encode_records` for records, `encode_images` for pictures.
        batch: Records that are encoded and committed together.
        keep_records: Store the samples, so that neighbours can be drawn.
        progress: Called with the running report after each item that was passed over and after each batch.
        workers: Processes that read and encode; 1 does all in this one. Several machines: `ray.ray_ingest`.

    Returns:
        The report; whatever it counts as added or updated is on the disk.

    Raises:
        EncoderMismatchError: The base was built with another encoder.
        CaseBaseError: The base cannot be written, or a worker process was killed.
    """
    base.check_encoder(encoder)
    every = list(items)
    make = serial if workers == 1 else partial(processes, workers=workers)
    chunk = batch if workers == 1 else min(CHUNK, batch)
    return run(base, every, make(every, encoder, keep_records), batch=batch, chunk=chunk, progress=progress)


def run(
    base: CaseBase,
    items: Sequence[IngestItem],
    executor: Executor,
    *,
    batch: int,
    chunk: int,
    progress: Progress | None = None,
) -> IngestReport:
    """Plan, execute, commit.

    Args:
        base: Where the cases go.
        items: What is to be ingested.
        executor: Reads and encodes.
        batch: Records that are committed together.
        chunk: Jobs that are given to the executor together.
        progress: Called with the running report.

    Returns:
        The report.
    """
    report = IngestReport()
    told = progress or (lambda now: None)
    done: list[Prepared] = []
    taken: set[str] = set()  # ids that this run has stored or found as they were
    enough = min(batch, FIRST)
    with base.exclusive():
        for answer in executor(_planned(base, items, report, told, chunk, taken)):
            if isinstance(answer, IngestReport):
                report.include(answer)
                told(report)
                continue
            done += answer
            if sum(one.weight for one in done) >= enough:
                write_prepared(base, done, report, taken)
                done = []
                enough = min(batch, 2 * enough)
                told(report)
        write_prepared(base, done, report, taken)
    told(report)
    return report


def write_prepared(
    base: CaseBase, prepared: Sequence[Prepared], report: IngestReport, taken: set[str] | None = None
) -> None:
    """Commit what was prepared: new cases are added, those that are there replaced, twins passed over.

    Args:
        base: Where the cases go.
        prepared: Some items.
        report: Counts what became of them.
        taken: Ids that this run has stored already, which grows by those of `prepared`; None where nobody keeps them.
    """
    taken = set() if taken is None else taken
    fresh: dict[str, Prepared] = {}
    by_content: dict[str, str] = {}
    twins = base.ids_by_content([one.case.content_hash for one in prepared if one.case is not None])
    known = base.find([one.case.case_id for one in prepared if one.case is not None])
    same: list[Case] = []
    for one in prepared:
        if one.error or one.case is None:
            report.failed.append((one.title, one.error))
            continue
        case_id, digest = one.case.case_id, one.case.content_hash
        others = twins.get(digest) or ([by_content[digest]] if digest in by_content else [])
        if one.vector is None:
            same.append(one.case)
        elif case_id in fresh or case_id in taken:
            report.failed.append((one.title, f"case id {case_id!r} comes twice"))
        elif digest and others and case_id not in known:
            report.duplicates.append((one.title, others[0]))
        elif known.get(case_id) == one.case:
            report.skipped += 1
        else:
            fresh[case_id] = one
            by_content[digest] = case_id
    for is_new, write in ((True, base.add), (False, base.update)):
        some = [one for case_id, one in fresh.items() if (case_id not in known) is is_new]
        if some:
            cases = [one.case for one in some if one.case is not None]
            write(cases, np.stack([one.vector for one in some if one.vector is not None]), [one.record for one in some])
        if is_new:
            report.added += len(some)
        else:
            report.updated += len(some)
        report.notes += [(one.title, one.notes) for one in some if one.notes]
    taken.update(fresh)
    _take_over(base, known, same, report)


def _planned(
    base: CaseBase, items: Sequence[IngestItem], report: IngestReport, told: Progress, size: int, taken: set[str]
) -> Iterator[list[Job]]:
    """Jobs for the items that have to be read, `size` at a time but for the first; the others are done with here."""
    jobs: list[Job] = []
    enough = min(size, FIRST)
    for start in range(0, len(items), size):
        block = items[start : start + size]
        known = base.find([item.case.case_id for item in block])
        digests = [_digest(item) for item in block]
        twins = base.ids_by_content(digests)
        for number, (item, digest) in enumerate(zip(block, digests, strict=True), start):
            case_id = item.case.case_id
            old = known.get(case_id)
            # Copies within this run are told apart once they have been read: what cannot be read is named, each file.
            others = twins.get(digest) or []
            if digest and old is not None and old.content_hash == digest and case_id not in taken:
                _take_over(base, known, [item.case], report)
                taken.add(case_id)
                told(report)
            elif case_id in taken:
                report.failed.append((item.title, f"case id {case_id!r} comes twice"))
                told(report)
            elif digest and old is None and others:
                report.duplicates.append((item.title, others[0]))
                told(report)
            else:
                jobs.append(Job(number, digest, "" if old is None else old.content_hash))
            if len(jobs) >= enough:
                yield jobs
                jobs, enough = [], min(size, 2 * enough)
    if jobs:
        yield jobs


def _digest(item: IngestItem) -> str:
    """Hash of an item's content, "" where only reading tells, or fails: that is said when it is read."""
    if item.content is not None:
        with suppress(Exception):
            return item.content()
    return ""


def _take_over(base: CaseBase, known: dict[str, Case], told: Sequence[Case], report: IngestReport) -> None:
    """Same content: only what the source now says otherwise is written; the vector stays."""
    changed = []
    for case in told:
        before = known.get(case.case_id)
        if before is None:
            report.failed.append((case.case_id, "it was removed from the base while it was read"))
            continue
        said = {
            f.name: getattr(case, f.name)
            for f in fields(Case)
            if f.name != "content_hash"
            and getattr(case, f.name) != (f.default_factory() if f.default_factory is not MISSING else f.default)
        }
        if "meta" in said:  # what the header said when the file was read stays
            said["meta"] = {**before.meta, **case.meta}
        merged = replace(before, **said)
        if merged == before:
            report.skipped += 1
        else:
            changed.append(merged)
    if changed:
        base.update(changed)
        report.updated += len(changed)
