"""And-inverter graphs: read from Yosys, and two versions of one joined to ask whether they ever differ.

A literal is twice a number of a variable, plus 1 if it is inverted; 0 is the constant 0.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from egru.errors import EgretError


@dataclass(frozen=True)
class Aig:
    """A sequential circuit of AND gates, inverters and registers that begin with 0.

    Attributes
    ----------
    inputs : names; variables 1, 2, ...
    registers : the literal that each takes in a cycle; variables behind the inputs
    outputs : literals
    names : of the outputs
    ands : literals (gates x 2), in an order in which each is there before it is used
    """

    inputs: tuple[str, ...]
    registers: tuple[int, ...]
    outputs: tuple[int, ...]
    names: tuple[str, ...]
    ands: tuple[tuple[int, int], ...]

    @classmethod
    def parse(cls, contents: bytes) -> Aig:
        """A binary AIGER file with symbols; EgretError if a register begins with anything but 0."""
        at = contents.index(b"\n")
        header = contents[:at].split()
        if header[0] != b"aig":
            raise EgretError("the netlist is no binary AIGER file: write it with Yosys's write_aiger")
        _, inputs, latches, outputs, gates = (int(word) for word in header[1:6])

        def line() -> bytes:
            nonlocal at
            begin, at = at + 1, contents.index(b"\n", at + 1)
            return contents[begin:at]

        lines = [line().split() for _ in range(latches)]
        if any(words[1:] not in ([], [b"0"]) for words in lines):
            raise EgretError("a register of the netlist does not begin with 0: write_aiger needs -zinit")
        roots = [int(line()) for _ in range(outputs)]
        at += 1
        pairs = []
        left = 2 * (inputs + latches)
        for _ in range(gates):
            left += 2
            values = []
            base = left
            for _ in range(2):
                delta = shift = 0
                while True:
                    byte = contents[at]
                    at += 1
                    delta |= (byte & 127) << shift
                    shift += 7
                    if byte < 128:
                        break
                base -= delta
                values.append(base)
            pairs.append((values[0], values[1]))
        names = [f"i{number}" for number in range(inputs)]
        shown = [f"o{number}" for number in range(outputs)]
        for symbol in contents[at:].split(b"\nc\n")[0].decode().splitlines():
            place, _, name = symbol.partition(" ")
            if place[:1] in ("i", "o") and place[1:].isdigit():
                (names if place[0] == "i" else shown)[int(place[1:])] = name
        registers = tuple(int(words[0]) for words in lines)
        return cls(tuple(names), registers, tuple(roots), tuple(shown), tuple(pairs))

    def without(self, names: Iterable[str]) -> Aig:
        """The same without some outputs."""
        dropped = set(names)
        left = [pair for pair in zip(self.names, self.outputs, strict=True) if pair[0] not in dropped]
        return replace(
            self, names=tuple(name for name, _ in left), outputs=tuple(literal for _, literal in left)
        )


@dataclass
class _Graph:
    """A graph under construction: equal gates are one, constants vanish."""

    variables: int
    first_gate: int = field(init=False)
    ands: list[tuple[int, int]] = field(default_factory=list)
    known: dict[tuple[int, int], int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.first_gate = self.variables + 1

    def both(self, a: int, b: int) -> int:
        if a > b:
            a, b = b, a
        if a == 0 or a ^ b == 1:
            return 0
        if a == 1 or a == b:
            return b
        found = self.known.get((a, b))
        if found is None:
            self.variables += 1
            found = self.known[a, b] = 2 * self.variables
            self.ands.append((a, b))
        return found

    def differ(self, a: int, b: int) -> int:
        return self.both(self.both(a, b) ^ 1, self.both(a ^ 1, b ^ 1) ^ 1)


def miter(
    aig: Aig,
    first: Mapping[str, int],
    second: Mapping[str, int],
    silent: Collection[str] = (),
    at_rest: Collection[int] = (),
) -> tuple[bytes, int]:
    """A circuit whose one output is 1 when two versions of `aig` differ at their outputs.

    Parameters
    ----------
    aig
        A circuit.
    first, second
        Values of the inputs that make the versions. All other inputs are common to both, and free.
    silent
        Outputs that are 0 at all times in the first version. That is taken for granted: a difference counts
        only if they have been 0 in all cycles up to it. They are not compared.
    at_rest
        Registers that are 0 for ever in the first version: see :func:`at_rest`.

    Returns
    -------
    tuple
        Contents of an AIGER file, and the registers that the versions do not share. They share those
        that take the same value in each cycle if all shared ones hold the same.
    """
    free = [number for number, name in enumerate(aig.inputs) if name not in first]
    told = [number for number, name in enumerate(aig.names) if name in silent]
    count, apart, zero = len(aig.registers), set[int](), set[int]()
    granted = set(at_rest)
    begin = 1 + len(free)
    while True:
        order = sorted(apart)
        graph = _Graph(len(free) + count + len(order) + 1)
        own = {register: 2 * (begin + count + place) for place, register in enumerate(order)}
        of_first, always = dict.fromkeys(granted, 0), dict.fromkeys(zero, 0)
        copies = [
            _instance(aig, graph, chosen, free, held | always)
            for chosen, held in ((first, of_first), (second, of_first | own))
        ]
        found = {number for number in range(count) if copies[0][0][number] != copies[1][0][number]}
        # All begin with 0, so one that takes 0 for ever, if others do, is 0 for ever.
        still = {number for number in range(count) if not copies[0][0][number] | copies[1][0][number]}
        quiet = [copies[0][1][number] for number in told]
        plain = {
            (literal >> 1) - begin
            for literal in quiet
            if not literal & 1 and begin <= literal >> 1 < begin + count
        }
        if found <= apart and still <= zero and plain <= granted:
            break
        apart |= found
        zero |= still
        granted |= plain
    different = 0
    for number, (a, b) in enumerate(zip(copies[0][1], copies[1][1], strict=True)):
        if number not in told:
            different = graph.both(different ^ 1, graph.differ(a, b) ^ 1) ^ 1
    # What is granted of a register holds in the next cycle as well.
    quiet += [copies[0][0][register] for register in granted.difference(at_rest)]
    as_told, broken = 1, 2 * graph.first_gate - 2
    for literal in quiet:
        as_told = graph.both(as_told, literal ^ 1)
    so_far = graph.both(as_told, broken ^ 1) if as_told != 1 else 1
    following = copies[0][0] + [copies[1][0][register] for register in order] + [so_far ^ 1]
    return _needed(graph, len(free), following, graph.both(different, so_far)), len(order)


def at_rest(aig: Aig, chosen: Mapping[str, int]) -> set[int]:
    """Registers of a version that are 0 for ever: each takes 0 in a cycle in which all of them are 0."""
    free = [number for number, name in enumerate(aig.inputs) if name not in chosen]
    zero = set(range(len(aig.registers)))
    while True:
        graph = _Graph(len(free) + len(aig.registers))
        following = _instance(aig, graph, chosen, free, dict.fromkeys(zero, 0))[0]
        left = {register for register in zero if not following[register]}
        if left == zero:
            return zero
        zero = left


def _instance(
    aig: Aig, graph: _Graph, chosen: Mapping[str, int], free: list[int], own: Mapping[int, int]
) -> tuple[list[int], list[int]]:
    """What registers take and what outputs are, in one version; `own` are registers not shared."""
    values = [0] * (1 + len(aig.inputs) + len(aig.registers) + len(aig.ands))
    for place, number in enumerate(free):
        values[1 + number] = 2 * (1 + place)
    for number, name in enumerate(aig.inputs):
        if name in chosen:
            values[1 + number] = chosen[name]
    begin = 1 + len(aig.inputs)
    for number in range(len(aig.registers)):
        values[begin + number] = own.get(number, 2 * (1 + len(free) + number))
    at = begin + len(aig.registers)
    both = graph.both
    for a, b in aig.ands:
        values[at] = both(values[a >> 1] ^ (a & 1), values[b >> 1] ^ (b & 1))
        at += 1

    def of(literal: int) -> int:
        return values[literal >> 1] ^ (literal & 1)

    return [of(literal) for literal in aig.registers], [of(literal) for literal in aig.outputs]


def _needed(graph: _Graph, inputs: int, following: list[int], output: int) -> bytes:
    """What the output depends on, as a binary AIGER file."""
    base = inputs + len(following)
    needed = np.zeros(graph.variables + 1, bool)
    edge = [output >> 1]
    while edge:
        variable = edge.pop()
        if needed[variable] or not variable:
            continue
        needed[variable] = True
        if variable > base:
            edge += [literal >> 1 for literal in graph.ands[variable - base - 1]]
        elif variable > inputs:
            edge.append(following[variable - inputs - 1] >> 1)
    number, new = inputs, list(range(inputs + 1)) + [0] * (graph.variables - inputs)
    for variable in (np.flatnonzero(needed[inputs + 1 :]) + inputs + 1).tolist():
        number += 1
        new[variable] = number
    kept = [at for at in range(len(following)) if needed[inputs + 1 + at]]
    gates = [at for at in range(len(graph.ands)) if needed[base + 1 + at]]

    def of(literal: int) -> int:
        return 2 * new[literal >> 1] | (literal & 1)

    lines = [f"aig {number} {inputs} {len(kept)} 1 {len(gates)}", *(str(of(following[at])) for at in kept)]
    contents = bytearray("\n".join([*lines, str(of(output)), ""]).encode())
    for at in gates:
        low, high = sorted(of(literal) for literal in graph.ands[at])
        for delta in (2 * new[base + 1 + at] - high, high - low):
            while delta > 127:
                contents.append(delta & 127 | 128)
                delta >>= 7
            contents.append(delta)
    return bytes(contents)
