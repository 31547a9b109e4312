"""Where items are read and encoded: in this process, in forked ones, or on the machines of a Ray cluster.

`prepare` is all that a worker runs. An executor is a function that takes chunks of jobs as they are planned and gives
back what became of them; the base is not its affair (see `pipeline`).
"""

from __future__ import annotations

import logging
import multiprocessing
import signal
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from PIL import Image

from ecgkin.index.case import DIGITISED, Case, content_hash
from ecgkin.index.engines.protocol import Vectors
from ecgkin.index.sources.items import IngestItem, IngestReport, Loaded
from ecgkin.retrieval.ecg.page.printed import PrintedEcg
from ecgkin.retrieval.ecg.record import EcgRecord
from ecgkin.retrieval.ecg.searchable import searchable
from ecgkin.retrieval.ecg.statements.report_text import report_language
from ecgkin.retrieval.encoders.base import Encoder
from ecgkin.retrieval.encoders.pictures import encode_printed, reads_pages
from ecgkin.retrieval.errors import CaseBaseError, EcgkinError, ImageError

_LOG = logging.getLogger(__name__)

Shown = EcgRecord | Image.Image | PrintedEcg
"""What is encoded: a page of a record, what was read of a picture, or, for encoders that read none, the picture."""

AHEAD = 2  # chunks that wait for each process, so that none is idle while the base is written
RAY_AHEAD = 4  # chunks in flight for each processor of a cluster
# A photograph of 12 megapixels takes 36 MB: one counts as many records, so that 64 at a time stay below 300 MB.
PICTURE_WEIGHT = 8
_PICTURES_AT_A_TIME = 8
_PR_SET_PDEATHSIG, _SIGKILL = 1, 9  # linux/prctl.h


@dataclass(frozen=True)
class Job:
    """One item that has to be read.

    Attributes:
        number: Of the item, from 0.
        digest: Hash of its content, "" where only reading tells.
        known: Content hash of the case of the same id that is in the base, "" if there is none.
    """

    number: int
    digest: str = ""
    known: str = ""


@dataclass(frozen=True)
class Prepared:
    """What was made of an item.

    Attributes:
        title: The item's name in reports.
        case: With its content hash and what the recording adds to it; None where reading failed.
        vector: Unit vector, shape (dim,); None where reading or encoding failed, or the base holds this content.
        record: The samples, if they are to be kept.
        notes: What the record is not as it should be.
        error: Why there is no vector; "" also where the base holds this content under this id.
        weight: Pictures are committed in smaller batches than records.
    """

    title: str
    case: Case | None = None
    vector: Vectors | None = None
    record: EcgRecord | None = None
    notes: str = ""
    error: str = ""
    weight: int = 1


Executor = Callable[[Iterable[Sequence[Job]]], Iterator["Sequence[Prepared] | IngestReport"]]
"""Chunks of jobs in; what was prepared of them out, or the report of a worker that has written to the base itself."""


def prepare(
    jobs: Sequence[Job], items: Sequence[IngestItem], encoder: Encoder, keep_records: bool = True
) -> Iterator[list[Prepared]]:
    """Read and encode items; what fails is named, the rest goes on.

    Args:
        jobs: What to do, by numbers of items.
        items: All of them.
        encoder: Makes the vectors.
        keep_records: Whether to give back samples.

    Yields:
        One answer for each job, in their order; of pictures, which are large, some at a time.
    """
    group: list[tuple[Prepared, Shown | None]] = []
    for job in jobs:
        group.append(_read(job, items[job.number], encoder, keep_records))
        if sum(shown is not None and not isinstance(shown, EcgRecord) for _, shown in group) >= _PICTURES_AT_A_TIME:
            yield _encoded(group, encoder)
            group = []
    if group:
        yield _encoded(group, encoder)


def serial(items: Sequence[IngestItem], encoder: Encoder, keep_records: bool = True) -> Executor:
    """All in this process.

    Args:
        items: Those that jobs speak of.
        encoder: Makes the vectors.
        keep_records: Whether to give back samples.

    Returns:
        The executor.
    """

    def run(chunks: Iterable[Sequence[Job]]) -> Iterator[Sequence[Prepared]]:
        for chunk in chunks:
            yield from prepare(chunk, items, encoder, keep_records)

    return run


_FORKED: dict[str, Any] = {}  # what forked workers find: items hold closures, which cannot be sent


