"""`manifest.json`: which encoder made a case base, and which files of which content belong to it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from ecgkin.index.folder.atomic import file_digest, write_atomic
from ecgkin.retrieval.errors import ManifestError

MANIFEST = "manifest.json"
FORMAT = "ecgkin-casebase"
SCHEMA_VERSION = 1
REPAIR_HINT = "if cases.sqlite is whole, CaseBase.repair(path) makes the other files anew from it"


@dataclass(frozen=True)
class Manifest:
    """What a case base says about itself.

    Attributes:
        base_id: Made once, kept in every file: files of two bases do not go together.
        encoder_name, fingerprint, dim: The encoder whose vectors these are.
        drawing_version, preprocessing: How the pictures were made that the encoder saw.
        generation: State of the case store when the index file was written; the store may be ahead, never behind.
        n_cases: Cases in that state.
        max_row: Largest row number given out by then.
        index_file, index_kind, index_bytes, index_digest: The index file.
    """

    base_id: str
    encoder_name: str
    fingerprint: str
    dim: int
    drawing_version: str
    preprocessing: dict[str, Any] = field(default_factory=dict)
    generation: int = 0
    n_cases: int = 0
    max_row: int = 0
    index_file: str = ""
    index_kind: str = ""
    index_bytes: int = 0
    index_digest: str = ""
    format: str = FORMAT
    schema_version: int = SCHEMA_VERSION

    def identity(self) -> dict[str, Any]:
        """What tells which base this is and whose vectors it holds, for people."""
        return {
            "schema_version": self.schema_version,
            "base_id": self.base_id,
            "encoder": self.encoder_name,
            "fingerprint": self.fingerprint,
            "dim": self.dim,
            "drawing_version": self.drawing_version,
            "preprocessing": self.preprocessing,
        }

    def write(self, folder: Path) -> None:
        """Replace the manifest of a folder, atomically."""
        content = asdict(self)
        content["checksum"] = _checksum(content)
        text = json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
        write_atomic(folder / MANIFEST, lambda path: _write_text(path, text))

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """The manifest of a folder.

        Raises:
            ManifestError: There is none, it was edited or cut short, or another version of ecgkin wrote it.
        """
        path = folder / MANIFEST
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise ManifestError(f"{path} is missing (expected in every case base)", hint=REPAIR_HINT) from None
        except (ValueError, OSError) as error:
            raise ManifestError(f"{path} cannot be read: {error}", hint=REPAIR_HINT) from error
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise ManifestError(f"{path} is not the manifest of a case base", hint=REPAIR_HINT)
        if content.get("schema_version") != SCHEMA_VERSION:
            raise ManifestError(
                f"{path} has schema version {content.get('schema_version')!r} (expected {SCHEMA_VERSION})",
                hint="use the version of ecgkin that wrote it, or ingest again",
            )
        if content.pop("checksum", None) != _checksum(content) or set(content) != {f.name for f in fields(cls)}:
            raise ManifestError(f"{path} was edited or cut short: its checksum does not fit", hint=REPAIR_HINT)
        return cls(**content)

    def check_index(self, folder: Path) -> Path:
        """The path of the index file, after its size and checksum.

        Raises:
            FileNotFoundError: It is not there (a writer may just have replaced it: read the manifest again).
            ManifestError: It is not the file that the manifest means.
        """
        path = folder / self.index_file
        size = path.stat().st_size
        if size != self.index_bytes:
            raise ManifestError(f"{path} has {size} bytes (expected {self.index_bytes})", hint=REPAIR_HINT)
        if file_digest(path) != self.index_digest:
            raise ManifestError(f"{path} has another content than manifest.json says", hint=REPAIR_HINT)
        return path


def _checksum(content: dict[str, Any]) -> str:
    canonical = json.dumps(content, sort_keys=True).encode()
    return hashlib.blake2b(canonical, digest_size=16).hexdigest()


def _write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
