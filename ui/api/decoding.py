"""Processes that decode strangers' files (`decoder`), watched from the server: started, timed, killed, replaced.

A file that takes too long, too much memory or takes its decoder down costs its sender a 4xx and one worker, which is
replaced. The server itself never opens what a stranger sent.
"""

from __future__ import annotations

import json
import logging
import os
import selectors
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from ecgkin.retrieval import errors
from ecgkin.retrieval.ecg.record import EcgRecord
from ecgkin.retrieval.errors import EcgkinError, InputError
from ecgkin.retrieval.notes import Note, NoteCode
from ecgkin.ui.api import decoder, problems

if TYPE_CHECKING:
    from collections.abc import Sequence

    from PIL import Image

    from ecgkin.retrieval.ecg.page.printed import PrintedEcg
    from ecgkin.ui.api.limits import Limits

Query: TypeAlias = "EcgRecord | Image.Image"
Asked: TypeAlias = "EcgRecord | Image.Image | PrintedEcg"
"""A query as routes work on it: a picture of which something was put right has been read already."""
_LOG = logging.getLogger(__name__)

START_SECONDS = 60.0
# A worker that has decoded so many files gives way to a new one: what libraries leak is bounded.
_JOBS_OF_A_WORKER = 500
_ENVIRONMENT = ("PATH", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "PYTHONHOME")
_LONGEST_ANSWER = 4_000_000  # bytes; an answer holds names and notes, never samples
# Raised here as there; whatever else a worker names is an InputError.
_ERRORS: dict[str, type[EcgkinError]] = {
    "StorageFullError": problems.StorageFullError,
    "OutsizeError": problems.TooLargeError,
    "RecordError": errors.RecordError,
    "RateUnknownError": errors.RateUnknownError,
    "ImageError": errors.ImageError,
    "QueryError": errors.QueryError,
}


@dataclass(frozen=True)
class Decoded:
    """What an upload holds.

    Attributes:
        query: The record, or the picture, upright, as RGB.
        digest: `content_hash` of the picture's file or of the record.
    """

    query: Query
    digest: str

    @property
    def n_pixels(self) -> int:
        """What it takes in memory while it is read, as pixels of three bytes."""
        if isinstance(self.query, EcgRecord):
            return self.query.signal_mv.nbytes // 3
        return self.query.width * self.query.height


class _WorkerGoneError(Exception):
    """The process ended, or does not speak."""


class _Worker:
    """One process. Not for two threads at a time."""

    def __init__(self, memory_bytes: int, file_bytes: int) -> None:
        # Of the environment only what Python needs: tokens and keys are no business of a decoder.
        environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
        environment |= {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "PYTHONDONTWRITEBYTECODE": "1"}
        environment |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONUTF8": "1"}
        self.jobs = 0
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", decoder.__name__, str(memory_bytes), str(file_bytes)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            start_new_session=True,  # so that whatever it starts is ended with it
        )
        self._buffer = b""

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process.poll() is None

    def ask(self, line: bytes, until: float) -> dict[str, Any]:
        """Send a job and wait for its answer.

        Raises:
            TimeoutError: None came in time.
            _WorkerGoneError: The process ended, or answered nonsense.
        """
        self.jobs += 1
        try:
            assert self._process.stdin is not None
            self._process.stdin.write(line)
            self._process.stdin.flush()
        except OSError as error:
            raise _WorkerGoneError from error
        return self.answer(until)

    def answer(self, until: float) -> dict[str, Any]:
        """The next line; raises as `ask`."""
        assert self._process.stdout is not None
        with selectors.DefaultSelector() as waiting:
            waiting.register(self._process.stdout, selectors.EVENT_READ)
            while b"\n" not in self._buffer:
                if not waiting.select(max(0.0, until - time.monotonic())):
                    raise TimeoutError
                chunk = os.read(self._process.stdout.fileno(), 1 << 16)
                self._buffer += chunk
                if not chunk or len(self._buffer) > _LONGEST_ANSWER:
                    raise _WorkerGoneError
        line, _, self._buffer = self._buffer.partition(b"\n")
        try:
            found = json.loads(line)
        except ValueError as error:
            raise _WorkerGoneError from error
        if not isinstance(found, dict):
            raise _WorkerGoneError
        return found

    def end(self) -> None:
        """Kill it, and everything that it started."""
        try:
            os.killpg(self._process.pid, signal.SIGKILL)
        except (OSError, AttributeError):  # gone already; or Windows
            self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with suppress(OSError):
                    stream.close()


