"""All proofs: what each says, at which size and how it is proved, and which bug its twin has."""

from egret_hw.accumulator import Accumulator
from egret_hw.counters import Counters
from egret_hw.event_encoder import EventEncoder
from egret_hw.fifo import PassingFifo
from egret_hw.weight_fetch import WeightFetch
from egru.errors import EgretError

from .contracts import CONTRACT_FIFO, CONTRACT_RAM
from .counting import counters_add_up
from .encoder import jobs_in_order, set_bits_in_order
from .fetch import rows_exactly, rows_exactly_when_held
from .planting import Edit
from .proof import Bounded, Induction, Proof, Twin
from .queues import fifo_in_order
from .scheduling import ticks_overtake_nothing, turns_wait
from .stream_proofs import STREAM_PROOFS
from .sums import sums_are_sums
from .tile_proofs import NO_TICK_GUARD, TILE_PROOFS
from .width_proofs import WIDTH_PROOFS

_IN_ORDER = "items leave as they came: none is lost, doubled, changed or overtaken"
_SUMS = "each accumulator holds the sum of its products, and a reader gets it; so there is no hazard"
_ROWS = "exactly the addresses and tags of the rows asked for come out, in order, without a gap"
_STEPS = "each event becomes one request on its step's side of the border; a step waits for all its events"

_UNGUARDED = Twin("a step closes before its recurrent events have come", (NO_TICK_GUARD,), depth=10)

_PART_PROOFS: tuple[Proof, ...] = (
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
            (Edit(Accumulator, "Mux(again & ~read_tag.first, new, current.chosen)", "current.chosen"),),
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
    *[
        Proof(
            name=f"scheduler/turns-{streams}",
            says="a stream's turn ends only when the recurrent events of its turn before have all come",
            parameters=f"2 inputs, 2 units, {streams} stream(s)",
            method=Induction(2),
            build=turns_wait(streams=streams),
            twin=_UNGUARDED,
            quick=streams == 2,
        )
        for streams in (1, 2, 3)
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

PROOFS = STREAM_PROOFS + _PART_PROOFS + TILE_PROOFS + WIDTH_PROOFS


def find(name: str) -> Proof:
    """The proof of this name; EgretError if there is none."""
    for proof in PROOFS:
        if proof.name == name:
            return proof
    raise EgretError(f"only must be the name of a proof, not {name!r}: `egret formal --list` names them")
