"""The fuzzer: what it draws, a slice of a campaign, and planted bugs that it must find, shrink and keep."""

import dataclasses
import json

import numpy as np
import pytest

from egret.cli.main import main
from egret_hw import memory
from egret_hw.accumulator import Accumulator
from egret_hw.config import AcceleratorConfig
from egret_hw.tile import Tile
from egret_sim.cosimulation import Stalls
from egret_sim.fuzz.campaign import Totals, run_campaign, run_number
from egret_sim.fuzz.case import Case, Phase, load_case, save_case
from egret_sim.fuzz.check import check_case
from egret_sim.fuzz.coverage import POINTS, Counting, Coverage
from egret_sim.fuzz.draw import BOUNDS, BOUNDS_CHANCE, draw_case, draw_config, draw_image, near_thresholds
from egret_sim.fuzz.forms import OWN, starts, with_weights
from egret_sim.fuzz.model_points import count_points
from egret_sim.fuzz.run_points import RUN_POINTS
from egret_sim.fuzz.shrink import shrink
from egru.errors import EgretError
from egru.integer import IntegerNetwork
from egru.testing import random_image, random_input

SEED = 5
#: weights, compact, protection: all that may be built together.
FORMS = {
    ("fixed", False, "none"),
    ("loaded", False, "none"),
    ("fixed", True, "none"),
    ("loaded", True, "none"),
    ("fixed", False, "parity"),
}


def form(case: Case) -> tuple[str, bool, str]:
    """The form of a case's accelerator."""
    return case.config.weights, case.config.compact, case.config.protection


def same(a: Case, b: Case) -> bool:
    """Whether two cases play the same to the same accelerator."""
    if a.config != b.config or len(a.phases) != len(b.phases):
        return False
    for x, y in zip(a.image.layers, b.image.layers, strict=True):
        if x.spec != y.spec or not np.array_equal(x.recurrent_weight, y.recurrent_weight):
            return False
    for one, other in zip(a.phases, b.phases, strict=True):
        if dataclasses.replace(one, sequences=()) != dataclasses.replace(other, sequences=()):
            return False
        if len(one.sequences) != len(other.sequences):
            return False
        if not all(map(np.array_equal, one.sequences, other.sequences)):
            return False
    return True


def with_rows_of_one_word() -> int:
    """The first case of the seed with one tile, whose rows are one word, and several inputs."""
    for number in range(300):
        case = draw_case(SEED, number, 200)
        units, lanes = case.image.layers[0].spec.units, case.config.resolve(case.image).lanes[0]
        if len(case.image.layers) == 1 and 6 <= 3 * units <= lanes < 20 and case.image.input.size > 2:
            return number
    raise AssertionError(f"seed {SEED} draws no such case")


@pytest.fixture
def small():
    """A small case with two phases, stalls, a reset and several sequences."""
    rng = np.random.default_rng(3)
    image = random_image(rng, inputs=4, units=[5, 3], classes=3, mode="last")
    first = Phase(tuple(random_input(rng, image, n) for n in (3, 1, 9)), 7, Stalls(64, 7), None, 12, 5)
    second = Phase(tuple(random_input(rng, image, n) for n in (2, 6, 6)), 8, None, Stalls(255, 1))
    return Case(image, AcceleratorConfig(lanes=(7, 3), streams=2, queue_depth=3), (first, second))


@pytest.fixture
def reloading(small):
    """The small case with weights that are loaded: others in each phase, the second one without a reset."""
    first = dataclasses.replace(small.phases[0], reset_tokens=0, reset_delay=0, load=3)
    second = dataclasses.replace(small.phases[1], reset=False, load=4)
    config = dataclasses.replace(small.config, weights="loaded")
    return Case(small.image, config, (first, second))


def test_a_seed_and_a_number_draw_the_same_case_every_time():
    assert same(draw_case(3, 4, 300), draw_case(3, 4, 300))
    assert not same(draw_case(3, 4, 300), draw_case(3, 5, 300))
    assert not same(draw_case(3, 4, 300), draw_case(4, 4, 300))


