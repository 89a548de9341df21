"""Proofs of the rules of streams: what each says, at which size, and which bug its twin has."""

from amaranth.lib import wiring

from egret_hw.accelerator import Accelerator
from egret_hw.event_encoder import EventEncoder
from egret_hw.fifo import PassingFifo
from egret_hw.link import ByteLink
from egret_hw.logit_scan import LogitScan
from egret_hw.queues import RecurrentQueue
from egret_hw.readout import ReadoutTile
from egret_hw.readout_scheduler import ReadoutScheduler
from egret_hw.tile import Tile
from egret_hw.tile_scheduler import TileScheduler
from egret_hw.uart import UARTReceiver

from .contracts import ANY_DATA
from .planting import Edit
from .proof import Bounded, Induction, Proof, Twin
from .streams import (
    COMPONENTS,
    FORMS,
    keeps_rules,
    link_keeps_rules,
    loading_link_keeps_rules,
    scan_keeps_rules,
    scheduler_keeps_rules,
)

RULES = "a payload, once valid, stays valid and as it is until it is taken"


def _hasty(component: type[wiring.Component], depth: int) -> Twin:
    """The output register takes the next item whether or not it is free."""
    edit = Edit(component, "free = ~self.o.valid | self.o.ready", "free = Signal(init=1)")
    return Twin("the output register does not wait until it is taken", (edit,), depth=depth)


_EARLY_CLOSING = Twin(
    "the closing token does not wait for the last logit to be taken",
    (Edit(LogitScan, "self.o.ready & (head.index", "1 & (head.index"),),
)

STREAM_PROOFS: tuple[Proof, ...] = (
    Proof(
        name="stream/fifo",
        says=RULES,
        parameters="PassingFifo of 3 items",
        method=Induction(2),
        build=keeps_rules(COMPONENTS[PassingFifo]),
        twin=_hasty(PassingFifo, 5),
        quick=True,
    ),
    Proof(
        name="stream/encoder",
        says=RULES,
        parameters="EventEncoder, 4 units, 2 lanes",
        method=Induction(2),
        build=keeps_rules(COMPONENTS[EventEncoder]),
        twin=_hasty(EventEncoder, 6),
    ),
    Proof(
        name="stream/readout-scheduler",
        says=RULES,
        parameters="ReadoutScheduler, 2 units, mode mean",
        method=Induction(2),
        build=keeps_rules(COMPONENTS[ReadoutScheduler]),
        twin=_hasty(ReadoutScheduler, 6),
    ),
    Proof(
        name="stream/logit-scan",
        says=RULES,
        parameters="LogitScan, 2 classes, 1 lane; any sums and biases",
        method=Bounded(20),
        build=scan_keeps_rules,
        twin=_EARLY_CLOSING,
        stand_ins=ANY_DATA,
    ),
    Proof(
        name="stream/tile",
        says=RULES,
        parameters="Tile, 2 units, 3 lanes; any weights, tables and states",
        method=Induction(2),
        build=keeps_rules(COMPONENTS[Tile]),
        twin=_hasty(EventEncoder, 6),
        stand_ins=ANY_DATA,
    ),
    Proof(
        name="stream/link",
        says=RULES,
        parameters="ByteLink, 2 inputs, 1 unit, buffers of 4",
        method=Bounded(16),
        build=link_keeps_rules,
        twin=Twin(
            "a byte leaves whether or not it is taken",
            (Edit(ByteLink, "with m.If(self.sent.ready)", "with m.If(1)"),),
            depth=12,
        ),
    ),
    Proof(
        name="stream/link-loads",
        says=f"{RULES}; weights are loaded to addresses that are there",
        parameters="ByteLink as above, with 3 words of weights to load, and a counter",
        method=Bounded(16),
        build=loading_link_keeps_rules,
        twin=Twin(
            "a word is loaded wherever its address is",
            (
                Edit(
                    ByteLink,
                    "mine = (token.value == number) & (token.index < self.load_words[number])",
                    "mine = token.value == number",
                ),
            ),
            depth=16,
        ),
    ),
    Proof(
        name="stream/receiver",
        says=RULES,
        parameters="UARTReceiver, divisor 4",
        method=Induction(2),
        build=keeps_rules(COMPONENTS[UARTReceiver]),
        twin=Twin(
            "a byte is offered for one cycle only",
            (Edit(UARTReceiver, "with m.If(self.bytes.ready)", "with m.If(1)"),),
            depth=45,
        ),
    ),
    *[
        Proof(
            name=f"stream/{name}",
            says=RULES,
            parameters=parameters,
            method=Induction(2),
            build=keeps_rules(make),
            twin=_hasty(component, depth),
            stand_ins=ANY_DATA,
        )
        for name, parameters, make, component, depth in (
            ("fifo-small", "PassingFifo of 9 items, small", FORMS["small queue"], PassingFifo, 6),
            ("fifo-deep", "PassingFifo of 17 items", FORMS["deep queue"], PassingFifo, 6),
            ("recurrent-queue", "RecurrentQueue, 2 units", COMPONENTS[RecurrentQueue], PassingFifo, 6),
            (
                "encoder-small",
                "EventEncoder, 4 units, 2 lanes, small",
                FORMS["small encoder"],
                EventEncoder,
                6,
            ),
            ("tile-streams", "Tile with 2 streams, else as stream/tile", FORMS["streams"], EventEncoder, 6),
            (
                "tile-gate-first",
                "Tile with reset before, else as stream/tile",
                FORMS["gate first"],
                EventEncoder,
                6,
            ),
            (
                "tile-compact",
                "Tile in the compact form, else as stream/tile",
                FORMS["compact"],
                EventEncoder,
                6,
            ),
            (
                "tile-loaded",
                "Tile with weights loaded, else as stream/tile",
                FORMS["weights loaded"],
                EventEncoder,
                6,
            ),
        )
    ],
    *[
        Proof(
            name=f"stream/scheduler-{streams}",
            says=f"{RULES}, of requests and of jobs",
            parameters=f"TileScheduler, 2 inputs, 2 units, {streams} stream(s)",
            method=Induction(2),
            build=scheduler_keeps_rules(streams=streams),
            twin=_hasty(TileScheduler, 6),
        )
        for streams in (1, 2)
    ],
    *[
        Proof(
            name=f"stream/{name}",
            says=RULES,
            parameters=parameters,
            method=Bounded(24),
            build=keeps_rules(make),
            twin=_EARLY_CLOSING,
            stand_ins=ANY_DATA,
        )
        for name, parameters, make in (
            ("readout", "ReadoutTile, 2 units, 2 classes, 1 lane, any weights", COMPONENTS[ReadoutTile]),
            ("readout-compact", "the same in the compact form", FORMS["compact readout"]),
            ("accelerator", "Accelerator, 2 units, 3 lanes, 2 classes; any data", COMPONENTS[Accelerator]),
        )
    ],
)
