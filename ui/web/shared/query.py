"""What a visitor asks (an ECG in files, or words) and how: hits, filter, drafter."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from ecgkin.ui.api.schemas import PageKnown

# Cases that a drafting model is shown, as the API has it by default.
EVIDENCE = 3


@dataclass(frozen=True)
class Query:
    """What is asked.

    Attributes:
        kind: An ECG in files, or words.
        name: For people.
        files: Name and content of each.
        text: The words.
        fs_hz: Samples a second, for a table that does not say.
        known: Of a picture: what its reading got wrong, put right.
        understood: Of words: what they are taken to mean, as parts of an earlier answer that were changed.
    """

    kind: Literal["ecg", "text"]
    name: str
    files: tuple[tuple[str, bytes], ...] = ()
    text: str = ""
    fs_hz: float | None = None
    known: PageKnown | None = None
    understood: tuple[dict[str, Any], ...] | None = None

    @property
    def digest(self) -> str:
        """Changes with all that is sent."""
        made = hashlib.blake2b(f"{self.kind}|{self.text}|{self.fs_hz}".encode(), digest_size=12)
        if self.known is not None:
            made.update(self.known.model_dump_json().encode())
        if self.understood is not None:
            made.update(json.dumps(self.understood, sort_keys=True).encode())
        for name, content in self.files:
            made.update(f"|{name}|{len(content)}|".encode() + content)
        return made.hexdigest()


@dataclass(frozen=True)
class Options:
    """How it is asked.

    Attributes:
        k: Hits.
        where: Filter in the words of the API; "" for none.
        model: Drafter; None for the server's first.
        evidence: Cases a model is shown; 0 for a draft without retrieval.
        previous: An earlier ECG of the person: its case id, or the person's id; "" for none.
        leave_out: Id of a person whose cases are left out; "" for none.
    """

    k: int = 10
    where: str = ""
    model: str | None = None
    evidence: int = EVIDENCE
    previous: str = ""
    leave_out: str = ""


def where_text(ages: tuple[int, int] | None, sex: str | None, statements: list[str], sources: list[str]) -> str:
    """A filter in the words of the API.

    Args:
        ages: Youngest and oldest, years; None for all, also for cases of unknown age.
        sex: "F" or "M"; None for all.
        statements: Codes that a case must carry, all of them.
        sources: Where a case may come from; none given: anywhere.

    Returns:
        The filter; "" where nothing is asked for.

    >>> where_text((60, 80), "F", ["CLBBB", "AFIB"], ["ptbxl"])
    'age>=60 and age<=80 and sex=F and label:"CLBBB" and label:"AFIB" and source in ("ptbxl")'
    >>> where_text(None, None, [], [])
    ''
    """
    parts = [f"age>={ages[0]} and age<={ages[1]}"] if ages else []
    parts += [f"sex={sex}"] if sex else []
    parts += [f"label:{_quoted(code)}" for code in statements]
    parts += [f"source in ({', '.join(_quoted(source) for source in sources)})"] if sources else []
    return " and ".join(parts)


def _quoted(value: str) -> str:
    return '"' + value.replace('"', '""') + '"'
