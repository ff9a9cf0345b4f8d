"""Logs can be read by machines and by people, and keep no secrets."""

from __future__ import annotations

import io
import json
import logging
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from aios.telemetry import logs


@pytest.fixture
def console(tmp_path: Path) -> Iterator[io.StringIO]:
    stream = io.StringIO()
    logs.configure(tmp_path, console=stream)
    yield stream
    logger = logging.getLogger(logs.LOGGER)
    for handler in tuple(logger.handlers):
        logger.removeHandler(handler)
        handler.close()
    logger.propagate = True
    structlog.reset_defaults()


def log_lines(state_dir: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in logs.log_file(state_dir).read_text().splitlines()]


def test_the_file_has_a_json_line_for_each_entry_and_people_see_only_warnings(
    console: io.StringIO, tmp_path: Path
) -> None:
    log = structlog.get_logger("aios.control").bind(tenant="vision")
    log.info("turn_ended", turn=7)
    log.warning("store_slow", seconds=1.5)
    first, second = log_lines(tmp_path)
    assert first.items() >= {"event": "turn_ended", "turn": 7, "tenant": "vision", "level": "info",
                             "logger": "aios.control"}.items()  # fmt: skip
    assert first["timestamp"].endswith("Z")
    assert second["event"] == "store_slow"
    assert "turn_ended" not in console.getvalue()
    assert "store_slow" in console.getvalue()
    assert stat.S_IMODE(logs.log_file(tmp_path).stat().st_mode) == 0o600


def test_an_exception_is_one_line_with_its_traceback(console: io.StringIO, tmp_path: Path) -> None:
    try:
        raise ValueError("token=hunter2-hunter2 was refused")
    except ValueError:
        structlog.get_logger("aios.api").exception("request_failed")
    (line,) = log_lines(tmp_path)
    assert "ValueError" in line["exception"]
    assert "hunter2" not in line["exception"] + console.getvalue()


def test_plain_loggers_below_ours_are_written_too_and_others_are_left_alone(
    console: io.StringIO, tmp_path: Path
) -> None:
    logging.getLogger("aios.uvicorn").warning("listening with %s", "Bearer abcdef123456")
    logging.getLogger("elsewhere").warning("not ours")
    assert [line["event"] for line in log_lines(tmp_path)] == ["listening with Bearer [redacted]"]


def test_configuring_again_does_not_write_twice(console: io.StringIO, tmp_path: Path) -> None:
    logs.configure(tmp_path, console=console)
    structlog.get_logger("aios").warning("once")
    assert len(log_lines(tmp_path)) == 1


PLAIN = "basic auth is off, no bearer token: run `aios up` first, see http://host:8420/api"
SECRET = "s3cr3t-S3CR3T-0123456789"


@pytest.mark.parametrize(
    "fields",
    [
        {"token": SECRET},
        {"api_token": SECRET},
        {"Authorization": f"Bearer {SECRET}"},
        {"headers": {"authorization": SECRET, "accept": "*/*"}},
        {"request": {"env": [{"CLIENT_SECRET": SECRET}]}},
        {"password": [SECRET]},
        {"detail": f"sent bearer {SECRET} to the API"},
        {"url": f"postgresql://aios:{SECRET}@db/aios"},
        {"url": f"http://host/login?token={SECRET}&x=1"},
        {"error": RuntimeError(f"RAY_AUTH_TOKEN={SECRET}")},
        {"error": KeyError({"token": SECRET})},
        {"detail": f"Authorization: Basic {SECRET}"},
        {"event": f"called with Authorization: Bearer {SECRET}"},
        {"pair": ("Bearer", f"Bearer {SECRET}")},
    ],
    ids=repr,
)
def test_secrets_are_written_nowhere(console: io.StringIO, tmp_path: Path, fields: dict[str, Any]) -> None:
    structlog.get_logger("aios").warning(**{"event": "called"} | fields)
    assert SECRET not in logs.log_file(tmp_path).read_text()
    assert SECRET not in console.getvalue()
    assert logs.HIDDEN in logs.log_file(tmp_path).read_text()


def test_numbers_and_plain_words_are_kept(console: io.StringIO, tmp_path: Path) -> None:
    structlog.get_logger("aios").warning("served", n_tokens=512, detail=PLAIN, nodes=("n1",), ok=None)
    (line,) = log_lines(tmp_path)
    assert (line["n_tokens"], line["detail"], line["nodes"], line["ok"]) == (512, PLAIN, ["n1"], None)


@given(st.text(alphabet=st.characters(codec="ascii", categories=["L", "N"]), min_size=12, max_size=40), st.text())
def test_a_bearer_token_is_hidden_wherever_it_stands(token: str, around: str) -> None:
    assert f"Bearer {token}" not in logs.redact_text(f"{around} Bearer {token} {around}")
