"""Tokens over a line of bytes: what connects the accelerator to a host."""

from amaranth.hdl import Cat, Module, Mux, Shape, ShapeLike, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out

from egret_hw.link_protocol import MESSAGE_BYTES, RECEIVE_BUFFER_BYTES, Flag, Source
from egret_hw.stream import Kind, tap_signature, token_layout, token_stream

__all__ = ["ByteLink"]

_VALUE_BITS = 8 * (MESSAGE_BYTES - 3)
_KINDS = len(Kind)


class ByteLink(wiring.Component):
    """Byte streams on the host's side, token streams on the accelerator's.

    The format is that of `egret_hw.link_protocol` (docs/link.md). Nothing that the accelerator says is ever
    lost, and the link never holds back the last layer: a TICK is passed on only when the event buffer
    has room for every unit to fire in the step that it closes. So the taps need no ready.

    A malformed first byte, and an event that does not fit the network, are ignored and reported by a status
    message. Bytes from the host take one cycle each; a message takes eight transfers.

    Parameters
    ----------
    inputs : int
        Inputs of the network.
    input_value : ShapeLike
        Shape of an input event's value, at most 8 bits.
    units : int
        Units of the last layer.
    unit_value : ShapeLike
        Shape of its event payload.
    classes : int
        Outputs of the readout.
    logit_value : ShapeLike
        Shape of a logit, at most 40 bits.
    receive_depth : int
        Bytes held for the accelerator.
    event_depth : int or None
        Tokens of the last layer held for the host, at least 2 x (units + 1): two steps may then be under
        way at once. By default the next power of two, at least 512 (one block RAM).

    Members
    -------
    received : In(stream.Signature(8))
        Bytes from the host. Always ready, unless the buffer is full.
    overflow, framing_error : In(1)
        Raised for a cycle by the receiver when it lost a byte; they become flags of a status message.
    fault : In(1)
        1 = the accelerator's protection has seen an upset; it becomes a flag of one status message.
    sent : Out(stream.Signature(8))
        Bytes to the host.
    events : Out(token_stream(inputs, input_value))
        To the accelerator.
    logits : In(token_stream(classes, logit_value))
        From the readout.
    tap : In(tap_signature(token_layout(units, unit_value)))
        The last layer's output tokens, as they pass.

    Raises
    ------
    ValueError
        If a size does not fit the format, or ``event_depth`` is too small.
    """

    def __init__(
        self,
        *,
        inputs: int,
        input_value: ShapeLike,
        units: int,
        unit_value: ShapeLike,
        classes: int,
        logit_value: ShapeLike,
        receive_depth: int = RECEIVE_BUFFER_BYTES,
        event_depth: int | None = None,
    ) -> None:
        for name, size in (("inputs", inputs), ("units", units), ("classes", classes)):
            if not 1 <= size <= 1 << 16:
                raise ValueError(f"{name} must be in 1 .. 65536, not {size!r}")
        for name, shape, limit in (
            ("input_value", input_value, 8),
            ("unit_value", unit_value, 8),
            ("logit_value", logit_value, _VALUE_BITS),
        ):
            if not 1 <= Shape.cast(shape).width <= limit:
                raise ValueError(f"{name} must be 1 to {limit} bits wide, not {shape!r}")
        least_depth = 2 * (units + 1)
        if event_depth is None:
            event_depth = max(512, 1 << (least_depth - 1).bit_length())
        if event_depth < least_depth:
            raise ValueError(
                f"event_depth must be at least {least_depth}, two steps of all units firing, "
                f"not {event_depth!r}"
            )
        if receive_depth < 4:
            raise ValueError(f"receive_depth must be at least 4 bytes, one token, not {receive_depth!r}")
        self.inputs = inputs
        self.input_value = Shape.cast(input_value)
        self.units = units
        self.classes = classes
        self.receive_depth = receive_depth
        self.event_depth = event_depth
        super().__init__(
            {
                "received": In(stream.Signature(8)),
                "overflow": In(1),
                "framing_error": In(1),
                "fault": In(1),
                "sent": Out(stream.Signature(8)),
                "events": Out(token_stream(inputs, input_value)),
                "logits": In(token_stream(classes, logit_value)),
                "tap": In(tap_signature(token_layout(units, unit_value))),
            }
        )

    def elaborate(self, platform) -> Module:
        m = Module()
        set_flags = Signal(len(Flag))
        room = Signal()
        self._elaborate_reader(m, set_flags, room)
        event_buffer = self._elaborate_event_buffer(m, room)
        self._elaborate_writer(m, set_flags, event_buffer)
        return m

    def _elaborate_reader(self, m: Module, set_flags: Signal, room: Signal) -> None:
        """Bytes to tokens; a TICK or END waits for `room`."""
        m.submodules.receive_buffer = buffer = SyncFIFOBuffered(width=8, depth=self.receive_depth)
        wiring.connect(m, wiring.flipped(self.received), buffer.w_stream)
        byte = buffer.r_stream

        token = Signal(data.StructLayout({"kind": 8, "index": 16, "value": 8}))
        raw = token.as_value()
        position = Signal(range(5))  # bytes of the token held; 4 is a whole token
        kind_is_bad = byte.payload >= _KINDS

        # The value as the network's format sees it; equal to the byte unless the byte does not fit.
        value = Signal(self.input_value)
        m.d.comb += value.eq(token.value)
        extended = Signal(signed(9))
        m.d.comb += extended.eq(value)
        is_event = token.kind == Kind.EVENT.value
        event_is_bad = is_event & ((token.index >= self.inputs) | (extended[:8] != token.value))

        bad_kind = Signal()
        bad_event = Signal()
        with m.If(position == 4):
            with m.If(event_is_bad):
                m.d.comb += bad_event.eq(1)
                m.d.sync += position.eq(0)
            with m.Else():
                m.d.comb += self.events.valid.eq(is_event | room)
                with m.If(self.events.valid & self.events.ready):
                    m.d.sync += position.eq(0)
        with m.Else():
            m.d.comb += byte.ready.eq(1)
            with m.If(byte.valid):
                m.d.sync += raw.eq(Cat(raw[8:], byte.payload))
                with m.If((position == 0) & kind_is_bad):
                    m.d.comb += bad_kind.eq(1)
                with m.Else():
                    m.d.sync += position.eq(position + 1)
        m.d.comb += [
            self.events.payload.kind.eq(token.kind[:2]),
            self.events.payload.index.eq(Mux(is_event, token.index, 0)),
            self.events.payload.value.eq(Mux(is_event, value, 0)),
        ]

        known_fault = Signal()
        m.d.sync += known_fault.eq(self.fault)
        m.d.comb += set_flags.eq(
            Mux(bad_kind, Flag.BAD_KIND, 0)
            | Mux(bad_event, Flag.BAD_EVENT, 0)
            | Mux(self.overflow, Flag.OVERFLOW, 0)
            | Mux(self.framing_error, Flag.FRAMING, 0)
            | Mux(self.fault & ~known_fault, Flag.FAULT, 0)
        )

    def _elaborate_event_buffer(self, m: Module, room: Signal) -> stream.Interface:
        """The last layer's tokens, and the account of their places.

        `claimed` counts tokens held plus places promised to steps that are under way. A step is promised
        units + 1 places when its TICK goes in; what it did not use comes back when its TICK comes out of
        the last layer.
        """
        layout = self.tap.token.shape()
        m.submodules.event_buffer = buffer = SyncFIFOBuffered(width=layout.size, depth=self.event_depth)
        m.d.comb += [buffer.w_en.eq(self.tap.strobe), buffer.w_data.eq(self.tap.token)]

        claimed = Signal(range(self.event_depth + 1))
        unused = Signal(range(self.units + 1), init=self.units)  # of the step that the last layer is in
        m.d.comb += room.eq(claimed <= self.event_depth - (self.units + 1))

        promised = Signal(range(self.units + 2))
        with m.If(self.events.valid & self.events.ready):
            with m.Switch(self.events.payload.kind):
                with m.Case(Kind.TICK):
                    m.d.comb += promised.eq(self.units + 1)
                with m.Case(Kind.END):
                    m.d.comb += promised.eq(1)
        returned = Signal(range(self.units + 1))
        with m.If(self.tap.strobe):
            with m.Switch(self.tap.token.kind):
                with m.Case(Kind.EVENT):
                    m.d.sync += unused.eq(unused - 1)
                with m.Case(Kind.TICK):
                    m.d.comb += returned.eq(unused)
                    m.d.sync += unused.eq(self.units)
        taken = buffer.r_rdy & buffer.r_en
        m.d.sync += claimed.eq(claimed + promised - returned - taken)

        return buffer.r_stream

    def _elaborate_writer(self, m: Module, set_flags: Signal, event_buffer: stream.Interface) -> None:
        """Messages to bytes. Status goes first, then logits: they are few, so events still get through."""
        message = Signal(
            data.StructLayout({"kind": 4, "source": 4, "index": 16, "value": signed(_VALUE_BITS)})
        )
        raw = message.as_value()
        bytes_left = Signal(range(MESSAGE_BYTES + 1))

        flags = Signal(len(Flag))
        m.d.sync += flags.eq(flags | set_flags)

        event = data.View(self.tap.token.shape(), event_buffer.payload)
        logit = self.logits.payload

        def load(source: Source, token) -> list:
            is_event = token.kind == Kind.EVENT
            return [
                message.source.eq(source),
                message.kind.eq(token.kind.as_value()),
                message.index.eq(Mux(is_event, token.index, 0)),
                message.value.eq(Mux(is_event, token.value, 0)),
                bytes_left.eq(MESSAGE_BYTES),
            ]

        with m.If(bytes_left == 0):
            with m.If(flags != 0):
                m.d.sync += [
                    message.source.eq(Source.STATUS),
                    message.kind.eq(0),
                    message.index.eq(0),
                    message.value.eq(flags),
                    flags.eq(set_flags),
                    bytes_left.eq(MESSAGE_BYTES),
                ]
            with m.Elif(self.logits.valid):
                m.d.comb += self.logits.ready.eq(1)
                m.d.sync += load(Source.LOGITS, logit)
            with m.Elif(event_buffer.valid):
                m.d.comb += event_buffer.ready.eq(1)
                m.d.sync += load(Source.EVENTS, event)
        with m.Else():
            m.d.comb += [self.sent.valid.eq(1), self.sent.payload.eq(raw[:8])]
            with m.If(self.sent.ready):
                m.d.sync += [raw.eq(raw >> 8), bytes_left.eq(bytes_left - 1)]
