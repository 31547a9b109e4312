"""`CaseSearch`: a query (ECG, picture, words, or two of them) in, the most similar cases and their vote out."""

from __future__ import annotations

import difflib
import logging
import time
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ecgkin.retrieval.ecg.record import EcgRecord
from ecgkin.retrieval.ecg.searchable import NO_ECG
from ecgkin.retrieval.ecg.statements.catalogue import CODES
from ecgkin.retrieval.ecg.statements.report_text import has_findings
from ecgkin.retrieval.encoders.base import Encoder
from ecgkin.retrieval.encoders.witness import StatementHead, StatementWitness, shipped_head
from ecgkin.retrieval.errors import CaseBaseError, EcgkinError, EncoderMismatchError, QueryError, RecordError
from ecgkin.retrieval.notes import Note, NoteCode
from ecgkin.retrieval.search.copies import Outlines, without_near_copies
from ecgkin.retrieval.search.hits import NEIGHBOURS, Abstained, Hit, SearchResult
from ecgkin.retrieval.search.queries import (
    Query,
    checked_text,
    elapsed_ms,
    image_query,
    mixed_query,
    notes_of,
    record_query,
    text_query,
    vector_query,
)
from ecgkin.retrieval.search.vote import DEFAULT_K, Calibration, Vote, vote

if TYPE_CHECKING:
    from PIL import Image

    from ecgkin.index.base import CaseBase
    from ecgkin.index.case import Case
    from ecgkin.index.filters import WhereLike
    from ecgkin.retrieval.ecg.page.printed import PrintedEcg
    from ecgkin.retrieval.search.words.plan import Plan

__all__ = ["CaseSearch", "Hit", "SearchResult", "shipped_calibration"]


_LOG = logging.getLogger(__name__)

# Hits beyond this are no answer to a person any more, and no vote looks deeper.
MAX_K = 1_000
# Where cases share one recording, voters of other contents are looked for among so many.
MOST_FOUND = 3_200
# Kinds of queries whose votes the curves were fitted on.
_CALIBRATED = ("image", "record")
MOST_SLIPS = 20  # names of a filter that are looked up where no case passes


