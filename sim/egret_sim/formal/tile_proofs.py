"""Proofs of a small complete tile and of its memories: what each says, and which bug its twin has."""

from egret_hw.event_encoder import EventEncoder
from egret_hw.neuron_update import NeuronUpdate
from egret_hw.reset_gate import ResetGate
from egret_hw.tile import Tile
from egret_hw.tile_scheduler import TileScheduler

from .collisions import no_unit_is_there_twice, sent_is_kept, states_are_kept
from .contracts import ANY_DATA, ANY_LATENCY, CONTRACT_QUEUES, tile_control
from .planting import Edit
from .proof import Bounded, Induction, Proof, Twin
from .telling import counters_tell
from .tiles import never_stands_still, parts_agree

NO_TICK_GUARD = Edit(TileScheduler, "complete = recurrent_done | recurrent_tick", "complete = Signal(init=1)")

_STATES = "no word is read where it is written, and what a unit left in one step comes in its next"
_TWICE = "no unit comes into the update whose result is not out"

_TOLD = "counters are told once of each input event and of each recurrent event that is not dropped"

#: Either of two guards would do: that recurrent events have come, and that few steps are under way.
_UNGUARDED_TILE = Twin(
    "a step waits neither for recurrent events nor for the steps before it",
    (
        NO_TICK_GUARD,
        Edit(TileScheduler, "full = (under_way == self.steps) & ~self.step_done", "full = Signal()"),
    ),
)
_RESTLESS = Twin(
    "a step closes while its rows are under way",
    (Edit(TileScheduler, "at_rest = self.lanes_empty & ~self.o.valid", "at_rest = Signal(init=1)"),),
)

_SILENT = Twin(
    "a silent step does not tick",
    (
        Edit(
            EventEncoder,
            "tick = working & ~left.any() & last",
            "tick = working & ~left.any() & last & group.fired.any()",
        ),
    ),
)

TILE_PROOFS: tuple[Proof, ...] = (
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
        twin=_SILENT,
        stand_ins=tile_control(1),
    ),
    Proof(
        name="state/update",
        says=f"{_STATES}, if no unit comes into the update whose result is not out",
        parameters="2 units, 2 streams, as built, any weights and tables",
        method=Induction(NeuronUpdate.LATENCY + 3),
        build=states_are_kept(units=2, streams=2),
        twin=Twin(
            "a unit comes into the update again before its result is out",
            build=states_are_kept(units=2, streams=2, kept_promise=False),
        ),
        stand_ins=ANY_DATA,
    ),
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
        method=Bounded(20),
        build=no_unit_is_there_twice(units=2, lanes=3),
        twin=_UNGUARDED_TILE,
        stand_ins=tile_control(ANY_LATENCY),
    ),
    Proof(
        name="tile/state-streams",
        says=_TWICE,
        parameters="1 unit, 3 lanes, 2 streams; an update that takes as long as it likes",
        method=Bounded(18),
        build=no_unit_is_there_twice(units=1, lanes=3, streams=2),
        twin=_UNGUARDED_TILE,
        stand_ins=tile_control(ANY_LATENCY),
    ),
    Proof(
        name="tile/state-gated",
        says=f"{_TWICE}; nor into the gate, nor does one come into the update that is in the gate",
        parameters="1 unit, 3 lanes, reset before; an update and a gate that take as long as they like",
        method=Bounded(22),
        build=no_unit_is_there_twice(units=1, lanes=3, reset="before"),
        twin=_UNGUARDED_TILE,
        stand_ins=tile_control(ANY_LATENCY),
    ),
    Proof(
        name="tile/two-streams",
        says="as tile/parts",
        parameters="1 unit, 3 lanes, 2 streams, else as tile/parts",
        method=Bounded(16),
        build=parts_agree(units=1, lanes=3, streams=2),
        twin=_RESTLESS,
        stand_ins=tile_control(1),
    ),
    Proof(
        name="tile/gate-first",
        says="as tile/parts; so have gated events and what the gate gives",
        parameters="1 unit, 3 lanes, reset before, else as tile/parts",
        method=Bounded(16),
        build=parts_agree(units=1, lanes=3, reset="before"),
        twin=_RESTLESS,
        stand_ins=tile_control(1),
    ),
    Proof(
        name="tile/progress-streams",
        says="no deadlock: within 22 cycles a token moves, if one waits or a step is to be sent",
        parameters="1 unit, 3 lanes, 2 streams, else as tile/progress",
        method=Bounded(28),
        build=never_stands_still(units=1, lanes=3, cycles=22, streams=2),
        twin=_SILENT,
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
)
