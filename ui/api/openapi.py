"""The OpenAPI document (/openapi.json, shown at /docs): bodies that routes read themselves, problems, tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ecgkin.retrieval.errors import EcgkinError
from ecgkin.ui.api import problems
from ecgkin.ui.api.answers import ProblemOut
from ecgkin.ui.api.security import needed_role

if TYPE_CHECKING:
    from fastapi import FastAPI
    from pydantic import BaseModel

_REF = "#/components/schemas/{model}"
FILE_HELP = "picture (PNG, JPEG, TIFF, WebP, BMP), table (CSV), zip, or the files of one WFDB record (.hea, .dat)"
DESCRIPTION = """Find the most similar ECG cases with their signed reports, and get a preliminary draft in which every \
sentence says what carries it.

**For research and education, not for diagnosis. It supports and does not replace a clinician.**

Pictures and records go in as `multipart/form-data` in the field `file` (all files of a WFDB record in that one \
field); samples and words as JSON. Errors are `application/problem+json` (RFC 9457), listed by `/v1/problems`. Each \
answer carries `X-Request-ID`; a client may send its own. Case ids may hold slashes, which may be sent as they are.
"""


def body(json: type[BaseModel] | None = None, form: type[BaseModel] | None = None) -> dict[str, Any]:
    """`openapi_extra` for a route that reads its body itself.

    Args:
        json: The model of a JSON body.
        form: The model of the fields beside the files of a multipart body.
    """
    content: dict[str, Any] = {}
    if form is not None:
        content["multipart/form-data"] = {"schema": {"$ref": _REF.format(model=form.__name__)}}
    if json is not None:
        content["application/json"] = {"schema": {"$ref": _REF.format(model=json.__name__)}}
    return {"requestBody": {"required": True, "content": content}}


def install(app: FastAPI, bodies: list[type[BaseModel]], forms: list[type[BaseModel]], tokens: bool) -> None:
    """Complete the app's document.

    Args:
        app: With all its routes.
        bodies: Models that `body` was given as JSON.
        forms: Models that `body` was given as forms; the field `file` is added to each.
        tokens: Whether a token is needed here.
    """
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema:
            return app.openapi_schema
        document = generate()
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
            schema["properties"] = {"file": {**files, "description": FILE_HELP}, **schema["properties"]}
            schema["required"] = ["file", *schema.get("required", [])]
            _add(models, model.__name__, schema)
        for path, operations in document["paths"].items():
            for method, operation in operations.items():
                _complete(operation, method, path, tokens)
        if tokens:
            components["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        app.openapi_schema = document
        return document

    app.openapi = openapi  # type: ignore[method-assign]


def _add(models: dict[str, Any], name: str, schema: dict[str, Any]) -> None:
    for inner, definition in schema.pop("$defs", {}).items():
        models.setdefault(inner, definition)
    models[name] = schema


def _complete(operation: dict[str, Any], method: str, path: str, tokens: bool) -> None:
    """Every problem that an operation may answer with, and the token that it needs."""
    responses = operation["responses"]
    responses.pop("422", None)
    content = {problems.MEDIA_TYPE: {"schema": {"$ref": _REF.format(model="ProblemOut")}}}
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
    titles: dict[int, list[str]] = {}
    for error, kind in problems.TABLE.items():
        if error is not EcgkinError:
            titles.setdefault(kind.status, []).append(kind.title)
    for status in sorted(statuses):
        title = "; ".join(titles[status])
        responses.setdefault(str(status), {"description": title, "content": content})
