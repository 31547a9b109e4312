"""Jobs: many ECGs in one request, worked off one after another while the caller asks how far it is.

Jobs live as long as their server: their files and results lie in the folder of its uploads, and a server that is
started again knows none of them. A caller who is told that there is no such job sends it again.
"""

from __future__ import annotations

import json
import logging
import shutil
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import TimeoutError as NotDoneError
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from ecgkin.retrieval.errors import QueryError
from ecgkin.ui.api import problems
from ecgkin.ui.api.decoder import WFDB_SUFFIXES, named_in
from ecgkin.ui.api.uploads import Upload
from ecgkin.ui.hosts import is_loopback

if TYPE_CHECKING:
    from ecgkin.ui.api.limits import Work

_LOG = logging.getLogger(__name__)

Kind = Literal["search", "digitize", "draft"]
JobState = Literal["waiting", "running", "done", "cancelled"]
KEPT = 64  # jobs that are over; of more the oldest are forgotten
HOOK_TRIES, HOOK_SECONDS, HOOK_PAUSE_S = 3, 10.0, 1.0
Perform = Callable[[Upload], dict[str, Any]]


@dataclass(frozen=True)
class Item:
    """One ECG of a job.

    Attributes:
        name: As its sender calls it.
        files: Its file, or those of one WFDB record.
    """

    name: str
    files: tuple[Path, ...]


def items_of(upload: Upload) -> list[Item]:
    """The ECGs of an upload: each file is one, the files of a WFDB record together are one.

    Args:
        upload: Unpacked.
    """
    headers = [path for path in upload.files if path.suffix.lower() == ".hea"]
    # A header may have another name than the files that it names.
    owners = {name: header.stem for header in reversed(headers) for name in named_in(header)}
    stems = {header.stem for header in headers}
    records: dict[str, list[Path]] = {}
    for path in upload.files:
        wfdb = path.suffix.lower() in WFDB_SUFFIXES
        own = path in headers or path.stem in stems
        stem = path.stem if own else owners.get(path.name.lower(), path.stem)
        records.setdefault(f"{stem}.hea" if wfdb else path.name, []).append(path)
    out = []
    for files in records.values():
        first = next((path for path in files if path.suffix.lower() == ".hea"), files[0])
        out.append(Item(upload.names.get(first, first.name), tuple(files)))
    return out


@dataclass
class Job:
    """A job, with what has become of it.

    Attributes:
        kind: What is done with each ECG.
        items: The ECGs.
        upload: Their files; the results are written beside them.
        fields: Of the request, for every ECG.
        perform: Does it with one ECG.
        callback: Address that is told when it is over; None for none.
        id: 32 hexadecimal digits that nobody guesses.
        created: Seconds since 1970.
        state: How far it is.
        outcomes: Of each ECG so far, whether there is an answer.
        finished: When it was over; None before.
        stop: Set when no further ECG is to be begun.
    """

    kind: Kind
    items: Sequence[Item]
    upload: Upload
    fields: dict[str, str]
    perform: Perform
    callback: str | None = None
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    created: float = field(default_factory=time.time)
    state: JobState = "waiting"
    outcomes: list[bool] = field(default_factory=list)
    finished: float | None = None
    stop: threading.Event = field(default_factory=threading.Event)

    @property
    def over(self) -> bool:
        """Whether nothing more will come."""
        return self.state in ("done", "cancelled")

    def result(self, number: int) -> dict[str, Any]:
        """What came of an ECG that has been worked off.

        Args:
            number: From 0.
        """
        content: dict[str, Any] = json.loads(self._file(number).read_text(encoding="utf-8"))
        return content

    def keep(self, content: dict[str, Any], ok: bool) -> None:
        """Write down what came of the next ECG."""
        self._file(len(self.outcomes)).write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
        self.outcomes.append(ok)

    def _file(self, number: int) -> Path:
        return self.upload.folder / f"result-{number}.json"


class Webhooks:
    """Tells other servers that a job is over; only those whose hosts the settings name, and without what was found.

    Args:
        hosts: "host", for its usual port, or "host:port".

    Raises:
        QueryError: One of them is none.
    """

    def __init__(self, hosts: Sequence[str]) -> None:
        self._hosts = set()
        for host in hosts:
            parts = urlsplit(f"//{host}")
            if not parts.hostname or parts.path or parts.username or parts.query:
                raise QueryError(
                    f"{host[:100]!r} in api_webhook_hosts is no host", hint="hooks.example.org, or host:8443"
                )
            self._hosts.add((parts.hostname, parts.port))

    def checked(self, address: str) -> str:
        """The address itself.

        Args:
            address: https, or http on this machine.

        Raises:
            QueryError: The settings do not allow it.
        """
        try:
            parts = urlsplit(address)
            port = parts.port
        except ValueError:
            raise QueryError("callback is no address") from None
        host = parts.hostname or ""
        if parts.scheme not in ("http", "https") or not host or parts.username or parts.password or parts.fragment:
            raise QueryError("callback is no address of the form https://host/path")
        if parts.scheme == "http" and not is_loopback(host):
            raise QueryError("callback is not encrypted", hint="use https")
        usual = 443 if parts.scheme == "https" else 80
        if (host, port) not in self._hosts and not (port == usual and (host, None) in self._hosts):
            raise QueryError(
                "callback names a host that is not told anything", hint="see the setting api_webhook_hosts"
            )
        return address

    def tell(self, address: str, content: dict[str, Any]) -> bool:
        """POST as JSON; whether it was taken (2xx). Redirections are not followed, proxies not asked.

        Args:
            address: That was `checked`.
            content: What is said.
        """
        import httpx

        with httpx.Client(timeout=HOOK_SECONDS, follow_redirects=False, trust_env=False) as client:
            for attempt in range(HOOK_TRIES):
                if attempt:
                    time.sleep(HOOK_PAUSE_S * 2 ** (attempt - 1))
                try:
                    answer = client.post(address, json=content)
                except httpx.HTTPError as error:
                    _LOG.warning("webhook not reached error=%s", type(error).__name__)
                    continue
                if answer.is_success:
                    return True
                _LOG.warning("webhook refused status=%d", answer.status_code)
                if answer.status_code < 500 and answer.status_code != 429:
                    return False
        return False


