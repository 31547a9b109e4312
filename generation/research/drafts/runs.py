"""Run files of `evaluate drafts`: one JSON line for each draft, so that an arm is run once and scored often.

They hold drafts, which may quote reports: they stay in the folder that the user names.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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


class RunFile:
    """One arm's file: a header line, then a line for each query, in the order in which they were done."""

    def __init__(self, folder: Path, arm: str, key: Mapping[str, Any]) -> None:
        self.path = folder / f"{re.sub(r'[^a-z0-9+=]+', '-', arm.lower())}.jsonl"
        self.header = {"format": FORMAT, "arm": arm, **key}

    def read(self) -> dict[int, DraftLine]:
        """Lines that are there and belong to this header, by query; a last line that a kill cut short is left out.

        Raises:
            QueryError: The file belongs to another run.
        """
        if not self.path.is_file():
            return {}
        lines = self.path.read_text(encoding="utf-8").splitlines()
        found: dict[int, DraftLine] = {}
        for number, line in enumerate(lines):
            try:
                values = json.loads(line)
            except ValueError:
                _LOG.warning("line %d of %s is cut short and will be done again", number + 1, self.path.name)
                continue
            if number == 0:
                if values != json.loads(json.dumps(self.header)):
                    raise QueryError(
                        f"{self.path} belongs to another run (encoder, folds, thresholds or prompt differ)",
                        hint="give another --out folder, or remove the file",
                    )
                continue
            found[int(values["ecg_id"])] = DraftLine(**{**values, "abstained": tuple(values["abstained"])})
        return found

    def append(self, line: DraftLine) -> None:
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
            stream.write(json.dumps(vars(line), ensure_ascii=False) + "\n")
