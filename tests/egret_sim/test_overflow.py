"""A number that overflows its width stops a simulation, and the fuzzer takes sums to their bounds."""

import dataclasses
from collections import Counter

import numpy as np
import pytest
from one_sum import FOUND, MINIMAL, STEPS

from egret_hw.config import AcceleratorConfig
from egret_hw.generate import generate
from egret_hw.geometry import CANDIDATE as CANDIDATE_ROW
from egret_hw.widths import (
    CANDIDATE,
    CANDIDATE_INPUT,
    CANDIDATE_RECURRENT,
    GATE,
    Bounds,
    LayerWidths,
    ReadoutWidths,
    row_bounds,
)
from egret_sim.build import SimulationError
from egret_sim.fuzz.case import Case, Phase
from egret_sim.fuzz.check import Bench, check_case
from egret_sim.fuzz.coverage import Counting
from egret_sim.fuzz.draw import draw_bounded_case, draw_case
from egret_sim.fuzz.extremes import held
from egret_sim.mutation import widths as mutants
from egret_sim.mutation.widths import WIDTHS, judge, narrowed
from egret_sim.overflow import MESSAGE, overflowed, stop_at_overflow
from egret_sim.run import prepare, simulate
from egru.integer import IntegerNetwork
from egru.testing import random_image, random_input

ONE_LANE = AcceleratorConfig(lanes=1)


def widths_of(layer):
    return LayerWidths.of(
        layer, weight_bits=max(layer.spec.input_weight_bits, layer.spec.recurrent_weight_bits)
    )


def two_apart(monkeypatch):
    """The fault as it was: with reset "before", a candidate's input and recurrent sums bounded apart."""
    exact = LayerWidths.of.__func__

    def of(cls, layer, **options):
        widths = exact(cls, layer, **options)
        if CANDIDATE not in widths.sums:
            return widths
        rows = slice(CANDIDATE_ROW * layer.spec.units, None)
        parts = []
        for weight, events, shift in (
            (layer.input_weight, layer.input_format, layer.input_shift),
            (layer.recurrent_weight, layer.event_format, layer.recurrent_shift),
        ):
            low, high = row_bounds(weight[rows], events)
            shift -= widths.common_shift
            parts.append(Bounds(int(low.min()) << shift, int(high.max()) << shift))
        return dataclasses.replace(widths, sums={**widths.sums, CANDIDATE: Bounds.over(parts)})

    monkeypatch.setattr(LayerWidths, "of", classmethod(of))


@pytest.mark.parametrize(
    ("reset", "options", "modules"),
    [
        ("after", {}, 4 + 2 + 2),  # lanes, readout lanes; update and logit scan
        ("before", {}, 4 + 2 + 3),  # and the reset gate
        ("after", {"compact": True, "update_lanes": 1}, 3 + 1 + 2),  # lanes share their sums' memories
        ("after", {"weights": "loaded"}, 4 + 2 + 2),
        ("after", {"protection": "parity"}, 4 + 2 + 2),
    ],
)
def test_every_module_that_adds_up_stops_a_simulation(tmp_path, reset, options, modules):
    image = random_image(np.random.default_rng(1), inputs=3, units=(4,), classes=2, reset=reset)
    generate(image, tmp_path, AcceleratorConfig(lanes=4, readout_lanes=2, **options))
    text = (tmp_path / "accelerator.v").read_text()
    stopping = stop_at_overflow(text)
    assert stopping.count(MESSAGE) == stopping.count("$stop") == modules
    assert "$stop" not in text
    assert stop_at_overflow("module netlist (clk);\nendmodule\n") == "module netlist (clk);\nendmodule\n"


def test_the_case_of_the_sum_that_wrapped_is_right_and_was_found_where_it_wrapped(monkeypatch):
    for image in (FOUND, MINIMAL):
        case = Case(image, ONE_LANE, (Phase((STEPS,)),))
        assert check_case(case).passed
    two_apart(monkeypatch)
    for image in (FOUND, MINIMAL):
        case = Case(image, ONE_LANE, (Phase((STEPS,)),))
        assert check_case(case).problem.startswith(f"{MESSAGE} TOP.accelerator.layer0.macs.lane0")


@pytest.mark.parametrize("native", [False, True])
def test_a_simulation_of_real_data_stops_too(native):
    with narrowed("sum: candidate"):
        built = prepare(MINIMAL, ONE_LANE, native=native, optimise="quick")
    with pytest.raises(SimulationError) as caught:
        simulate(MINIMAL, [STEPS] * 3, built=built)
    assert str(caught.value).startswith(MESSAGE)
    assert "dut.layer0.macs.lane0" in overflowed(str(caught.value))


