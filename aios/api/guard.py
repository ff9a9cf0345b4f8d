"""The gate before every route: a known Host, a bearer token, and a body that is not too large to read."""

from __future__ import annotations

import hmac
from collections.abc import Collection

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from aios.api.problems import error_response, problem_response
from aios.errors import AiosError

LARGEST_BODY = 8 * 2**20
LARGEST_PACKAGE = 256 * 2**20
PACKAGES = "/api/v1/packages/"
_LOCAL = frozenset({"127.0.0.1", "localhost", "[::1]"})
_OPEN = frozenset({"/healthz"})


class TooLarge(AiosError):
    """More bytes came than the route takes."""

    code = "too_large"
    http_status = 413
    exit_code = 2

    def __init__(self, limit: int) -> None:
        super().__init__(f"the body is larger than {limit // 2**20} MiB", hint="send less; upload files as a package")


class Guard:
    """ASGI middleware; what it refuses never reaches a route."""

    def __init__(self, app: ASGIApp, token: str, hosts: Collection[str] = ()) -> None:
        if not token:
            raise ValueError("the API needs a token: an empty one would let everybody in")
        self._app = app
        self._token = token.encode()
        self._hosts = _LOCAL | {host.lower() for host in hosts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        limit = LARGEST_PACKAGE if scope["path"].startswith(PACKAGES) else LARGEST_BODY
        if _host(headers.get("host", "")) not in self._hosts:
            response = problem_response(421, "wrong_host", "this Host is not served here", "use 127.0.0.1 or localhost")
        elif scope["path"] not in _OPEN and not self._may(headers.get("authorization", "")):
            hint = "send `Authorization: Bearer …` with the token in AIOS_HOME/api_token"
            challenge = {"WWW-Authenticate": "Bearer"}
            response = problem_response(401, "unauthorized", "no valid bearer token", hint, headers=challenge)
        elif not _length_fits(headers.get("content-length"), limit):
            response = error_response(TooLarge(limit))
        else:
            await self._app(scope, _counted(receive, limit), send)
            return
        await response(scope, receive, send)

    def _may(self, authorization: str) -> bool:
        scheme, _, token = authorization.partition(" ")
        given = token.strip().encode("utf-8", "surrogateescape")
        return scheme.lower() == "bearer" and hmac.compare_digest(given, self._token)


def _counted(receive: Receive, limit: int) -> Receive:
    """Return a ``receive`` that refuses a body without a length once it has grown too large."""
    n_bytes = 0

    async def counted() -> Message:
        nonlocal n_bytes
        message = await receive()
        n_bytes += len(message.get("body", b""))
        if n_bytes > limit:
            raise TooLarge(limit)
        return message

    return counted


def _length_fits(length: str | None, limit: int) -> bool:
    if length is None:
        return True
    return length.isascii() and length.isdigit() and len(length) < 16 and int(length) <= limit


def _host(header: str) -> str:
    """Return the name of a Host header, without its port."""
    name, colon, port = header.lower().rpartition(":")
    return name if colon and port.isdigit() else header.lower()
