"""/v1/feedback: clinicians mark hits; marks are kept, exported, and used by later searches."""

from __future__ import annotations

import csv
import io
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response

from ecgkin.retrieval.errors import QueryError
from ecgkin.ui.api import openapi, uploads
from ecgkin.ui.api.answers import FeedbackOut, MarkOut
from ecgkin.ui.api.schemas import FeedbackBody
from ecgkin.ui.api.state import State

router = APIRouter(prefix="/v1", tags=["feedback"])

_COLUMNS = tuple(MarkOut.model_fields)
_EXPORT: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/csv": {"schema": {"type": "string"}}}, "description": "Marks, oldest first"}
}


@router.post(
    "/feedback",
    response_model=FeedbackOut,
    openapi_extra=openapi.body(FeedbackBody),
    summary="Mark hits as similar or not",
)
async def give(request: Request) -> FeedbackOut:
    """A mark replaces an earlier one of the same case. A search with the same query_id then follows the marks."""
    state: State = request.app.state.ecgkin
    content = await uploads.body_bytes(request)

    def keep() -> FeedbackOut:
        body = uploads.parsed(FeedbackBody, content)
        kind, vector = state.query(body.query_id)
        said = {mark.case_id: mark.similar for mark in body.marks}
        for mark in body.marks:
            if said[mark.case_id] is not mark.similar:
                raise QueryError(f"{mark.case_id} is marked as similar and as not similar", hint="mark each case once")
            if mark.case_id not in state.base:
                raise QueryError(f"case {mark.case_id[:100]!r} is not in the base")
        state.feedback.add(body.query_id, kind, vector, said)
        return FeedbackOut(query_id=body.query_id, marks=_marks(state, body.query_id))

    return await state.work.run(keep)


@router.get("/feedback", response_model=list[MarkOut], responses=_EXPORT, summary="All marks")
async def export(
    request: Request,
    form: Annotated[Literal["json", "csv"], Query(alias="format")] = "json",
    query_id: Annotated[str | None, Query(pattern="^[0-9a-f]{32}$", description="only of this search")] = None,
) -> Any:
    """For evaluation and for training."""
    state: State = request.app.state.ecgkin
    marks = await state.work.run(lambda: _marks(state, query_id))
    if form == "json":
        return marks
    table = io.StringIO()
    writer = csv.DictWriter(table, _COLUMNS)
    writer.writeheader()
    writer.writerows(mark.model_dump() for mark in marks)
    return Response(table.getvalue(), media_type="text/csv")


def _marks(state: State, query_id: str | None) -> list[MarkOut]:
    return [MarkOut(**vars(mark)) for mark in state.feedback.marks(query_id)]
