"""What a request asks about, however it came: files with fields beside them, or one JSON body.

Every route that takes an ECG takes both; what differs between them is only which models say what is expected.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from pydantic import BaseModel, Field, field_validator, model_validator

from ecgkin.retrieval.ecg.record import EcgRecord
from ecgkin.retrieval.encoders.pictures import reads_pages
from ecgkin.retrieval.errors import InputError
from ecgkin.ui.api import uploads
from ecgkin.ui.api.schemas import Body, PageKnown, Signal, Units

if TYPE_CHECKING:
    from fastapi import Request

    from ecgkin.retrieval.search.hits import SearchResult
    from ecgkin.ui.api.decoding import Asked
    from ecgkin.ui.api.state import State

Form = TypeVar("Form", bound="FileOptions")
Json = TypeVar("Json", bound=BaseModel)
# Memory for each byte of a JSON body while it is read, as pixels of three bytes: numbers become Python objects.
_PIXELS_PER_BYTE = 4


class FileOptions(Body):
    """What a file may leave open."""

    fs_hz: float | None = Field(
        default=None, gt=0, le=100_000, description="samples a second, for a file that does not say"
    )
    units: Units | None = Field(default=None, description="of the samples, for a file that does not say")
    page: int | None = Field(
        default=None, ge=1, le=500, description="of a document; left out: the first page that shows an ECG"
    )
    known: PageKnown | None = Field(
        default=None, description="of a picture, as JSON: what its reading got wrong, put right", examples=[None]
    )

    @field_validator("known", mode="before")
    @classmethod
    def _json(cls, value: object) -> object:
        """Form fields are texts."""
        return PageKnown.model_validate_json(value) if isinstance(value, str) else value

    @model_validator(mode="before")
    @classmethod
    def _without_empty(cls, fields: Any) -> Any:
        """HTML forms send a field that nobody filled in as an empty text."""
        return {name: value for name, value in fields.items() if value != ""} if isinstance(fields, dict) else fields


class Intake(Generic[Form, Json]):
    """A request whose body has been taken in and not yet been read. Close it.

    Args:
        state: Of the server: its limits hold.
        form: Model of the fields beside files.
        json: Model of a JSON body; its `signal`, where it has one, is the ECG.
        content: What came.

    Attributes:
        digest: Of the picture or record in the files, once it has been opened; "" for a JSON body.
        read_ms: How long its page was read for this request.
    """

    def __init__(self, state: State, form: type[Form], json: type[Json], content: uploads.Upload | bytes) -> None:
        self._state = state
        self._form = form
        self._json = json
        self._content = content
        self.digest = ""
        self.read_ms = 0.0

    @property
    def close(self) -> Callable[[], None] | None:
        """What deletes the files, None where there are none."""
        return None if isinstance(self._content, bytes) else self._content.close

    @contextmanager
    def opened(
        self, *, read: bool = False, check: Callable[[Form | Json], None] | None = None
    ) -> Iterator[tuple[Asked | None, Form | Json]]:
        """The ECG (a record, a picture, a page that was read, or None) and the options.

        A page is read here, once for all requests with the same file, where the encoder looks at pages, where something
        was put right, or where the caller wants it. Memory is reserved while this lasts. For threads.

        Args:
            read: Whether a picture is to be read whatever the encoder looks at.
            check: Told the options before a file is decoded and read, which takes long: it raises what it has against
                them.

        Raises:
            RequestValidationError: The body does not fit its model.
            InputError: The ECG cannot be read, or k is more than this server gives.
            TooLargeError: The ECG is larger than this server takes.
        """
        state, content = self._state, self._content
        if isinstance(content, bytes):
            with state.budget.take(min(state.budget.pixels, _PIXELS_PER_BYTE * len(content))):
                body = self._checked(uploads.parsed(self._json, content), check)
                signal = cast("Signal | None", getattr(body, "signal", None))
                yield (None if signal is None else signal.record()), body
        else:
            form = self._checked(uploads.parsed(self._form, content.fields), check)
            decoded = content.decoded(state.decoders, form.fs_hz, form.units, form.page)
            self.digest = decoded.digest
            with state.budget.take(min(state.budget.pixels, decoded.n_pixels)):
                given = decoded.query
                query: Asked = given
                wanted = read or form.known is not None or reads_pages(state.encoder)
                if wanted and not isinstance(given, EcgRecord):
                    start = time.perf_counter()
                    query = state.readings.read(given, decoded.digest, form.page, form.known)
                    self.read_ms = 1000 * (time.perf_counter() - start)
                yield query, form

    @contextmanager
    def with_ecg(
        self, *, read: bool = False, check: Callable[[Form | Json], None] | None = None
    ) -> Iterator[tuple[Asked, Form | Json]]:
        """`opened` where there must be an ECG.

        Args:
            read, check: As in `opened`.

        Raises:
            InputError: There is none; and as `opened`.
        """
        with self.opened(read=read, check=check) as (query, options):
            if query is None:
                raise InputError("no ECG came (expected a signal or a file)")
            yield query, options

    def timed(self, result: SearchResult) -> SearchResult:
        """A search for this ECG whose time counts the reading of its page.

        Args:
            result: What was found.
        """
        spent = dict(result.timings_ms)
        spent |= {name: spent.get(name, 0.0) + self.read_ms for name in ("read", "total")}
        return replace(result, timings_ms=spent) if self.read_ms else result

    def _checked(self, options: Any, check: Callable[[Any], None] | None) -> Any:
        """Before anything is read that takes time: the k of these options, and what the caller has against them."""
        if hasattr(options, "k"):
            self._state.limits.checked_k(options.k)
        if check is not None:
            check(options)
        return options


async def taken(request: Request, state: State, form: type[Form], json: type[Json]) -> Intake[Form, Json]:
    """Take in the body of a request.

    Args:
        request: Not read yet.
        state: Of the server.
        form: Model of the fields beside files.
        json: Model of a JSON body.

    Returns:
        Fields, and the query.

    Raises:
        MediaTypeError: It is neither multipart nor JSON.
        TooLargeError, SlowBodyError: See `Gate`.
        InputError: Its files are not as they should be.
    """
    if uploads.media_type(request) == "multipart/form-data":
        return Intake(state, form, json, await uploads.receive(request))
    return Intake(state, form, json, await uploads.body_bytes(request))
