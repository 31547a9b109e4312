"""/v1/search and /v1/embeddings."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Request
from pydantic import Field

from ecgkin.retrieval.ecg.record import EcgRecord
from ecgkin.retrieval.errors import QueryError
from ecgkin.retrieval.search.hits import SearchResult
from ecgkin.retrieval.search.queries import image_query
from ecgkin.ui.api import intake, openapi
from ecgkin.ui.api.answers import EmbeddingOut, SearchOut, SerialOut
from ecgkin.ui.api.decoding import Asked
from ecgkin.ui.api.schemas import EmbeddingBody, Question, SearchBody
from ecgkin.ui.api.state import State

router = APIRouter(prefix="/v1", tags=["search"])


class SearchForm(Question, intake.FileOptions):
    """Fields beside the file of a search."""

    text: str | None = Field(default=None, max_length=10_000, description="words; the search is then for both")
    raw: bool = Field(default=False, description="with text: the words are only embedded, not understood")
    where: Annotated[str | None, Field(max_length=20_000)] = Field(
        default=None,
        description="filter that acts inside the search",
        examples=["age>=60 and sex=F and not label:PACE"],
    )


class EmbeddingForm(intake.FileOptions):
    """Fields beside the file whose vector is wanted."""


@router.post(
    "/search",
    response_model=SearchOut,
    openapi_extra=openapi.body(SearchBody, SearchForm),
    summary="Find the most similar cases",
)
async def search(request: Request) -> SearchOut:
    """By a picture or a recording (multipart), by samples, by words, by both; or again by an earlier search's marks."""
    state: State = request.app.state.ecgkin
    asked = await intake.taken(request, state, SearchForm, SearchBody)
    return await state.work.run(lambda: found(state, asked), asked.close)


def found(state: State, asked: intake.Intake[SearchForm, SearchBody]) -> SearchOut:
    """The answer to a search; for threads.

    Args:
        state: Of the server.
        asked: Taken in.
    """
    with asked.opened() as (query, options):
        if isinstance(options, SearchBody):
            _check_one_question(options)
        if isinstance(options, SearchBody) and options.query_id is not None:
            vector, rejected = state.refined(options.query_id, options.similar, options.not_similar)
            where, patient = options.where, options.exclude_patient
            result = state.search.by_vector(vector, options.k, where, patient, kind="refined", left_out=rejected)
            first = state.recent.near(options.query_id)
        else:
            result, first = state.drafting.weighed(ask(state, query, options.text, options), query), None
        # What the search read off a picture is what is compared.
        previous = _compared(state, result.printed or query, options.previous)
    result = asked.timed(result)
    said = SearchOut.of(result, state.remember(result, first), first)
    return said.model_copy(update={"previous": previous})


def _compared(state: State, query: Asked | None, previous: str | None) -> SerialOut | None:
    """The query beside an earlier ECG, where one was named; a search that is refined has shown it already."""
    if previous is None or query is None:
        return None
    from ecgkin.generation.serial import compare_with_earlier

    return SerialOut.of(compare_with_earlier(state.base, query, previous))


def _check_one_question(body: SearchBody) -> None:
    if (body.query_id is not None) == (body.signal is not None or body.text is not None):
        raise QueryError("give a signal, a text, both of these, or a query_id alone")
    if body.previous is not None and body.signal is None and body.query_id is None:
        raise QueryError("previous needs an ECG to compare with")
    if body.text is None and (body.understood is not None or body.raw):
        raise QueryError("understood and raw need the text that they are about")
    if body.query_id is None and (body.similar or body.not_similar):
        raise QueryError("similar and not_similar need the query_id of the search that they are about")
    both = sorted(set(body.similar) & set(body.not_similar))
    if both:
        raise QueryError(f"{both[0]} is named as similar and as not similar", hint="name each case once")


def ask(state: State, query: Asked | None, text: str | None, asked: Question) -> SearchResult:
    """One search by an ECG, words, or both; for threads.

    Args:
        state: Of the server.
        query: A record, a picture, or None.
        text: Words, or "".
        asked: Hits, filter and so on.

    Returns:
        The result.
    """
    engine, k, where, patient = state.search, asked.k, asked.where, asked.exclude_patient
    if patient is None and asked.previous is not None:
        from ecgkin.generation.serial import patient_of

        # One's own earlier ECGs stand under a heading of their own.
        patient = patient_of(state.base, asked.previous)
    parts, raw = getattr(asked, "understood", None), bool(getattr(asked, "raw", False))
    if query is None:
        return engine.by_text(text or "", k, where, patient, understood=parts, raw=raw)
    if text is not None:
        return engine.by_both(query, text, k, where, patient, weight=asked.weight, understood=parts, raw=raw)
    if isinstance(query, EcgRecord):
        return engine.by_ecg(query, k, where, patient)
    return engine.by_image(query, k, where, patient)


@router.post(
    "/embeddings",
    response_model=EmbeddingOut,
    openapi_extra=openapi.body(EmbeddingBody, EmbeddingForm),
    summary="Vectors of texts, samples or a picture",
)
async def embeddings(request: Request) -> EmbeddingOut:
    """What the encoder makes of an input: unit vectors, compared by their dot product."""
    state: State = request.app.state.ecgkin
    asked = await intake.taken(request, state, EmbeddingForm, EmbeddingBody)
    return await state.work.run(lambda: _embedded(state, asked), asked.close)


def _embedded(state: State, asked: intake.Intake[EmbeddingForm, EmbeddingBody]) -> EmbeddingOut:
    encoder = state.search.encoder
    with asked.opened() as (query, options):
        texts = options.texts if isinstance(options, EmbeddingBody) else []
        if bool(texts) == (query is not None):
            raise QueryError("give texts or a signal (one of them)")
        vectors = encoder.encode_texts(texts).tolist() if query is None else [vector_of(state, query)]
    return EmbeddingOut(encoder=encoder.name, fingerprint=encoder.fingerprint, dim=encoder.dim, embeddings=vectors)


def vector_of(state: State, query: Asked) -> list[float]:
    """The vector of a record or a picture; for threads.

    Args:
        state: Of the server.
        query: A record or a picture.

    Returns:
        (dim,).
    """
    encoder: Any = state.search.encoder
    if isinstance(query, EcgRecord):
        return [float(x) for x in encoder.encode_records([query])[0]]
    # Reading takes longer than encoding: it is done here, in a thread of many, not in the encoder's only one.
    return [float(x) for x in image_query(encoder, query).vector]
