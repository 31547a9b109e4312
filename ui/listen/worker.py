"""`Worker`: takes what waits in a spool into a case base, by the pipeline of `ecgkin ingest`.

An entry leaves the spool when its case is on the disk in the base, or when it is set aside with the reason. What stands
in the way of all of them (the base is being written to, the disk is full) is waited for. What ends the whole process
is known by its mark: entries that were being read then are read one at a time, and set aside at the third end.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ecgkin.index.base import CaseBase
from ecgkin.index.case import LONGEST_ID, Case, safe_case_id
from ecgkin.index.ingest.pipeline import ingest_records, open_or_create
from ecgkin.index.sources.folder import file_items
from ecgkin.index.sources.items import IngestItem
from ecgkin.index.transfer.switching import state_of
from ecgkin.retrieval.encoders.base import Encoder
from ecgkin.retrieval.errors import EcgkinError
from ecgkin.ui.listen.first_look import file_has_no_ecg
from ecgkin.ui.listen.spool import Entry, Spool

_LOG = logging.getLogger(__name__)

MOST_ATTEMPTS = 3
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 60.0
_DIGEST_SHOWN = 12

Change = Callable[[list[IngestItem]], list[IngestItem]]


@dataclass
class Counts:
    """What became of the entries since the start."""

    added: int = 0
    updated: int = 0
    known: int = 0
    set_aside: list[str] = field(default_factory=list)


class Worker:
    """Empties a spool.

    Args:
        spool: What waits.
        address: Of the base where it goes, made where it is missing; a name that is switched to another base
            (`ecgkin base switch`) is followed.
        encoder: That of the base.
        source: Of the cases; the first part of their ids.
        batch: Entries that are read and committed together.
        fs_hz: Samples a second of recordings that do not say.
        change: Applied to the items before they are read (`deidentified`).
    """

    def __init__(
        self,
        spool: Spool,
        address: str | Path,
        encoder: Encoder,
        *,
        source: str,
        batch: int = 16,
        fs_hz: float | None = None,
        change: Change | None = None,
    ) -> None:
        self.spool, self.counts = spool, Counts()
        self._address = address
        self.base: CaseBase = open_or_create(address, encoder)
        self._state = state_of(address)
        self._encoder, self._source, self._batch, self._fs_hz = encoder, source, batch, fs_hz
        self._change = change
        self._stop = threading.Event()
        self._pause_s = _FIRST_PAUSE_S

    def close(self) -> None:
        """Let go of the base."""
        self.base.close()

    def stop(self) -> None:
        """End `run` after the batch that is being worked on."""
        self._stop.set()
        self.spool.arrived.set()

    def run(self) -> None:
        """Take in what waits and what comes, until `stop`."""
        while not self._stop.is_set():
            self.spool.arrived.clear()
            try:
                self.empty()
                self._pause_s = _FIRST_PAUSE_S
            except (EcgkinError, OSError) as error:
                # Which text an error has is not for the log: it may name a file, and a file a patient.
                _LOG.warning("%s: what waits is tried again in %g s", type(error).__name__, self._pause_s)
                _LOG.debug("what hindered it: %s", error)
                self._stop.wait(self._pause_s)
                self._pause_s = min(2 * self._pause_s, _LONGEST_PAUSE_S)
                continue
            self.spool.arrived.wait()

    def empty(self) -> None:
        """Take in all that waits now.

        Raises:
            EcgkinError, OSError: Base or encoder cannot be used; what was not taken in waits on.
        """
        while not self._stop.is_set() and (waiting := self.spool.waiting()):
            entries = self._next(waiting)
            if entries:
                self._take_in(entries)

    def _next(self, waiting: Sequence[Entry]) -> list[Entry]:
        """The oldest entries that can go together; what has ended a process goes alone, and not for ever."""
        together: dict[str, Entry] = {}
        for entry in waiting:
            attempts = self.spool.attempts(entry)
            if attempts >= MOST_ATTEMPTS:
                self._aside(entry, f"the process ended {attempts} times while this was read")
                continue
            if attempts:
                if not together:
                    return [entry]
                break
            case_id = self._case(entry).case_id
            if case_id in together:  # another state of it: after this one
                break
            together[case_id] = entry
            if len(together) == self._batch:
                break
        return list(together.values())

    def _follow(self) -> None:
        """Open what the address means now, if that is another base than before."""
        state = state_of(self._address)
        if state != self._state:
            base = open_or_create(self._address, self._encoder)
            self.base.close()
            self.base, self._state = base, state
            _LOG.info("the name means another base now: %d cases", len(base))

    def _take_in(self, entries: Sequence[Entry]) -> None:
        self._follow()
        self.spool.begin(entries)
        try:
            items: list[IngestItem] = []
            owners: dict[str, Entry] = {}
            nothing = {entry.key: why for entry in entries if (why := file_has_no_ecg(self.spool.path(entry)))}
            for entry in (entry for entry in entries if entry.key not in nothing):
                made = file_items(self._case(entry), self.spool.path(entry), self._fs_hz)
                made = made if self._change is None else self._change(made)
                items += made
                owners |= {name: entry for item in made for name in (item.title, item.case.case_id)}
            report = ingest_records(self.base, items, self._encoder, batch=max(1, len(items)))
        except (EcgkinError, OSError):
            self.spool.forget_attempts(entries)
            raise
        failed: dict[str, list[str]] = {key: [reason] for key, reason in nothing.items()}
        for title, reason in report.failed:
            failed.setdefault(owners[title].key, []).append(reason)
        for entry in entries:
            if entry.key in failed:
                self._aside(entry, "\n".join(failed[entry.key]))
            else:
                self.spool.done(entry)
        self.counts.added += report.added
        self.counts.updated += report.updated
        self.counts.known += report.skipped + len(report.duplicates)
        _LOG.info(
            "%d added, %d updated, %d known already, %d set aside; %d cases",
            report.added, report.updated, report.skipped + len(report.duplicates), len(failed), len(self.base),
        )  # fmt: skip

    def _aside(self, entry: Entry, reason: str) -> None:
        place = self.spool.set_aside(entry, reason)
        self.counts.set_aside.append(entry.key)
        _LOG.warning("set aside: %s, see its reason.txt", place.name)

    def _case(self, entry: Entry) -> Case:
        """A DICOM object is known by its instance, a file by its place and its content.

        A cart that writes every ECG to the same name must not write over the last patient's.
        """
        if entry.sop_instance:
            return Case(f"{self._source}/{entry.sop_instance}", source=self._source, meta={"door": entry.door})
        end = f"@{entry.key[:_DIGEST_SHOWN]}"
        room = LONGEST_ID - len(end) - len("#9999")
        name = safe_case_id(f"{self._source}/{entry.shown}")[:room].rstrip()
        return Case(f"{name}{end}", source=self._source, meta={"door": entry.door, "file": Path(entry.shown).name})
