"""/v1/cases: looking at stored cases, adding and removing them."""

from __future__ import annotations

import io
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter, Query, Request, Response
from fastapi import Path as PathParameter
from numpy.typing import NDArray
from PIL.Image import Image
from pydantic import Field, field_validator

from ecgkin.index.case import Case, content_hash
from ecgkin.index.ingest.executors import digitised
from ecgkin.retrieval.ecg.drawing.style import GRIDS, LAYOUTS, ORDERS, RenderStyle
from ecgkin.retrieval.ecg.page.printed import read_printed
from ecgkin.retrieval.ecg.record import EcgRecord
from ecgkin.retrieval.errors import ImageError, QueryError
from ecgkin.retrieval.search.queries import image_query
from ecgkin.ui.api import decoding, intake, openapi, problems
from ecgkin.ui.api.addresses import BELOW, case_address, case_meant
from ecgkin.ui.api.answers import CaseOut, CasesOut
from ecgkin.ui.api.routes.search import vector_of
from ecgkin.ui.api.schemas import CaseBody, CaseFields, Signal
from ecgkin.ui.api.state import State

router = APIRouter(prefix="/v1", tags=["cases"])

MAX_PAGE = 200
# Four bytes a character, three letters a byte: more would not fit into the 64 kB of head that uvicorn takes.
MAX_WHERE = 4000
CaseIdPath = Annotated[str, PathParameter(min_length=1, max_length=500, examples=["simulated/3"])]
MAX_WIDTH_PX = 4000
# A page is a drawing of what the caller may fetch anyway; nothing in it may run.
_SVG_HEADERS = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"}
_PICTURE: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The page",
        "content": {
            "image/svg+xml": {"schema": {"type": "string"}},
            "image/png": {"schema": {"type": "string", "format": "binary"}},
        },
    }
}
_ADDED: dict[int | str, dict[str, Any]] = {201: {"description": "Added; `Location` says where", "model": CaseOut}}


def _one_of(names: Iterable[str]) -> Any:
    """A query parameter with a list to choose from; what else is sent is refused where the page is laid out."""
    return Query(max_length=20, json_schema_extra={"enum": list(names)})


class CaseForm(intake.FileOptions):
    """Fields beside the file of a new case."""

    case: CaseFields = Field(description="the case as JSON")

    @field_validator("case", mode="before")
    @classmethod
    def _json(cls, value: object) -> object:
        """Form fields are texts."""
        return CaseFields.model_validate_json(value) if isinstance(value, str) else value


@router.get("/cases", response_model=CasesOut, summary="Stored cases, page by page")
async def cases(
    request: Request,
    where: Annotated[str | None, Query(max_length=MAX_WHERE, description="filter", examples=["label:AFIB"])] = None,
    offset: Annotated[int, Query(ge=0, le=1_000_000_000)] = 0,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 20,
) -> CasesOut:
    """In the order in which they came."""
    state: State = request.app.state.ecgkin

    def look() -> CasesOut:
        found = state.base.cases(where, offset, limit)
        return CasesOut(total=state.base.count(where), offset=offset, cases=[CaseOut.of(case) for case in found])

    return await state.work.run(look)


@router.post(
    "/cases",
    status_code=201,
    response_model=CaseOut,
    responses=_ADDED,
    openapi_extra=openapi.body(CaseBody, CaseForm),
    summary="Add a case",
)
async def add(request: Request, response: Response) -> CaseOut:
    """Samples and picture are searched from now on; the case is on the disk when the answer comes."""
    state: State = request.app.state.ecgkin
    given = await intake.taken(request, state, CaseForm, CaseBody)
    case = await state.work.run(lambda: _add(state, given), given.close)
    response.headers["Location"] = case_address(case.case_id)
    return case


def _add(state: State, given: intake.Intake[CaseForm, CaseBody]) -> CaseOut:
    with given.with_ecg() as (query, options):
        return _added(state, options.case, query, given.digest)


def _added(state: State, fields: CaseFields, query: decoding.Asked, digest: str) -> CaseOut:
    if fields.case_id in state.base:
        raise problems.ConflictError("a case with this case_id is there already", hint="remove it first")
    case, vector, record = _prepared(state, fields.case(), query, digest)
    try:
        state.base.add([case], vector, [record])
    except QueryError:
        if fields.case_id in state.base:  # somebody was faster
            raise problems.ConflictError("a case with this case_id is there already", hint="remove it first") from None
        raise
    return CaseOut.of(case)


def _prepared(
    state: State, case: Case, query: decoding.Asked, digest: str
) -> tuple[Case, NDArray[np.float32], EcgRecord | None]:
    """The case as it is stored, its vector (1, dim), and its samples: of a picture those that were read off it."""
    if isinstance(query, EcgRecord):
        vector = np.asarray([vector_of(state, query)], dtype=np.float32)
        return replace(case, content_hash=content_hash(query)), vector, query
    asked = image_query(state.encoder, query)
    printed = asked.printed
    if printed is None:
        picture = query if isinstance(query, Image) else query.picture
        with suppress(ImageError):  # an encoder of plain pictures takes what shows no ECG
            printed = read_printed(picture)
    case = replace(case, content_hash=digest)
    if printed is None:
        return case, asked.vector[None], None
    return digitised(case, printed), asked.vector[None], printed.stored


