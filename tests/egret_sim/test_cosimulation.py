"""The bench of a whole accelerator, tried on a stub that can be told to misbehave."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from egret_sim.build import SimulationError
from egret_sim.cosimulation import Stalls, build_bench, run_bench
from egret_sim.native import build_native

STUB = Path(__file__).with_name("stub.sv")
HANG, WAVER, LOSE = 1, 2, 3  # what the stub does after an event with index 15 and this value


def port(kind, index_bits, value_bits):
    widths = {"kind": 2, "index": index_bits, "value": value_bits}
    fields, offset = [], 0
    for name, width in widths.items():
        fields.append({"name": name, "offset": offset, "width": width, "signed": name == "value"})
        offset += width
    return {"kind": kind, "width": offset, "fields": fields}


SIDECAR = {
    "ports": {"events": port("stream", 4, 8), "logits": port("stream", 1, 20), "tap0": port("tap", 4, 8)}
}


@pytest.fixture(scope="module", params=[build_bench, build_native], ids=["cocotb", "native"])
def stub(request):
    return request.param(STUB, SIDECAR, optimise="quick")


def draw(count, seed=1):
    rng = np.random.default_rng(seed)
    shapes = [(int(rng.integers(1, 20)), 16) for _ in range(count)]
    sequences = [rng.integers(-128, 128, shape) * (rng.random(shape) < 0.4) for shape in shapes]
    for x in sequences:
        x[:, 15] = 0
    return sequences


def golden(sequences):
    return [SimpleNamespace(events=[x], logits=np.array([x.sum()])) for x in sequences]


def run(stub, sequences, tmp_path, traces=None, **options):
    traces = golden(sequences) if traces is None else traces
    return run_bench(stub, SIDECAR, sequences, traces, directory=tmp_path, **options)


@pytest.mark.parametrize("stalls", [None, Stalls(), Stalls(chance=200, mask=31)])
def test_a_right_accelerator_passes(stub, tmp_path, stalls):
    sequences = draw(40)
    outcome = run(stub, sequences, tmp_path, stalls=stalls, seed=5)
    assert outcome.passed
    assert outcome.scoreboard.first is None
    # Every unit of every step, and a logit for each sequence.
    assert outcome.scoreboard.compared == sum(x.size for x in sequences) + len(sequences)
    assert len(outcome.sequence_ends) == len(sequences)


def test_without_stalls_a_token_moves_in_every_cycle_even_when_memories_wrap(stub, tmp_path):
    sequences = draw(700)
    outcome = run(stub, sequences, tmp_path)
    tokens = sum(int(np.count_nonzero(x)) + len(x) + 1 for x in sequences)
    assert tokens > 3 * 16384  # the player's memory is refilled, and the recorders are read, several times
    assert outcome.passed
    # A cycle for each token, and two more in each sequence: its logit, and the END of logits.
    assert outcome.cycles == tokens + 2 * len(sequences)


def test_a_run_is_the_same_in_every_cycle_for_the_same_seed(stub, tmp_path):
    sequences = draw(20)
    runs = [run(stub, sequences, tmp_path, stalls=Stalls(), seed=seed) for seed in (3, 3, 4)]
    assert runs[0].sequence_ends == runs[1].sequence_ends
    assert runs[0].sequence_ends != runs[2].sequence_ends


def test_a_hang_ends_the_run_and_says_what_was_waited_for(stub, tmp_path):
    sequences = draw(6)
    sequences[3][0, 15] = HANG
    outcome = run(stub, sequences, tmp_path, patience=3000)
    assert not outcome.passed
    assert not outcome.finished
    assert "and 3 of 6 sequences" in outcome.timeout
    assert "(events: valid 1, ready 0)" in outcome.timeout
    assert "(logits: valid 0, ready 1)" in outcome.timeout
    # The scoreboard says where each stream stopped.
    assert outcome.scoreboard.first.sequence == 3
    assert "expected TICK number 1" in str(outcome.scoreboard.first)


def test_an_offer_that_changes_before_it_is_taken_is_a_failure(stub, tmp_path):
    sequences = draw(30)
    sequences[0][0, 15] = WAVER
    outcome = run(stub, sequences, tmp_path, stalls=Stalls(chance=128), stop_at_mismatch=False)
    assert not outcome.passed
    assert "changed or vanished before they were taken" in outcome.problem


def test_a_lost_event_is_found_with_its_place(stub, tmp_path):
    sequences = draw(9)
    sequences[4][0, 15] = LOSE
    outcome = run(stub, sequences, tmp_path)
    assert not outcome.passed
    first = outcome.scoreboard.first
    assert (first.sequence, first.layer, first.step, first.unit) == (4, 0, 0, 15)
    assert (first.expected, first.got) == ("event 3", "nothing")


def test_a_wrong_logit_is_found(stub, tmp_path):
    sequences = draw(5)
    traces = golden(sequences)
    traces[2].logits[0] += 1
    outcome = run(stub, sequences, tmp_path, traces)
    assert not outcome.passed
    assert outcome.scoreboard.mismatches == 1
    assert (outcome.scoreboard.first.sequence, outcome.scoreboard.first.layer) == (2, "readout")


def test_a_run_that_compared_nothing_fails(stub, tmp_path):
    outcome = run(stub, [], tmp_path)
    assert outcome.finished
    assert not outcome.passed
    assert "nothing was compared" in str(outcome.scoreboard.first)


def test_each_sequence_must_have_a_trace(stub, tmp_path):
    sequences = draw(4)
    with pytest.raises(ValueError, match="each of 4 sequences must have a trace, but there are 3"):
        run(stub, sequences, tmp_path, golden(sequences[:3]))


def test_the_first_mismatch_stops_a_long_run(stub, tmp_path):
    sequences = draw(20_000)
    traces = golden(sequences)
    traces[0].logits[0] += 1
    outcome = run(stub, sequences, tmp_path, traces)
    assert not outcome.passed
    assert not outcome.finished
    assert len(outcome.sequence_ends) < len(sequences)
    assert outcome.scoreboard.mismatches == 1


def test_progress_is_reported(stub, tmp_path):
    sequences = draw(2000)
    seen = []
    run(stub, sequences, tmp_path, progress=lambda now: seen.append(now.sequences))
    assert seen == sorted(seen)
    assert seen[-1] == len(sequences)


def test_a_simulator_that_dies_is_an_error_not_a_pass(stub, tmp_path):
    broken = replace(stub, directory=tmp_path)
    sequences = draw(2)
    with pytest.raises(SimulationError):
        run_bench(broken, SIDECAR, sequences, golden(sequences), directory=tmp_path)


def test_a_passing_run_leaves_nothing_behind(stub, tmp_path, monkeypatch):
    monkeypatch.setenv("EGRET_BUILD", str(tmp_path))
    sequences = draw(3)
    good = run_bench(stub, SIDECAR, sequences, golden(sequences))
    assert good.passed
    assert not good.directory.exists()
    wrong = golden(sequences)
    wrong[1].logits[0] += 1
    bad = run_bench(stub, SIDECAR, sequences, wrong)
    assert not bad.passed
    assert (bad.directory / "simulation.log").exists()


@pytest.mark.parametrize("options", [{"chance": 0}, {"chance": 256}, {"mask": -1}])
def test_stalls_out_of_range_are_refused(options):
    with pytest.raises(ValueError, match="must be in"):
        Stalls(**options)
