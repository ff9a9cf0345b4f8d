"""What users write for ``kind: script``: a command, its files and its environment."""

from __future__ import annotations

import shlex
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from aios.spec import Strict, WorkloadSpec
from pipelines.workdir import check_working_dir

RESERVED = ("RAY_", "AIOS_")


def _command(value: object) -> object:
    if isinstance(value, str):
        try:
            return tuple(shlex.split(value))
        except ValueError as error:
            raise ValueError(f"{value!r} is no command: {error}; or write it as a list") from None
    return value


def _not_reserved(env: dict[str, str]) -> dict[str, str]:
    taken = sorted(name for name in env if name.startswith(RESERVED) or "=" in name or "\0" in name + env[name])
    if taken:
        raise ValueError(f"{', '.join(taken)}: names beginning with RAY_ or AIOS_ are set by the system; use others")
    return env


Env = Annotated[dict[str, str], AfterValidator(_not_reserved)]


class RuntimeEnvSpec(Strict):
    """The part of Ray's runtime environment that a script may set."""

    env_vars: Env = Field(default_factory=dict)
    pip: tuple[str, ...] | None = None


class ScriptSpec(WorkloadSpec):
    """A Python file with plain Ray tasks and actors, unchanged, or any other command.

    ``entrypoint`` is a command line or a list; a bare ``python`` is the cluster's own. ``working_dir`` is a folder that
    the nodes can read, or ``package://SHA256`` as the client uploads it.
    """

    kind: Literal["script"]
    entrypoint: Annotated[tuple[str, ...], BeforeValidator(_command), Field(min_length=1)]
    working_dir: str | None = Field(default=None, min_length=1)
    env: Env = Field(default_factory=dict)
    runtime_env: RuntimeEnvSpec = RuntimeEnvSpec()

    @model_validator(mode="after")
    def _package_is_whole(self) -> ScriptSpec:
        check_working_dir(self.working_dir)
        if self.entrypoint[0] == "":
            raise ValueError("entrypoint is empty: write a command such as python train.py")
        return self

    @property
    def is_python(self) -> bool:
        return self.entrypoint[0] in ("python", "python3") and len(self.entrypoint) > 1

    def environment(self) -> dict[str, Any]:
        return {**self.runtime_env.env_vars, **self.env}