def processes(
    items: Sequence[IngestItem], encoder: Encoder, keep_records: bool = True, *, workers: int = 2
) -> Executor:
    """In forked processes of one thread each; the encoder's weights are shared between them.

    Args:
        items: Those that jobs speak of.
        encoder: Makes the vectors.
        keep_records: Whether to give back samples.
        workers: How many processes.

    Returns:
        The executor.

    Raises:
        CaseBaseError: When run: a worker was killed (memory?).
    """

    def run(chunks: Iterable[Sequence[Job]]) -> Iterator[Sequence[Prepared]]:
        _FORKED["options"] = (items, encoder, keep_records)
        try:
            context = multiprocessing.get_context("fork")
            with ProcessPoolExecutor(workers, mp_context=context, initializer=_begin_worker) as pool:
                waiting: deque[Future[list[Prepared]]] = deque()
                try:
                    for chunk in chunks:
                        waiting.append(pool.submit(_prepare_forked, chunk))
                        if len(waiting) > AHEAD * workers:
                            yield waiting.popleft().result()
                    while waiting:
                        yield waiting.popleft().result()
                finally:  # stopped: what no worker has begun need not be done
                    for future in waiting:
                        future.cancel()
        except BrokenProcessPool as error:
            raise CaseBaseError(
                "a worker process ended before its time",
                hint="too little memory? try fewer workers; start again to go on",
            ) from error
        finally:
            _FORKED.clear()

    return run


def on_ray(ray: Any, task: Callable[[Any, Sequence[Job]], Any], options: object) -> Executor:
    """On the machines of a Ray cluster; a task whose machine dies is run again elsewhere.

    Args:
        ray: The package, initialised.
        task: What a worker does with the options and a chunk; returns the prepared cases, or a report where it has
            written them itself.
        options: Sent to the cluster once.

    Returns:
        The executor.
    """

    def run(chunks: Iterable[Sequence[Job]]) -> Iterator[Sequence[Prepared] | IngestReport]:
        remote, sent = ray.remote(num_cpus=1, max_retries=-1)(task), ray.put(options)
        most = RAY_AHEAD * int(ray.cluster_resources().get("CPU", 1))
        flying: list[Any] = []
        for chunk in chunks:
            flying.append(remote.remote(sent, chunk))
            while len(flying) >= most:
                ready, flying = ray.wait(flying, num_returns=1)
                yield from ray.get(ready)
        while flying:
            ready, flying = ray.wait(flying, num_returns=1)
            yield from ray.get(ready)

    return run


def filled(case: Case, loaded: Loaded) -> Case:
    """The case with patient, age, sex, date, report, labels and facts of the header where it says nothing itself.

    Args:
        case: What is known without opening the file: a table comes before the header.
        loaded: As it was read; a picture says nothing.

    Returns:
        Names, birthdays and other identifiers of the header never become part of a case.
    """
    if not isinstance(loaded, EcgRecord):
        return case
    header = loaded.header
    facts: dict[str, Any] = {}
    if case.patient_id is None and loaded.patient_id is not None:
        facts["patient_id"] = loaded.patient_id
    if case.age_years is None and loaded.age_years is not None:
        facts["age_years"] = loaded.age_years
    if case.sex is None and loaded.sex in ("F", "M"):
        facts["sex"] = loaded.sex
    if header is not None:
        said = {
            "format": header.format if header.format != "WFDB" else "",
            "device": header.device,
            "filters": header.filters,
            "codes": list(header.codes),
            "measurements": dict(header.measurements),
        }
        facts["recorded_at"] = case.recorded_at or header.recorded_at
        facts["labels"] = case.labels or dict(header.labels)
        facts["meta"] = {**{name: value for name, value in said.items() if value}, **case.meta}
        if not case.report and header.report:
            facts["report"] = header.report
            facts["language"] = case.language or report_language(header.report) or None
    return replace(case, **facts)


