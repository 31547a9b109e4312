"""`manifest.json`: which encoder made a case base, and which files of which content belong to it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ecgkin.index.atomic import file_digest, write_atomic
from ecgkin.retrieval.errors import ManifestError, why

MANIFEST = "manifest.json"
FORMAT: Literal["ecgkin-casebase"] = "ecgkin-casebase"
SCHEMA_VERSION: Literal[1] = 1
REPAIR_HINT = "if cases.sqlite is whole, FolderBase.repair(path) makes the other files anew from it"
LARGEST = 2**63 - 1  # what SQLite stores as an integer


class Manifest(BaseModel):
    """What a case base says about itself.

    Attributes:
        base_id: Made once, kept in every file: files of two bases do not go together.
        encoder_name, fingerprint, dim: The encoder whose vectors these are.
        drawing_version, preprocessing: How the pictures were made that the encoder saw.
        generation: State of the case store when the index file was written; the store may be ahead, never behind.
        n_cases: Cases in that state.
        max_row: Largest row number given out by then.
        index_file, index_kind, index_bytes, index_digest: The index file, below the folder of the base.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    base_id: str
    encoder_name: str
    fingerprint: str
    dim: int = Field(ge=1, le=1_000_000)
    drawing_version: str
    preprocessing: dict[str, Any] = {}
    generation: int = Field(default=0, ge=0, le=LARGEST)
    n_cases: int = Field(default=0, ge=0, le=LARGEST)
    max_row: int = Field(default=0, ge=0, le=LARGEST)
    index_file: str = Field(default="", pattern=r"\A(index-[A-Za-z0-9-]+\.faiss)?\z")
    index_kind: str = ""
    index_bytes: int = Field(default=0, ge=0, le=LARGEST)
    index_digest: str = ""
    format: Literal["ecgkin-casebase"] = FORMAT
    schema_version: Literal[1] = SCHEMA_VERSION

    def identity(self) -> dict[str, Any]:
        """Identity of the base and of the encoder whose vectors it holds, as JSON values."""
        return {
            "schema_version": self.schema_version,
            "base_id": self.base_id,
            "encoder": self.encoder_name,
            "fingerprint": self.fingerprint,
            "dim": self.dim,
            "drawing_version": self.drawing_version,
            "preprocessing": self.preprocessing,
        }

    @classmethod
    def of(cls, content: object, where: str) -> Manifest:
        """The manifest of a JSON object.

        Args:
            content: As `model_dump` gave it.
            where: What to call it in messages.

        Returns:
            The manifest.

        Raises:
            ManifestError: It is none, another version of ecgkin wrote it, or a value is not of its kind.
        """
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise ManifestError(f"{where} is not the manifest of a case base", hint=REPAIR_HINT)
        if content.get("schema_version") != SCHEMA_VERSION:
            raise ManifestError(
                f"{where} has schema version {content.get('schema_version')!r:.60} (expected {SCHEMA_VERSION})",
                hint="use the version of ecgkin that wrote it, or ingest again",
            )
        try:
            return cls.model_validate(content)
        except ValidationError as error:
            raise ManifestError(f"{where} is damaged: {first_fault(error)}", hint=REPAIR_HINT) from error

    def write(self, folder: Path) -> None:
        """Replace the manifest of a folder, atomically."""
        content = self.model_dump()
        content["checksum"] = _checksum(content)
        text = json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
        write_atomic(folder / MANIFEST, lambda path: path.write_text(text, encoding="utf-8"))

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """The manifest of a folder.

        Raises:
            ManifestError: There is none, it was edited or cut short, or another version of ecgkin wrote it.
        """
        path = folder / MANIFEST
        try:
            if path.exists() and not path.is_file():  # a pipe would be waited for
                raise OSError("it is no file")
            content = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise ManifestError(f"{path} is missing (expected in every case base)", hint=REPAIR_HINT) from None
        except (ValueError, OSError, RecursionError) as error:
            raise ManifestError(f"{path} cannot be read: {why(error)}", hint=REPAIR_HINT) from error
        checksum = content.pop("checksum", None) if isinstance(content, dict) else None
        found = cls.of(content, str(path))
        if checksum != _checksum(content):
            raise ManifestError(f"{path} was edited or cut short: its checksum does not fit", hint=REPAIR_HINT)
        return found

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


def first_fault(error: ValidationError) -> str:
    """The first complaint of pydantic in one line: "dim: Input should be greater than or equal to 1 (found -3)"."""
    fault = error.errors(include_url=False, include_context=False)[0]
    where = ".".join(str(part) for part in fault["loc"])
    return f"{where or 'value'}: {fault['msg']} (found {fault['input']!r:.60})"


def _checksum(content: dict[str, Any]) -> str:
    canonical = json.dumps(content, sort_keys=True).encode()
    return hashlib.blake2b(canonical, digest_size=16).hexdigest()
