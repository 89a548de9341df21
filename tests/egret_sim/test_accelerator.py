"""Whole accelerators of odd shapes in Verilator, bit for bit; and faults that the bench must find."""

from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from egret_hw.config import AcceleratorConfig
from egret_sim.cosimulation import Stalls
from egret_sim.run import prepare, simulate
from egru.errors import EgretError
from egru.integer import IntegerNetwork
from egru.testing import random_image, random_input


@dataclass(frozen=True)
class Shape:
    seed: int
    image: dict = field(default_factory=dict)
    config: AcceleratorConfig = field(default_factory=AcceleratorConfig)

    def make(self):
        return random_image(np.random.default_rng(self.seed), **self.image)


SHAPES = {
    "one of everything": Shape(
        1,
        {"inputs": 1, "units": [1], "classes": 1, "mode": "last", "threshold": (0.05, 0.1)},
        AcceleratorConfig(lanes=1),
    ),
    "lanes that do not divide": Shape(
        1,
        {
            "inputs": 3,
            "units": [7],
            "classes": 3,
            "mode": "mean",
            "max_steps": 40,
            "weight_bits": 6,
            "input_bits": 8,
        },
        AcceleratorConfig(lanes=7, update_lanes=2, readout_lanes=2, queue_depth=3),
    ),
    "three layers, logits in every step": Shape(
        4,
        {
            "inputs": 2,
            "units": [5, 1, 9],
            "classes": 4,
            "mode": "every",
            "threshold": (0.02, 0.3),
            "weight_bits": 8,
            "input_bits": 6,
        },
        AcceleratorConfig(lanes=(3, 16, 19), update_lanes=(1, 1, 6), readout_lanes=3),
    ),
    "rows of one word, every unit always firing, weights at their ends": Shape(
        4,
        {"inputs": 5, "units": [5, 4], "classes": 2, "mode": "mean", "activity": 1.0, "extreme": True},
        AcceleratorConfig(lanes=16, update_lanes=3),
    ),
    "formats of all kinds, tables of random numbers": Shape(
        5,
        {"inputs": 4, "units": [6, 6], "mode": "last", "any_frac": True, "random_tables": True},
        AcceleratorConfig(lanes=(7, 2)),
    ),
    "options of the paper, narrow weights": Shape(
        1,
        {
            "inputs": 3,
            "units": [7, 4],
            "classes": 2,
            "mode": "every",
            "weight_bits": 4,
            "threshold": (0.02, 0.3),
            "reset": "before",
            "state_reset": "output",
        },
        AcceleratorConfig(lanes=(8, 6), update_lanes=(2, 1)),
    ),
    "three sequences in turns": Shape(
        6,
        {"inputs": 3, "units": [6, 5], "classes": 3, "mode": "mean", "threshold": (0.02, 0.3)},
        AcceleratorConfig(lanes=(9, 4), update_lanes=(2, 1), streams=3),
    ),
}


def draw(image, seed=9):
    """Sequences of length 1 and more, sparse and dense ones, and silent ones, back to back."""
    rng = np.random.default_rng(seed)
    sequences = []
    for steps, density in [(1, 1.0), (6, 0.0), (1, 0.0), (30, 0.2), (2, 1.0), (17, 0.6), (25, 1.0), (1, 1.0)]:
        sequences.append(random_input(rng, image, steps, density=density))
    return sequences


@pytest.fixture(scope="module", params=SHAPES)
def built(request):
    shape = SHAPES[request.param]
    return prepare(shape.make(), shape.config, optimise="quick")


