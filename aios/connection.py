"""The wire to a control plane: where it is, who may, and patience while it restarts."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from typing import Any

import httpx

from aios.config import Settings
from aios.errors import AiosError, InvalidSpec, NoControlPlane, NotFound, Problem, Unauthorized

PREFIX = "/api/v1"
RETRY_S = 30.0
"""How long a control plane may be away before a client gives up."""
_AWAY = (httpx.ConnectError, httpx.ReadError, httpx.WriteError, httpx.RemoteProtocolError, httpx.TimeoutException)
_RETRIED = (502, 503, 504)


class Connection:
    """Sends requests that may be sent twice: every one carries what makes it do nothing new the second time.

    Parameters
    ----------
    on_trouble : callable
        Told once per outage what is wrong, before the first retry.
    """

    def __init__(
        self,
        api_url: str | None = None,
        token: str | None = None,
        timeout_s: float = 40.0,
        retry_s: float = RETRY_S,
        transport: httpx.BaseTransport | None = None,
        on_trouble: Callable[[str], None] = lambda text: None,
    ) -> None:
        settings = Settings.from_env()
        self.url = (api_url or settings.api_url or _from_cluster_file(settings)).rstrip("/")
        if "://" not in self.url:
            self.url = f"http://{self.url}"
        self._retry_s = retry_s
        self._on_trouble = on_trouble
        try:
            self._http = httpx.Client(
                base_url=self.url + PREFIX,
                headers={"Authorization": f"Bearer {token or _token(settings)}"},
                timeout=httpx.Timeout(timeout_s, connect=5.0),
                transport=transport,
                trust_env=False,
            )
        except (httpx.InvalidURL, UnicodeError) as error:
            raise InvalidSpec(f"{self.url} is no address: {error}", hint="such as http://127.0.0.1:8420") from None

    def close(self) -> None:
        self._http.close()

    def get(self, path: str, **params: Any) -> Any:
        return self.send("GET", path, params={key: value for key, value in params.items() if value not in (None, "")})

    def send(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        body: Any = None,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """Return the JSON of the answer; raises an error of the tree."""
        sent = dict(headers or {})
        if body is not None:
            content = as_json(body)
            sent["Content-Type"] = "application/json"
        response = self._patiently(method, path, params, content, sent)
        if response.status_code >= 400:
            raise error_of(response)
        try:
            return response.json()
        except ValueError:
            raise _stranger(self.url) from None

    def _patiently(
        self, method: str, path: str, params: Mapping[str, Any] | None, content: bytes | None, headers: dict[str, str]
    ) -> httpx.Response:
        give_up, pause_s, told = time.monotonic() + self._retry_s, 0.1, False
        while True:
            trouble: Exception
            try:
                response = self._http.request(method, path, params=params, content=content, headers=headers)
                if response.status_code not in _RETRIED:
                    return response
                trouble = error_of(response)
            except _AWAY as error:
                trouble = NoControlPlane(
                    f"no control plane answers at {self.url} ({_reason(error)})",
                    hint="start one with `aios up`, or look at its log in AIOS_HOME/logs",
                )
            except httpx.HTTPError as error:
                message = f"cannot talk to {self.url}: {_reason(error)}"
                raise NoControlPlane(message, hint="check AIOS_ADDRESS") from None
            if time.monotonic() + pause_s > give_up:
                raise trouble from None
            if not told:
                self._on_trouble(f"{trouble}; trying again for up to {self._retry_s:.0f} s")
                told = True
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, 2.0)


def as_json(body: Any) -> bytes:
    try:
        return json.dumps(body, ensure_ascii=True, allow_nan=False).encode()
    except (TypeError, ValueError) as error:
        hint = "use text, finite numbers, lists and dicts"
        raise InvalidSpec(f"cannot be sent as JSON: {error}", hint=hint) from None


def error_of(response: httpx.Response) -> AiosError:
    """Return the error that a problem+json answer stands for."""
    try:
        body = response.json()
        code, detail = str(body["code"]), str(body["detail"])
    except (ValueError, KeyError, TypeError):
        return _stranger(str(response.request.url)) if response.status_code != 401 else _nobody()
    problems = [
        Problem(tuple(item.get("loc", ())), str(item.get("message", "")), str(item.get("hint", "")))
        for item in body.get("problems", ())
    ]
    fallback = {422: InvalidSpec, 404: NotFound, 413: InvalidSpec, 415: InvalidSpec, 503: NoControlPlane}
    cls = _classes().get(code) or fallback.get(response.status_code, AiosError)
    return cls(detail, hint=str(body.get("hint", "")), problems=problems)


def _classes() -> dict[str, type[AiosError]]:
    found: dict[str, type[AiosError]] = {}
    todo: list[type[AiosError]] = [AiosError]
    while todo:
        cls = todo.pop()
        found.setdefault(cls.code, cls)
        todo.extend(cls.__subclasses__())
    return found


def _from_cluster_file(settings: Settings) -> str:
    """Return where the cluster that was started here has its API; raises NoControlPlane."""
    hint = "start one with `aios up`, or set AIOS_ADDRESS to where one runs"
    try:
        found = json.loads(settings.cluster_file.read_text(encoding="utf-8"))
        return str(found["api_url"])
    except FileNotFoundError:
        raise NoControlPlane(f"no cluster is running here (there is no {settings.cluster_file})", hint=hint) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise NoControlPlane(f"{settings.cluster_file} cannot be read: {error}", hint=hint) from None


def _token(settings: Settings) -> str:
    if os.environ.get("AIOS_TOKEN"):
        return os.environ["AIOS_TOKEN"]
    try:
        return settings.api_token_file.read_text(encoding="utf-8").strip()
    except OSError:
        raise Unauthorized(
            f"no token: {settings.api_token_file} cannot be read",
            hint="set AIOS_TOKEN, or AIOS_HOME to the folder of the cluster's owner",
        ) from None


def _nobody() -> Unauthorized:
    return Unauthorized("the control plane does not accept this token", hint="set AIOS_TOKEN or AIOS_HOME")


def _stranger(url: str) -> NoControlPlane:
    return NoControlPlane(f"what answers at {url} is no AIOS control plane", hint="check AIOS_ADDRESS")


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__
