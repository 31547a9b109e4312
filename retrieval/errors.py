"""Every exception of the project, in one tree.

    EcgkinError                 .hint: one sentence on what to do next
    ├─ InputError               HTTP 422, exit 2   what the caller handed in cannot be used
    │  ├─ RecordError           an ECG record or its file
    │  │  └─ RateUnknownError   which does not say how many samples a second it holds
    │  ├─ ImageError            a picture
    │  └─ QueryError            a question: filter, k, text, configuration value
    ├─ CaseBaseError            HTTP 503, exit 3   a case base on disk or in a server
    │  ├─ ManifestError         its files do not belong together
    │  └─ EncoderMismatchError  it was built with another encoder
    ├─ ModelError               HTTP 503, exit 4   encoders and checkpoints
    │  └─ WeightsMissingError   no weights where they were looked for
    └─ GenerationError          HTTP 502, exit 5   drafters and their back ends
       └─ BackendTimeoutError

A message says what was found, what was expected and where; `hint` says what to do about it.

>>> try:
...     raise RecordError("lead V3 is missing in rec_017.hea (found 11 of 12)", hint="pass --allow-missing")
... except EcgkinError as error:
...     error.exit_code, error.http_status, error.hint
(2, 422, 'pass --allow-missing')
"""

from __future__ import annotations


class EcgkinError(Exception):
    """Base of all errors that ecgkin raises on purpose."""

    exit_code: int = 1
    http_status: int = 500

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class InputError(EcgkinError):
    """What the caller handed in cannot be used."""

    exit_code = 2
    http_status = 422


class RecordError(InputError):
    """An ECG record, or the file it should come from, cannot be used."""


class RateUnknownError(RecordError):
    """A recording does not say how many samples a second it holds."""


class ImageError(InputError):
    """A picture cannot be read, or shows no ECG."""


class QueryError(InputError):
    """A filter, a number of hits, a query text or a configuration value is out of range."""


class CaseBaseError(EcgkinError):
    """A case base cannot be opened, read or written."""

    exit_code = 3
    http_status = 503


class ManifestError(CaseBaseError):
    """The files of a case base do not belong together."""


class EncoderMismatchError(CaseBaseError):
    """A case base was built with another encoder than the one that was loaded."""


class ModelError(EcgkinError):
    """An encoder or a checkpoint cannot be loaded or run."""

    exit_code = 4
    http_status = 503


class WeightsMissingError(ModelError):
    """There are no weights where they were looked for."""


class GenerationError(EcgkinError):
    """A drafter, or the back end behind it, failed."""

    exit_code = 5
    http_status = 502


class BackendTimeoutError(GenerationError):
    """A back end did not answer in time."""
