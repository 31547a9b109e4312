"""/v1/explanations: which stretches of a query make a case near."""

from __future__ import annotations

from typing import Any

import numpy as np
from fastapi import APIRouter, Request
from pydantic import Field

from ecgkin.retrieval.ecg.record import EcgRecord
from ecgkin.retrieval.errors import QueryError
from ecgkin.ui.api import intake, openapi
from ecgkin.ui.api.answers import ExplanationOut
from ecgkin.ui.api.decoding import Asked
from ecgkin.ui.api.explain import Masks, PageMasks, RecordMasks, explain
from ecgkin.ui.api.routes.cases import check_known
from ecgkin.ui.api.schemas import CaseId, ExplanationBody
from ecgkin.ui.api.state import State

router = APIRouter(prefix="/v1", tags=["search"])


class ExplanationForm(intake.FileOptions):
    """Fields beside the file."""

    case_id: CaseId = Field(description="the case whose nearness is asked about")


@router.post(
    "/explanations",
    response_model=ExplanationOut,
    openapi_extra=openapi.body(ExplanationBody, ExplanationForm),
    summary="Which stretches of an ECG make a case near",
)
async def explanations(request: Request) -> ExplanationOut:
    """Each stretch of the query is flattened in turn; the more similarity is lost, the more it counts."""
    state: State = request.app.state.ecgkin
    asked = await intake.taken(request, state, ExplanationForm, ExplanationBody)
    return await state.work.run(lambda: _explained(state, asked), asked.close)


def _explained(state: State, asked: intake.Intake[ExplanationForm, ExplanationBody]) -> ExplanationOut:
    with asked.with_ecg(check=lambda options: check_known(state, options.case_id)) as (query, options):
        case = np.asarray(state.base.vectors([options.case_id])[0], dtype=np.float32)
        score, stretches = explain(_masks(state, query), case)
    return ExplanationOut(case_id=options.case_id, score=score, stretches=stretches)


def _masks(state: State, query: Asked) -> Masks:
    encoder: Any = state.search.encoder
    if isinstance(query, EcgRecord):
        from ecgkin.retrieval.ecg.searchable import searchable

        return RecordMasks(searchable(query), encoder.encode_records)
    from ecgkin.retrieval.ecg.page.printed import PrintedEcg, read_printed

    if hasattr(encoder, "encode_printed"):
        printed = query if isinstance(query, PrintedEcg) else read_printed(query)
        return PageMasks(printed, encoder.encode_printed)
    if getattr(encoder, "reads_signals", False):
        printed = query if isinstance(query, PrintedEcg) else read_printed(query)
        if printed.record is not None:
            return RecordMasks(printed.record, encoder.encode_records)
    raise QueryError(f"encoder {encoder.name} does not read pages", hint="ask with the recording instead")
