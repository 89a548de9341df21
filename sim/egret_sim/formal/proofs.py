"""All proofs: what each says, at which size and how it is proved, and which bug its twin has."""

from amaranth.lib import wiring

from egret_hw.accumulator import Accumulator
from egret_hw.counters import Counters
from egret_hw.event_encoder import EventEncoder
from egret_hw.fifo import PassingFifo
from egret_hw.link import ByteLink
from egret_hw.logit_scan import LogitScan
from egret_hw.neuron_update import NeuronUpdate
from egret_hw.readout_scheduler import ReadoutScheduler
from egret_hw.reset_gate import ResetGate
from egret_hw.tile import Tile
from egret_hw.tile_scheduler import TileScheduler
from egret_hw.uart import UARTReceiver
from egret_hw.weight_fetch import WeightFetch
from egru.errors import EgretError

from .collisions import no_unit_is_there_twice, sent_is_kept, states_are_kept
from .contracts import ANY_DATA, ANY_LATENCY, CONTRACT_FIFO, CONTRACT_QUEUES, CONTRACT_RAM, tile_control
from .counting import counters_add_up
from .encoder import jobs_in_order, set_bits_in_order
from .fetch import rows_exactly, rows_exactly_when_held
from .planting import Edit
from .proof import Bounded, Induction, Proof, Twin
from .queues import fifo_in_order
from .scheduling import ticks_overtake_nothing
from .streams import COMPONENTS, keeps_rules, link_keeps_rules, loading_link_keeps_rules, scan_keeps_rules
from .sums import sums_are_sums
from .telling import counters_tell
from .tiles import never_stands_still, parts_agree


def _hasty(component: type[wiring.Component], depth: int) -> Twin:
    """The output register takes the next item whether or not it is free."""
    edit = Edit(component, "free = ~self.o.valid | self.o.ready", "free = Signal(init=1)")
    return Twin("the output register does not wait until it is taken", (edit,), depth=depth)


_IN_ORDER = "items leave as they came: none is lost, doubled, changed or overtaken"
_RULES = "a payload, once valid, stays valid and as it is until it is taken"
_SUMS = "each accumulator holds the sum of its products, and a reader gets it; so there is no hazard"
_ROWS = "exactly the addresses and tags of the rows asked for come out, in order, without a gap"
_STEPS = "each event becomes one request on its step's side of the border; a step waits for all its events"

_NO_TICK_GUARD = Edit(
    TileScheduler, "complete = recurrent_done | recurrent_tick", "complete = Signal(init=1)"
)
_UNGUARDED = Twin("a step closes before its recurrent events have come", (_NO_TICK_GUARD,), depth=10)

_STATES = "no word is read where it is written, and what a unit left in one step comes in its next"
_TWICE = "no unit comes into the update whose result is not out"

_TOLD = "counters are told once of each input event and of each recurrent event that is not dropped"

#: Either of two guards would do: that recurrent events have come, and that few steps are under way.
_UNGUARDED_TILE = Twin(
    "a step waits neither for recurrent events nor for the steps before it",
    (
        _NO_TICK_GUARD,
        Edit(TileScheduler, "full = (under_way == self.steps) & ~self.step_done", "full = Signal()"),
    ),
)
_RESTLESS = Twin(
    "a step closes while its rows are under way",
    (Edit(TileScheduler, "at_rest = self.lanes_empty & ~self.o.valid", "at_rest = Signal(init=1)"),),
)

