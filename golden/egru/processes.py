"""Other programs, such as compilers: they end when this one is interrupted, with all that they started.

A signal to this process alone would leave them at work. So each gets a process group of its own, which is
killed when the wait for it ends early, and within :func:`ended_by_signals` also where a thread waits.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

_running: set[subprocess.Popen] = set()
_interrupted = False
#: Whether a program is being started, and what is to be raised when that is done.
_holding = False
_late: BaseException | None = None

#: Signals that end a program, where it is not set to ignore them.
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Terminated(KeyboardInterrupt):
    """An interrupt by one of :data:`SIGNALS`, whose number is ``signal``."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.signal = number


@contextmanager
def running(command: Sequence[str | Path], **options) -> Iterator[subprocess.Popen]:
    """Run a program while the body lasts; ``options`` are those of ``subprocess.Popen``.

    Where the body ends before the program, it is killed, with all that it started.
    """
    words = [str(word) for word in command]
    options.setdefault("stdin", subprocess.DEVNULL)
    process = None
    try:
        with _held():  # an interrupt between the two lines would lose it
            process = subprocess.Popen(words, process_group=0, **options)
            _running.add(process)
        if _interrupted:
            raise KeyboardInterrupt
        yield process
    finally:
        if process is not None:
            _end(process)
            _running.discard(process)
            for pipe in (process.stdout, process.stderr):
                if pipe is not None:
                    pipe.close()
            process.wait()


@contextmanager
def _held() -> Iterator[None]:
    """Let a signal take effect at the end of the body; signals are handled in the main thread alone."""
    global _holding, _late
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _holding = True
    try:
        yield
    finally:
        _holding = False
        if (late := _late) is not None:
            _late = None
            _end_all()
            raise late


def run(
    command: Sequence[str | Path], *, timeout: float | None = None, capture_output: bool = False, **options
) -> subprocess.CompletedProcess:
    """Do what ``subprocess.run`` does, and leave nothing running behind an interrupt or a time-out."""
    if capture_output:
        options |= {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with running(command, **options) as process:
        stdout, stderr = process.communicate(timeout=timeout)
    return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)


def _end(process: subprocess.Popen) -> None:
    if process.poll() is None:  # so its number is still its own
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def _end_all() -> None:
    global _interrupted
    _interrupted = True  # threads start no more programs
    for process in list(_running):
        _end(process)


def _interrupt(number: int, frame: FrameType | None) -> None:
    _raise(Terminated(number))


def _leave(number: int, frame: FrameType | None) -> None:
    _raise(SystemExit(128 + number))


def _raise(error: BaseException) -> None:
    global _late
    _end_all()
    if not _holding:
        raise error
    _late = error


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Let :data:`SIGNALS` end all programs that run, and raise :class:`Terminated`, within the body."""
    before = _handle(_interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def end_worker_on_signals() -> None:
    """Let :data:`SIGNALS` end a worker process of a pool, and all programs that it runs, without a word."""
    _running.clear()  # those of the process that it was forked from
    _handle(_leave)


def _handle(wanted: Callable[[int, FrameType | None], None]) -> dict[int, Any]:
    """Handle signals, but those that are ignored or handled by others; return the handlers before."""
    global _interrupted
    _interrupted = False
    if threading.current_thread() is not threading.main_thread():
        return {}
    usual = (signal.SIG_DFL, signal.default_int_handler, _interrupt)
    found: dict[int, Any] = {number: signal.getsignal(number) for number in SIGNALS}
    before = {number: handler for number, handler in found.items() if handler in usual}
    for number in before:
        signal.signal(number, wanted)
    return before
