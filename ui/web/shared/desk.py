"""What became of a question: search, marks, draft, review. Kept by the page's process, named in the address.

Streamlit forgets a session with its tab. Here a question has an id that nobody can guess; whoever has the address finds
the question again after a reload, with Back, in another tab, and with all that was written beside it. Nothing goes to
disk; what nobody has looked at for `HOURS` is forgotten, the oldest first where it becomes too much.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ecgkin.retrieval.errors import EcgkinError
from ecgkin.ui.web.shared.concepts import Concept, by_likeness, ordered
from ecgkin.ui.web.shared.query import Options, Query

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ecgkin.ui.api.answers import DraftAnswer, SearchOut, SentenceOut

HOURS = 12.0
# Questions, and bytes of their files, that are kept at once.
MOST, MOST_BYTES = 500, 1_000_000_000
# Names in the address: the question, its words, the case beside it.
QUESTION, WORDS, CASE = "q", "words", "case"


@dataclass
class Found:
    """A search and what came of it.

    Attributes:
        key: What it was for: digest of the query, hits, filter, and so on.
        query: What was asked.
        first: The answer.
        refined: The answer after marks, None before.
        error: Why there is none.
        marks: Case id to whether it was marked as similar; they stay after the search that followed them.
        sent: The marks that the refined search followed.
        concept: In what respect the cases are to be near.
        wide: Id of a search to more of its nearest cases, where they were asked for.
        region: What was framed: lead and seconds, "" for nothing. It takes the place of a concept.
        alike: Case id to how alike it is in what was framed; None where that cannot be told.
        region_ms: Begin and end of what was framed, ms after the onset of QRS.
    """

    key: tuple[Any, ...]
    query: Query
    first: SearchOut | None = None
    refined: SearchOut | None = None
    error: EcgkinError | None = None
    marks: dict[str, bool] = field(default_factory=dict)
    sent: dict[str, bool] = field(default_factory=dict)
    concept: Concept = "all"
    wide: dict[str, SearchOut] = field(default_factory=dict)
    region: str = ""
    alike: dict[str, float | None] = field(default_factory=dict)
    region_ms: tuple[float, float] = (0.0, 0.0)

    @property
    def latest(self) -> SearchOut | None:
        """The answer of the server, before or after marks; what was asked, and read of it, stays that of the first."""
        if self.refined is None or self.first is None:
            return self.refined or self.first
        return self.refined.model_copy(update={"query": self.first.query, "page": self.first.page})

    @property
    def shown(self) -> SearchOut | None:
        """The answer on the page: in the order of a concept where one was chosen."""
        found = self.latest
        more = None if found is None else self.wide.get(found.query_id)
        if found is None or more is None or (self.concept == "all" and not self.region):
            return found
        # What the refined search left out does not come back with another order.
        there = [hit for hit in more.hits if self.refined is None or self.sent.get(hit.case.case_id, True)]
        if self.region:
            hits = by_likeness(there, self.alike, len(found.hits))
        else:
            hits = ordered(there, found.vote.statements, self.concept, len(found.hits))
        return found.model_copy(update={"hits": hits})

    @property
    def is_first(self) -> bool:
        """Whether the cases on the page are those of the first search, in its order."""
        return self.refined is None and self.concept == "all" and not self.region

    @property
    def first_scores(self) -> dict[str, float]:
        """Case id to its similarity before the search was refined."""
        if self.first is None:
            return {}
        hits = (*self.first.hits, *(more.hits if (more := self.wide.get(self.first.query_id)) is not None else ()))
        return {hit.case.case_id: hit.score for hit in hits}


@dataclass
class Written:
    """A draft, or why there is none.

    Attributes:
        key: What it was for: search, drafter, evidence, language.
    """

    key: tuple[Any, ...]
    answer: DraftAnswer | None = None
    error: EcgkinError | None = None


@dataclass
class SignOff:
    """What was decided of one sentence.

    Attributes:
        said: "accept", "reject", or None as long as it was not decided.
        texts: Language to the sentence as it was changed by hand.
    """

    said: str | None = None
    texts: dict[str, str] = field(default_factory=dict)


@dataclass
class Review:
    """A report under way.

    Attributes:
        sentences: By `sentence_names`.
        added: Codes of statements that the draft does not have.
        own: Own words.
    """

    sentences: dict[str, SignOff] = field(default_factory=dict)
    added: list[str] = field(default_factory=list)
    own: str = ""

    def of(self, name: str) -> SignOff:
        """What was decided of a sentence; new where nothing was."""
        return self.sentences.setdefault(name, SignOff())


def sentence_names(sentences: Sequence[SentenceOut]) -> list[str]:
    """Names of a draft's sentences that are the same in each language: section, statements, and a number.

    Args:
        sentences: Of a draft.

    Returns:
        A name each; no two are alike.
    """
    names: list[str] = []
    for one in sentences:
        stem = f"{one.section}|{' '.join(f'{code}:{polarity}' for code, polarity in one.statements)}"
        names.append(f"{stem}|{sum(name.rpartition('|')[0] == stem for name in names)}")
    return names


@dataclass
class Work:
    """One question and all that became of it.

    Attributes:
        work_id: In the address.
        query: What was asked.
        fields: What stood in the filters, by the keys of their widgets.
        found: The search.
        written: Drafts, by what they are for.
        reviews: Reports under way, by drafter and number of cases it was shown.
        own_finding: In the quiz: statements and words committed before anything was shown; None before that.
        other: Answers that were costly to get, by what they are for.
        seen: When it was looked at, seconds of the monotonic clock.
    """

    work_id: str
    query: Query
    fields: dict[str, Any] = field(default_factory=dict)
    found: Found | None = None
    written: dict[tuple[Any, ...], Written] = field(default_factory=dict)
    reviews: dict[tuple[Any, ...], Review] = field(default_factory=dict)
    own_finding: tuple[list[str], str] | None = None
    other: dict[Any, Any] = field(default_factory=dict)
    seen: float = 0.0

    @property
    def own_words(self) -> str:
        """What was committed in words; "" for nothing."""
        return "" if self.own_finding is None else self.own_finding[1]

    @property
    def size(self) -> int:
        """Bytes of its files."""
        return sum(len(content) for _, content in self.query.files)


class Shelf:
    """Questions by id, for all sessions of this process.

    Args:
        hours: How long one is kept that nobody looks at.
        most: How many.
        most_bytes: Of their files together; the newest one stays, however large.
    """

    def __init__(self, hours: float = HOURS, most: int = MOST, most_bytes: int = MOST_BYTES) -> None:
        self._kept: OrderedDict[str, Work] = OrderedDict()
        self._lock = threading.Lock()
        self.hours, self.most, self.most_bytes = hours, most, most_bytes

    def put(self, query: Query) -> Work:
        """A new question under an id of 128 random bits.

        Args:
            query: What is asked.
        """
        work = Work(secrets.token_urlsafe(16), query, seen=time.monotonic())
        with self._lock:
            self._kept[work.work_id] = work
            self._trim(work.seen)
        return work

    def get(self, work_id: str) -> Work | None:
        """The question of that id; None where there is none, or none any more.

        Args:
            work_id: From an address; anything.
        """
        now = time.monotonic()
        with self._lock:
            self._trim(now)
            work = self._kept.get(work_id)
            if work is not None:
                work.seen = now
                self._kept.move_to_end(work_id)
        return work

    def __len__(self) -> int:
        return len(self._kept)

    def _trim(self, now: float) -> None:
        held = sum(work.size for work in self._kept.values())
        for work_id, work in list(self._kept.items()):
            old = now - work.seen > 3600 * self.hours
            much = len(self._kept) > self.most or held > self.most_bytes
            if not old and (not much or len(self._kept) == 1):
                return
            held -= work.size
            del self._kept[work_id]


def shelf() -> Shelf:
    """The one of this process."""
    import streamlit as st

    made: Shelf = st.cache_resource(show_spinner=False)(Shelf)()
    return made


def address(**changed: str | None) -> None:
    """Change the page's address in one step, which is one step of the browser's history.

    Args:
        changed: Name to value; None takes it away.
    """
    import streamlit as st

    now = st.query_params.to_dict()
    then = {**{name: value for name, value in now.items() if name not in changed}}
    then |= {name: value for name, value in changed.items() if value}
    if then != now:
        st.query_params.from_dict(then)


def opened(work: Work | None) -> None:
    """Put a question into the address, with its words where it is words; None: the start of the page."""
    import streamlit as st

    text = work.query.text if work is not None and work.query.kind == "text" else None
    address(q=work.work_id if work is not None else None, words=text, case=None)
    st.session_state["at"] = place()


def place() -> tuple[str, str]:
    """The question in the address: its id and its words."""
    import streamlit as st

    return st.query_params.get(QUESTION, ""), st.query_params.get(WORDS, "")


def case_beside() -> str | None:
    """The case that the address puts beside the query."""
    import streamlit as st

    return st.query_params.get(CASE) or None


def beside(case_id: str | None) -> None:
    """Put a case beside the query, or go back to all of them.

    Args:
        case_id: None for none.
    """
    address(case=case_id)


def current() -> Work | None:
    """The question of the address; one by words is asked anew where it is no longer kept."""
    import streamlit as st

    work_id, text = place()
    work = shelf().get(work_id) if work_id else None
    if work is None and text.strip():
        work = st.session_state.get("by-words")
        if work is None or work.query.text != text.strip():
            work = shelf().put(Query("text", text.strip(), text=text.strip()))
            st.session_state["by-words"] = work
    return work


def together() -> list[Work]:
    """The questions that were dropped together in this session, in their order; those that are still kept."""
    import streamlit as st

    return [work for work_id in st.session_state.get("together", []) if (work := shelf().get(work_id)) is not None]


def search_key(query: Query, options: Options) -> tuple[Any, ...]:
    """What a search is for.

    Args:
        query: What is asked.
        options: How.
    """
    return (query.digest, options.k, options.where, options.previous, options.leave_out)


def groups(files: Iterable[tuple[str, bytes]], together: Sequence[str]) -> list[list[tuple[str, bytes]]]:
    """Files put together to ECGs: those of a WFDB record by their common name, each other one alone.

    Args:
        files: Name and content.
        together: Endings that make up one record.

    Returns:
        Files of each ECG, in the order of their first file.

    >>> [[n for n, _ in g] for g in groups([("a.png", b""), ("r.hea", b""), ("r.dat", b"")], (".hea", ".dat"))]
    [['a.png'], ['r.hea', 'r.dat']]
    """
    out: dict[str, list[tuple[str, bytes]]] = {}
    for number, (name, content) in enumerate(files):
        stem, _, ending = name.lower().rpartition(".")
        out.setdefault(f"record {stem}" if f".{ending}" in together else f"{number}", []).append((name, content))
    return list(out.values())
