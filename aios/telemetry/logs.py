"""Structured logs: JSON lines in a file for machines, and on stderr what needs a person; secrets in neither.

Call sites do ``structlog.get_logger("aios.x").info("thing_happened", workload=...)``.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from aios.telemetry.files import PrivateRotatingFile

LOGGER = "aios"
HIDDEN = "[redacted]"

_SECRET_KEY = re.compile(r"token|authorization|password|passwd|secret|api_?key|cookie", re.IGNORECASE)
_NAMED = r"[\w-]*(?:token|password|passwd|secret|api_?key)[\"']?"
_SECRET_TEXT = (
    (re.compile(r"(authorization[\"']?\s*[:=]\s*[\"']?(?:\w+ )?)[^\s\"',;}]+", re.IGNORECASE), rf"\1{HIDDEN}"),
    (re.compile(r"\b(bearer)\s+[\w.~+/=-]{12,}", re.IGNORECASE), rf"\1 {HIDDEN}"),
    (re.compile(rf"({_NAMED}\s?=\s?[\"']?)[^\s&\"',;}}]+", re.IGNORECASE), rf"\1{HIDDEN}"),
    # After a colon there may be a sentence; what is a secret has no spaces and is long.
    (re.compile(rf"({_NAMED}\s?:\s?[\"']?)[^\s&\"',;}}]{{12,}}", re.IGNORECASE), rf"\1{HIDDEN}"),
    (re.compile(r"(://[^/\s:@\"]*):[^/\s@\"]+@"), rf"\1:{HIDDEN}@"),
)


def log_file(state_dir: Path) -> Path:
    """Return where the JSON lines are."""
    return state_dir / "logs" / "aios.jsonl"


def configure(state_dir: Path, *, level: str = "INFO", console: TextIO | None = None) -> None:
    """Send what AIOS logs to the state directory, and warnings to ``console`` (stderr); may be called again.

    Only the logger ``aios`` and those below it are touched: other libraries' logging stays as it is.
    """
    logger = logging.getLogger(LOGGER)
    for handler in tuple(logger.handlers):
        logger.removeHandler(handler)
        handler.close()
    stream = console if console is not None else sys.stderr
    to_file = PrivateRotatingFile(log_file(state_dir))
    to_file.setFormatter(_formatter(structlog.processors.JSONRenderer(default=str)))
    to_people = logging.StreamHandler(stream)
    to_people.setLevel(logging.WARNING)
    to_people.setFormatter(_formatter(structlog.dev.ConsoleRenderer(colors=stream.isatty(), pad_event_to=0)))
    logger.addHandler(to_file)
    logger.addHandler(to_people)
    logger.setLevel(level)
    logger.propagate = False
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.contextvars.merge_contextvars,
            *_COMMON,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )


def redact(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Hide values whose name says that they are secret, and secrets within texts, at any depth."""
    return {key: _clean(key, value) for key, value in event.items()}


def redact_text(text: str) -> str:
    """Return the text without bearer tokens, passwords in URLs and ``token=...``."""
    for pattern, replacement in _SECRET_TEXT:
        text = pattern.sub(replacement, text)
    return text


def _clean(key: str, value: Any) -> Any:
    if isinstance(value, (bool, int, float)) or value is None or key.startswith("_"):
        return value  # a number of tokens is no token; structlog's own entries stay as they are
    if _SECRET_KEY.search(key):
        return HIDDEN
    if isinstance(value, str):
        return redact_text(value)
    if isinstance(value, Mapping):
        return {name: _clean(str(name), inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_clean("", inner) for inner in value]
    return redact_text(str(value))


def _formatter(renderer: Processor) -> structlog.stdlib.ProcessorFormatter:
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=_COMMON,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
    )


_COMMON: list[Processor] = [
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.stdlib.PositionalArgumentsFormatter(),
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.StackInfoRenderer(),
    structlog.processors.format_exc_info,
    redact,
]