def _read(job: Job, item: IngestItem, encoder: Encoder, keep_records: bool) -> tuple[Prepared, Shown | None]:
    """The case of an item, and what is to be encoded: one page of a record, what was read of a picture, or it."""
    title = item.name or item.case.case_id
    try:
        digest = job.digest or (item.content() if item.content is not None else "")
        loaded = item.load()
        if not digest:
            digest = content_hash(loaded if isinstance(loaded, EcgRecord) else loaded.convert("RGB").tobytes())
            if digest == job.known:
                return Prepared(title, item.case), None
        case = filled(replace(item.case, content_hash=digest), loaded)
        if item.finish is not None:
            case = item.finish(case, loaded)
        if isinstance(loaded, EcgRecord):
            shown = searchable(loaded)
            return Prepared(title, case, None, loaded if keep_records else None, "; ".join(shown.notes)), shown
        return _read_picture(title, case, loaded, encoder, keep_records)
    except CaseBaseError:
        raise
    except Exception as error:  # one odd file among thousands must not end the ingest; it is named in the report
        _LOG.debug("%s failed", title, exc_info=True)
        return Prepared(title, error=_reason(error)), None


def _read_picture(
    title: str, case: Case, picture: Image.Image, encoder: Encoder, keep_records: bool
) -> tuple[Prepared, Shown]:
    """A picture read once: its case marked as digitised, its signals, and what is to be encoded."""
    from ecgkin.retrieval.ecg.formats.pictures import picture_notes
    from ecgkin.retrieval.ecg.page.printed import read_printed

    notes = "; ".join(picture_notes(picture))
    try:
        printed = read_printed(picture)
    except ImageError:
        if reads_pages(encoder):
            raise
        return Prepared(title, case, notes=notes, weight=PICTURE_WEIGHT), picture
    case = digitised(case, printed)
    notes = "; ".join(dict.fromkeys((*picture_notes(picture), *printed.page.warnings)))
    record = printed.stored if keep_records else None
    # What was followed on the page is large, and not looked at again.
    return Prepared(title, case, None, record, notes, weight=PICTURE_WEIGHT), replace(printed, digitized=None)


def digitised(case: Case, printed: PrintedEcg) -> Case:
    """The case, marked as one whose signals were read off a picture; as it is where none were.

    Args:
        case: What is known of it.
        printed: What was read of its picture.

    Returns:
        The case, marked or not.
    """
    mark = printed.mark()
    return replace(case, meta={**case.meta, DIGITISED: mark}) if mark else case


def _encoded(group: Sequence[tuple[Prepared, Shown | None]], encoder: Encoder) -> list[Prepared]:
    """The same with vectors; where a batch fails, one by one, so that only the culprits are left out."""
    out = [one for one, _ in group]
    for kind in (EcgRecord, Image.Image, PrintedEcg):
        places = [i for i, (_, shown) in enumerate(group) if isinstance(shown, kind)]
        try:
            for i, vector in zip(places, _vectors([group[i][1] for i in places], encoder), strict=True):
                out[i] = replace(out[i], vector=vector)
            continue
        except Exception:  # judged again below, each on its own
            _LOG.debug("a batch of %d failed, trying one by one", len(places), exc_info=True)
        for i in places:
            try:
                out[i] = replace(out[i], vector=_vectors([group[i][1]], encoder)[0])
            except Exception as error:  # an encoder that fails on one picture must not end the ingest
                out[i] = Prepared(out[i].title, error=_reason(error))
    return out


def _vectors(shown: Sequence[Shown | None], encoder: Encoder) -> Vectors:
    """Of inputs of one kind."""
    records = [one for one in shown if isinstance(one, EcgRecord)]
    pictures = [one for one in shown if isinstance(one, Image.Image)]
    printed = [one for one in shown if isinstance(one, PrintedEcg)]
    if not shown:
        return np.empty((0, encoder.dim), dtype=np.float32)
    if printed:
        vectors = encode_printed(encoder, printed)
    else:
        vectors = np.asarray(encoder.encode_records(records) if records else encoder.encode_images(pictures))
    if not np.isfinite(vectors).all():
        raise ValueError("the encoder gave NaN")
    return vectors.astype(np.float32)


def _reason(error: Exception) -> str:
    return str(error) if isinstance(error, EcgkinError) else f"{type(error).__name__}: {error}"


def _begin_worker() -> None:
    import ctypes

    from ecgkin.retrieval.graphs import use_one_thread

    use_one_thread()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to all of a terminal's processes; the first one answers
    if "torch" in sys.modules:  # an encoder without it need not wait for its import
        import torch

        torch.set_num_threads(1)
    # Without this the workers of a killed ingest would wait for ever: each holds the others' pipes open.
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, _SIGKILL)


def _prepare_forked(jobs: Sequence[Job]) -> list[Prepared]:
    return [one for group in prepare(jobs, *_FORKED["options"]) for one in group]
