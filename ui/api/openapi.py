"""The OpenAPI document (/openapi.json, shown at /docs): bodies that routes read themselves, examples, problems, tokens.

The examples of examples.json are requests that work and answers that a server gave, over simulated cases
(`scripts/api_examples.py` makes them anew); a test holds them against the schemas.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ecgkin.retrieval.errors import EcgkinError
from ecgkin.ui.api import problems
from ecgkin.ui.api.answers import ProblemOut
from ecgkin.ui.api.security import needed_role

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastapi import FastAPI
    from pydantic import BaseModel

_REQUEST = "0f8fad5bd9cb469fa16570867728950e"
_OF_DRAFTS = frozenset({"generation-timeout", "no-drafter"})
_REF = "#/components/schemas/{model}"
FILE_HELP = (
    "picture (PNG, JPEG, TIFF, WebP, BMP), PDF document, recording (CSV, DICOM, SCP-ECG, HL7 aECG, GE MUSE or Philips "
    "XML, EDF, ISHNE), zip of one of these, or the files of one WFDB record (.hea, .dat)"
)
DESCRIPTION = """Find the most similar ECG cases with their signed reports, and get a preliminary draft in which every \
sentence says what carries it.

**For research and education, not for diagnosis. It supports and does not replace a clinician.**

Pictures and records go in as `multipart/form-data` in the field `file` (all files of a WFDB record in that one \
field); samples and words as JSON. Errors are `application/problem+json` (RFC 9457), listed by `/v1/problems`. Each \
answer carries `X-Request-ID`; a client may send its own. Case ids may hold slashes, which may be sent as they are.
"""

# In the order in which somebody who is new here wants them.
TAGS = [
    {"name": "search", "description": "Similar cases for a picture, a recording, samples or words."},
    {"name": "digitize", "description": "The signals of a printed ECG, and what was understood of the page."},
    {"name": "drafts", "description": "A preliminary report; JSON, word by word, or FHIR."},
    {"name": "jobs", "description": "Many ECGs in one request, asked after while they are worked off."},
    {"name": "feedback", "description": "Mark hits, then search again with the `query_id` of the same search."},
    {"name": "cases", "description": "Look at stored cases, add and remove them."},
    {"name": "health", "description": "What runs here, and how it is."},
]


@cache
def examples() -> dict[str, Any]:
    """Examples by operation ("POST /v1/search"): `requests` by name with summary and value, `responses` by kind."""
    content: dict[str, Any] = json.loads(Path(__file__).with_name("examples.json").read_text(encoding="utf-8"))
    return content


def body(model: type[BaseModel] | None = None, form: type[BaseModel] | None = None) -> dict[str, Any]:
    """`openapi_extra` for a route that reads its body itself.

    Args:
        model: Of a JSON body.
        form: The model of the fields beside the files of a multipart body.

    Returns:
        A part of the OpenAPI document.
    """
    content: dict[str, Any] = {}
    # JSON first: it is what the page shows first, with examples that work as they stand.
    if model is not None:
        content["application/json"] = {"schema": {"$ref": _REF.format(model=model.__name__)}}
    if form is not None:
        content["multipart/form-data"] = {"schema": {"$ref": _REF.format(model=form.__name__)}}
    return {"requestBody": {"required": True, "content": content}}


def install(
    app: FastAPI,
    bodies: list[type[BaseModel]],
    forms: list[type[BaseModel]],
    tokens: bool,
    case_id: Callable[[], str | None] = lambda: None,
) -> None:
    """Complete the app's document.

    Args:
        app: With all its routes.
        bodies: Models that `body` was given as JSON.
        forms: Models that `body` was given as forms; the field `file` is added to each.
        tokens: Whether a token is needed here.
        case_id: A case that is there, so that what the page shows can be tried as it stands.
    """
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema:
            return app.openapi_schema
        document = generate()
        known = case_id()
        components = document.setdefault("components", {})
        models = components.setdefault("schemas", {})
        for name in ("HTTPValidationError", "ValidationError"):
            models.pop(name, None)
        shown: list[type[BaseModel]] = [*bodies, ProblemOut]
        for model in shown:
            _add(models, model.__name__, model.model_json_schema(ref_template=_REF))
        for model in forms:
            schema = model.model_json_schema(ref_template=_REF)
            files = {"type": "array", "items": {"type": "string", "format": "binary"}, "minItems": 1, "maxItems": 8}
            fields = {name: _form_field(field) for name, field in schema["properties"].items()}
            schema["properties"] = {"file": {**files, "description": FILE_HELP}, **fields}
            schema["required"] = ["file", *schema.get("required", [])]
            _add(models, model.__name__, schema)
        for path, operations in document["paths"].items():
            for method, operation in operations.items():
                _complete(operation, method, path, tokens)
                _exemplify(operation, examples().get(f"{method.upper()} {path}", {}), known)
        if tokens:
            components["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        app.openapi_schema = document
        return document

    app.openapi = openapi  # type: ignore[method-assign]


def _form_field(field: dict[str, Any]) -> dict[str, Any]:
    """A field of a form, without null and empty by example where it may be left out.

    Swagger UI fills a form with null, an example or an invented value ("string", 1) and would send them.
    """
    kinds = [kind for kind in field.get("anyOf", []) if kind != {"type": "null"}]
    plain = {name: value for name, value in field.items() if name != "examples"}
    if len(kinds) == 1:
        del plain["anyOf"]
        plain |= kinds[0]
    if plain.get("default", 0) is None:
        del plain["default"]
        plain["example"] = ""
    return plain


def _add(models: dict[str, Any], name: str, schema: dict[str, Any]) -> None:
    for inner, definition in schema.pop("$defs", {}).items():
        models.setdefault(inner, definition)
    models[name] = schema


def _complete(operation: dict[str, Any], method: str, path: str, tokens: bool) -> None:
    """Every problem that an operation may answer with, and the token that it needs."""
    responses = operation["responses"]
    responses.pop("422", None)
    role = needed_role(method.upper(), path)
    statuses = {400, 403, 404, 422, 500, 503, 504}
    if "requestBody" in operation:
        statuses |= {408, 413, 415}
    if path == "/v1/drafts":
        statuses |= {406, 502}
    if path == "/v1/cases" and method == "post":
        statuses |= {409}
    if tokens and role is not None:
        statuses |= {401}
        operation["security"] = [{"token": []}]
        operation["description"] = f"{operation.get('description', '')}\n\nNeeds a token with the role `{role}`."
    kinds: dict[int, list[problems.Kind]] = {}
    for error, kind in problems.TABLE.items():
        if error is not EcgkinError and (path == "/v1/drafts" or kind.slug not in _OF_DRAFTS):
            kinds.setdefault(kind.status, []).append(kind)
    for status in sorted(statuses):
        example = problems.body_of(kinds[status][0], kinds[status][0].title) | {"request_id": _REQUEST}
        schema = {"$ref": _REF.format(model="ProblemOut")}
        content = {problems.MEDIA_TYPE: {"schema": schema, "example": example}}
        title = "; ".join(kind.title for kind in kinds[status])
        responses.setdefault(str(status), {"description": title, "content": content})


def _exemplify(operation: dict[str, Any], given: dict[str, Any], case_id: str | None) -> None:
    """Put the examples of an operation where readers look for them.

    Args:
        operation: Of the document.
        given: Its entry in `examples`.
        case_id: Stands in for the case of the examples where it is known.
    """
    if "requests" in given:
        operation["requestBody"]["content"]["application/json"]["examples"] = given["requests"]
    if "fields" in given:
        operation["requestBody"]["content"]["multipart/form-data"]["example"] = given["fields"]
    for status, response in operation["responses"].items():
        for kind, content in response.get("content", {}).items():
            if kind in given.get("responses", {}) and status.startswith("2"):
                content["example"] = given["responses"][kind]
    for parameter in operation.get("parameters", []):
        if parameter["name"] == "case_id" and case_id is not None:
            parameter["schema"]["examples"] = [case_id]
            parameter["example"] = case_id