def test_draws_reach_the_ends_of_every_range():
    cases = [draw_case(1, number, 60) for number in range(250)]
    images = [case.image for case in cases]
    layers = [layer for image in images for layer in image.layers]
    configs = [case.config.resolve(case.image) for case in cases]
    phases = [phase for case in cases for phase in case.phases]
    assert {len(image.layers) for image in images} == {1, 2, 3, 4}
    sizes = [layer.spec.units for layer in layers]
    assert min(sizes) == 1 and max(sizes) > 200
    lanes = [n for config in configs for n in config.lanes]
    assert min(lanes) == 1 and max(lanes) == 64
    assert any(
        3 * layer.spec.units % n
        for case, config in zip(cases, configs, strict=True)
        for layer, n in zip(case.image.layers, config.lanes, strict=True)
    )
    assert {config.streams for config in configs} == set(range(1, 17))
    assert {1, 4096} <= {config.queue_depth for config in configs}
    assert {layer.spec.input_weight_bits for layer in layers} == set(range(2, 9))
    assert {layer.spec.recurrent_weight_bits for layer in layers} == set(range(2, 9))
    assert {image.input.signed for image in images} == {False, True}
    assert {(layer.spec.reset, layer.spec.state_reset) for layer in layers} == {
        (reset, state) for reset in ("after", "before") for state in ("threshold", "output")
    }
    assert {image.readout.spec.mode for image in images} == {"mean", "last", "every"}
    assert any((layer.threshold == 32767).all() for layer in layers)
    assert any((layer.threshold == layer.spec.threshold_range[0]).all() for layer in layers)
    assert any(len(x) == 1 for phase in phases for x in phase.sequences)
    assert any(phase.reset_tokens for phase in phases) and any(phase.source for phase in phases)
    assert any(phase.sink for phase in phases) and any(not phase.sink for phase in phases)
    assert {form(case) for case in cases} == FORMS
    of_loaded = [phase for case in cases if case.config.weights == "loaded" for phase in case.phases]
    assert {phase.load and min(phase.load, 1) for phase in of_loaded} == {None, OWN, 1}
    assert {phase.reset for phase in of_loaded} == {True, False}


def test_forms_are_drawn_apart_from_networks_and_sizes():
    seen = set()
    for number in range(40):
        case, rng = draw_case(2, number, 60), np.random.default_rng([2, number])
        image = draw_image(rng)
        config = draw_config(rng, image)
        seen.add(form(case))
        bounded = np.random.default_rng([2, number, BOUNDS]).random() < BOUNDS_CHANCE
        for layer, other in zip(case.image.layers, image.layers, strict=True):
            # What takes a sum to its bounds has weights of its own, and may have another reset of the state.
            assert dataclasses.replace(layer.spec, state_reset=other.spec.state_reset) == other.spec
            assert bounded or layer.spec == other.spec
            assert bounded or np.array_equal(layer.recurrent_weight, other.recurrent_weight)
        changed = {"weights": "fixed", "protection": "none"}
        if case.config.compact:
            changed |= {"compact": False, "lanes": config.lanes, "update_lanes": config.update_lanes}
        assert dataclasses.replace(case.config, **changed) == config
    assert seen == FORMS


def test_thresholds_next_to_potentials_are_met_and_passed_by_one():
    rng = np.random.default_rng(8)
    names = ("potential equal to the threshold", "potential one above the threshold")
    met = {name: [0, 0] for name in names}
    for _ in range(12):
        drawn = draw_image(rng)
        x = random_input(rng, drawn, 1, density=0.3, batch=60)
        sequences = list(x.transpose(1, 0, 2))
        for place, image in enumerate((drawn, near_thresholds(rng, drawn))):
            traces = [IntegerNetwork(image).run(one) for one in sequences]
            found = count_points(image, sequences, traces)
            for name in names:
                met[name][place] += found[name]
    for before, after in met.values():
        assert after > 10 * before + 50


def test_a_slice_of_a_campaign_runs_clean():
    totals = Totals()
    run_campaign(totals, 4, seed=2, first=3, steps=400, coverage=Counting.POINTS)
    assert totals.passed, totals.failed
    assert totals.configurations == 4
    assert totals.steps > 1000
    assert totals.values > totals.steps
    # Every case has these, whatever its shape.
    for name in ("a border with the lanes at rest", "readout: logits stalled", "a sequence of one step"):
        assert totals.coverage.points[name] > 0, name


@pytest.mark.parametrize(
    "wanted",
    sorted(FORMS - {("fixed", False, "none")}),
    ids=lambda wanted: f"{wanted[0]}{'-compact' * wanted[1]}-{wanted[2]}",
)
def test_an_accelerator_of_each_form_runs_clean(wanted):
    """The first small one of the seed."""
    steps = 150
    number = next(
        number
        for number in range(200)
        for case in [draw_case(2, number, steps)]
        if form(case) == wanted and sum(layer.spec.units for layer in case.image.layers) < 16
    )
    result = run_number(2, number, steps, Counting.POINTS)
    assert result.verdict.passed, result
    assert result.verdict.steps > 100
    points = result.verdict.coverage.points
    assert (points["weights loaded"] > 0) == (wanted[0] == "loaded")
    assert (points["compact form"] > 0) == wanted[1]
    assert (points["parity watches"] > 0) == (wanted[2] == "parity")
    assert points["reset in mid-sequence"] > 0


