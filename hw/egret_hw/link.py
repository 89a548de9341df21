"""Tokens over a line of bytes: what connects the accelerator to a host."""

from collections.abc import Sequence

from amaranth.hdl import Cat, Module, Mux, Shape, ShapeLike, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out

from egret_hw.counters import COUNTER_BITS
from egret_hw.link_protocol import (
    CHECKSUM,
    LOGIT_BITS,
    MESSAGE_BYTES,
    RECEIVE_BUFFER_BYTES,
    TOKEN_BYTES,
    Flag,
    Request,
    Source,
)
from egret_hw.stream import Kind, tap_signature, token_layout, token_stream

__all__ = ["ByteLink"]

_KINDS = len(Kind)
#: Those that a host may send. One sequence runs at a time, so a turn without a step says nothing.
_SENT_KINDS = Kind.EVENT, Kind.TICK, Kind.END


def _answer_layout() -> data.StructLayout:
    """What a request is answered with."""
    return data.StructLayout({"source": 4, "index": 16, "value": COUNTER_BITS})


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
    loads : sequence of (StructLayout, int)
        Of each layer, what loads its weights (:attr:`egret_hw.tile.Tile.load_layout`), and how many words
        there are; empty if the weights are fixed.
    counters : int
        Performance counters that a host may ask for.

    Attributes
    ----------
    word_bytes : int
        Bytes of a word in a LOAD token: those of the widest layer.

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
    load{k} : Out(stream.Signature(loads[k]))
        Words of weights for layer k.
    counters : In(COUNTER_BITS * counters)
        What was counted, the first counter lowest; only if there are any.

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
        loads: Sequence[tuple[data.StructLayout, int]] = (),
        counters: int = 0,
    ) -> None:
        for name, size in (("inputs", inputs), ("units", units), ("classes", classes)):
            if not 1 <= size <= 1 << 16:
                raise ValueError(f"{name} must be in 1 .. 65536, not {size!r}")
        for name, shape, limit in (
            ("input_value", input_value, 8),
            ("unit_value", unit_value, 8),
            ("logit_value", logit_value, LOGIT_BITS),
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
        self.loads = [layout for layout, _ in loads]
        self.load_words = [words for _, words in loads]
        self.counter_count = counters
        self.word_bytes = max((-(-load["word"].width // 8) for load in self.loads), default=0)
        members: dict = {
            f"load{number}": Out(stream.Signature(load)) for number, load in enumerate(self.loads)
        }
        if counters:
            members["counters"] = In(COUNTER_BITS * counters)
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
                **members,
            }
        )

    def elaborate(self, platform) -> Module:
        m = Module()
        set_flags = Signal(len(Flag))
        room = Signal()
        answer = stream.Signature(_answer_layout()).create()
        self._elaborate_reader(m, set_flags, room, answer)
        event_buffer = self._elaborate_event_buffer(m, room)
        self._elaborate_writer(m, set_flags, event_buffer, answer)
        return m

    def _elaborate_reader(self, m: Module, set_flags: Signal, room: Signal, answer: stream.Interface) -> None:
        """Bytes to tokens; a TICK or END waits for `room`, and what asks for an answer for its turn."""
        m.submodules.receive_buffer = buffer = SyncFIFOBuffered(width=8, depth=self.receive_depth)
        wiring.connect(m, wiring.flipped(self.received), buffer.w_stream)
        byte = buffer.r_stream

        token = Signal(data.StructLayout({"kind": 8, "index": 16, "value": 8}))
        raw = token.as_value()
        position = Signal(range(5))  # bytes of the token held; 4 is a whole token
        requests = [Request.LOAD, Request.CHECK] if self.loads else []
        requests += [Request.COUNTER] if self.counter_count else []
        known = Cat(byte.payload == request.value for request in requests).any() if requests else 0
        known |= Cat(byte.payload == kind.value for kind in _SENT_KINDS).any()
        kind_is_bad = ~known

        # The value as the network's format sees it; equal to the byte unless the byte does not fit.
        value = Signal(self.input_value)
        m.d.comb += value.eq(token.value)
        extended = Signal(signed(9))
        m.d.comb += extended.eq(value)
        is_event = token.kind == Kind.EVENT.value
        event_is_bad = is_event & ((token.index >= self.inputs) | (extended[:8] != token.value))

        bad_kind = Signal()
        bad_event = Signal()
        bad_request = Signal()
        whole, taken = Signal(), Signal()  # a token is held; a byte is taken
        word_whole = Signal()
        m.d.comb += whole.eq(position == TOKEN_BYTES)
        if self.loads:
            self._elaborate_loads(m, token, position, word_whole, taken, bad_request, answer)
        if self.counter_count:
            self._elaborate_counters(m, token, whole, bad_request, answer)
        loading = whole & (token.kind == Request.LOAD) if self.loads else 0
        with m.If(loading & ~word_whole):
            m.d.comb += byte.ready.eq(1)
        with m.Elif(whole & (token.kind >= _KINDS)):  # a request, which is through or has to wait
            with m.If(word_whole | answer.ready | bad_request):
                m.d.sync += position.eq(0)
        with m.Elif(whole):
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
            | Mux(bad_request, Flag.BAD_REQUEST, 0)
            | Mux(self.fault & ~known_fault, Flag.FAULT, 0)
        )
        m.d.comb += taken.eq(byte.valid & byte.ready)

    def _elaborate_loads(
        self,
        m: Module,
        token,
        position: Signal,
        word_whole: Signal,
        taken: Signal,
        bad_request: Signal,
        answer: stream.Interface,
    ) -> None:
        """The word behind a LOAD token, and the account of what was loaded."""
        byte = m.submodules.receive_buffer.r_stream.payload
        whole = position == TOKEN_BYTES
        word = Signal(8 * self.word_bytes)
        held = Signal(range(self.word_bytes + 1))  # bytes of it
        m.d.comb += word_whole.eq(whole & (token.kind == Request.LOAD) & (held == self.word_bytes))
        with m.If(whole & taken):
            m.d.sync += [word.eq(Cat(word[8:], byte)), held.eq(held + 1)]

        written = Signal(16)
        there = Signal()
        for number, layout in enumerate(self.loads):
            load = getattr(self, f"load{number}")
            mine = (token.value == number) & (token.index < self.load_words[number])
            m.d.comb += [
                load.payload.address.eq(token.index),
                load.payload.word.eq(word[: layout["word"].width]),
                load.valid.eq(word_whole & mine),
            ]
            with m.If(mine):
                m.d.comb += there.eq(1)
        with m.If(word_whole):
            m.d.sync += [held.eq(0), written.eq(written + there)]
            m.d.comb += bad_request.eq(~there)

        # Of all bytes from a LOAD's first one on.
        m.submodules.checksum = checksum = CHECKSUM.create()
        in_load = Signal()
        begins = position == 0
        with m.If(taken & begins):
            m.d.sync += in_load.eq(byte == Request.LOAD)
        m.d.comb += [
            checksum.data.eq(byte),
            checksum.valid.eq(taken & Mux(begins, byte == Request.LOAD, in_load)),
        ]
        with m.If(whole & (token.kind == Request.CHECK)):
            m.d.comb += [
                answer.valid.eq(1),
                answer.payload.source.eq(Source.WEIGHTS),
                answer.payload.index.eq(written),
                answer.payload.value.eq(checksum.crc),
                checksum.start.eq(answer.ready),
            ]
            with m.If(answer.ready):
                m.d.sync += written.eq(0)

    def _elaborate_counters(
        self, m: Module, token, whole: Signal, bad_request: Signal, answer: stream.Interface
    ) -> None:
        """The counter that a COUNTER token asks for."""
        with m.If(whole & (token.kind == Request.COUNTER)):
            with m.If(token.index < self.counter_count):
                m.d.comb += [
                    answer.valid.eq(1),
                    answer.payload.source.eq(Source.COUNTERS),
                    answer.payload.index.eq(token.index),
                    answer.payload.value.eq(self.counters.word_select(token.index, COUNTER_BITS)),
                ]
            with m.Else():
                m.d.comb += bad_request.eq(1)

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

    def _elaborate_writer(
        self, m: Module, set_flags: Signal, event_buffer: stream.Interface, answer: stream.Interface
    ) -> None:
        """Messages to bytes. Status and answers go first, then logits: few, so events still get through."""
        message = Signal(
            data.StructLayout({"kind": 4, "source": 4, "index": 16, "value": signed(LOGIT_BITS)})
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
            with m.Elif(answer.valid):
                m.d.comb += answer.ready.eq(1)
                m.d.sync += [
                    message.source.eq(answer.payload.source),
                    message.kind.eq(0),
                    message.index.eq(answer.payload.index),
                    message.value.eq(answer.payload.value),
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
