"""What goes into an ingest and what comes out of it: `IngestItem`, the hash of its files, and `IngestReport`."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from ecgkin.index.case import Case, content_hash
from ecgkin.retrieval.ecg.record import EcgRecord
from ecgkin.retrieval.errors import RecordError, why

Loaded = EcgRecord | Image.Image


@dataclass(frozen=True)
class IngestItem:
    """One case on its way in.

    Attributes:
        case: What is known without opening the record; gaps (patient, age, sex) are filled from the record.
        load: Reads the ECG or the picture.
        content: The hash of what `load` would read, cheaper than reading it; None: the loaded record is hashed.
        name: What to call it in a report of failures; "" for the case id.
        finish: (case, what `load` gave) -> case; called in the process that has just loaded it, after the gaps of the
            case are filled. None: the case stays as it is.
    """

    case: Case
    load: Callable[[], Loaded]
    content: Callable[[], str] | None = None
    name: str = ""
    finish: Callable[[Case, Loaded], Case] | None = None

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

    def include(self, other: IngestReport) -> None:
        """Add the counts and lists of another report to this one."""
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)

    @property
    def n_seen(self) -> int:
        """Items that are done with."""
        return self.added + self.updated + self.skipped + len(self.duplicates) + len(self.failed)


def file_content(path: Path, salt: str = "") -> str:
    """Hash of a file's bytes; for a WFDB header, of header and sample files together, whatever the record is called.

    Args:
        path: The file.
        salt: Goes into the hash: two cases of one file differ by it.

    Returns:
        32 hex digits.

    Raises:
        RecordError: It cannot be read.
    """
    from ecgkin.retrieval.ecg.formats.wfdb import beside

    try:
        check_regular(path)
        if path.suffix.lower() != ".hea":
            return content_hash(salt.encode() + path.read_bytes())
        stem = path.stem
        # The record's own name begins the first line and the name of each sample file.
        own_name = re.compile(rb"^%s(?=[\s./])" % re.escape(stem.encode()), re.MULTILINE)
        parts = [salt.encode(), own_name.sub(b"", path.read_bytes())]
        names = [stem + suffix for suffix in (".dat", ".mat")]
        files = [path.with_name(name) for name in names if path.with_name(name).is_file()]
        if not files:  # names in capitals: looked for only now, as that reads the folder
            files = [file for file in (beside(path.parent, name) for name in names) if file is not None]
        parts += [file.read_bytes() for file in files]
        return content_hash(b"|".join(parts))
    except OSError as error:
        raise RecordError(f"{path} cannot be read: {why(error)}") from error


def check_regular(path: Path) -> None:
    """Refuse folders, pipes and devices, reading which might never end; what is missing is left to the reader.

    Raises:
        RecordError: It is one of these.
    """
    if path.is_dir():
        raise RecordError(f"folder {path} cannot be opened", hint="check its permissions")
    if path.exists() and not path.is_file():
        raise RecordError(f"{path} is a pipe or a device (expected a file)")