class Decoders:
    """A pool of decoding processes. For threads.

    Args:
        limits: In force: number of workers, seconds and memory of each, bytes and pixels of what they decode.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._changed = threading.Condition()
        self._idle: list[_Worker] = []
        self._running = 0  # idle, at work or being started
        self._waiting = 0
        self._closed = False
        self._refused = ""  # why the last one could not be started

    def start(self) -> None:
        """Start all workers now, so that the first upload does not wait for one.

        Raises:
            problems.BusyError: One cannot be started.
        """
        made = [self._take(time.monotonic() + START_SECONDS) for _ in range(self.limits.decoders)]
        for worker in made:
            self._give_back(worker)

    def state(self) -> dict[str, int]:
        """How many workers live, of how many there should be; those that died idle are replaced.

        Raises:
            problems.BusyError: None lives, and none can be started.
        """
        with self._changed:
            dead = [worker for worker in self._idle if not worker.alive]
            self._idle = [worker for worker in self._idle if worker.alive]
            self._running -= len(dead)
            live, refused = self._running, self._refused
        for worker in dead:
            _LOG.warning("decoder gone pid=%d", worker.pid)
            worker.end()
        if dead or (refused and not live):
            self._give_back(self._take(time.monotonic() + START_SECONDS))
            with self._changed:
                live = self._running
        return {"alive": live, "of": self.limits.decoders}

    def decode(
        self,
        folder: Path,
        files: Sequence[Path],
        fs_hz: float | None = None,
        units: str | None = None,
        page: int | None = None,
    ) -> Decoded:
        """Decode an upload.

        Args:
            folder: Where its files lie.
            files: Them.
            fs_hz, units: Of samples, for a file that does not say.
            page: Of a document, from 1; None for the first that shows an ECG.

        Returns:
            Records or pictures, and what was odd.

        Raises:
            InputError: It is no ECG, broken, or takes too long.
            TooLargeError: It is larger than this server takes, or takes too much memory.
            BusyError: No worker is free in time.
        """
        limits = self.limits
        job = decoder.Job(
            folder=str(folder),
            files=tuple(file.name for file in files),
            fs_hz=fs_hz,
            units=units,
            page=page,
            max_bytes=limits.body_bytes,
            max_record_bytes=limits.text_bytes,
            max_pixels=limits.pixels,
            seconds=limits.decode_seconds,
        )
        worker = self._take(time.monotonic() + limits.seconds)
        try:
            answer = worker.ask(decoder.job_line(job), time.monotonic() + limits.decode_seconds)
        except TimeoutError:
            self._drop(worker, "time")
            raise InputError(
                f"the file cannot be decoded within {limits.decode_seconds:g} s", hint="export it again, or smaller"
            ) from None
        except _WorkerGoneError:
            self._drop(worker, "crash")
            raise InputError(
                "the file takes its decoder down: it is damaged, or made for that", hint="export it again"
            ) from None
        except BaseException:
            self._drop(worker, "error")
            raise
        self._give_back(worker)
        if "error" in answer:
            kind = _ERRORS.get(str(answer["error"]), InputError)
            raise kind(str(answer.get("message", "")), hint=str(answer.get("hint", "")))
        try:
            return _decoded(answer, folder / decoder.RESULT)
        except (KeyError, TypeError, ValueError, OSError) as error:
            raise InputError("the file cannot be decoded") from error

    def close(self) -> None:
        """End all workers; those at work as well."""
        with self._changed:
            self._closed = True
            idle, self._idle = self._idle, []
            self._running -= len(idle)
            self._changed.notify_all()
        for worker in idle:
            worker.end()

    def _take(self, until: float) -> _Worker:
        """A worker that is free, or a new one.

        Raises:
            problems.BusyError: There is none in time, or too many wait for one already.
        """
        with self._changed:
            if self._waiting >= self.limits.decoders_waiting:
                raise problems.BusyError("too many uploads wait to be decoded", hint="try again in a second")
            self._waiting += 1
            try:
                while True:
                    if self._closed:
                        raise problems.BusyError("the server is shutting down")
                    if self._idle:
                        worker = self._idle.pop()
                        if worker.alive:
                            return worker
                        self._running -= 1
                        worker.end()
                        continue
                    if self._running < self.limits.decoders:
                        self._running += 1
                        break
                    if not self._changed.wait(max(0.0, until - time.monotonic())):
                        raise problems.BusyError("no decoder is free", hint="try again in a second")
            finally:
                self._waiting -= 1
        return self._started()

    def _started(self) -> _Worker:
        """A new worker; its place is counted already."""
        worker = None
        try:
            largest = max(self.limits.body_bytes, 3 * self.limits.pixels, 8 * self.limits.text_bytes) + decoder.MB
            worker = _Worker(self.limits.decode_bytes, largest)
            worker.answer(time.monotonic() + START_SECONDS)
        except (OSError, TimeoutError, _WorkerGoneError) as error:
            if worker is not None:
                worker.end()
            with self._changed:
                self._running -= 1
                self._refused = type(error).__name__
                self._changed.notify()
            _LOG.error("decoder not started error=%s", type(error).__name__)
            raise problems.BusyError("the processes that decode files cannot be started") from None
        with self._changed:
            self._refused = ""
        return worker

    def _give_back(self, worker: _Worker) -> None:
        with self._changed:
            if not self._closed and worker.jobs < _JOBS_OF_A_WORKER:
                self._idle.append(worker)
                self._changed.notify()
                return
        self._drop(worker, "")

    def _drop(self, worker: _Worker, why: str) -> None:
        """End a worker; another one is started meanwhile."""
        if why:
            _LOG.warning("decoder ended why=%s jobs=%d", why, worker.jobs)
        worker.end()
        with self._changed:
            self._running -= 1
            self._changed.notify()
            if self._closed:
                return
        threading.Thread(target=self._refill, name="ecgkin-decoder-start", daemon=True).start()

    def _refill(self) -> None:
        with self._changed:
            if self._closed or self._running >= self.limits.decoders:
                return
            self._running += 1
        with suppress(problems.BusyError):  # logged; the next upload tries again, and readiness tells
            self._give_back(self._started())


def _decoded(answer: dict[str, Any], raw: Path) -> Decoded:
    """The result of a worker, whose word is believed in nothing: shapes must fit what it wrote."""
    notes = tuple(_note(code, values, text) for code, values, text in answer["notes"])
    shape = tuple(int(n) for n in answer["shape"])
    if answer["kind"] == "record":
        signal = np.fromfile(raw, dtype="<f4").reshape(shape).astype(np.float32, copy=False)
        record = EcgRecord(
            signal,
            float(answer["fs_hz"]),
            tuple(str(lead) for lead in answer["leads"]),
            str(answer["record_id"]),
            None if answer["patient_id"] is None else str(answer["patient_id"]),
            None if answer["age_years"] is None else float(answer["age_years"]),
            None if answer["sex"] is None else str(answer["sex"]),
            notes,
        )
        return Decoded(record, str(answer["digest"]))
    from PIL import Image

    from ecgkin.retrieval.ecg.formats.pictures import with_notes

    height, width, channels = shape
    if channels != 3:
        raise ValueError(f"{channels} channels")
    pixels = np.fromfile(raw, dtype=np.uint8).reshape(shape)
    picture = Image.frombuffer("RGB", (width, height), pixels, "raw", "RGB", 0, 1)
    return Decoded(with_notes(picture, notes), str(answer["digest"]))


def _note(code: str, values: dict[str, Any], text: str) -> Note:
    if code == NoteCode.OTHER.value:
        return Note(NoteCode.OTHER, text=str(text))
    plain = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
    return Note(NoteCode(code), **plain)


@cache
def shared() -> Decoders:
    """The pool of a process that serves no API (the web page): one worker, the usual limits."""
    from dataclasses import replace

    from ecgkin.ui.api.limits import Limits

    return Decoders(replace(Limits(), decoders=1))
