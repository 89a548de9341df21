"""What a case recorded against the integer model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from egret_hw.counters import COUNTED
from egret_hw.protection import GROUPS
from egret_sim.run import GoldenTraces
from egret_sim.scoreboard import LOGITS, Scoreboard
from egret_sim.tokens import TokenLayout
from egret_sim.turns import Turn
from egru.image import NetworkImage

from .case import Case, Phase
from .coverage import Coverage
from .forms import Start
from .native import token_ports
from .script import BROKEN, FINISHED, FLOODED, REFUSED, RESET, STUCK, Record

#: What is wrong with a case in which no token came before a reset.
EMPTY = "nothing was compared"


@dataclass
class Verdict:
    """What came of a case.

    ``steps`` were compared in every layer, ``values`` in all of them and the logits. ``problem`` is None, or
    one line; ``broken`` says that the accelerator could not be built or run, so that nothing was compared.
    ``seconds`` says where the time went.
    """

    steps: int = 0
    values: int = 0
    cycles: int = 0
    problem: str | None = None
    broken: bool = False
    phase: int | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    coverage: Coverage | None = None

    @property
    def passed(self) -> bool:
        """True if something was compared and nothing differed."""
        return self.problem is None


def compare(
    case: Case,
    sidecar: dict[str, Any],
    turns: Sequence[Sequence[Turn]],
    begins: Sequence[Start],
    records: Sequence[Record],
    verdict: Verdict,
) -> None:
    """Compare the records of all phases with the integer model; the first problem ends it."""
    ports = token_ports(sidecar)
    if len(records) != len(case.phases):
        verdict.problem = f"{len(records)} of {len(case.phases)} phases were recorded"
        return
    counted = np.zeros(0)
    for number, (phase, order, begin, record) in enumerate(
        zip(case.phases, turns, begins, records, strict=True)
    ):
        since = np.zeros_like(record.counters) if begin.fresh else counted
        counted = record.counters
        problem = _compare_phase(begin.image, phase, order, record, since, ports, verdict)
        verdict.cycles += record.cycles
        if problem:
            verdict.problem, verdict.phase = f"phase {number}: {problem}", number
            return
    if not verdict.values:
        verdict.problem = EMPTY


def _compare_phase(
    golden: NetworkImage,
    phase: Phase,
    order: Sequence[Turn],
    record: Record,
    since: np.ndarray,
    ports: dict[str, TokenLayout],
    verdict: Verdict,
) -> str | None:
    layers, every = len(golden.layers), golden.readout.spec.mode == "every"
    traces = GoldenTraces(golden, phase.sequences)
    board = Scoreboard(traces, order, layers=layers, every=every)
    names = [LOGITS, *(f"tap{layer}" for layer in range(layers))]
    for name, rows in zip(names, record.streams, strict=True):
        kind, index, value = ports[name].decode(rows[:, 0])
        board.feed(name, kind, index, value, rows[:, 1].astype(np.int64))
    if record.status == FINISHED and not board.mismatches:
        board.finish()
    last = board.streams[f"tap{layers - 1}"]
    verdict.steps += last.compared // golden.layers[-1].spec.units
    verdict.values += board.compared
    if board.mismatches:
        return f"{board.mismatches} mismatches, the first: {board.first}"
    if record.status in (STUCK, BROKEN, FLOODED, REFUSED):
        where = f"after {record.played} input tokens and {record.ends} sequences, in cycle {record.cycles}"
        what = {
            STUCK: "no token moves any more",
            BROKEN: "logits changed or vanished before they were taken",
            FLOODED: "tokens come without end",
            REFUSED: "a word of weights was not taken at once",
        }
        return f"{what[record.status]}, {where}"
    if record.faults:
        flagged = [name for bit, name in enumerate(GROUPS) if record.faults >> bit & 1]
        return f"parity flags {', '.join(flagged)}, and nothing was wrong"
    return _check_counters(golden, phase, traces, record, since)


def _check_counters(
    golden: NetworkImage, phase: Phase, traces: GoldenTraces, record: Record, since: np.ndarray
) -> str | None:
    """Counters say where each cycle went, and how many input events there were ``since`` the phase began."""
    for layer, values in enumerate(record.counters - since):
        counters = dict(zip(COUNTED, values.tolist(), strict=True))
        spent = counters["busy"] + sum(v for name, v in counters.items() if name.startswith("idle"))
        if spent != counters["cycles"]:
            return f"layer {layer}: busy and idle counters add up to {spent}, not {counters['cycles']}"
        if record.status == RESET:
            continue
        if layer:
            arrived = sum(int(np.count_nonzero(trace.events[layer - 1])) for trace in traces)
        else:
            arrived = sum(int(np.count_nonzero(x)) for x in phase.sequences)
        if counters["input_events"] != arrived:
            return f"layer {layer}: counted {counters['input_events']} input events, not {arrived}"
    return None
