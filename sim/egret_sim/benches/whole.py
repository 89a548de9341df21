"""The bench of a whole accelerator: fills the player, empties the recorders, and watches for a standstill.

It compares nothing: it writes every token that it saw to a file, and whoever started it compares them
(:mod:`egret_sim.cosimulation`). It looks at the simulation once in several thousand cycles, and moves tokens
by rows, so that Python takes little of the time.
"""

import json
import os
import time
from pathlib import Path
from typing import Any

import cocotb
import numpy as np
from cocotb.triggers import Timer

from egret_sim import harness

CLOCK_NS = 10
#: Between two reports of where the run is.
REPORT_SECONDS = 0.05


class Feed:
    """Keeps the player's memory filled."""

    def __init__(self, player, words: np.ndarray) -> None:
        self.player = player
        self.words = words
        self.rows_written = 0
        self.filled = 0

    def refill(self) -> None:
        """Write as many rows as there is room for."""
        if self.filled == len(self.words):
            return
        slots, rows = harness.PLAYER_SLOTS, harness.PLAYER_ROWS
        free = int(self.player.played.value.to_unsigned()) // slots + rows
        while self.rows_written < free and self.filled < len(self.words):
            row = self.words[self.filled : self.filled + slots]
            number = int.from_bytes(row.astype("<u8").tobytes(), "little")
            self.player.memory[self.rows_written % rows].value = number
            self.rows_written += 1
            self.filled += len(row)
        self.player.filled.value = self.filled


class Record:
    """Empties one recorder into a file of (token, cycle) pairs of 64-bit words."""

    def __init__(self, recorder, path: Path) -> None:
        self.recorder = recorder
        self.file = path.open("wb")
        self.taken = 0

    def collect(self, *, everything: bool = False) -> None:
        """Take the rows that are complete, or the last, incomplete one as well."""
        slots, rows = harness.RECORDER_SLOTS, harness.RECORDER_ROWS
        count = self.recorder.count.value.to_unsigned()
        if count - self.taken > slots * rows:
            raise RuntimeError("a recorder wrapped before it was read")
        while self.taken + slots <= count or (everything and self.taken < count):
            number = self.recorder.memory[self.taken // slots % rows].value.to_unsigned()
            size = min(slots, count - self.taken)
            self.file.write(number.to_bytes(16 * slots, "little")[: 16 * size])
            self.taken += size
            self.file.flush()


@cocotb.test()
async def play(dut) -> None:
    """Play all sequences, back to back, and record what comes of them."""
    folder = Path(os.environ["EGRET_RUN"])
    settings = json.loads((folder / "settings.json").read_text())
    stimulus = np.load(folder / "stimulus.npy")
    wanted = settings["sequences"]
    feed = Feed(dut.player, stimulus)
    names = ["logits", *settings["taps"]]
    records = {name: Record(getattr(dut, f"{name}_recorder"), folder / f"{name}.bin") for name in names}

    dut.rst.value = 1
    for name, unit in (("player", dut.player), ("sink", dut.sink)):
        stall = settings["stalls"]
        unit.seed.value = harness.stall_seed(settings["seed"], name)
        unit.gap_chance.value = stall["chance"] if stall else 0
        unit.gap_mask.value = stall["mask"] if stall else 0
    feed.refill()
    await Timer(harness.RESET_CYCLES * CLOCK_NS, unit="ns")
    dut.rst.value = 0

    poll = settings["poll"]
    seldom = Timer(poll * CLOCK_NS, unit="ns")
    # Short runs end soon, so the first looks are closer together.
    often = Timer(min(500, poll) * CLOCK_NS, unit="ns")
    status: dict[str, Any] = {}
    started, cpu_started = time.monotonic(), time.process_time()
    reported = 0.0
    while True:
        await (often if not status or status["cycle"] < poll else seldom)
        feed.refill()
        for record in records.values():
            record.collect()
        ends = dut.logits_recorder.ends.value.to_unsigned()
        idle = dut.idle.value.to_unsigned()
        status = {
            "cycle": dut.cycle.value.to_unsigned(),
            "sequences": ends,
            "played": dut.player.played.value.to_unsigned(),
            "tokens": len(stimulus),
            "idle": idle,
            "seconds": time.monotonic() - started,
            "cpu_seconds": time.process_time() - cpu_started,
        }
        if dut.sink.broken.value:
            cycle = dut.sink.broken_cycle.value.to_unsigned()
            status["broken"] = f"logits changed or vanished before they were taken (cycle {cycle})"
        # After the last END a while of silence shows that nothing more comes.
        finished = ends >= wanted and idle >= settings["settle"]
        stuck = idle > settings["patience"]
        due = status["seconds"] - reported > REPORT_SECONDS
        stopped = due and (folder / "stop").exists()
        if finished or stuck or stopped or "broken" in status:
            break
        if due:
            reported = status["seconds"]
            _write(folder / "status.json", status)
    for record in records.values():
        record.collect(everything=True)
        record.file.close()
    if stuck and not finished:
        status["stuck"] = (
            f"no token moved in {idle} cycles, after {status['played']} of {len(stimulus)} input tokens "
            f"({_stream('events', dut.player)}) "
            f"and {ends} of {wanted} sequences ({_stream('logits', dut.sink)})"
        )
    status["finished"] = bool(finished)
    _write(folder / "status.json", status)
    assert "broken" not in status, status["broken"]
    assert "stuck" not in status, status["stuck"]


def _stream(name: str, end) -> str:
    return f"{name}: valid {end.valid.value}, ready {end.ready.value}"


def _write(path: Path, status: dict) -> None:
    partial = path.with_suffix(".part")
    partial.write_text(json.dumps(status))
    partial.replace(path)
