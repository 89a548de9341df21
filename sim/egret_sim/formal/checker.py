"""Environments and rules that proofs share; first of all, the rules of a stream."""

from amaranth.asserts import AnySeq
from amaranth.hdl import Assert, Assume, Module, Shape, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In


def stream_rules(m: Module, port: stream.Interface, name: str, rule: type = Assert) -> None:
    """What every sender promises: a payload, once valid, stays valid and as it is until it is taken.

    `rule` is Assert for a component's outputs and Assume for its inputs. That `valid` does not look at
    `ready` within a cycle is shown on the netlist (:mod:`egret_sim.formal.combinational`).
    """
    waiting = Signal(name=f"{name}_waiting")
    payload = Value.cast(port.payload)
    before = Signal(len(payload), name=f"{name}_before")
    m.d.sync += [waiting.eq(port.valid & ~port.ready), before.eq(payload)]
    with m.If(waiting):
        m.d.comb += [rule(port.valid), rule(payload == before)]


def arbitrary(m: Module, shape: Shape | int, name: str) -> Signal:
    """A signal that may have any value in any cycle."""
    signal = Signal(shape, name=name)
    m.d.comb += signal.eq(AnySeq(len(signal)))
    return signal


def drive(m: Module, component: wiring.Component) -> None:
    """Let the inputs of `component` do anything that the stream rules allow."""
    for name, member in component.signature.members.items():
        port = getattr(component, name)
        if member.is_port:
            if member.flow == In:
                value = Value.cast(port)
                m.d.comb += value.eq(AnySeq(len(value)))
        elif is_stream(port):
            if member.flow == In:
                drive_stream(m, port, name)
            else:
                m.d.comb += port.ready.eq(AnySeq(1))
        elif member.flow == In:
            for _, _, value in port.signature.flatten(port):
                m.d.comb += Value.cast(value).eq(AnySeq(len(Value.cast(value))))


def drive_stream(m: Module, port: stream.Interface, name: str) -> None:
    """Any stream that keeps the rules, into an input."""
    payload = Value.cast(port.payload)
    m.d.comb += [port.valid.eq(AnySeq(1)), payload.eq(AnySeq(len(payload)))]
    stream_rules(m, port, name, Assume)


def is_stream(port: object) -> bool:
    """Whether `port` has a stream's signature."""
    signature = getattr(port, "signature", None)
    signature = signature.flip() if isinstance(signature, wiring.FlippedSignature) else signature
    return isinstance(signature, stream.Signature)


def streams_of(component: wiring.Component, flow) -> dict[str, stream.Interface]:
    """The stream ports of one direction, by name."""
    members = component.signature.members
    ports = {name: getattr(component, name) for name in members if members[name].flow == flow}
    return {name: port for name, port in ports.items() if is_stream(port)}