def reached(case):
    """Kinds of sums of a case that the model takes to their bounds, with the side."""
    found = set()

    def look(kind, values, bounds):
        values = np.asarray(values, object)
        assert bounds.low <= values.min() and values.max() <= bounds.high
        found.update({(kind, "upper")} if values.max() == bounds.high else set())
        found.update({(kind, "lower")} if values.min() == bounds.low else set())

    for x in case.phases[0].sequences:
        trace = IntegerNetwork(case.image).run(x)
        arriving = x.astype(np.int64)
        for place, layer in enumerate(case.image.layers):
            widths, units, events = widths_of(layer), layer.spec.units, trace.events[place].astype(np.int64)
            before = np.vstack([np.zeros((1, units), np.int64), events[:-1]])
            inputs, recurrent = (
                values @ weight.astype(np.int64).T << shift - widths.common_shift
                for values, weight, shift in (
                    (arriving, layer.input_weight, layer.input_shift),
                    (before, layer.recurrent_weight, layer.recurrent_shift),
                )
            )
            rows = CANDIDATE_ROW * units
            look(GATE, (inputs + recurrent)[:, :rows], widths.sums[GATE])
            if layer.spec.reset == "after":
                look(CANDIDATE_INPUT, inputs[:, rows:], widths.sums[CANDIDATE_INPUT])
                look(CANDIDATE_RECURRENT, recurrent[:, rows:], widths.sums[CANDIDATE_RECURRENT])
            else:
                gated = trace.gated[place].astype(np.int64) @ layer.recurrent_weight[rows:].astype(np.int64).T
                gated = gated << layer.recurrent_shift - widths.common_shift
                look(CANDIDATE, inputs[:, rows:] + gated, widths.sums[CANDIDATE])
            arriving = events
        readout = ReadoutWidths.of(case.image.readout, case.image.layers[-1].event_format)
        look("logit", trace.logits, readout.logit)
    return found


def test_drawn_cases_take_each_kind_of_sum_to_both_of_its_bounds():
    met = Counter(kind for number in range(40) for kind in reached(draw_bounded_case(3, number)))
    kinds = (GATE, CANDIDATE, CANDIDATE_INPUT, CANDIDATE_RECURRENT, "logit")
    assert {(kind, side) for kind in kinds for side in ("upper", "lower")} == set(met)
    assert min(met.values()) >= 2, met


def test_all_units_of_a_held_layer_fire_with_the_largest_payload_and_no_others():
    rng = np.random.default_rng(8)
    for reset in ("after", "before"):
        image = random_image(rng, inputs=3, units=(9,), reset=reset, mode="every")
        on = np.arange(9) % 3 > 0
        image = dataclasses.replace(image, layers=(held(image.layers[0], on),))
        events = IntegerNetwork(image).run(random_input(rng, image, 5)).events[0]
        assert (events == np.where(on, image.layers[0].event_format.hi, 0)).all()


def test_bounds_are_drawn_apart_from_sizes_and_the_other_phases():
    for number in range(12):
        bounded, drawn = draw_bounded_case(4, number), draw_case(4, number, 60)
        assert bounded.config == drawn.config
        assert [layer.spec.units for layer in bounded.image.layers] == [
            layer.spec.units for layer in drawn.image.layers
        ]


@pytest.mark.parametrize("seed", [1, 2])
def test_the_fault_that_was_is_found_within_50_configurations_of_reset_before(monkeypatch, seed):
    exact, drawn, number = mutants.built_widths, 0, 0
    with monkeypatch.context() as planted:
        while drawn < 50:
            case, number = draw_case(seed, number, 60), number + 1
            if all(layer.spec.reset == "after" for layer in case.image.layers):
                continue
            drawn += 1
            planted.undo()
            want = exact(case)
            two_apart(planted)
            # Only where the fault narrows a width can there be anything to see.
            shows = exact(case) != want and sum(layer.spec.units for layer in case.image.layers) < 60
            if shows and check_case(case).problem is not None:
                return
    pytest.fail("the fault was not found")


@pytest.mark.parametrize("width", ["sum: candidate", "total: r", "readout: logit"])
def test_a_width_that_is_a_bit_too_narrow_is_noticed(width):
    verdict = judge(width, seed=6)
    assert verdict.text is not None and 1 <= verdict.networks <= mutants.NETWORKS_MAX


def test_the_list_of_widths_is_that_of_the_hardware():
    names = {name.split(": ")[0] for name in WIDTHS}
    assert names == {"value of an event", "sum", "total", "bias", "state", "above the threshold", "readout"}
    layer = draw_bounded_case(1, 0).image.layers[0]
    for name in ("sum: gate", "total: z", "bias", "state", "above the threshold", "value of an event"):
        whole = mutants.built_widths(draw_bounded_case(1, 0))
        with narrowed(name):
            assert mutants.built_widths(draw_bounded_case(1, 0)) != whole or name == "sum: gate", (
                name,
                layer,
            )


def test_sums_at_their_bounds_are_counted_in_the_hardware():
    points = Counter()
    for number in range(60):
        case = draw_bounded_case(3, number)
        if sum(layer.spec.units for layer in case.image.layers) > 12 or not reached(case):
            continue
        with Bench(coverage=Counting.POINTS) as bench:
            verdict = bench.check(case)
        assert verdict.passed
        points += verdict.coverage.points
        names = {"gate": "a gate's sum", "logit": "readout: a logit", CANDIDATE: "a candidate's only sum"}
        for kind, side in reached(case):
            if kind in names:
                assert points[f"{names[kind]} at its {side} bound"] > 0, (number, kind, side)
        if sum("bound" in name for name in points) >= 4:
            return
    pytest.fail("no sum was at its bound")