@router.get(
    "/cases/{case_id:path}/page.{form}",
    responses=_PICTURE,
    response_class=Response,
    summary="A case drawn on ECG paper",
)
async def page(
    request: Request,
    case_id: CaseIdPath,
    form: Literal["svg", "png"],
    layout: Annotated[str, _one_of(LAYOUTS)] = "3x4+1R",
    order: Annotated[str, _one_of(ORDERS)] = "standard",
    speed: Annotated[float, Query(gt=0, le=200, description="mm/s")] = 25.0,
    gain: Annotated[float, Query(gt=0, le=100, description="mm/mV")] = 10.0,
    grid: Annotated[str, _one_of(GRIDS)] = "pink",
    start: Annotated[float, Query(ge=0, le=1e6, description="where the page begins, s")] = 0.0,
    width: Annotated[int | None, Query(ge=200, le=MAX_WIDTH_PX, description="px")] = None,
) -> Response:
    """What a hit looks like; SVG stays crisp at any size."""
    state: State = request.app.state.ecgkin

    def draw() -> Response:
        meant = case_meant(request, case_id, f"page.{form}", state.base)
        if meant is not None:
            return _told(state, meant)
        # US Letter landscape, 279.4 x 215.9 mm, as without a width.
        height = None if width is None else round(width * 215.9 / 279.4)
        style = RenderStyle(
            layout=layout, order=order, speed_mm_s=speed, gain_mm_mv=gain, grid=grid, start_s=start,
            width_px=width, height_px=height,
        )  # fmt: skip
        record = _record(state, case_id)
        if form == "svg":
            from ecgkin.retrieval.ecg.drawing.svg import render_svg

            return Response(render_svg(record, style), media_type="image/svg+xml", headers=_SVG_HEADERS)
        from ecgkin.retrieval.ecg.drawing.raster import render

        picture = io.BytesIO()
        render(record, style).save(picture, "PNG", compress_level=3)
        return Response(picture.getvalue(), media_type="image/png")

    return await state.work.run(draw)


@router.get("/cases/{case_id:path}/signal", response_model=Signal, summary="The samples of a case")
async def signal(request: Request, case_id: CaseIdPath) -> Response:
    """Millivolts by lead; null where a sample is missing."""
    state: State = request.app.state.ecgkin

    def look() -> Response:
        meant = case_meant(request, case_id, "signal", state.base)
        if meant is not None:
            return _told(state, meant)
        # Already checked numbers: pydantic would look at each of 60,000 again.
        return Response(Signal.of(_record(state, case_id)).model_dump_json(), media_type="application/json")

    return await state.work.run(look)


@router.get("/cases/{case_id:path}", response_model=CaseOut, summary="One case")
async def case(request: Request, case_id: CaseIdPath) -> CaseOut:
    """With its report and statements. An id that ends in `/signal` or `/page.png` has `%2F` before that."""
    state: State = request.app.state.ecgkin

    def look() -> CaseOut:
        check_known(state, case_id)
        return CaseOut.of(state.base.get(case_id))

    return await state.work.run(look)


@router.delete("/cases/{case_id:path}", status_code=204, response_class=Response, summary="Remove a case")
async def remove(request: Request, case_id: CaseIdPath) -> Response:
    """It is found no more when the answer comes. The address means the same case as that of a GET."""
    state: State = request.app.state.ecgkin

    def take_out() -> Response:
        shorter, _, ending = case_id.rpartition("/")
        if shorter in state.base and ending in BELOW and case_meant(request, shorter, ending, state.base) is None:
            raise problems.ConflictError(
                f"this is the address of the {ending} of case {shorter[:100]!r}, which is not removed alone",
                hint=f"the case {case_id[:100]!r} is at {case_address(case_id)[:300]}",
            )
        check_known(state, case_id)
        state.base.remove([case_id])
        return Response(status_code=204)

    return await state.work.run(take_out)


def _told(state: State, case_id: str) -> Response:
    """A case whose id looks like an address below another one."""
    check_known(state, case_id)
    return Response(CaseOut.of(state.base.get(case_id)).model_dump_json(), media_type="application/json")


def check_known(state: State, case_id: str) -> None:
    """Refuse a case that is not in the base.

    Raises:
        NotFoundError: It is not.
    """
    if case_id not in state.base:
        raise problems.NotFoundError(f"no case {case_id[:100]!r} here")


def _record(state: State, case_id: str) -> EcgRecord:
    check_known(state, case_id)
    record = state.base.record(case_id)
    if record is None:
        raise problems.NotFoundError(
            "the samples of this case were not kept",
            hint="it came as a picture whose curves could not be read, or was stored without",
        )
    return record
