"""How views leave the API: one response type, and the documentation that goes with it."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from aios.api.problems import PROBLEM_JSON, as_json
from aios.views import to_json


def answer(view: Any, status: int = 200) -> Response:
    return Response(as_json(to_json(view)), status_code=status, media_type="application/json")


def shows(type_: Any, **more: Any) -> dict[str, Any]:
    """Return what a route's decorator says about its answers."""
    problem = {"description": "A problem (RFC 9457).", "content": {PROBLEM_JSON: {"schema": _PROBLEM}}}
    return {"response_model": type_, "responses": {"4XX": problem, "5XX": problem}, **more}


def takes(schema: dict[str, Any], example: Any) -> dict[str, Any]:
    """Return the documentation of a JSON body that is read by hand."""
    content = {"application/json": {"schema": schema, "example": example}}
    return {"requestBody": {"required": True, "content": content}}


_PROBLEM = {
    "type": "object",
    "required": ["type", "title", "status", "detail", "code"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "code": {"type": "string"},
        "hint": {"type": "string"},
        "problems": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "loc": {"type": "array", "items": {}},
                    "message": {"type": "string"},
                    "hint": {"type": "string"},
                },
            },
        },
    },
}

DOCUMENTS = {
    "type": "object",
    "required": ["documents"],
    "additionalProperties": False,
    "properties": {
        "documents": {"type": "array", "minItems": 1, "items": {"type": "object", "required": ["kind"]}},
        "rerun": {"type": "boolean", "default": False},
        "no_cache": {"type": "boolean", "default": False},
    },
}
EXAMPLE = {"documents": [{"kind": "script", "name": "count", "entrypoint": "python count.py", "num_cpus": 1}]}