class Jobs:
    """The queue, and one thread that works it off. For threads.

    Args:
        work: Runs each ECG among the other requests of the server, with its deadline.
        hooks: Told when a job with a callback is over.
        most: Jobs that may wait or run.
        hours: That the results of one are kept.
    """

    def __init__(self, work: Work, hooks: Webhooks, *, most: int, hours: float) -> None:
        self.hooks = hooks
        self._work = work
        self._most = most
        self._kept_s = 3600 * hours
        self._jobs: dict[str, Job] = {}
        self._changed = threading.Condition()
        self._closed = False
        self._thread: threading.Thread | None = None

    def check_room(self) -> None:
        """Before a body is read.

        Raises:
            BusyError: As many jobs wait or run as may.
        """
        with self._changed:
            self._tidy()
            if sum(not job.over for job in self._jobs.values()) >= self._most:
                raise problems.BusyError("too many jobs are waiting", hint="try again when one is done")

    def add(self, job: Job) -> None:
        """Put a job into the queue.

        Raises:
            BusyError: As many wait or run as may.
        """
        self.check_room()
        with self._changed:
            self._jobs[job.id] = job
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="ecgkin-jobs", daemon=True)
                self._thread.start()
            self._changed.notify_all()
        _LOG.info("job taken kind=%s items=%d", job.kind, len(job.items))

    def get(self, job_id: str) -> Job:
        """A job.

        Raises:
            NotFoundError: There is none of this id (any more).
        """
        with self._changed:
            self._tidy()
            job = self._jobs.get(job_id)
        if job is None:
            raise problems.NotFoundError(
                "no such job", hint="jobs end with their server and are forgotten in time: send it again"
            )
        return job

    def cancel(self, job_id: str) -> Job:
        """Begin none of its ECGs any more; what was found stays."""
        job = self.get(job_id)
        job.stop.set()
        with self._changed:
            if job.state == "waiting":
                self._end(job, "cancelled")
        return job

    def forget(self, job_id: str) -> None:
        """Stop it and delete all that is known of it."""
        job = self.cancel(job_id)
        with self._changed:
            del self._jobs[job_id]
            if job.over:
                job.upload.close()

    def close(self) -> None:
        """Stop after the ECG in hand, and delete everything."""
        with self._changed:
            self._closed = True
            for job in self._jobs.values():
                job.stop.set()
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()
        for job in self._jobs.values():
            job.upload.close()
        self._jobs.clear()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._next() is not None)
                job = self._next()
                if self._closed or job is None:
                    return
                job.state = "running"
            for item in job.items:
                if job.stop.is_set():
                    break
                try:
                    content, ok = self._one(job, item), True
                except Exception as error:
                    if problems.kind_of(error).slug == "internal":
                        problems.log_fault(error)
                    content, ok = problems.body_of_error(error), False
                job.keep(content, ok)
            with self._changed:
                whole = len(job.outcomes) == len(job.items)
                self._end(job, "done" if whole else "cancelled")
                if job.id not in self._jobs:  # forgotten while it ran
                    job.upload.close()
                    continue
            if job.callback is not None and not self._closed:
                threading.Thread(target=self._tell, args=(job,), daemon=True).start()

    def _tell(self, job: Job) -> None:
        assert job.callback is not None
        n_failed = job.outcomes.count(False)
        said = {"job_id": job.id, "state": job.state, "n_items": len(job.items), "n_done": len(job.outcomes)}
        self.hooks.tell(job.callback, said | {"n_failed": n_failed})

    def _one(self, job: Job, item: Item) -> dict[str, Any]:
        """One ECG in a folder of its own, in one of the server's threads."""
        own = Upload()
        try:
            for path in item.files:
                own.files.append(own.folder / path.name)
                shutil.move(path, own.files[-1])
            own.fields = dict(job.fields)
        except BaseException:
            own.close()
            raise
        future = self._work.start(lambda: job.perform(own), own.close)
        try:
            return future.result(timeout=self._work.seconds)
        except NotDoneError:
            if future.done():  # the task's own error, or it was done just now
                return future.result()
            future.cancel()
            raise problems.DeadlineError(f"no answer within {self._work.seconds:g} s") from None

    def _next(self) -> Job | None:
        return next((job for job in self._jobs.values() if job.state == "waiting"), None)

    def _end(self, job: Job, state: JobState) -> None:
        job.state, job.finished = state, time.time()
        _LOG.info("job over state=%s done=%d failed=%d", state, len(job.outcomes), job.outcomes.count(False))

    def _tidy(self) -> None:
        over = [job for job in self._jobs.values() if job.finished is not None]
        now = time.time()
        for number, job in enumerate(reversed(over)):
            if number >= KEPT or now - (job.finished or now) > self._kept_s:
                del self._jobs[job.id]
                job.upload.close()