class CaseSearch:
    """Search over one case base with the encoder that it was built with.

    Args:
        base: An open case base.
        encoder: The encoder of its vectors.
        calibration: Curves and thresholds for that encoder; None for raw votes and no "nothing similar".
        head: Reads statements off the query's own vector, beside the vote; None takes the one beside the encoder's
            weights, if there is one.
        witness: Another classifier that reads statements off the query's samples (`load_witness`); it is heard beside
            the vote and changes neither it nor a draft: nothing was fitted to it.

    Raises:
        EncoderMismatchError: The base, or the calibration, belongs to another encoder.
    """

    def __init__(
        self,
        base: CaseBase,
        encoder: Encoder,
        calibration: Calibration | None = None,
        head: StatementHead | None = None,
        witness: StatementWitness | None = None,
    ) -> None:
        base.check_encoder(encoder)
        if calibration is not None and calibration.encoder != encoder.fingerprint:
            raise EncoderMismatchError(
                f"the calibration belongs to encoder {calibration.encoder[:12]}, "
                f"loaded is {encoder.name} {encoder.fingerprint[:12]}",
                hint="pass calibration=None, or fit one for this encoder",
            )
        self.base = base
        self.encoder = encoder
        self.calibration = calibration
        self.head = head if head is not None else shipped_head(encoder)
        self.witness = witness
        self._lookups: Any = None
        self._outlines = Outlines()

    @classmethod
    def open(
        cls,
        base: str | Path | CaseBase,
        encoder: Encoder | None = None,
        *,
        device: str = "cpu",
        calibration: Calibration | str | Path | None = None,
        witness: StatementWitness | None = None,
    ) -> CaseSearch:
        """Open a case base and what belongs to it.

        Args:
            base: Its folder, or the base itself.
            encoder: None loads the one that the base's manifest names.
            device: Where that encoder runs: "cpu", "cuda", "cuda:1".
            calibration: A calibration or its file; None takes the one beside the encoder's weights, if there is one.
            witness: As for `CaseSearch`.

        Returns:
            The search; whoever opens it closes its base.

        Raises:
            CaseBaseError: There is no case base, or its files do not belong together.
            EncoderMismatchError: It was built with another encoder.
            ModelError: Its encoder cannot be loaded.
        """
        if isinstance(base, str | Path):
            from ecgkin.index import open_base

            opened = open_base(base)
            try:
                return cls.open(opened, encoder, device=device, calibration=calibration, witness=witness)
            except BaseException:
                opened.close()
                raise
        if encoder is None:
            from ecgkin.retrieval.encoders import load_encoder

            encoder = load_encoder(base.encoder_name, device=device)
        if isinstance(calibration, str | Path):
            calibration = Calibration.load(calibration, encoder.fingerprint)
        calibration = calibration if calibration is not None else shipped_calibration(encoder)
        return cls(base, encoder, calibration, witness=witness)

    def close(self) -> None:
        """Close the case base."""
        self.base.close()

    def __enter__(self) -> CaseSearch:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    @property
    def depth(self) -> int:
        """Cases that vote where nothing else is asked for: as many as the calibration was fitted with, or 50."""
        return self.calibration.depth if self.calibration else DEFAULT_K

    def _depth(self, query: Query) -> int:
        """As many as `depth` where the calibration is valid; votes of other queries are looked at less closely."""
        return self.depth if query.kind in _CALIBRATED else min(self.depth, NEIGHBOURS)

    def by_image(
        self,
        image: Image.Image | PrintedEcg | str | Path,
        k: int = 10,
        where: WhereLike = None,
        exclude_patient: str | None = None,
        *,
        depth: int | None = None,
    ) -> SearchResult:
        """Cases whose ECG looks like the one in a picture.

        Args:
            image: Drawing, scan or photograph of an ECG page, what was read of one, or the path of one; not changed.
            k: Hits wanted, 1 to 1000.
            where: Filter that acts inside the search, so that k hits come back where k cases pass it.
            exclude_patient: Cases of this patient are left out.
            depth: Neighbours that are found for the vote, 1 to 1000 (k at least); None for `CaseSearch.depth`. Fewer
                than the calibration was fitted with vote uncalibrated.

        Returns:
            Hits, vote and warnings, with what was read of the page.

        Raises:
            ImageError: No picture, or no ECG in it.
            QueryError: k, the depth or the filter cannot be used.
            CaseBaseError: The base is empty.
        """
        n_cases = self._checked(k, depth)
        return self._find(image_query(self.encoder, image), k, where, exclude_patient, n_cases, depth)

    def by_ecg(
        self,
        record: EcgRecord | str | Path,
        k: int = 10,
        where: WhereLike = None,
        exclude_patient: str | None = None,
        *,
        depth: int | None = None,
    ) -> SearchResult:
        """Cases similar to a recorded ECG (or the file of one); arguments as in `by_image`.

        Of a record longer than a page the first 10 s count; the result's warnings say so.

        Args:
            record: The record, or the path of its file.
            k, where, exclude_patient, depth: As in `by_image`.

        Returns:
            Hits, vote and warnings.

        Raises:
            RecordError: The file cannot be read, or there is no ECG in it (see `searchable`).
            QueryError, CaseBaseError: As in `by_image`.
        """
        n_cases = self._checked(k, depth)
        return self._find(record_query(self.encoder, record), k, where, exclude_patient, n_cases, depth)

    def by_text(
        self,
        text: str,
        k: int = 10,
        where: WhereLike = None,
        exclude_patient: str | None = None,
        *,
        depth: int | None = None,
        understood: Sequence[Any] | None = None,
        raw: bool = False,
    ) -> SearchResult:
        """Cases that fit words: a report, a question, a statement's name or abbreviation; English, German, Swedish.

        The words are first understood (`words.understand`): findings that are denied and limits of age and sex filter,
        cases that carry what is asked for come first, and the order among them is that of the embedding and of how
        sure their source is. What was understood comes back with the result.

        Args:
            text: At most 10,000 characters.
            k: Hits wanted, 1 to 1000.
            where: Filter on the cases.
            exclude_patient: Cases of this patient are left out.
            depth: Neighbours that are found for the vote; None for `CaseSearch.depth`.
            understood: Parts, or their JSON values, that stand in the place of what would be understood.
            raw: Whether the words are only embedded.

        Returns:
            Hits and vote, with what was understood of the words.

        Raises:
            QueryError: The text is empty or longer than 10,000 characters; k, the filter or the parts cannot be used.
            CaseBaseError: The base is empty.
        """
        n_cases = self._checked(k, depth)
        if raw:
            return self._find(text_query(self.encoder, text), k, where, exclude_patient, n_cases, depth)
        asked = self._words_query(text, where, understood)
        assert asked.plan is not None
        return self._find(asked, k, asked.plan.where, exclude_patient, n_cases, depth)

    def _words_query(self, text: str, where: WhereLike, parts: Sequence[Any] | None) -> Query:
        """A query by words that were understood, with the plan for this base."""
        from ecgkin.retrieval.search.words.parts import parts_of
        from ecgkin.retrieval.search.words.plan import Lookups, plan
        from ecgkin.retrieval.search.words.understand import of_parts, understand

        checked_text(text)
        start = time.perf_counter()
        self._lookups = self._lookups or Lookups()
        understood = understand(text) if parts is None else of_parts(parts_of(parts))
        planned = plan(self.base, understood, where, self._lookups)
        read = elapsed_ms(start)
        query = text_query(self.encoder, planned.text)
        query.timings_ms["understand"] = read
        query.understood, query.plan = understood, planned
        query.warnings += planned.notes
        return query

    def by_both(
        self,
        query: EcgRecord | Image.Image | PrintedEcg | str | Path,
        text: str,
        k: int = 10,
        where: WhereLike = None,
        exclude_patient: str | None = None,
        *,
        weight: float = 0.5,
        depth: int | None = None,
        understood: Sequence[Any] | None = None,
        raw: bool = False,
    ) -> SearchResult:
        """Cases that look like an ECG and fit words.

        The two unit vectors are averaged and scaled to length 1 again, which ranks by
        weight * cosine to the ECG + (1 - weight) * cosine to the words. What the words deny, and age and sex, filter;
        cases that carry what they ask for do not come first as in `by_text`: the ECG has a say.

        Args:
            query: An `EcgRecord`, or a picture or its path.
            weight: Share of the ECG, 0 to 1.
            understood, raw: As in `by_text`.
            k, where, exclude_patient, depth: As in `by_image`.
            text: As in `by_text`.

        Returns:
            Hits and vote, with what was understood of the words.

        Raises:
            QueryError: The weight is outside 0 to 1, or the two cancel out; otherwise as in `by_image`, `by_text`.
        """
        n_cases = self._checked(k, depth)
        if not 0.0 <= weight <= 1.0:
            raise QueryError(f"weight is {weight} (expected 0, words only, to 1, ECG only)")
        if isinstance(query, EcgRecord):
            ecg = record_query(self.encoder, query)
        else:
            ecg = image_query(self.encoder, query)
        if raw:
            words = text_query(self.encoder, text)
            return self._find(mixed_query(ecg, words, weight), k, where, exclude_patient, n_cases, depth)
        words = self._words_query(text, where, understood)
        assert words.plan is not None
        # Words that only leave cases out have no vector of their own.
        mixed = mixed_query(ecg, words, weight if words.plan.names[0] or words.plan.text != "ECG" else 1.0)
        mixed.warnings = [*mixed.warnings, *words.warnings]
        mixed.understood = words.understood
        return self._find(mixed, k, words.plan.where, exclude_patient, n_cases, depth)

    def by_vector(
        self,
        vector: NDArray[np.float32],
        k: int = 10,
        where: WhereLike = None,
        exclude_patient: str | None = None,
        *,
        kind: str = "vector",
        depth: int | None = None,
        left_out: Collection[str] = (),
    ) -> SearchResult:
        """Cases near a vector of this encoder, shape (dim,), of any length; its vote and scores stay uncalibrated.

        Args:
            kind: What the result calls the query.
            vector: Finite, of any length, shape (dim,).
            k, where, exclude_patient, depth: As in `by_image`.
            left_out: Ids of cases that were rejected: they are no hits and do not vote, and a note says how many.

        Returns:
            Hits and an uncalibrated vote.

        Raises:
            QueryError: The vector is not finite or has no length; otherwise as in `by_image`.
        """
        n_cases = self._checked(k, depth)
        query = vector_query(self.encoder, vector, kind)
        if not left_out:
            return self._find(query, k, where, exclude_patient, n_cases, depth)
        from ecgkin.index.filters import Compare, Join, Not, Where

        rejected = tuple(Compare("case", "=", case_id) for case_id in sorted(set(left_out)))
        kept = Where.parse(where) & Where(Not(rejected[0] if len(rejected) == 1 else Join("or", rejected)))
        result = self._find(query, k, kept, exclude_patient, n_cases, depth)
        notes = [Note(NoteCode.MARKED_LEFT_OUT, n=len(rejected)), *result.warnings]
        if where is None or _lets_all_through(where):  # nobody asked for a filter
            mine = (NoteCode.VOTE_FILTERED, NoteCode.FEW_CASES_PASS)
            notes = [note for note in notes if note.code not in mine]
            if len(result) < k:
                notes.append(Note(NoteCode.FEW_CASES_THERE, found=len(result), asked=k))
        return replace(result, warnings=tuple(notes))

    def _checked(self, k: int, depth: int | None) -> int:
        """How many cases there are to be searched; the numbers of hits and neighbours wanted are checked."""
        for name, given in (("k", k), ("depth", 1 if depth is None else depth)):
            if isinstance(given, bool) or not isinstance(given, int | np.integer) or not 1 <= given <= MAX_K:
                raise QueryError(f"{name} is {given!r} (expected a whole number from 1 to {MAX_K})")
        n_cases = len(self.base)
        if n_cases == 0:
            raise CaseBaseError("the case base holds no cases", hint="fill it with `ecgkin ingest`")
        return n_cases

    def _neighbours(
        self, query: Query, depth: int, where: WhereLike, exclude_patient: str | None
    ) -> tuple[list[tuple[Case, float]], list[tuple[Case, float]]]:
        """The nearest cases, and those of them that vote: of each recording the first, `depth` of them where there are.

        A recording that was stored under many ids is one observation, however often it stands in the base, and however
        little its copies differ.
        """
        wanted = depth
        while True:
            found = self._ranked(query, wanted, where, exclude_patient)
            contents: set[str] = set()
            voters = []
            for case, score in found:
                if not case.content_hash or case.content_hash not in contents:
                    voters.append((case, score))
                    contents.add(case.content_hash)
            with suppress(QueryError):  # one of them was removed meanwhile
                near = voters[:NEIGHBOURS]
                vectors = self.base.vectors([case.case_id for case, _ in near])
                voters = [*without_near_copies(near, vectors, self.base.record, self._outlines), *voters[NEIGHBOURS:]]
            if len(voters) >= depth or len(found) < wanted or wanted >= max(depth, MOST_FOUND):
                return found, voters[:depth]
            wanted = min(2 * wanted, max(depth, MOST_FOUND))

    def _ranked(
        self, query: Query, wanted: int, where: WhereLike, exclude_patient: str | None
    ) -> list[tuple[Case, float]]:
        """The nearest cases; for words those first that carry what is asked for, see `Plan.tiers`."""
        plan = query.plan
        if plan is None:
            return self.base.search(query.vector, wanted, where=where, exclude_patient=exclude_patient)
        from ecgkin.index.filters import Not, Where
        from ecgkin.retrieval.search.words.plan import MOST_MEASURED, boosted, within

        rest = Where.parse(where)
        found: list[tuple[Case, float]] = []
        for tier in (*plan.tiers, None):
            if len(found) >= wanted:
                break
            inside = rest if tier is None else rest & tier
            n = MOST_MEASURED if plan.measures else (wanted - len(found)) * (4 if plan.soft else 1)
            cases = self.base.search(query.vector, n, where=inside, exclude_patient=exclude_patient)
            sure = plan.wanted if tier is not None or plan.soft else frozenset()
            cases = [hit for _, hit in sorted(((_order(h[0], boosted(*h, sure)), h) for h in cases), key=itemgetter(0))]
            if tier is not None:
                rest = rest & Where(Not(tier.root))
            found += [hit for hit in cases if within(hit[0], plan.measures)][: wanted - len(found)]
        return found

    def _find(
        self,
        query: Query,
        k: int,
        where: WhereLike,
        exclude_patient: str | None,
        n_cases: int,
        depth: int | None,
    ) -> SearchResult:
        start = time.perf_counter()
        wanted = max(int(k), self._depth(query) if depth is None else int(depth))
        found, voters = self._neighbours(query, wanted, where, exclude_patient)
        searched = time.perf_counter()
        filtered = where is not None and not _lets_all_through(where)
        votes = self._vote(query, voters, n_cases, filtered)
        neighbours = tuple(
            Hit(rank, float(score), case) for rank, (case, score) in enumerate(voters[: max(NEIGHBOURS, k)], 1)
        )
        threshold = self._threshold(query)
        similar = bool(found) and (threshold is None or found[0][1] >= threshold)
        if query.plan is not None:
            similar = similar and query.plan.similar
        is_ecg = not any(note.code in NO_ECG for note in query.warnings)
        similar = similar and is_ecg
        abstained: Abstained = "" if similar else "no_case" if not found else _abstained(query)
        warnings = [*query.warnings, *notes_of(getattr(self.encoder, "cautions", ()))]
        if not found:
            warnings.append(Note(NoteCode.NO_CASE_PASSES))
            warnings += _slips(self.base, where)
        elif query.plan is not None and (said := _words_notes(query.plan, found[:k], similar)):
            warnings += said
        elif query.plan is None and threshold is not None and not similar and is_ecg:
            warnings += _too_far(query, float(found[0][1]), threshold, abstained)
        elif len(found) < k:
            few = NoteCode.FEW_CASES_PASS if filtered or exclude_patient is not None else NoteCode.FEW_CASES_THERE
            warnings.append(Note(few, found=len(found), asked=k))
        if exclude_patient is not None and not self.base.count({"patient": exclude_patient}):
            warnings.append(Note(NoteCode.NO_SUCH_PATIENT, patient=exclude_patient))
        if filtered:
            warnings.append(Note(NoteCode.VOTE_FILTERED))
        testimony, silent = self._hear(query)
        warnings += silent
        # What words ask for has put the cases in order already.
        shown = found if query.plan is not None else _reported_first(found, k)
        timings = {**query.timings_ms, "index": elapsed_ms(start, searched), "vote": elapsed_ms(searched)}
        timings["total"] = sum(timings.values())
        _LOG.info(
            "searched query=%s k=%d gallery=%d encode_ms=%.1f index_ms=%.2f",
            query.kind, k, n_cases, timings["encode"], timings["index"],
        )  # fmt: skip
        return SearchResult(
            hits=tuple(Hit(n, float(score), case) for n, (case, score) in enumerate(shown[:k], 1)),
            neighbours=neighbours,
            vote=votes,
            nothing_similar=not similar,
            threshold=threshold,
            printed=query.printed,
            warnings=tuple(warnings),
            timings_ms=timings,
            query=query.kind,
            vector=query.vector,
            abstained=abstained,
            understood=query.understood,
            testimony=testimony,
        )

    def _hear(self, query: Query) -> tuple[dict[str, dict[str, float]], list[Note]]:
        """What the witness says of the query's samples, by its name; or why it says nothing."""
        if self.witness is None or query.record is None:
            return {}, []
        try:
            said = {self.witness.name: self.witness.of_records([query.record]).of(0)}
            return said, notes_of(getattr(self.witness, "cautions", ()))
        except RecordError as error:
            return {}, [Note(NoteCode.WITNESS_SILENT, name=self.witness.name, why=str(error))]

    def _vote(self, query: Query, voters: list[tuple[Case, float]], n_cases: int, filtered: bool) -> Vote:
        # The curves were fitted on pictures against a whole gallery: other queries get the raw shares.
        fits = self.calibration is not None and query.kind in _CALIBRATED and not filtered
        return vote(
            [score for _, score in voters],
            [case.labels for case, _ in voters],
            calibration=self.calibration if fits else None,
            n_cases=n_cases,
            reading=self.head.of_vectors(query.vector[None]).of(0) if fits and self.head is not None else None,
        )

    def _threshold(self, query: Query) -> float | None:
        """For its kind of query; of a picture for how well it was read, where such a threshold was fitted."""
        if query.plan is not None:
            return None  # what was understood decides
        known = self.calibration.thresholds if self.calibration else {}
        kinds = [query.kind] if query.printed is None else [f"{query.kind}:{query.printed.grade}", query.kind]
        return next((known[kind].score for kind in kinds if kind in known), None)


