"""/v1/jobs: many ECGs in one request; its progress, its results, its end."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from ecgkin.retrieval.errors import InputError, QueryError
from ecgkin.ui.api import intake, openapi, problems, uploads
from ecgkin.ui.api.answers import ProblemOut
from ecgkin.ui.api.decoder import known_suffixes, unpack
from ecgkin.ui.api.jobs import Job, JobState, Kind, items_of
from ecgkin.ui.api.routes import digitize, drafts, search
from ecgkin.ui.api.schemas import Body, DraftBody, SearchBody
from ecgkin.ui.api.state import State

router = APIRouter(prefix="/v1", tags=["jobs"])

_FORMS: dict[str, type[intake.FileOptions]] = {
    "search": search.SearchForm,
    "digitize": digitize.DigitizeForm,
    "draft": drafts.DraftForm,
}
_PAGE = 100  # results in one answer at most
_EXAMPLE: dict[str, Any] = {
    "job_id": "5b2d0c1a9f5e4a0e8d4f4b6f2c7a1e90",
    "kind": "search",
    "state": "running",
    "n_items": 12,
    "n_done": 5,
    "n_failed": 1,
    "created_at": "2026-01-01T08:00:00Z",
    "finished_at": None,
}


class JobForm(BaseModel):
    """Fields beside the files of a job; all others are those of the single request, and hold for every ECG."""

    model_config = ConfigDict(extra="allow")

    kind: Kind = Field(description="what is done with each ECG, as /v1/search, /v1/digitize or /v1/drafts does it")
    callback: str | None = Field(
        default=None, max_length=2000, description="address that is told when it is over; see api_webhook_hosts"
    )


class JobOut(BaseModel):
    """A job and how far it is. It lives as long as its server: after a restart there is no such job."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    job_id: str
    kind: Kind
    state: JobState
    n_items: int = Field(description="ECGs")
    n_done: int = Field(description="of them, worked off")
    n_failed: int = Field(description="of these, without an answer")
    created_at: datetime
    finished_at: datetime | None

    @classmethod
    def of(cls, job: Job) -> JobOut:
        """Of a job."""
        outcomes = list(job.outcomes)
        return cls(
            job_id=job.id,
            kind=job.kind,
            state=job.state,
            n_items=len(job.items),
            n_done=len(outcomes),
            n_failed=outcomes.count(False),
            created_at=datetime.fromtimestamp(job.created, UTC),
            finished_at=None if job.finished is None else datetime.fromtimestamp(job.finished, UTC),
        )


class JobResultOut(BaseModel):
    """What came of one ECG."""

    number: int = Field(description="of the ECG in the job, from 0")
    name: str = Field(description="of its file, as it was sent")
    answer: dict[str, Any] | None = Field(description="as the single request answers; null where it failed")
    problem: ProblemOut | None = Field(description="why it failed")


