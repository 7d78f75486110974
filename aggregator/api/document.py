"""The OpenAPI document: what FastAPI makes of the routes, and what all of them have in common.

Refusals, tables as CSV and the tokens that a path asks for are the same everywhere, so they are
said here once and not at every route.
"""

from typing import Any

from fastapi import FastAPI

from aggregator.access import WRITES, Right
from aggregator.api.guard import MAX_BODY_BYTES, RULES

_REFUSAL = {
    "type": "object",
    "title": "Refusal",
    "description": "Why a request was not answered.",
    "properties": {
        "error": {
            "type": "object",
            "properties": {
                "parameter": {"type": "string", "description": 'What is wrong with it; "": all.'},
                "reason": {"type": "string"},
            },
            "required": ["parameter", "reason"],
            "additionalProperties": False,
        }
    },
    "required": ["error"],
    "additionalProperties": False,
}
_WRITE: list[dict[str, list[str]]] = [{"bearer": []}]
_READ: list[dict[str, list[str]]] = [*_WRITE, {"basic": []}]
_SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "`nenghao tokens add`"},
    "basic": {"type": "http", "scheme": "basic", "description": "Any name; the token as password."},
}


def install(app: FastAPI) -> None:
    """Let an application serve the whole document."""
    made = app.openapi

    def whole() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _completed(made())
        return app.openapi_schema

    app.openapi = whole  # type: ignore[method-assign] # FastAPI's own way to change the document


def _completed(document: dict[str, Any]) -> dict[str, Any]:
    components = document.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    schemas["Refusal"] = _REFUSAL
    components["securitySchemes"] = _SCHEMES
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            right = RULES.get((method.upper(), path), Right.READ)
            _complete(operation, right, has_body=method != "get")
    return document


def _complete(operation: dict[str, Any], right: Right, *, has_body: bool) -> None:
    answers = operation["responses"]
    parameters = operation.get("parameters", [])
    codes = {"503": "The store or the register's database is away."}
    if parameters or has_body:
        codes["422"] = "A parameter or the body cannot be meant."
        codes["404"] = "What it is about is not there, or not in the token's scope."
    if has_body:
        codes["413"] = f"The body has more than {MAX_BODY_BYTES} bytes."
    if right is not Right.PUBLIC:
        codes["401"] = "A token is needed, or the one given does not hold."
        codes["403"] = "The token does not give this."
        operation["security"] = _WRITE if right in WRITES else _READ
    refusal = {"application/json": {"schema": {"$ref": "#/components/schemas/Refusal"}}}
    answers.pop("422", None)
    for code, text in codes.items():
        answers.setdefault(code, {"description": text, "content": refusal})
    if any(one["name"] == "format" for one in parameters):
        answers["200"]["content"]["text/csv"] = {"schema": {"type": "string"}}
