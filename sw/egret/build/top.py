"""What goes onto a board: the accelerator, the byte link and a serial port."""

from amaranth.build import Subsignal
from amaranth.hdl import Cat, ClockDomain, Elaboratable, Module
from amaranth.lib import wiring
from amaranth.lib.io import Buffer
from amaranth.lib.wiring import In, Out, connect

from egret_hw.accelerator import Accelerator
from egret_hw.config import AcceleratorConfig
from egret_hw.counters import COUNTED
from egret_hw.link import ByteLink
from egret_hw.link_protocol import RECEIVE_BUFFER_BYTES
from egret_hw.uart import UARTReceiver, UARTTransmitter, divisor_for
from egru.image import NetworkImage


class LinkedAccelerator(wiring.Component):
    """An accelerator behind a serial port; docs/link.md says what to send and what comes back.

    Parameters
    ----------
    image : NetworkImage
        The network.
    config : AcceleratorConfig or None
        How to build it.
    divisor : int
        Clock cycles per bit of the serial port.
    receive_bytes : int
        Bytes held for the accelerator.
    counters : bool
        Whether a host may ask for performance counters; if not, they take no room.

    Members
    -------
    rx : In(1)
        Serial line from the host, idle high.
    tx : Out(1)
        Serial line to the host, idle high.

    Attributes
    ----------
    accelerator : Accelerator
    """

    rx: In(1, init=1)
    tx: Out(1, init=1)

    def __init__(
        self,
        image: NetworkImage,
        config: AcceleratorConfig | None = None,
        *,
        divisor: int,
        receive_bytes: int = RECEIVE_BUFFER_BYTES,
        counters: bool = True,
    ) -> None:
        self.counters = counters
        self.accelerator = Accelerator(image, config)
        self.divisor = divisor
        last = len(image.layers) - 1
        self._tap_name = f"tap{last}"
        tiles = self.accelerator.tiles
        tap_layout = getattr(self.accelerator, self._tap_name).token.shape()
        self.link = ByteLink(
            inputs=image.input.size,
            input_value=self.accelerator.events.payload.shape()["value"].shape,
            units=image.layers[last].spec.units,
            unit_value=tap_layout["value"].shape,
            classes=image.readout.spec.classes,
            logit_value=self.accelerator.logits.payload.shape()["value"].shape,
            receive_depth=receive_bytes,
            loads=[(tile.load_layout, len(tile.weight_words)) for tile in tiles if tile.loaded],
            counters=len(tiles) * len(COUNTED) if counters else 0,
        )
        super().__init__()

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.accelerator = accelerator = self.accelerator
        m.submodules.link = link = self.link
        m.submodules.receiver = receiver = UARTReceiver(divisor=self.divisor)
        m.submodules.transmitter = transmitter = UARTTransmitter(divisor=self.divisor)

        connect(m, receiver.bytes, link.received)
        connect(m, link.events, accelerator.events)
        connect(m, accelerator.logits, link.logits)
        connect(m, getattr(accelerator, self._tap_name), link.tap)
        connect(m, link.sent, transmitter.bytes)
        for number, tile in enumerate(accelerator.tiles):
            if tile.loaded:
                connect(m, getattr(link, f"load{number}"), getattr(accelerator, f"load{number}"))
        if self.counters:
            numbers = range(len(accelerator.tiles))
            m.d.comb += link.counters.eq(Cat(getattr(accelerator, f"counters{number}") for number in numbers))
        m.d.comb += [
            receiver.line.eq(self.rx),
            link.overflow.eq(receiver.overflow),
            link.framing_error.eq(receiver.framing_error),
            self.tx.eq(transmitter.line),
        ]
        if accelerator.protected:
            m.d.comb += link.fault.eq(accelerator.fault.as_value().any())
        return m


class BoardTop(Elaboratable):
    """A :class:`LinkedAccelerator` on the pins of a board with a ``uart`` resource.

    `clock` drives the clock domain where it is not the platform's own.
    """

    def __init__(
        self,
        image: NetworkImage,
        config: AcceleratorConfig | None = None,
        *,
        clock_hz: int,
        baud: int,
        receive_bytes: int = RECEIVE_BUFFER_BYTES,
        counters: bool = True,
        clock: Elaboratable | None = None,
    ) -> None:
        self.clock = clock
        self.linked = LinkedAccelerator(
            image,
            config,
            divisor=divisor_for(clock_hz=clock_hz, baud=baud),
            receive_bytes=receive_bytes,
            counters=counters,
        )

    @property
    def accelerator(self) -> Accelerator:
        """The accelerator inside."""
        return self.linked.accelerator

    def elaborate(self, platform) -> Module:
        m = Module()
        if self.clock is not None:
            m.domains += ClockDomain("sync")
            m.submodules.clock = self.clock
        m.submodules.linked = linked = self.linked
        # The whole resource without buffers: those of its other lines would claim pins for nothing.
        lines = [line.name for line in platform.lookup("uart").ios if isinstance(line, Subsignal)]
        uart = platform.request("uart", dir=dict.fromkeys(lines, "-"))
        m.submodules.rx_buffer = rx_buffer = Buffer("i", uart.rx)
        m.submodules.tx_buffer = tx_buffer = Buffer("o", uart.tx)
        m.d.comb += [linked.rx.eq(rx_buffer.i), tx_buffer.o.eq(linked.tx)]
        return m