class JobResultsOut(BaseModel):
    """What has come of a job so far."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "job": _EXAMPLE,
                    "results": [{"number": 0, "name": "ecg.png", "answer": {"hits": []}, "problem": None}],
                }
            ]
        }
    )

    job: JobOut
    results: list[JobResultOut]


@router.post(
    "/jobs",
    status_code=202,
    response_model=JobOut,
    openapi_extra=openapi.body(form=JobForm),
    summary="Send many ECGs at once",
)
async def make(request: Request, response: Response) -> JobOut:
    """Several files in the field `file`, or zips of them. Each is searched with, digitized or drafted in turn.

    The files of a WFDB record are one ECG. What fails costs its own answer, not the job.
    """
    state: State = request.app.state.ecgkin
    state.jobs.check_room()
    if uploads.media_type(request) != "multipart/form-data":
        raise problems.MediaTypeError("no files came", hint="send them as multipart/form-data in the field `file`")
    upload = await uploads.receive(request, state.job_files + len(intake.FileOptions.model_fields))
    try:
        job = await asyncio.to_thread(_job, state, upload)
        state.jobs.add(job)
    except BaseException:
        upload.close()
        raise
    response.headers["Location"] = f"/v1/jobs/{job.id}"
    return JobOut.of(job)


def _job(state: State, upload: uploads.Upload) -> Job:
    """Check what was asked for, unpack zips, and count."""
    asked = uploads.parsed(JobForm, {k: v for k, v in upload.fields.items() if k in JobForm.model_fields and v != ""})
    fields = {name: value for name, value in upload.fields.items() if name not in JobForm.model_fields}
    options = uploads.parsed(_FORMS[asked.kind], fields)
    if hasattr(options, "k"):
        state.limits.checked_k(options.k)
    if asked.kind == "draft" and not state.drafting.names:
        raise problems.MissingDrafterError("no drafter is set up here", hint="see the setting api_drafters")
    callback = None if asked.callback is None else state.jobs.hooks.checked(asked.callback)
    for packed in [path for path in upload.files if path.suffix == ".zip"]:
        upload.files.remove(packed)
        _unpacked(state, upload, packed)
        packed.unlink()
    items = items_of(upload)
    if not 1 <= len(items) <= state.job_files:
        raise QueryError(f"the job has {len(items)} ECGs (expected 1 to {state.job_files})")
    return Job(asked.kind, items, upload, fields, _performer(state, asked.kind), callback)


def _unpacked(state: State, upload: uploads.Upload, packed: Path) -> None:
    def place(name: str) -> Path:
        if len(upload.files) >= 4 * state.job_files:
            raise InputError("the zip has too many members", hint=f"send at most {state.job_files} ECGs")
        return upload.place(name)

    unpack(packed, place, known_suffixes(), 4 * state.limits.body_bytes, state.job_files)


def _performer(state: State, kind: Kind) -> Any:
    """What is done with the files of one ECG; the same functions answer single requests."""

    def perform(upload: uploads.Upload) -> dict[str, Any]:
        answer: BaseModel
        if kind == "search":
            answer = search.found(state, intake.Intake(state, search.SearchForm, SearchBody, upload))
        elif kind == "digitize":
            answer = digitize.digitized(intake.Intake(state, digitize.DigitizeForm, Body, upload))
        else:
            answer = drafts.written(state, intake.Intake(state, drafts.DraftForm, DraftBody, upload))
        return answer.model_dump(mode="json")

    return perform


@router.get("/jobs/{job_id}", response_model=JobOut, summary="How far a job is")
async def look(request: Request, job_id: str) -> JobOut:
    """Progress by numbers of ECGs."""
    state: State = request.app.state.ecgkin
    return JobOut.of(state.jobs.get(job_id))


@router.get("/jobs/{job_id}/results", response_model=JobResultsOut, summary="What has come of a job so far")
async def results(
    request: Request,
    job_id: str,
    first: Annotated[int, Field(ge=0, le=1_000_000, description="number of the first one wanted")] = 0,
    limit: Annotated[int, Field(ge=1, le=_PAGE, description="how many at most")] = 20,
) -> JobResultsOut:
    """In the order in which the files came; also while it runs."""
    state: State = request.app.state.ecgkin
    job = state.jobs.get(job_id)

    def read() -> JobResultsOut:
        found = []
        for number, ok in list(enumerate(job.outcomes))[first : first + limit]:
            try:
                content = job.result(number)
            except OSError:
                raise problems.NotFoundError("no such job", hint="it was deleted just now") from None
            problem = None if ok else ProblemOut.model_validate(content)
            name = job.items[number].name
            found.append(JobResultOut(number=number, name=name, answer=content if ok else None, problem=problem))
        return JobResultsOut(job=JobOut.of(job), results=found)

    return await state.work.run(read)


@router.post("/jobs/{job_id}/cancel", response_model=JobOut, summary="Stop a job")
async def cancel(request: Request, job_id: str) -> JobOut:
    """After the ECG in hand; what was found until then stays."""
    state: State = request.app.state.ecgkin
    return JobOut.of(state.jobs.cancel(job_id))


@router.delete("/jobs/{job_id}", status_code=204, summary="Stop a job and delete its files and results")
async def forget(request: Request, job_id: str) -> Response:
    """Whatever its state."""
    state: State = request.app.state.ecgkin
    state.jobs.forget(job_id)
    return Response(status_code=204)