def test_weights_are_those_loaded_last_whatever_was_left_out_of_a_case(reloading):
    image, (first, second) = reloading.image, reloading.phases
    both = list(starts(reloading))
    assert [begin.fresh for begin in both] == [True, False]
    assert [begin.image for begin in both] == [with_weights(image, 3), with_weights(image, 4)]
    cut = dataclasses.replace(first, reset_tokens=2)
    kept = dataclasses.replace(second, load=None)
    begin = list(starts(dataclasses.replace(reloading, phases=(cut, kept))))[1]
    assert begin.fresh and not begin.contents and begin.image == with_weights(image, 3)
    (begin,) = starts(dataclasses.replace(reloading, phases=(kept,)))
    assert begin.fresh and begin.contents and begin.image == image


def test_other_weights_are_within_the_widths_of_the_first(small):
    for number in range(1, 20):
        for layer, other in zip(small.image.layers, with_weights(small.image, number).layers, strict=True):
            assert set(np.unique(other.input_weight)) <= {0, *np.unique(layer.input_weight)}
            before = np.abs(layer.recurrent_weight.astype(np.int64)).sum(axis=1)
            assert (np.abs(other.recurrent_weight.astype(np.int64)).sum(axis=1) <= before).all()


def test_words_of_weights_that_are_not_written_are_found(reloading, monkeypatch):
    assert check_case(reloading).passed
    weights = Tile._weights

    def spoilt(self, m, address):
        data = weights(self, m, address)
        load = self.load
        m.d.comb += m.submodules.weights.write_enable.eq(load.valid & ~load.payload.address[0])
        return data

    monkeypatch.setattr(Tile, "_weights", spoilt)
    assert "mismatches, the first: sequence" in check_case(reloading).problem


def test_a_reset_in_any_cycle_leaves_no_false_alarm_of_the_parity(small):
    """A sum may be written in the cycle of the reset; a silent step then reads sums as they were left."""
    x = small.phases[0].sequences[0]
    assert x.any()
    phases: list[Phase] = []
    for delay in range(64):
        phases += [Phase((x,), reset_tokens=1, reset_delay=delay), Phase((np.zeros_like(x[:1]),))]
    config = AcceleratorConfig(lanes=(7, 3), protection="parity")
    verdict = check_case(Case(small.image, config, tuple(phases)))
    assert verdict.passed, verdict.problem


def test_a_false_alarm_of_the_parity_is_found(small, monkeypatch):
    case = dataclasses.replace(small, config=dataclasses.replace(small.config, protection="parity"))
    # Words of read-only memories whose parity bit stays 0.
    monkeypatch.setattr(
        memory, "parity_words", lambda contents, width: [word & ((1 << width) - 1) for word in contents]
    )
    verdict = check_case(case)
    assert verdict.problem == "phase 0: parity flags weights, parameters, and nothing was wrong"


def test_a_kept_case_comes_back_as_it_was(small, tmp_path):
    path = save_case(small, tmp_path, "kept", {"problem": "none"})
    assert same(load_case(path), small)


def test_a_kept_case_of_version_1_can_be_replayed(small, reloading, tmp_path):
    path = save_case(reloading, tmp_path, "kept", {})
    assert same(load_case(path), reloading)
    path = save_case(small, tmp_path, "old", {})
    content = json.loads(path.read_text())
    content["version"] = 1
    for phase in content["phases"]:
        del phase["reset"], phase["load"]
    path.write_text(json.dumps(content))
    assert same(load_case(path), small)


def test_what_is_no_case_is_refused(tmp_path):
    path = tmp_path / "case.json"
    with pytest.raises(EgretError, match="cannot read"):
        load_case(path)
    path.write_text(json.dumps({"format": "something else", "version": 1}))
    with pytest.raises(EgretError, match="must be a case that `egret fuzz` saved"):
        load_case(path)


