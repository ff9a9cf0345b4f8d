"""JSON bodies, read strictly: finite numbers, unique keys, real text, bounded depth."""

from __future__ import annotations

import json
import math
from typing import Annotated, Any, NoReturn

from fastapi import Depends, Request
from starlette.concurrency import run_in_threadpool

from aios.documents import check_json
from aios.errors import InvalidSpec

SMALL = 16 * 1024
"""A body up to this many bytes is read at once, in less time than another thread would take to begin."""


class UnsupportedMedia(InvalidSpec):
    """A body of another type than JSON."""

    code = "unsupported_media_type"
    http_status = 415


async def raw_body(request: Request) -> bytes:
    media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media != "application/json":
        raise UnsupportedMedia("the body must be application/json", hint="set Content-Type: application/json")
    return await request.body()


async def json_body(raw: Annotated[bytes, Depends(raw_body)]) -> dict[str, Any]:
    """Return the body as a mapping; a large one is read in a worker thread."""
    value = strict_json(raw) if len(raw) <= SMALL else await run_in_threadpool(strict_json, raw)
    if not isinstance(value, dict):
        raise InvalidSpec("the body must be a JSON object", hint='such as {"documents": [...]}')
    return value


JsonBody = Annotated[dict[str, Any], Depends(json_body)]


def strict_json(raw: bytes) -> Any:
    """Parse JSON; raises InvalidSpec, which never repeats what was sent."""
    try:
        value = json.loads(
            raw.decode("utf-8"),
            parse_constant=_no_constant,
            parse_float=_finite,
            parse_int=_bounded,
            object_pairs_hook=_unique,
        )
    except UnicodeDecodeError:
        raise InvalidSpec("the body is not UTF-8", hint="send valid UTF-8") from None
    except json.JSONDecodeError as error:
        message = f"the body is not valid JSON: {error.msg} at line {error.lineno} column {error.colno}"
        raise InvalidSpec(message, hint="check it with a parser") from None
    except RecursionError:
        raise InvalidSpec("the body is nested too deeply", hint="flatten it") from None
    check_json(value)
    return value


def only_keys(body: dict[str, Any], *known: str) -> None:
    if any(key not in known for key in body):
        raise InvalidSpec("unknown key in the body", hint=f"keys: {', '.join(known)}")


def _no_constant(name: str) -> NoReturn:
    raise InvalidSpec("NaN and Infinity are no JSON numbers", hint="send finite numbers")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise InvalidSpec("a number is too large to be finite", hint="send finite numbers")
    return value


def _bounded(text: str) -> int:
    if len(text.lstrip("-")) > 19:
        raise InvalidSpec("a whole number has more than 19 digits", hint="send smaller numbers")
    return int(text)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise InvalidSpec("a key is given twice in one object", hint="keep one of the two")
    return made