@pytest.mark.parametrize(
    "stalls", [None, Stalls(), Stalls(chance=250, mask=1023)], ids=["none", "some", "heavy"]
)
def test_a_random_accelerator_equals_the_integer_model_in_every_bit(built, stalls):
    image = built.image
    sequences = draw(image)
    report = simulate(image, sequences, built=built, stalls=stalls, seed=2)
    assert report.passed, report.problem
    steps = sum(len(x) for x in sequences)
    units = sum(layer.spec.units for layer in image.layers)
    answers = steps if image.readout.spec.mode == "every" else len(sequences)
    assert report.compared == steps * units + answers * image.readout.spec.classes
    # A silent network would be compared as well, but would show little.
    assert all(report.work.layer_events)


@pytest.fixture(scope="module")
def three_layers():
    shape = SHAPES["three layers, logits in every step"]
    return prepare(shape.make(), shape.config, optimise="quick")


def changed(image, layer, name, place, by):
    """The image with one number moved (a large one down, to stay in bounds); layer None is the readout."""
    part = image.readout if layer is None else image.layers[layer]
    array = np.array(getattr(part, name))
    array[place] += by if array[place] <= abs(by) else -by
    part = replace(part, **{name: array})
    if layer is None:
        return replace(image, readout=part)
    return replace(image, layers=(*image.layers[:layer], part, *image.layers[layer + 1 :]))


def differences(image, other, sequences):
    """Where two networks first disagree: (sequence, step, layer), and {unit: (value, other's value)}."""
    for number, x in enumerate(sequences):
        ours, theirs = IntegerNetwork(image).run(x), IntegerNetwork(other).run(x)
        found = []
        for layer, (a, b) in enumerate(zip(ours.events, theirs.events, strict=True)):
            found += [
                (int(step), layer, int(unit), a[step, unit], b[step, unit])
                for step, unit in np.argwhere(a != b)
            ]
        a, b = np.atleast_2d(ours.logits), np.atleast_2d(theirs.logits)
        for step, unit in np.argwhere(a != b):
            step_or_end = int(step) if ours.logits.ndim == 2 else len(x)
            found.append((step_or_end, len(image.layers), int(unit), a[step, unit], b[step, unit]))
        if found:
            step, layer = min(found)[:2]
            return (number, step, layer), {row[2]: row[3:] for row in found if row[:2] == (step, layer)}
    return None


def plant(image, layer, name, sequences, by=1):
    """The image with one wrong number in an array: the first, from its middle on, that changes a result."""
    array = getattr(image.readout if layer is None else image.layers[layer], name)
    middle = array.size // 2
    for flat in [*range(middle, array.size), *range(middle)]:
        wrong = changed(image, layer, name, np.unravel_index(flat, array.shape), by)
        if differences(image, wrong, sequences):
            return wrong
    raise AssertionError(f"no number of {name} in layer {layer} changes a result")


def assert_found(report, expected_image, hardware_image, sequences):
    """The report names the first place where the two networks disagree, and both values."""
    (sequence, step, layer), units = differences(expected_image, hardware_image, sequences)
    first = report.first_mismatch
    readout = layer == len(expected_image.layers)
    assert not report.passed
    assert report.mismatches
    assert (first.sequence, first.step) == (sequence, step)
    assert first.layer == ("readout" if readout else layer)
    expected, got = units[first.unit]
    if readout:
        assert (first.expected, first.got) == (f"logit {expected}", f"logit {got}")
    else:
        assert first.expected == (f"event {expected}" if expected else "silence")
        assert first.got == (f"event {got}" if got else "nothing")
    assert f"the first: sequence {sequence}, layer {first.layer}, step {step}" in report.problem


#: Layer, array, and by how much a number in it is wrong.
FAULTS = [
    (0, "input_weight", 1),
    (0, "recurrent_weight", 1),
    (1, "bias", 100),
    (1, "recurrent_weight", 20),
    (2, "input_weight", 1),
    (2, "threshold", -10),
    (0, "sigmoid", 10),
    (2, "tanh", 10),
    (None, "weight", 1),
    (None, "bias", 1),
]