PROOFS: tuple[Proof, ...] = (
    Proof(
        name="stream/fifo",
        says=_RULES,
        parameters="PassingFifo of 3 items",
        method=Induction(2),
        build=keeps_rules(COMPONENTS[PassingFifo]),
        twin=_hasty(PassingFifo, 5),
        quick=True,
    ),
    Proof(
        name="stream/encoder",
        says=_RULES,
        parameters="EventEncoder, 4 units, 2 lanes",
        method=Induction(2),
        build=keeps_rules(COMPONENTS[EventEncoder]),
        twin=_hasty(EventEncoder, 6),
    ),
    Proof(
        name="stream/readout-scheduler",
        says=_RULES,
        parameters="ReadoutScheduler, 2 units, mode mean",
        method=Induction(2),
        build=keeps_rules(COMPONENTS[ReadoutScheduler]),
        twin=_hasty(ReadoutScheduler, 6),
    ),
    Proof(
        name="stream/logit-scan",
        says=_RULES,
        parameters="LogitScan, 2 classes, 1 lane; any sums and biases",
        method=Bounded(20),
        build=scan_keeps_rules,
        twin=Twin(
            "the closing token does not wait for the last logit to be taken",
            (Edit(LogitScan, "self.o.ready & (head.index", "1 & (head.index"),),
            depth=16,
        ),
        stand_ins=ANY_DATA,
    ),
    Proof(
        name="stream/tile",
        says=_RULES,
        parameters="Tile, 2 units, 3 lanes; any weights, tables and states",
        method=Induction(2),
        build=keeps_rules(COMPONENTS[Tile]),
        twin=_hasty(EventEncoder, 6),
        stand_ins=ANY_DATA,
    ),
    Proof(
        name="stream/link",
        says=_RULES,
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
        says=f"{_RULES}; weights are loaded to addresses that are there",
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
        says=_RULES,
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
            name=f"queue/{depth}",
            says=_IN_ORDER,
            parameters=f"PassingFifo of {depth} items (in distributed memory)",
            method=Induction(2),
            build=fifo_in_order(depth=depth),
            twin=Twin(
                "a full queue is ready",
                (Edit(PassingFifo, "self.i.ready.eq(~taken[-1])", "self.i.ready.eq(1)"),),
                depth=depth + 4,
            ),
            quick=depth == 3,
        )
        for depth in (1, 3, 4)
    ],
    Proof(
        name="queue/16",
        says=_IN_ORDER,
        parameters="PassingFifo of 16 items (in distributed memory)",
        method=Induction(2),
        build=fifo_in_order(depth=16),
        twin=Twin(
            "an item that is read stays",
            (Edit(PassingFifo, "popping.eq(some & self.o.ready)", "popping.eq(some & ~self.o.ready)"),),
            depth=8,
        ),
    ),
    *[
        Proof(
            name=f"queue/{depth}",
            says=f"{_IN_ORDER}; the block memory is never read where it is written, if that is used",
            parameters=f"PassingFifo of {depth} items (with a block memory that keeps its contract, no more)",
            method=Induction(2),
            build=fifo_in_order(depth=depth, width=1),
            twin=Twin(
                "an item that passes the block memory is stored there as well",
                (
                    Edit(
                        PassingFifo,
                        "storing = self.i.valid & ~full & ~straight",
                        "storing = self.i.valid & ~full",
                    ),
                ),
                depth=8,
            ),
            stand_ins=CONTRACT_RAM,
        )
        for depth in (17, 24)
    ],
    *[
        Proof(
            name=f"encoder/events-{units}-{lanes}",
            says="events and ticks are exactly the set bits of the results, in order, with their values",
            parameters=f"{units} units, {lanes} lanes, {steps} step(s) under way; queues by their contract",
            method=Induction(2),
            build=set_bits_in_order(units=units, lanes=lanes, steps=steps),
            twin=Twin(
                "a group leaves with its first event",
                (
                    Edit(
                        EventEncoder,
                        "one_left = (left & (left - 1)[: self.lanes]) == 0 if",
                        "one_left = 1 if",
                    ),
                ),
                depth=8,
            ),
            stand_ins=CONTRACT_FIFO,
            quick=units == 4,
        )
        for units, lanes, steps in ((4, 2, 1), (5, 3, 2))
    ],
    Proof(
        name="encoder/jobs",
        says="TICK, END and PASS leave in the order of the jobs; the tap shows each token once",
        parameters="4 units, 2 lanes; queues by their contract",
        method=Induction(2),
        build=jobs_in_order(units=4, lanes=2, steps=1),
        twin=Twin(
            "the tap does not show a turn that is passed",
            (Edit(EventEncoder, "(border & (job == Kind.PASS))", "(border & (job == Kind.EVENT))"),),
            depth=8,
        ),
        stand_ins=CONTRACT_FIFO,
    ),
    Proof(
        name="fetch/1",
        says=_ROWS,
        parameters="3 rows of 1 word",
        method=Induction(6),
        build=rows_exactly(rows=3, words=1),
        twin=Twin(
            "a row waits until the one before has moved on, which leaves a gap",
            (
                Edit(
                    WeightFetch,
                    "~next_valid | done if self.words == 1 else ~next_valid",
                    "~next_valid",
                ),
            ),
            depth=8,
        ),
    ),
    *[
        Proof(
            name=f"fetch/{words}",
            says=_ROWS,
            parameters=f"3 rows of {words} words",
            method=Induction(2 * words + 4),
            build=rows_exactly(rows=3, words=words),
            twin=Twin(
                "a row has a word too many",
                (Edit(WeightFetch, "ends.eq(word == self.words - 2)", "ends.eq(word == self.words - 1)"),),
                depth=2 * words + 4,
            ),
            quick=words == 3,
        )
        for words in (2, 3, 5)
    ],
    *[
        Proof(
            name=f"fetch/held-{words}",
            says=f"{_ROWS[: -len(', without a gap')]}, whenever words are held back, and none goes out then",
            parameters=f"3 rows of {words} word(s), any cycle held",
            method=Induction(2),
            build=rows_exactly_when_held(rows=3, words=words),
            twin=Twin(
                "a row moves on where its last word is held back",
                (Edit(WeightFetch, "done.eq(ends & ~self.hold)", "done.eq(ends)"),),
                depth=words + 6,
            ),
        )
        for words in (1, 3)
    ],
    Proof(
        name="sums/forwarded",
        says=_SUMS,
        parameters="3 accumulators in each of 2 banks, products in any cycle",
        method=Induction(5),
        build=sums_are_sums(slots=3, forward=True, spacing=1),
        twin=Twin(
            "the sum in flight is not forwarded",
            (Edit(Accumulator, 'Mux(again, new, chosen["current"].chosen)', 'chosen["current"].chosen'),),
            depth=10,
        ),
        quick=True,
    ),
    *[
        Proof(
            name=f"sums/{slots}",
            says=_SUMS,
            parameters=f"{slots} accumulators in each of 2 banks, none in two cycles in a row",
            method=Induction(5),
            build=sums_are_sums(slots=slots, forward=False, spacing=2),
            twin=Twin(
                "one accumulator comes in two cycles in a row",
                build=sums_are_sums(slots=slots, forward=False, spacing=1),
                depth=10,
            ),
        )
        for slots in (3, 18)
    ],
    Proof(
        name="scheduler/one-stream",
        says=_STEPS,
        parameters="2 inputs, 2 units, 1 stream",
        method=Bounded(10),
        build=ticks_overtake_nothing(streams=1),
        twin=_UNGUARDED,
    ),
    Proof(
        name="scheduler/two-streams",
        says=_STEPS,
        parameters="2 inputs, 2 units, 2 streams",
        method=Bounded(8),
        build=ticks_overtake_nothing(streams=2),
        twin=_UNGUARDED,
    ),
    Proof(
        name="scheduler/gate-first",
        says=f"{_STEPS}; gated events come between its two borders",
        parameters="2 inputs, 2 units, 1 stream, reset before",
        method=Bounded(10),
        build=ticks_overtake_nothing(streams=1, gate_first=True),
        twin=_UNGUARDED,
    ),
    Proof(
        name="tile/parts",
        says="no product comes to a bank that is read; reads do not overlap; own events have a place",
        parameters="2 units, 3 lanes, any weights, tables and states; an update of 1 cycle",
        method=Bounded(18),
        build=parts_agree(units=2, lanes=3),
        twin=_RESTLESS,
        stand_ins=tile_control(1),
    ),
    Proof(
        name="tile/compact",
        says="in the compact form no product asks for its sum where one is read; the rest as tile/parts",
        parameters="1 unit, 3 lanes, else as tile/parts",
        method=Bounded(22),
        build=parts_agree(units=1, lanes=3, compact=True),
        twin=Twin(
            "no word is held back where the gather asks for it",
            (Edit(Tile, "fetch.hold.eq(gather.hold)", "fetch.hold.eq(0)"),),
        ),
        stand_ins=tile_control(1),
    ),
    Proof(
        name="tile/progress",
        says="no deadlock: within 24 cycles a token moves, if one waits or a step is to be sent",
        parameters="2 units, 3 lanes, any weights, tables and states; an update of 1 cycle",
        method=Bounded(30),
        build=never_stands_still(units=2, lanes=3, cycles=24),
        twin=Twin(
            "a silent step does not tick",
            (
                Edit(
                    EventEncoder,
                    "tick = working & ~left.any() & last",
                    "tick = working & ~left.any() & last & group.fired.any()",
                ),
            ),
        ),
        stand_ins=tile_control(1),
    ),
    *[
        Proof(
            name=f"state/{name}",
            says=f"{_STATES}, if no unit comes into the update whose result is not out",
            parameters=f"2 units, 2 streams, as built, any weights and tables{more}",
            method=Induction(NeuronUpdate.LATENCY + 3),
            build=states_are_kept(units=2, streams=2, reset=reset),
            twin=Twin(
                "a unit comes into the update again before its result is out",
                build=states_are_kept(units=2, streams=2, reset=reset, kept_promise=False),
            ),
            stand_ins=ANY_DATA,
        )
        for name, reset, more in (("update", "after", ""),)
    ],
    Proof(
        name="state/gate",
        says=f"{_STATES} by the reset gate, if no result comes of a unit that it works on",
        parameters="2 units, 2 streams, as built, any weights and tables",
        method=Induction(ResetGate.LATENCY + 3),
        build=sent_is_kept(units=2, streams=2),
        twin=Twin(
            "a result comes of a unit that the gate works on",
            build=sent_is_kept(units=2, streams=2, kept_promise=False),
        ),
        stand_ins=ANY_DATA,
    ),
    Proof(
        name="tile/state",
        says=_TWICE,
        parameters="2 units, 3 lanes; an update that takes as long as it likes",
        method=Bounded(24),
        build=no_unit_is_there_twice(units=2, lanes=3),
        twin=_UNGUARDED_TILE,
        stand_ins=tile_control(ANY_LATENCY),
    ),
    Proof(
        name="tile/state-streams",
        says=_TWICE,
        parameters="1 unit, 3 lanes, 2 streams; an update that takes as long as it likes",
        method=Bounded(24),
        build=no_unit_is_there_twice(units=1, lanes=3, streams=2),
        twin=_UNGUARDED_TILE,
        stand_ins=tile_control(ANY_LATENCY),
    ),
    Proof(
        name="tile/state-gated",
        says=f"{_TWICE}; nor into the gate, nor does one come into the update that is in the gate",
        parameters="1 unit, 3 lanes, reset before; an update and a gate that take as long as they like",
        method=Bounded(24),
        build=no_unit_is_there_twice(units=1, lanes=3, reset="before"),
        twin=_UNGUARDED_TILE,
        stand_ins=tile_control(ANY_LATENCY),
    ),
    Proof(
        name="tile/two-streams",
        says="as tile/parts",
        parameters="1 unit, 3 lanes, 2 streams, else as tile/parts",
        method=Bounded(18),
        build=parts_agree(units=1, lanes=3, streams=2),
        twin=_RESTLESS,
        stand_ins=tile_control(1),
    ),
    Proof(
        name="tile/gate-first",
        says="as tile/parts; so have gated events and what the gate gives",
        parameters="1 unit, 3 lanes, reset before, else as tile/parts",
        method=Bounded(18),
        build=parts_agree(units=1, lanes=3, reset="before"),
        twin=_RESTLESS,
        stand_ins=tile_control(1),
    ),
    *[
        Proof(
            name=f"tile/counters{suffix}",
            says=_TOLD + more,
            parameters=f"2 units, 3 lanes, 1 stream{given}; queues by their contract, else as tile/parts",
            method=Induction(2),
            build=counters_tell(units=2, lanes=3, **options),
            twin=Twin(
                "an event is told of in each cycle in which it waits to be fetched",
                (
                    Edit(
                        Tile,
                        "fetched = fetch.i.valid & fetch.i.ready & fetch.i.payload.fetch",
                        "fetched = fetch.i.valid & fetch.i.payload.fetch",
                    ),
                ),
                depth=10,
            ),
            stand_ins={**tile_control(1), **CONTRACT_QUEUES},
        )
        for suffix, more, given, options in (
            ("", "", "", {}),
            ("-gated", "; gated events as recurrent ones", ", reset before", {"reset": "before"}),
        )
    ],
    Proof(
        name="counters",
        says="busy and idle cycles add up to all cycles; each event and each busy cycle counts once",
        parameters="32 bits, as built",
        method=Induction(4),
        build=counters_add_up,
        twin=Twin(
            "a cycle may be busy and blocked",
            (Edit(Counters, "with m.Elif(blocked)", "with m.If(blocked)"),),
            depth=6,
        ),
        quick=True,
    ),
)


def find(name: str) -> Proof:
    """The proof of this name; EgretError if there is none."""
    for proof in PROOFS:
        if proof.name == name:
            return proof
    raise EgretError(f"only must be the name of a proof, not {name!r}: `egret formal --list` names them")
