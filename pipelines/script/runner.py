"""The actor in bundle 0 that runs a script: a Python file in its own main thread, any other command as a child.

A Python file runs as ``__main__`` in the actor's process, so that the tasks and actors it starts are captured by the
placement group. ``ray.init`` in it returns the connection that is there, and ``ray.shutdown`` does nothing.
"""

from __future__ import annotations

import ctypes
import importlib
import logging
import os
import runpy
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import ray

from pipelines.failure import Ended, describe
from pipelines.script.output import to_log

POLL_S = 0.25
PR_SET_PDEATHSIG = 1


@dataclass(frozen=True, slots=True)
class Command:
    """What to run, where, and the file whose appearance asks it to stop."""

    argv: tuple[str, ...]
    is_python: bool
    folder: Path
    stop_file: Path
    exit_file: Path
    grace_s: float
    alive: Callable[[], None] = lambda: None

    def exited(self, code: int) -> Ended:
        """Return what a process with this command line says by its exit code."""
        return Ended(code, f"{shlex.join(self.argv)} exited with status {code}" if code else "")


class Runner:
    """Runs one command and says how it ended; the stop file interrupts it as Ctrl-C would."""

    def run(self, command: Command) -> Ended:
        to_log()
        command.alive()
        os.chdir(command.folder)
        over = threading.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.default_int_handler)
        signal.pthread_sigmask(
            signal.SIG_UNBLOCK, {signal.SIGINT, signal.SIGTERM}
        )  # Ray starts workers with it blocked
        threading.Thread(target=_interrupt, args=(command.stop_file, over), daemon=True).start()
        try:
            ended = _python(command) if command.is_python else _child(command)
        except KeyboardInterrupt:
            ended = Ended(130, "interrupted", interrupted=True)
        finally:
            over.set()
            sys.stdout.flush()
            sys.stderr.flush()
        return ended


def _interrupt(stop_file: Path, over: threading.Event) -> None:
    while not over.wait(POLL_S):
        if stop_file.exists():
            main = threading.main_thread().ident
            assert main is not None, "the main thread runs the command"
            signal.pthread_kill(main, signal.SIGINT)  # to that thread, or a sleep in it would go on
            return


def _python(command: Command) -> Ended:
    _keep_connection()
    _remember_exit(command.exit_file)
    importlib.invalidate_caches()
    try:
        run_main(command.argv[1:], command.folder)
    except SystemExit as exit_:
        return _exited(exit_, command)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # the user's code may raise anything; here it becomes a fact
        return describe(error, command.folder)
    return Ended(0)


def run_main(args: Sequence[str], folder: Path) -> None:
    """Run ``FILE args``, ``-m MODULE args`` or ``-c CODE args`` as ``__main__``, as Python itself would."""
    while args and args[0] in ("-u", "-B"):  # unbuffered it is, and there is nothing to do about the other one
        args = args[1:]
    if not args:
        raise SystemExit("entrypoint: python without a file, -m or -c has nothing to run")
    if args[0] == "-c":
        sys.argv = ["-c", *args[2:]]
        sys.path.insert(0, str(folder))
        exec(compile(args[1], "<string>", "exec"), {"__name__": "__main__"})
    elif args[0] == "-m":
        sys.argv = [args[1], *args[2:]]
        sys.path.insert(0, str(folder))
        runpy.run_module(args[1], run_name="__main__", alter_sys=True)
    else:
        path = (folder / args[0]).resolve()
        if not path.is_file():
            raise SystemExit(f"{args[0]}: no such file in {folder}")
        sys.argv = [str(path), *args[1:]]
        sys.path.insert(0, str(path.parent))
        runpy.run_path(str(path), run_name="__main__")


def _exited(exit_: SystemExit, command: Command) -> Ended:
    if exit_.code is None or isinstance(exit_.code, int):
        return command.exited(exit_.code or 0)
    return Ended(1, str(exit_.code))


def _remember_exit(path: Path) -> None:
    """Have ``os._exit`` write its code down: the process ends with it, and Ray does not pass it on."""
    leave, pid = os._exit, os.getpid()

    def remembering(status: int) -> NoReturn:
        if os.getpid() == pid:  # a forked child ends itself alone
            path.write_text(str(status), encoding="utf-8")
            sys.stdout.flush()
        leave(status)

    os._exit = remembering


def _keep_connection() -> None:
    original = ray.init

    def init(*args: Any, **kwargs: Any) -> Any:
        logging.disable(logging.INFO)
        try:
            return original(ignore_reinit_error=True)
        finally:
            logging.disable(logging.NOTSET)

    ray.init = init
    ray.shutdown = lambda *args, **kwargs: None


def _child(command: Command) -> Ended:
    argv = [sys.executable, *command.argv[1:]] if command.argv[0] in ("python", "python3") else list(command.argv)
    try:
        child = subprocess.Popen(
            argv, cwd=command.folder, stdin=subprocess.DEVNULL, start_new_session=True, preexec_fn=_die_with_parent
        )
    except OSError as error:
        return Ended(127, f"{argv[0]}: {error.strerror}: is it installed on the node?")
    try:
        code = child.wait()
    except KeyboardInterrupt:
        _end(child, command.grace_s / 2)
        raise
    return command.exited(code if code >= 0 else 128 - code)


def _die_with_parent() -> None:
    """Have the kernel kill the child when this process is killed and cannot do it."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _end(child: subprocess.Popen[bytes], wait_s: float) -> None:
    """Ask the child and all that it started to end; make them after a while."""
    os.killpg(child.pid, signal.SIGTERM)
    try:
        child.wait(wait_s)
    except subprocess.TimeoutExpired:
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()