def _too_far(query: Query, best: float, threshold: float, abstained: Abstained) -> list[Note]:
    """What is said where the nearest case is below the threshold."""
    far = Note(NoteCode.NOTHING_SIMILAR, best=round(best, 3), threshold=round(threshold, 3))
    if abstained != "unreadable":
        return [far]
    from ecgkin.retrieval.ecg.page.evidence import doubts

    evidence = query.printed.evidence if query.printed is not None else None
    return [Note(NoteCode.PAGE_UNREADABLE, why=doubts(evidence)), far]


def _abstained(query: Query) -> Abstained:
    """Why no case is called similar: none is like an ECG that was read, or what was asked was not read well enough."""
    if any(note.code in NO_ECG for note in query.warnings):
        return "no_ecg"
    if query.plan is not None:
        return "not_carried" if query.plan.reason == "not_carried" else "not_understood"
    return "unlike" if query.printed is None or query.printed.grade == "sure" else "unreadable"


def _words_notes(plan: Plan, hits: Sequence[tuple[Case, float]], similar: bool) -> list[Note]:
    """What is to be said of the hits of a query by words."""
    if not similar:
        return [Note(NoteCode.WORDS_NOT_UNDERSTOOD)] if plan.reason == "not_understood" else []
    if plan.carried is not None and 0 < plan.carried < len(hits):
        return [Note(NoteCode.WORDS_FEW_CARRY, n=plan.carried, what=plan.names)]
    if plan.text == "ECG" and not plan.names[0]:
        return [Note(NoteCode.WORDS_ONLY_FILTER)]
    if not plan.names[0] and not plan.wanted and not plan.measures:
        implied = any(note.code is NoteCode.WORDS_IMPLY_NOT for note in plan.notes)
        return [] if implied else [Note(NoteCode.WORDS_ONLY_NEAR)]
    return []


