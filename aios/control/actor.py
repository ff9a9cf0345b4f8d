"""The control plane as a named detached Ray actor on the head, and finding, starting and ending it from outside."""

from __future__ import annotations

import gc
import os
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Protocol

import ray
from ray.exceptions import AuthenticationError, RayError

from aios.config import NAMESPACE, PLANE_NAME
from aios.errors import AiosError, NoControlPlane, StoreFull, StoreUnavailable, Unauthorized, VersionMismatch

ANSWER_S = 30.0
AGAIN_S = 5.0
"""How long a control plane that could not reach its log, or found no room, says so before it is started anew."""
_HEAD = {"node:__internal_head__": 0.001}


class Service(Protocol):
    """What runs inside the actor."""

    def stop(self) -> None: ...


class ControlPlane:
    """A threaded actor; its methods never block, and all that lasts is in the event log.

    Ray restarts it for ever, at the same address. Where it cannot begin at all (a damaged log) it stays and says why,
    since another try would end the same way; where its log is full or away for a while, it is tried again and again.

    Parameters
    ----------
    factory : str
        ``module:function``, called with ``parts`` and a function to call when the control plane has ended.
    """

    def __init__(self, factory: str, parts: Mapping[str, Any]) -> None:
        self._failure = ""
        self._api_url = str(parts.get("facts", {}).get("api_url", ""))
        self._service: Service | None = None
        self._ending = threading.Event()
        module, _, name = factory.partition(":")
        try:
            with _nothing_collected():
                self._service = getattr(import_module(module), name)(parts, self._ended)
        except AiosError as error:
            self._failure = f"{error.message}; {error.hint}" if error.hint else error.message
            if isinstance(error, (StoreUnavailable, StoreFull)):  # which may pass: Ray starts this one anew
                threading.Timer(AGAIN_S, self._ended).start()

    def health(self) -> dict[str, Any]:
        return {"pid": os.getpid(), "failure": self._failure, "api_url": self._api_url}

    def stop(self) -> None:
        self._ending.set()
        if self._service is not None:
            self._service.stop()

    def _ended(self) -> None:
        """Leave: another control plane has taken over, or Ray starts this one anew."""
        if not self._ending.is_set():
            os._exit(0)


@contextmanager
def _nothing_collected() -> Iterator[None]:
    """Have Python look for no garbage for a while, and never among what was made by then: modules, a folded log."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


@dataclass(frozen=True, slots=True)
class Attached:
    """A connection of this process to a Ray cluster."""

    address: str
    dashboard_url: str
    ray_version: str
    python_version: str


@contextmanager
def attached(address: str) -> Iterator[Attached]:
    """Connect this process to the Ray cluster at ``address`` for a while.

    Raises
    ------
    NoControlPlane
        Nothing answers there.
    VersionMismatch
        The cluster has another Ray or Python version.
    Unauthorized
        The cluster wants a token that this process does not have.
    """
    _reachable(address)
    try:
        context = ray.init(address=address, namespace=NAMESPACE, log_to_driver=False, logging_level="ERROR")
    except AuthenticationError as error:
        hint = "set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN_PATH to the cluster's token"
        raise Unauthorized(f"the Ray cluster at {address} wants a token: {_first(error)}", hint=hint) from None
    except (ConnectionError, RayError, RuntimeError) as error:
        if "ersion mismatch" in str(error):
            raise VersionMismatch(
                " ".join(str(error).split()), hint="use the Ray and Python of the cluster, or another cluster"
            ) from None
        raise NoControlPlane(
            f"the Ray cluster at {address} did not let us in: {_first(error)}", hint="is it up, and is the token right?"
        ) from None
    try:
        url = context.address_info.get("webui_url") or ""
        yield Attached(
            str(context.address_info["gcs_address"]),
            f"http://{url}" if url else "",
            str(context.ray_version),
            str(context.python_version),
        )
    finally:
        ray.shutdown()


def start(factory: str, parts: Mapping[str, Any], environment: Mapping[str, str]) -> None:
    """Start the control plane on the head, unless there is one."""
    actor: Any = ray.remote(ControlPlane)
    actor.options(
        name=PLANE_NAME,
        namespace=NAMESPACE,
        lifetime="detached",
        get_if_exists=True,
        num_cpus=0,
        resources=_HEAD,
        scheduling_strategy="DEFAULT",
        max_restarts=-1,
        max_task_retries=0,
        max_concurrency=8,
        runtime_env={"env_vars": dict(environment)},
    ).remote(factory, dict(parts))


def health() -> Mapping[str, Any]:
    """Return what the control plane says of itself; raises NoControlPlane."""
    try:
        answer: Mapping[str, Any] = ray.get(_actor().health.remote(), timeout=ANSWER_S)
    except RayError as error:
        raise NoControlPlane(f"the control plane does not answer: {_first(error)}") from None
    return answer


def end() -> bool:
    """End the control plane for good; returns whether there was one."""
    try:
        actor = _actor()
    except NoControlPlane:
        return False
    with suppress(RayError):  # it is killed below all the same
        ray.get(actor.stop.remote(), timeout=5)
    ray.kill(actor, no_restart=True)
    return True


def _actor() -> Any:
    try:
        return ray.get_actor(PLANE_NAME, namespace=NAMESPACE)
    except ValueError:
        raise NoControlPlane("no control plane runs on this cluster", hint="start one: aios up") from None


def _reachable(address: str) -> None:
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdigit():
        return
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except OSError as error:
        raise NoControlPlane(f"nothing answers at {address}: {error}", hint="is the Ray cluster up?") from None


def _first(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
