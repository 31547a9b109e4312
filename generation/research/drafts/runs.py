"""Run files: one JSON line for each draft or answer, so that a model is asked once and what it said is scored often.

They hold texts that may quote reports: they stay in the folder that the user names.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

from ecgkin.generation.backends.base import Request, TextBackend
from ecgkin.generation.prompt.grounding import without_marks
from ecgkin.generation.types.draft import Draft
from ecgkin.retrieval.errors import QueryError

_LOG = logging.getLogger(__name__)

FORMAT = 1


@dataclass(frozen=True)
class DraftLine:
    """What is scored of one draft.

    Attributes:
        ecg_id: The query.
        text: The draft without citation marks and percentages, one sentence after the other.
        statements: Code -> polarity.
        probabilities: Statements and superclasses; empty for a model.
        cited, carried: Pairs of a stated statement and a case cited for it, and those where the case carries it.
        unknown: Citations of cases that were not given.
        abstained: Sections without a statement.
        seconds, tokens_in, tokens_out: Of the draft.
        error: Why there is none; "" where there is one.
    """

    ecg_id: int
    text: str
    statements: Mapping[str, str]
    probabilities: Mapping[str, float]
    cited: int
    carried: int
    unknown: int
    abstained: tuple[str, ...]
    seconds: float
    tokens_in: int | None
    tokens_out: int | None
    error: str = ""

    @classmethod
    def of(cls, ecg_id: int, draft: Draft) -> DraftLine:
        """The line of a draft.

        Args:
            ecg_id: Of the query.
            draft: What an arm wrote for it.

        Returns:
            What is scored of it.
        """
        stated = [s for s in draft.statements if s.polarity != "absent"]
        said = [without_marks(s.text) for s in draft.sentences] or [without_marks(draft.text)]
        return cls(
            ecg_id=ecg_id,
            text=" ".join(said).strip(),
            statements={s.code: s.polarity for s in draft.statements},
            probabilities={code: round(p, 5) for code, p in draft.probabilities.items()},
            cited=sum(len(s.citations) for s in stated),
            carried=sum(len(s.supported_by) for s in stated),
            unknown=len(draft.unknown_citations),
            abstained=tuple(s.name for s in draft.sections if s.abstained),
            seconds=round(draft.seconds, 5),
            tokens_in=draft.tokens_in,
            tokens_out=draft.tokens_out,
        )

    @classmethod
    def failed(cls, ecg_id: int, error: str) -> DraftLine:
        """The line of a query that got no draft; it counts as a draft that says nothing.

        Args:
            ecg_id: Of the query.
            error: Name of the error.

        Returns:
            The line.
        """
        return cls(ecg_id, "", {}, {}, 0, 0, 0, (), 0.0, None, None, error)


class LineFile:
    """Lines of JSON under a header line, in the order in which they were done; a kill costs the last one at most.

    Attributes:
        path: The file.
        header: What the lines belong to.
    """

    def __init__(self, path: Path, header: Mapping[str, Any]) -> None:
        self.path = path
        self.header = {"format": FORMAT, **header}

    def lines(self) -> list[dict[str, Any]]:
        """Lines that are there and belong to this header; a line that a kill cut short is left out.

        Raises:
            QueryError: The file belongs to another run.
        """
        if not self.path.is_file():
            return []
        found: list[dict[str, Any]] = []
        for number, line in enumerate(self.path.read_text(encoding="utf-8").splitlines()):
            try:
                values = json.loads(line)
            except ValueError:
                _LOG.warning("line %d of %s is cut short and will be done again", number + 1, self.path.name)
                continue
            if number > 0:
                found.append(values)
            elif values != json.loads(json.dumps(self.header)):
                raise QueryError(
                    f"{self.path} belongs to another run (encoder, folds, thresholds or prompt differ)",
                    hint="give another --out folder, or remove the file",
                )
        return found

    def append(self, values: Mapping[str, Any]) -> None:
        """Add a line; it is on its way to the disk when this returns."""
        new = not self.path.is_file()
        if not new:
            # A file that a kill cut short must not swallow the next line.
            with self.path.open("rb+") as raw:
                raw.seek(0, 2)
                if raw.tell() and (raw.seek(-1, 2), raw.read(1))[1] != b"\n":
                    raw.write(b"\n")
        with self.path.open("a", encoding="utf-8") as stream:
            if new:
                stream.write(json.dumps(self.header) + "\n")
            stream.write(json.dumps(values, ensure_ascii=False) + "\n")


class RunFile:
    """One arm's file: a header line, then a line for each query."""

    def __init__(self, folder: Path, arm: str, key: Mapping[str, Any]) -> None:
        self._file = LineFile(folder / f"{re.sub(r'[^a-z0-9+=]+', '-', arm.lower())}.jsonl", {"arm": arm, **key})

    def read(self) -> dict[int, DraftLine]:
        """Lines that are there, by query.

        Raises:
            QueryError: The file belongs to another run.
        """
        return {
            int(values["ecg_id"]): DraftLine(**{**values, "abstained": tuple(values["abstained"])})
            for values in self._file.lines()
        }

    def append(self, line: DraftLine) -> None:
        """Add a line."""
        self._file.append(vars(line))


class KeptAnswers:
    """A model whose answers are kept in a file: what was asked before is not asked again.

    Prompts are kept as hashes. Failures are not kept: the model is asked again.
    """

    def __init__(self, model: TextBackend, path: Path) -> None:
        """Read the file where there is one.

        Args:
            model: The model behind it.
            path: JSON lines; made with the first answer, its folder must exist.

        Raises:
            QueryError: The file holds answers of another model.
        """
        self.model = model
        self._file = LineFile(path, {"model": model.name})
        self._known = {str(line["prompt"]): str(line["text"]) for line in self._file.lines()}

    def answer(self, request: Request) -> str:
        """The text of the answer.

        Args:
            request: A prompt without a picture, answered greedily.

        Raises:
            GenerationError: The model failed.
        """
        asked = json.dumps([request.prompt, request.max_new_tokens])
        key = blake2b(asked.encode(), digest_size=16).hexdigest()
        if key not in self._known:
            self._known[key] = self.model.generate(request).text
            self._file.append({"prompt": key, "text": self._known[key]})
        return self._known[key]
