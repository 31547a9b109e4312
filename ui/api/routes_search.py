"""/v1/search and /v1/embeddings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Request
from pydantic import Field, field_validator

from ecgkin.retrieval.ecg.record import EcgRecord
from ecgkin.retrieval.errors import QueryError
from ecgkin.retrieval.search import SearchResult
from ecgkin.ui.api import openapi, uploads
from ecgkin.ui.api.answers import EmbeddingOut, SearchOut
from ecgkin.ui.api.schemas import Body, EmbeddingBody, Question, SearchBody, Units
from ecgkin.ui.api.state import State

router = APIRouter(prefix="/v1", tags=["search"])


class FileOptions(Body):
    """Facts that a table of samples may lack."""

    fs_hz: float | None = Field(
        default=None, gt=0, le=100_000, description="samples a second, for a file that does not say"
    )
    units: Units | None = Field(default=None, description="of the samples, for a file that does not say")


class SearchForm(Question, FileOptions):
    """Fields beside the file of a search."""

    text: str | None = Field(default=None, max_length=10_000, description="words; the search is then for both")
    where: Annotated[str | None, Field(max_length=20_000)] = Field(
        default=None,
        description="filter that acts inside the search",
        examples=["age>=60 and sex=F and not label:PACE"],
    )

    @field_validator("text", "where", "exclude_patient", mode="before")
    @classmethod
    def _empty_is_none(cls, value: object) -> object:
        """HTML forms send empty fields."""
        return None if value == "" else value


class EmbeddingForm(FileOptions):
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
    if uploads.media_type(request) == "multipart/form-data":
        upload = await uploads.receive(request, state.limits)
        return await state.work.run(lambda: _by_upload(state, upload), upload.close)
    content = await uploads.body_bytes(request)
    return await state.work.run(lambda: _by_json(state, content))


def _by_upload(state: State, upload: uploads.Upload) -> SearchOut:
    form = uploads.parsed(SearchForm, upload.fields)
    k = state.limits.checked_k(form.k)
    with upload.query(state.limits, state.budget, form.fs_hz, form.units) as query:
        result = ask(state, query, form.text, form, k)
    return SearchOut.of(result, state.remember(result))


def _by_json(state: State, content: bytes) -> SearchOut:
    with state.budget.take(min(state.budget.pixels, 4 * len(content))):
        body = uploads.parsed(SearchBody, content)
        k = state.limits.checked_k(body.k)
        if (body.query_id is not None) == (body.signal is not None or body.text is not None):
            raise QueryError("give a signal, a text, both of these, or a query_id alone")
        if body.query_id is None:
            if body.similar or body.not_similar:
                raise QueryError("similar and not_similar need the query_id of the search that they are about")
            result = ask(state, body.signal.record() if body.signal else None, body.text, body, k)
        else:
            vector = state.refined(body.query_id, body.similar, body.not_similar)
            result = state.search.by_vector(vector, k, body.where, body.exclude_patient, kind="refined")
    return SearchOut.of(result, state.remember(result))


def ask(state: State, query: uploads.Query | None, text: str | None, asked: Question, k: int) -> SearchResult:
    """One search by an ECG, words, or both; for threads."""
    engine, where, patient = state.search, asked.where, asked.exclude_patient
    if query is None:
        return engine.by_text(text or "", k, where, patient)
    if text is not None:
        return engine.by_both(query, text, k, where, patient, weight=asked.weight)
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
    if uploads.media_type(request) == "multipart/form-data":
        upload = await uploads.receive(request, state.limits)
        return await state.work.run(lambda: _embed_upload(state, upload), upload.close)
    content = await uploads.body_bytes(request)
    return await state.work.run(lambda: _embed_json(state, content))


def _embed_upload(state: State, upload: uploads.Upload) -> EmbeddingOut:
    form = uploads.parsed(EmbeddingForm, upload.fields)
    with upload.query(state.limits, state.budget, form.fs_hz, form.units) as query:
        return _embedded(state, [vector_of(state, query)])


def _embed_json(state: State, content: bytes) -> EmbeddingOut:
    with state.budget.take(min(state.budget.pixels, 4 * len(content))):
        body = uploads.parsed(EmbeddingBody, content)
        if bool(body.texts) == (body.signal is not None):
            raise QueryError("give texts or a signal (one of them)")
        if body.signal is not None:
            return _embedded(state, [vector_of(state, body.signal.record())])
    return _embedded(state, state.search.encoder.encode_texts(body.texts).tolist())


def vector_of(state: State, query: EcgRecord | Path) -> list[float]:
    """The vector of a record or of the picture at a path; for threads."""
    encoder: Any = state.search.encoder
    if isinstance(query, EcgRecord):
        return [float(x) for x in encoder.encode_records([query])[0]]
    if hasattr(encoder, "encode_pages"):
        from ecgkin.retrieval.ecg.page import read_page

        # Reading takes longer than encoding: it is done here, in a thread of many, not in the encoder's only one.
        return [float(x) for x in encoder.encode_pages([read_page(query)])[0]]
    from PIL import Image

    from ecgkin.retrieval.ecg.page import load_image

    return [float(x) for x in encoder.encode_images([Image.fromarray(load_image(query))])[0]]


def _embedded(state: State, vectors: list[list[float]]) -> EmbeddingOut:
    encoder = state.search.encoder
    return EmbeddingOut(encoder=encoder.name, fingerprint=encoder.fingerprint, dim=encoder.dim, embeddings=vectors)
