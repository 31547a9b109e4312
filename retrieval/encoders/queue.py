"""One encoder for all requests: queries that come in while it is busy are encoded together.

A model takes less time for eight inputs at once than for eight one after the other (how much less depends on the
device). Nobody waits for company: the first query goes at once, and those that arrive meanwhile make the next batch.
"""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ecgkin.retrieval.errors import ModelError

if TYPE_CHECKING:
    from PIL import Image

    from ecgkin.retrieval.ecg.page.printed import PrintedEcg
    from ecgkin.retrieval.ecg.record import EcgRecord
    from ecgkin.retrieval.encoders.base import Encoder

Vector: TypeAlias = NDArray[np.float32]
# A batch of whole pictures is held in memory: an encoder that wants them gets few at a time.
_METHODS = ("encode_texts", "encode_records", "encode_printed", "encode_images")


@dataclass(eq=False)
class _Job:
    method: str
    item: Any
    answer: Future[Vector] = field(default_factory=Future)


class EncoderQueue:
    """An encoder behind a queue, called by one thread of its own.

    Args:
        encoder: The real one.
        batch: Most inputs of one call.
        observe: Called after each call with its method, the number of inputs and its seconds.
    """

    def __init__(
        self,
        encoder: Encoder,
        *,
        batch: int = 8,
        observe: Callable[[str, int, float], None] | None = None,
    ) -> None:
        self.encoder = encoder
        self.batch = batch
        self._observe = observe or (lambda method, n, seconds: None)
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._closing = threading.Lock()
        self._closed = False
        self._thread = threading.Thread(target=self._loop, name="ecgkin-encoder", daemon=True)
        self._thread.start()

    @property
    def depth(self) -> int:
        """Inputs that wait."""
        return self._jobs.qsize()

    def submit(self, method: str, item: Any) -> Future[Vector]:
        """Queue one input.

        Args:
            method: "encode_images", "encode_printed", "encode_records" or "encode_texts".
            item: What that method takes a sequence of.

        Returns:
            Its vector, shape (dim,), some time later.

        Raises:
            ModelError: The queue was closed.
        """
        job = _Job(method, item)
        with self._closing:
            if self._closed:
                raise ModelError("the encoder was closed", hint="the server is shutting down")
            self._jobs.put(job)
        return job.answer

    async def encode(self, method: str, item: Any) -> Vector:
        """`submit` for coroutines.

        Args:
            method: Of the encoder: "encode_texts" ...
            item: One input of that method.

        Returns:
            Its vector, shape (dim,).
        """
        return await asyncio.wrap_future(self.submit(method, item))

    def close(self) -> None:
        """Finish what is queued, then end the thread."""
        with self._closing:
            if not self._closed:
                self._closed = True
                self._jobs.put(None)
        self._thread.join()

    def _loop(self) -> None:
        open_ = True
        while open_:
            first = self._jobs.get()
            if first is None:
                return
            jobs, open_ = self._company(first)
            for method in _METHODS:
                group = [job for job in jobs if job.method == method]
                for start in range(0, len(group), self.batch):
                    self._run(method, group[start : start + self.batch])

    def _company(self, first: _Job) -> tuple[list[_Job], bool]:
        """The first and all that came after it; False when the last one has come.

        Nobody waits for company: under load it comes while the encoder works, and what the encoder would gain by more
        of it is less than the waiting costs.
        """
        jobs = [first]
        while True:
            try:
                job = self._jobs.get_nowait()
            except queue.Empty:
                return jobs, True
            if job is None:
                return jobs, False
            jobs.append(job)

    def _run(self, method: str, group: Sequence[_Job]) -> None:
        wanted = [job for job in group if job.answer.set_running_or_notify_cancel()]
        if not wanted:
            return
        start = time.perf_counter()
        try:
            vectors = getattr(self.encoder, method)([job.item for job in wanted])
        except Exception as error:  # belongs to whoever asked; the thread must live on
            if len(wanted) == 1:
                wanted[0].answer.set_exception(error)
            else:
                self._one_by_one(method, wanted)
            return
        for job, vector in zip(wanted, vectors, strict=True):
            job.answer.set_result(vector)
        self._observe(method, len(wanted), time.perf_counter() - start)

    def _one_by_one(self, method: str, jobs: Sequence[_Job]) -> None:
        """After a batch has failed: only the input that is to blame fails."""
        for job in jobs:
            try:
                job.answer.set_result(getattr(self.encoder, method)([job.item])[0])
            except Exception as error:  # see _run
                job.answer.set_exception(error)


class QueuedEncoder:
    """The `Encoder` that searches see: each call waits for its vectors from the queue. For threads, not coroutines."""

    def __init__(self, waiting: EncoderQueue) -> None:
        self._queue = waiting

    @property
    def name(self) -> str:
        """Of the real encoder."""
        return self._queue.encoder.name

    @property
    def dim(self) -> int:
        """Of the real encoder."""
        return self._queue.encoder.dim

    @property
    def fingerprint(self) -> str:
        """Of the real encoder."""
        return self._queue.encoder.fingerprint

    def encode_images(self, images: Sequence[Image.Image]) -> Vector:
        """Shape (n, dim), unit rows."""
        return self._all("encode_images", images)

    def encode_texts(self, texts: Sequence[str]) -> Vector:
        """Shape (n, dim), unit rows."""
        return self._all("encode_texts", texts)

    def encode_records(self, records: Sequence[EcgRecord]) -> Vector:
        """Shape (n, dim), unit rows."""
        return self._all("encode_records", records)

    def __getattr__(self, name: str) -> Any:
        # `encode_printed` exists where the real encoder has it, as `CaseSearch` asks; so do facts such as weights_dir.
        if name == "encode_printed" and hasattr(self._queue.encoder, name):
            return self._encode_printed
        return getattr(self._queue.encoder, name)

    def _encode_printed(self, printed: Sequence[PrintedEcg]) -> Vector:
        return self._all("encode_printed", printed)

    def _all(self, method: str, items: Sequence[Any]) -> Vector:
        answers = [self._queue.submit(method, item) for item in items]
        if not answers:
            return np.empty((0, self.dim), dtype=np.float32)
        return np.stack([answer.result() for answer in answers])
