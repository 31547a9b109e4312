"""/v1/digitize: the signals that a picture of an ECG prints, with what was understood of the page."""

from __future__ import annotations

from fastapi import APIRouter, Request
from pydantic import Field

from ecgkin.retrieval.ecg.page.printed import PrintedEcg
from ecgkin.retrieval.ecg.record import EcgRecord
from ecgkin.retrieval.errors import InputError
from ecgkin.ui.api import intake, openapi, problems, uploads
from ecgkin.ui.api.answers import DigitizedOut
from ecgkin.ui.api.schemas import Body
from ecgkin.ui.api.state import State

router = APIRouter(prefix="/v1", tags=["digitize"])


class DigitizeForm(intake.FileOptions):
    """Fields beside the picture."""

    samples: bool = Field(default=True, description="whether the answer holds the samples")
    curves: bool = Field(default=False, description="whether it says where on the picture each curve was followed")


@router.post(
    "/digitize",
    response_model=DigitizedOut,
    openapi_extra=openapi.body(form=DigitizeForm),
    summary="Read the signals off a picture",
)
async def digitize(request: Request) -> DigitizedOut:
    """500 Hz, mV, null where the page shows nothing; nothing is searched or kept.

    What was misread is put right by `known`: send the picture again with it. The same field goes with a search.
    """
    state: State = request.app.state.ecgkin
    if uploads.media_type(request) != "multipart/form-data":
        raise problems.MediaTypeError("no picture came", hint="send it as multipart/form-data in the field `file`")
    asked = await intake.taken(request, state, DigitizeForm, Body)
    return await state.work.run(lambda: digitized(asked), asked.close)


def digitized(asked: intake.Intake[DigitizeForm, Body]) -> DigitizedOut:
    """What a page says; for threads.

    Args:
        asked: Taken in.
    """
    with asked.with_ecg(read=True) as (query, options):
        if isinstance(query, EcgRecord):
            raise InputError(
                "the file holds samples already (expected a picture)", hint="search with it, or export it as it is"
            )
        # A body in JSON was refused, and a picture was read.
        assert isinstance(options, DigitizeForm) and isinstance(query, PrintedEcg)
        return DigitizedOut.of(query, samples=options.samples, curves=options.curves)
