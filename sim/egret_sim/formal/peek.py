"""Signals inside a component, by name, for the invariants that an induction needs."""

from typing import Any

from amaranth.hdl import Module, Signal, Value
from amaranth.hdl._ast import Assign, Operator
from amaranth.lib import memory, wiring

from egru.errors import EgretError


class Peek:
    """A component made part of `m`, whose inner signals can be looked at.

    Use it only where a claim about the ports is not inductive alone: a name that is not there any more is an
    EgretError, and the invariant has to be written anew.
    """

    def __init__(self, m: Module | None, name: str, component: wiring.Component):
        self.component = component
        self._module: Any = component.elaborate(None)
        component._MustUse__used = True  # elaborated here and not by Amaranth
        self._module._flush()
        if m is not None:
            m.submodules[name] = self._module

    def inside(self, name: str) -> "Peek":
        """A look into the submodule of this name. Ask once."""
        look = Peek(None, name, self.part(name))
        parts = self._module._named_submodules
        parts[name] = (look._module, *parts[name][1:])
        return look

    def signal(self, name: str) -> Signal:
        """The signal of this name that the component itself drives."""
        found = {
            id(signal): signal
            for statements in self._module._statements.values()
            for statement in statements
            for signal in statement._lhs_signals()
            if signal.name == name
        }
        if len(found) != 1:
            raise EgretError(
                f"{type(self.component).__name__} must have one signal {name!r} for an invariant of its "
                f"proof, not {len(found)}: name in egret_sim/formal what took its place"
            )
        return next(iter(found.values()))

    def alternatives(self, name: str) -> list[Value]:
        """Of the signal of this name, which is an "or" of several values: these values."""
        signal = self.signal(name)
        found: list[Value] = [
            statement.rhs
            for statements in self._module._statements.values()
            for statement in statements
            if isinstance(statement, Assign) and statement.lhs is signal
        ]
        while isinstance(found[0], Operator) and found[0].operator == "|":
            found[:1] = found[0].operands
        return found

    def part(self, name: str) -> Any:
        """The submodule of this name."""
        parts = self._module._named_submodules
        if name not in parts:
            raise EgretError(f"{type(self.component).__name__} has no part {name!r} any more")
        return parts[name][0]

    def word(self, m: Module, name: str, address: Value) -> Value:
        """The word at `address` of the memory of this name, in this cycle."""
        store = self.part(name)
        if not isinstance(store, memory.Memory):
            raise EgretError(f"{type(self.component).__name__}.{name} must be a memory, not {store!r}")
        port = store.read_port(domain="comb")
        m.d.comb += port.addr.eq(address)
        return Value.cast(port.data)
