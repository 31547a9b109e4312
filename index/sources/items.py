"""What goes into an ingest and what comes out of it: `IngestItem`, one case on its way in, and `IngestReport`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from PIL import Image

from ecgkin.index.case import Case
from ecgkin.retrieval.ecg.record import EcgRecord

Loaded = EcgRecord | Image.Image


@dataclass(frozen=True)
class IngestItem:
    """One case on its way in.

    Attributes:
        case: What is known without opening the record; gaps (patient, age, sex) are filled from the record.
        load: Reads the ECG or the picture.
        content: The hash of what `load` would read, cheaper than reading it; None: the loaded record is hashed.
        name: What to call it in a report of failures; "" for the case id.
    """

    case: Case
    load: Callable[[], Loaded]
    content: Callable[[], str] | None = None
    name: str = ""

    @property
    def title(self) -> str:
        """Its name in reports."""
        return self.name or self.case.case_id


@dataclass
class IngestReport:
    """What became of the items.

    Attributes:
        added, updated: Cases that are new, and cases that were there and now say or show something else.
        skipped: Items that were there already as they are.
        duplicates: (name, case id) of items whose content is there under another id; they are passed over.
        failed: (name, reason) of items that could not be read.
        notes: (name, words) of items that came in, but not as they should be: leads missing, flat or computed, a record
            longer or shorter than a page.
    """

    added: int = 0
    updated: int = 0
    skipped: int = 0
    duplicates: list[tuple[str, str]] = field(default_factory=list)
    failed: list[tuple[str, str]] = field(default_factory=list)
    notes: list[tuple[str, str]] = field(default_factory=list)

    @property
    def n_seen(self) -> int:
        """Items that are done with."""
        return self.added + self.updated + self.skipped + len(self.duplicates) + len(self.failed)