@pytest.mark.parametrize(("layer", "name", "by"), FAULTS)
def test_one_wrong_number_is_found_with_its_layer_step_and_unit(three_layers, layer, name, by, tmp_path):
    """The hardware is right; what it is compared with has one wrong number, which comes to the same."""
    sequences = draw(three_layers.image)
    wrong = plant(three_layers.image, layer, name, sequences, by)
    built = replace(three_layers, image=wrong)
    report = simulate(wrong, sequences, built=built, stalls=Stalls(), seed=1, directory=tmp_path)
    assert_found(report, wrong, three_layers.image, sequences)


def test_a_fault_in_the_hardware_is_found(tmp_path):
    """A wrong weight in the generated RTL, found by comparison with the right network."""
    shape = SHAPES["lanes that do not divide"]
    image = shape.make()
    sequences = draw(image)
    wrong = plant(image, 0, "recurrent_weight", sequences)
    built = prepare(image, shape.config, hardware_image=wrong, optimise="quick")
    assert_found(simulate(image, sequences, built=built, directory=tmp_path), image, wrong, sequences)


def test_figures_follow_from_their_definitions(three_layers):
    image = three_layers.image
    x = np.zeros((3, 2), int)
    x[0] = [1, 1]
    report = simulate(image, [x], built=three_layers)
    assert report.passed
    events = IntegerNetwork(image).run(x).events
    fired = [np.count_nonzero(layer) for layer in events]
    carried = [np.count_nonzero(layer[:-1]) for layer in events]
    useful = 15 * (2 + carried[0]) + 3 * (fired[0] + carried[1]) + 27 * (fired[1] + carried[2]) + 4 * fired[2]
    dense = 3 * (15 * (2 + 5) + 3 * (5 + 1) + 27 * (1 + 9) + 4 * 9)
    assert report.work.useful_macs == useful
    assert report.work.dense_macs == dense
    lanes = 3 + 16 + 19 + 3
    assert report.lanes == lanes
    assert report.busy_percent == pytest.approx(100 * useful / (lanes * report.cycles))
    of_layers = useful - 4 * fired[2]
    assert report.layers_busy_percent == pytest.approx(100 * of_layers / ((lanes - 3) * report.cycles))
    assert report.effective_over_peak == pytest.approx(dense / (lanes * report.cycles))
    assert report.cycles_per_step == pytest.approx(report.cycles / 3)


def test_a_run_can_be_repeated_cycle_for_cycle(three_layers):
    sequences = draw(three_layers.image)
    reports = [
        simulate(three_layers.image, sequences, built=three_layers, stalls=Stalls(), seed=seed)
        for seed in (1, 1, 2)
    ]
    assert all(report.passed for report in reports)
    assert reports[0].outcome.sequence_ends == reports[1].outcome.sequence_ends
    assert reports[0].outcome.sequence_ends != reports[2].outcome.sequence_ends


@pytest.mark.parametrize(
    ("sequences", "message"),
    [
        ([], "at least one sequence"),
        (
            [np.zeros((0, 2), int)],
            r"sequence 0 must have shape \(steps, 2\) with at least one step, not \(0, 2\)",
        ),
        ([np.zeros((4, 2), int), np.zeros((4, 3), int)], r"sequence 1 must have shape \(steps, 2\)"),
        ([np.zeros((4, 2))], "sequence 0 must hold integers, not float64"),
        ([np.full((4, 2), 1000)], r"sequence 0 must be within .*, not 1000\.\.1000"),
    ],
)
def test_sequences_that_do_not_suit_the_image_are_refused(three_layers, sequences, message):
    with pytest.raises(EgretError, match=message):
        simulate(three_layers.image, sequences, built=three_layers)


def test_a_sequence_longer_than_the_image_allows_is_refused():
    image = SHAPES["lanes that do not divide"].make()
    with pytest.raises(EgretError, match="sequence 0 must have at most max_steps = 40 steps, not 41"):
        simulate(image, [np.zeros((41, 3), int)])
