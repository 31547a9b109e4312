"""The API behind a small cache, and whether it answers."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from ecgkin.retrieval.errors import EcgkinError
from ecgkin.ui.client.client import ApiError
from ecgkin.ui.web.shared.drawings import USUAL_GAIN, USUAL_SPEED
from ecgkin.ui.web.shared.query import Options, Query

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ecgkin.retrieval.ecg.record import EcgRecord
    from ecgkin.ui.api.answers import CaseOut, DigitizedOut, DraftAnswer, ExplanationOut, InfoOut, MapOut, SearchOut
    from ecgkin.ui.client.client import Client, DraftEvent
    from ecgkin.ui.web.shared.texts import Lang

# What the server is may change while a page is open: cases come in, a drafter goes.
INFO_SECONDS = 30.0
# Drawings and samples of this many cases stay at hand: of some searches with the usual number of hits.
KEPT = 120
# Drawings asked for at once.
TOGETHER = 4


class Api:
    """The client with a memory for what does not change: drawings and samples of cases.

    Args:
        client: Speaks to the server.
    """

    def __init__(self, client: Client) -> None:
        self.client = client
        self._svgs: dict[tuple[str, str, float, float], str | None] = {}
        self._made: dict[tuple[str, str, bool], str] = {}
        self._records: dict[str, EcgRecord | None] = {}
        self._info: tuple[float, InfoOut] | None = None
        self._map: tuple[str, MapOut] | None = None
        self._digitized: tuple[str, DigitizedOut] | None = None

    def info(self) -> InfoOut:
        """What runs there; asked for at most every half minute, and as it was while the server does not answer."""
        now = time.monotonic()
        if self._info is None or now - self._info[0] > INFO_SECONDS:
            try:
                self._info = (now, self.client.info())
            except ApiError as error:
                if self._info is None or not is_away(error):
                    raise
                self._info = (now, self._info[1])
        return self._info[1]

    def answers(self) -> bool:
        """Whether the server answers now."""
        try:
            self._info = (time.monotonic(), self.client.info())
        except ApiError as error:
            return not is_away(error)
        return True

    def search(self, query: Query, options: Options) -> SearchOut:
        """Search by a query.

        Args:
            query: What is asked.
            options: Hits, filter, drafter.

        Returns:
            What the server answers.
        """
        where, patient = options.where or None, options.leave_out or None
        given: dict[str, Any] = {"k": options.k, "where": where} | ({"exclude_patient": patient} if patient else {})
        if query.kind == "text":
            if query.understood is not None:
                given["understood"] = list(query.understood)
            return self.client.search(text=query.text, **given)
        previous = options.previous or None
        return self.client.search(
            file=list(query.files), fs_hz=query.fs_hz, previous=previous, **given, **_page_known(query)
        )

    def digitized(self, query: Query) -> DigitizedOut:
        """What was read off a picture, with its samples and its curves; asked for once.

        Args:
            query: A picture.
        """
        if self._digitized is None or self._digitized[0] != query.digest:
            made = self.client.digitize(list(query.files), curves=True, **_page_known(query))
            self._digitized = (query.digest, made)
        return self._digitized[1]

    def again(self, query_id: str, marks: dict[str, bool], options: Options) -> SearchOut:
        """Search again after marks, which the server keeps.

        Args:
            query_id: Of the search before.
            marks: Case id to whether it is similar.
            options: Hits, filter, drafter.

        Returns:
            What the server answers.
        """
        near, far = ([case for case, yes in marks.items() if yes is wanted] for wanted in (True, False))
        self.client.feedback(query_id, similar=near, not_similar=far)
        patient: dict[str, Any] = {"exclude_patient": options.leave_out} if options.leave_out else {}
        return self.client.search(query_id=query_id, k=options.k, where=options.where or None, **patient)

    def wider(self, query_id: str, options: Options, k: int) -> SearchOut:
        """More of the nearest cases of a search; what was asked is not read again.

        Args:
            query_id: Of the search.
            options: Its filter.
            k: Hits.
        """
        patient: dict[str, Any] = {"exclude_patient": options.leave_out} if options.leave_out else {}
        return self.client.search(query_id=query_id, k=k, where=options.where or None, **patient)

    def draft_events(self, query: Query, options: Options, lang: Lang) -> Iterator[DraftEvent]:
        """The draft as it is written.

        Args:
            query: What is asked.
            options: Hits, filter, drafter.
            lang: "en" or "de".

        Returns:
            Pieces of text, the whole answer last.
        """
        return self.client.draft_events(file=list(query.files), **_draft_options(query, options, lang))

    def draft(self, query: Query, options: Options, lang: Lang) -> DraftAnswer:
        """The draft, once it is whole.

        Args:
            query: What is asked.
            options: Hits, filter, drafter.
            lang: "en" or "de".

        Returns:
            The answer.
        """
        return self.client.draft(file=list(query.files), **_draft_options(query, options, lang))

    def draft_fhir(self, query: Query, options: Options, lang: Lang) -> dict[str, Any]:
        """The draft as a FHIR R4 DiagnosticReport.

        Args:
            query: What is asked.
            options: Hits, filter, drafter.
            lang: "en" or "de".

        Returns:
            The resource.
        """
        return self.client.draft_fhir(file=list(query.files), **_draft_options(query, options, lang))

    def map(self, query_id: str, limit: int) -> MapOut:
        """The case base in a plane, with a search among the cases; asked for once a search.

        Args:
            query_id: Of the search to place among the cases.
            limit: Most points.

        Returns:
            Points by case.
        """
        if self._map is None or self._map[0] != query_id:
            self._map = (query_id, self.client.map(limit, query_id))
        return self._map[1]

    def why(self, query: Query, case_id: str) -> ExplanationOut:
        """Which stretches of an ECG make a case near.

        Args:
            query: What is asked.
            case_id: Of the case.

        Returns:
            Stretches, the strongest first.
        """
        return self.client.explain(case_id, list(query.files), fs_hz=query.fs_hz, **_page_known(query))

    def case(self, case_id: str) -> CaseOut:
        """One case."""
        return self.client.case(case_id)

    def svg(
        self, case_id: str, layout: str = "3x4+1R", speed: float = USUAL_SPEED, gain: float = USUAL_GAIN
    ) -> str | None:
        """A case drawn; None where its samples were not kept.

        Args:
            case_id: Of the case.
            layout: Of the page: "3x4", "3x4+1R", "6x2" ...
            speed: Paper speed, mm/s.
            gain: mm/mV.

        Returns:
            The document, or None.
        """
        key = (case_id, layout, speed, gain)
        if key not in self._svgs:
            options = {"layout": layout} | ({"speed": speed} if speed != USUAL_SPEED else {})
            options |= {"gain": gain} if gain != USUAL_GAIN else {}
            try:
                made: str | None = self.client.page(case_id, "svg", **options).decode()
            except ApiError as error:
                if error.status != 404:
                    raise
                made = None
            _trim(self._svgs)
            self._svgs[key] = made
        return self._svgs[key]

    def cards(self, case_ids: Sequence[str], layout: str, dark: bool) -> dict[str, str]:
        """Small pages of cases as addresses of pictures, fetched some at a time; "" where there are no samples.

        Args:
            case_ids: Of the cases.
            layout: Of the page: "3x4", "3x4+1R", "6x2" ...
            dark: Whether the page is dark.

        Returns:
            Case id to a data: address.
        """
        from ecgkin.ui.web.shared.drawings import card_address

        missing = [case_id for case_id in case_ids if (case_id, layout, dark) not in self._made]
        if missing:
            with ThreadPoolExecutor(TOGETHER) as pool:
                drawn = list(pool.map(lambda case_id: self.svg(case_id, layout), missing))
            for case_id, svg in zip(missing, drawn, strict=True):
                _trim(self._made, len(case_ids))
                self._made[case_id, layout, dark] = card_address(svg, layout, dark) if svg else ""
        return {case_id: self._made[case_id, layout, dark] for case_id in case_ids}

    def record(self, case_id: str) -> EcgRecord | None:
        """The samples of a case; None where they were not kept."""
        if case_id not in self._records:
            try:
                record: EcgRecord | None = self.client.signal(case_id)
            except ApiError as error:
                if error.status != 404:
                    raise
                record = None
            _trim(self._records)
            self._records[case_id] = record
        return self._records[case_id]

    def records(self, case_ids: Sequence[str]) -> dict[str, EcgRecord]:
        """The samples of cases, fetched some at a time; those whose samples were not kept are left out.

        Args:
            case_ids: Of the cases.
        """
        with ThreadPoolExecutor(TOGETHER) as pool:
            found = dict(zip(case_ids, pool.map(self.record, case_ids), strict=True))
        return {case_id: record for case_id, record in found.items() if record is not None}


def is_away(error: EcgkinError) -> bool:
    """Whether an error says that the server is not there, or too busy: the same question may be answered later."""
    return isinstance(error, ApiError) and (error.status == 0 or error.status in (502, 503, 504))


def _draft_options(query: Query, options: Options, lang: Lang) -> dict[str, Any]:
    given = {"k": options.k, "where": options.where or None, "fs_hz": query.fs_hz, "previous": options.previous or None}
    given |= _page_known(query)
    given |= {"exclude_patient": options.leave_out} if options.leave_out else {}
    return given | {"model": options.model, "evidence": options.evidence, "language": lang}


def _page_known(query: Query) -> dict[str, Any]:
    """What was put right of a picture, where anything was."""
    return {} if query.known is None else {"known": query.known}


def _trim(kept: dict[Any, Any], at_least: int = 0) -> None:
    """Make room for one more; the oldest goes first."""
    while len(kept) >= max(KEPT, at_least):
        del kept[next(iter(kept))]