def shipped_calibration(encoder: Encoder) -> Calibration | None:
    """The calibration beside an encoder's weights, None where there is none that belongs to it."""
    folder: Any = getattr(encoder, "weights_dir", None)
    if folder is None:
        folder = Path(__file__).parent.parent / "encoders" / "weights" / encoder.name
    path = Path(folder) / "calibration.json"
    if not path.is_file():
        return None
    try:
        return Calibration.load(path, encoder.fingerprint)
    except EcgkinError as error:
        _LOG.warning("votes stay uncalibrated: %s", error)
        return None


def _slips(base: CaseBase, where: WhereLike) -> list[Note]:
    """What the filter names and the base does not hold, with the nearest spelling of a statement."""
    from ecgkin.index.filters import HasLabel, Where

    notes = []
    for part in Where.parse(where).named()[:MOST_SLIPS]:
        if base.count(Where(part)):
            continue
        if isinstance(part, HasLabel):
            near = difflib.get_close_matches(part.statement.upper(), CODES, 1, 0.6)
            same = part.statement.upper() in CODES
            instead = f"; did you mean {near[0]}?" if near and not same else ""
            instead_de = f"; gemeint ist {near[0]}?" if near and not same else ""
            what = f"label:{part.statement}"
            notes.append(Note(NoteCode.NO_CASE_HAS, what=what, instead=(instead, instead_de)))
        else:
            notes.append(Note(NoteCode.NO_CASE_HAS, what=f"{part.field}={part.value}", instead=""))
    return notes


def _reported_first(found: Sequence[tuple[Case, float]], k: int) -> list[tuple[Case, float]]:
    """Of cases that are equally similar to a reader, who sees two decimals, those whose report says something first.

    Found are the best first; as many are put in order as it takes to show `k`.
    """
    out: list[tuple[Case, float]] = []
    for _, alike in groupby(found, key=lambda item: round(item[1], 2)):
        if len(out) >= k:
            break
        out += sorted(alike, key=lambda item: _order(*item))
    return out


def _order(case: Case, score: float) -> tuple[float, bool]:
    return -round(score, 2), not has_findings(case.report)


def _lets_all_through(where: WhereLike) -> bool:
    from ecgkin.index.filters import Where

    return Where.parse(where).is_all
