"""Errors over HTTP as problem+json (RFC 9457), in bytes that no input can break."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from aios.errors import AiosError, InvalidSpec, Problem
from aios.kernel.ports import Refused

PROBLEM_JSON = "application/problem+json"
_LONGEST = 2_000
_TITLES = {
    400: "Bad request",
    401: "Unauthorized",
    404: "Not found",
    405: "Method not allowed",
    409: "Conflict",
    413: "Too large",
    415: "Unsupported media type",
    421: "Misdirected request",
    422: "Invalid",
    429: "Too many",
    500: "Internal error",
    503: "Not available",
    507: "No room",
}
_RETRY_S = {503: 1, 507: 10}
"""When to ask again what was refused for a while: nothing answers, or there is no room."""
log = structlog.get_logger(__name__)


def as_json(value: Any) -> bytes:
    """Return JSON that is plain ASCII and has no NaN, whatever text is in it."""
    return json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":")).encode("ascii")


def problem_body(
    status: int, code: str, detail: str, hint: str = "", problems: Sequence[Problem] = ()
) -> dict[str, Any]:
    body: dict[str, Any] = {
        "type": f"urn:aios:error:{code}",
        "title": _TITLES.get(status, "Error"),
        "status": status,
        "detail": detail[:_LONGEST],
        "code": code,
    }
    if hint:
        body["hint"] = hint[:_LONGEST]
    if problems:
        body["problems"] = [
            {"loc": list(p.loc), "message": p.message[:_LONGEST], "hint": p.hint[:_LONGEST]} for p in problems[:100]
        ]
    return body


def problem_response(
    status: int,
    code: str,
    detail: str,
    hint: str = "",
    problems: Sequence[Problem] = (),
    headers: Mapping[str, str] | None = None,
) -> Response:
    content = as_json(problem_body(status, code, detail, hint, problems))
    return Response(content, status_code=status, media_type=PROBLEM_JSON, headers=dict(headers or {}))


def error_response(error: AiosError) -> Response:
    headers = {"Retry-After": str(_RETRY_S[error.http_status])} if error.http_status in _RETRY_S else {}
    if error.http_status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return problem_response(error.http_status, error.code, error.message, error.hint, error.problems, headers)


def error_of(refused: Refused) -> AiosError:
    """Return the error that a refusal of the kernel stands for."""
    return _classes().get(refused.code, InvalidSpec)(refused.message, hint=refused.hint)


def _classes() -> dict[str, type[AiosError]]:
    found: dict[str, type[AiosError]] = {}
    todo: list[type[AiosError]] = [AiosError]
    while todo:
        cls = todo.pop()
        found[cls.code] = cls
        todo.extend(cls.__subclasses__())
    return found


def install_handlers(app: FastAPI) -> None:
    """Give every error of the app our own answer; none of them repeats what was sent."""
    handlers: list[tuple[type[Exception], Callable[[Request, Any], Awaitable[Response]]]] = [
        (AiosError, _aios_error),
        (RequestValidationError, _validation_error),
        (HTTPException, _http_error),
        (Exception, _any_error),
    ]
    for type_, handler in handlers:
        app.add_exception_handler(type_, handler)


async def _aios_error(request: Request, error: AiosError) -> Response:
    return error_response(error)


async def _validation_error(request: Request, error: RequestValidationError) -> Response:
    problems = [
        Problem(tuple(str(part) for part in one["loc"]), str(one["msg"]).replace("Input should be", "must be"))
        for one in error.errors()
    ]
    detail = "; ".join(f"{'.'.join(map(str, p.loc))}: {p.message}" for p in problems[:3])
    return problem_response(422, "invalid_request", detail, "see /api/v1/openapi.json", problems)


async def _http_error(request: Request, error: HTTPException) -> Response:
    code = {404: "no_such_route", 405: "method_not_allowed"}.get(error.status_code, "http_error")
    detail = {404: "there is no such route", 405: "this route does not take that method"}.get(
        error.status_code, str(error.detail)
    )
    return problem_response(error.status_code, code, detail, "see /api/v1/openapi.json", headers=error.headers)


async def _any_error(request: Request, error: Exception) -> Response:
    log.error("request_failed", path=request.url.path, error=type(error).__name__, exc_info=error)
    return problem_response(500, "internal", "the control plane made a mistake", "see its log in AIOS_HOME/logs")