def test_shrinking_leaves_only_what_the_failure_needs(small):
    def fails(case):
        """Needs two steps in one sequence, an input 2 or behind it that is not zero, and two lanes."""
        if case.config.resolve(case.image).lanes[0] < 2:
            return None
        for phase in case.phases:
            for x in phase.sequences:
                if len(x) >= 2 and x[1:, -1].any():
                    return "it failed"
        return None

    assert fails(small)
    found = shrink(small, "it failed", fails, tries=2000)
    case = found.case
    assert fails(case) and found.problem == "it failed"
    assert len(case.phases) == 1 and len(case.phases[0].sequences) == 1
    phase = case.phases[0]
    assert (phase.source, phase.sink, phase.reset_tokens, phase.seed) == (None, None, 0, 0)
    assert case.steps == 2 and np.count_nonzero(phase.sequences[0]) == 1
    assert len(case.image.layers) == 1 and case.image.layers[0].spec.units == 1
    assert case.image.input.size == 1 and case.image.readout.spec.classes == 1
    config = case.config.resolve(case.image)
    assert config.lanes == (2,) and config.streams == 1


def test_shrinking_leaves_a_form_only_where_the_failure_needs_it(reloading):
    config = dataclasses.replace(reloading.config, compact=True, update_lanes=1)
    case = dataclasses.replace(reloading, config=config)

    def fails(case):
        """Needs other weights, loaded without a reset."""
        case.config.resolve(case.image)
        if case.config.weights != "loaded":
            return None
        later = case.phases[1:]
        return "it failed" if any(phase.load and not phase.reset for phase in later) else None

    assert fails(case)
    found = shrink(case, "it failed", fails, tries=2000).case
    assert fails(found)
    assert form(found) == ("loaded", False, "none")
    assert [phase.load for phase in found.phases] == [None, 4]
    assert form(shrink(case, "always", lambda case: "always", tries=2000).case) == ("fixed", False, "none")


def test_shrinking_stops_after_its_tries(small):
    assert shrink(small, "always", lambda case: "always", tries=3).tries == 3


def test_a_case_in_which_nothing_is_compared_fails(small):
    phase = dataclasses.replace(small.phases[0], reset_tokens=1, reset_delay=0, source=None)
    verdict = check_case(dataclasses.replace(small, phases=(phase,)))
    assert verdict.steps == 0
    assert verdict.problem == "nothing was compared"


def test_a_bug_in_the_hardware_is_found_made_small_kept_and_replayed(monkeypatch, tmp_path, capsys):
    """The bug: rows of one word follow each other, and the sum in flight is not forwarded."""
    number = with_rows_of_one_word()
    arguments = ["--seed", str(SEED), "--first", str(number), "--configurations", "1"]
    arguments += ["--steps", "200", "--jobs", "1", "--shrink-tries", "25", "--keep", str(tmp_path)]
    build = Accumulator.__init__
    with monkeypatch.context() as planted:
        planted.setattr(
            Accumulator, "__init__", lambda self, **options: build(self, **{**options, "forward": False})
        )
        assert main(["fuzz", *arguments]) == 1
        errors = capsys.readouterr().err
        path = tmp_path / f"seed{SEED}-{number}.json"
        assert f"egret fuzz --replay {path}" in errors
        kept = load_case(path)
        drawn = draw_case(SEED, number, 200)
        assert len(kept.phases) == 1 and kept.steps <= 10 < drawn.steps
        assert main(["fuzz", "--replay", str(path)]) == 1
        assert "mismatches, the first: sequence" in capsys.readouterr().err
    assert main(["fuzz", "--replay", str(path)]) == 0


def test_a_point_that_was_never_hit_is_named():
    coverage = Coverage()
    coverage.points.update(dict.fromkeys(POINTS[1:], 3))
    assert coverage.missing == [POINTS[0]]


def test_points_in_the_numbers_are_those_of_a_worked_network(small):
    """Counted again by hand, from the trace of the integer model."""
    image = small.image
    sequences = small.phases[1].sequences
    traces = [IntegerNetwork(image).run(x) for x in sequences]
    found = count_points(image, sequences, traces)
    silent = sum(int((events.sum(axis=1) == 0).sum()) for trace in traces for events in trace.events)
    all_fire = sum(int((events > 0).all(axis=1).sum()) for trace in traces for events in trace.events)
    assert found["no unit fires"] == silent
    assert found["every unit fires"] == all_fire
    assert found["a sequence of one step"] == 0
    last_alone = sum(
        int(((events > 0) == (np.arange(events.shape[1]) == events.shape[1] - 1)).all(axis=1).sum())
        for trace in traces
        for events in trace.events
    )
    assert found["the last unit alone fires"] == last_alone
    assert set(found) <= set(POINTS)


def test_points_of_what_was_played_are_in_the_report():
    assert set(RUN_POINTS) <= set(POINTS) and len(set(POINTS)) == len(POINTS)
