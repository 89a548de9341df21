"""Where bits can be flipped: the memories and registers of an accelerator's Verilog.

Yosys writes one module for each instance and calls it by its path, so a module's name says where it is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

#: What is flipped: names of targets, with what they hold. The first six are the groups that are protected.
TARGETS = {
    "weights": "weight memories",
    "parameters": "biases, thresholds, tables",
    "state": "state memories",
    "sums": "sums of the lanes",
    "queues": "items in queues and in the encoder's store",
    "streams": "payload registers between components",
    "registers": "every other register: pipelines, counters, control",
}
#: Targets in which protection leaves no upset silent.
PROTECTED = tuple(name for name in TARGETS if name != "registers")

_HOLDS = {
    "waiting tokens": "queues",
    "recurrent events": "queues",
    "groups with events": "queues",
    "borders to send": "queues",
    "logits that wait": "queues",
    "weights": "weights",
    "sums": "sums",
    "state c": "state",
    "events sent": "state",
}
_MODULE = re.compile(r"^module (\S+) ?\(.*?^endmodule", re.MULTILINE | re.DOTALL)
_MEMORY = re.compile(r"^  reg \[(\d+):0\] (\S+) \[(\d+):0\];", re.MULTILINE)
_REGISTER = re.compile(r"^  reg (?:\[(\d+):0\] )?(\S+) *(?:= [^;]*)?;", re.MULTILINE)
_CLOCKED = re.compile(r"^  always @\(posedge clk\)(.*?)(?=^  \S)", re.MULTILINE | re.DOTALL)
_ASSIGNED = re.compile(r"(?:^ +|\) )([A-Za-z_]\w*) *(?:\[[\d:]+\])? +<= ", re.MULTILINE)
_NUMBER = re.compile(r"_24_\d+$")  # what Yosys puts behind a name to make it the only one, made plain
_ESCAPED = re.compile(r"\\(\S+) ")
#: Registers of the weight fetch that hold no request.
_FETCH_CONTROL = re.compile(r"(next|current)_valid|opening|last|ends|\w*_fault")


@dataclass(frozen=True)
class Target:
    """An array of words, or one register, that a flip may hit.

    ``module``, ``scope`` and ``variable`` are its names in the Verilog of :func:`plain_names`, ``path`` is
    where it is in the accelerator, ``words`` and ``width`` are its size; a register has one word.
    """

    kind: str
    path: str
    module: str
    scope: str
    variable: str
    words: int
    width: int

    @property
    def bits(self) -> int:
        """How many bits there are to flip."""
        return self.words * self.width


def plain_names(verilog: str) -> str:
    """Verilog without escaped identifiers, so that a simulator does not rename anything."""

    def plain(match: re.Match) -> str:
        return _plain(match[1]) + " "

    return _ESCAPED.sub(plain, verilog)


def find_targets(verilog: str, sidecar: Mapping[str, Any], *, registers: bool) -> list[Target]:
    """All targets of an accelerator's Verilog, as the generator wrote it; other registers, too, if wanted.

    Raises
    ------
    ValueError
        If a memory of the Verilog is none of the sidecar's, or the other way round: a campaign that overlooks
        a memory would prove nothing of it.
    """
    found = []
    seen = set()
    for match in _MODULE.finditer(verilog):
        parts = match[1].lstrip("\\").split(".")
        path = re.sub(r"\$\d+", "", ".".join(parts[1:]))
        scope = ".".join(part if re.fullmatch(r"\w+", part) else _plain(part) for part in parts)
        module = _plain(match[1][1:]) if match[1].startswith("\\") else match[1]
        text = plain_names(match[0])
        memories = {name: (int(high) + 1, int(top) + 1) for high, name, top in _MEMORY.findall(text)}
        widths = {name: int(high or 0) + 1 for high, name in _REGISTER.findall(text)}
        for name, (width, words) in memories.items():
            kind, entry = _memory_kind(path, sidecar)
            seen.add(entry)
            found.append(Target(kind, path, module, scope, name, words, width))
        clocked = {name for block in _CLOCKED.findall(text) for name in _ASSIGNED.findall(block)}
        for name in sorted(clocked - memories.keys()):
            kind = "streams" if _is_stream(path, name, memories) else "registers"
            if kind == "streams" or registers:
                found.append(Target(kind, path, module, scope, name, 1, widths[name]))
    if missing := {entry["path"] for entry in sidecar["memories"]} - seen:
        raise ValueError(f"memories of the sidecar that are not in the Verilog: {', '.join(sorted(missing))}")
    return found


def _is_stream(path: str, name: str, memories: Mapping[str, Any]) -> bool:
    """Whether a register holds the payload of a stream, or a request on its way."""
    unit, name = path.rsplit(".", 1)[-1], _NUMBER.sub("", name.removeprefix("e_"))
    if unit == "fetch":
        return not _FETCH_CONTROL.fullmatch(name) and not name.endswith("_copy")
    if unit in ("scheduler", "encoder", "gate_encoder"):
        return name in ("o__payload", "due")
    return "near" in memories and name == "o__payload"


def _memory_kind(path: str, sidecar: Mapping[str, Any]) -> tuple[str, str]:
    """The target that a memory belongs to, and the path of the sidecar's entry for it."""
    best = ""
    for entry in sidecar["memories"]:
        at = entry["path"]
        if (path + ".").startswith(at + ".") or re.fullmatch(re.escape(at) + r"\d+(\..*)?", path):
            best = max(best, at, key=len)
    if not best:
        raise ValueError(f"memory {path} of the Verilog is none of the sidecar's")
    holds = next(entry["holds"] for entry in sidecar["memories"] if entry["path"] == best)
    return _HOLDS.get(holds, "parameters"), best


def _plain(name: str) -> str:
    return "e_" + re.sub(r"\W", lambda match: f"_{ord(match[0]):x}_", name)
