"""The integer model: hand-worked numbers, an independent implementation, properties, and refusals."""

import json
import operator
import re
import subprocess
import sys
from dataclasses import replace
from itertools import product
from pathlib import Path

import integer_reference as reference
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference_trace import network_of, reference_trace

from egru.errors import EgretError
from egru.formats import IntFormat
from egru.image import InputSpec, Layer, LayerSpec, NetworkImage, Readout, ReadoutSpec, load_image
from egru.integer import IntegerNetwork, Trace, decide
from egru.tables import sigmoid_table, tanh_table
from egru.testing import first_difference, random_image, random_input

COMBINATIONS = list(product(("after", "before"), ("threshold", "output")))
combinations = pytest.mark.parametrize(("reset", "state_reset"), COMBINATIONS)
NUMERICS = Path(__file__).parents[2] / "docs" / "numerics.md"


def one_unit(
    threshold, candidate_bias, *, r_bias=0, recurrent_bias=0, event_bits=8, mode="every", max_steps=1,
    recurrent_weight=0, **variant,
):  # fmt: skip
    """One unit with zero weights but that of its own events on its candidate; z = sigmoid(-8) = 11 / 2^15.

    Biases are at fraction 11.
    """
    spec = LayerSpec(
        inputs=1, units=1, input_weight_frac=6, recurrent_weight_frac=3, event_bits=event_bits, **variant
    )
    layer = Layer(
        spec=spec,
        input_format=IntFormat(8, 5, True),
        input_weight=np.zeros((3, 1), int),
        recurrent_weight=np.array([[0], [0], [recurrent_weight]]),
        bias=np.array([[-(2**20)], [r_bias], [candidate_bias], [recurrent_bias]]),
        threshold=np.array([threshold]),
        sigmoid=sigmoid_table(10),
        tanh=tanh_table(10),
    )
    readout = Readout(
        spec=ReadoutSpec(2, mode, max_steps=max_steps), weight=np.array([[1], [-1]]), bias=np.array([5, 5])
    )
    return NetworkImage("one", InputSpec(1, 8, 5, True), (layer,), readout, {})


def random_case(seed, **knobs):
    rng = np.random.default_rng(seed)
    knobs.setdefault("any_frac", seed % 2 == 1)
    knobs.setdefault("extreme", seed % 5 == 0)
    knobs.setdefault("random_tables", seed % 3 == 0)
    knobs.setdefault("activity", [None, None, None, 0.0, 0.5, 1.0][seed % 6])
    image = random_image(rng, **knobs)
    return image, random_input(rng, image, steps=int(rng.integers(1, 12)), density=rng.random())


def with_variants(image, *variants):
    """The image with (reset, state_reset) of each of its layers replaced, and nothing else."""
    layers = tuple(
        replace(layer, spec=replace(layer.spec, reset=reset, state_reset=state_reset))
        for layer, (reset, state_reset) in zip(image.layers, variants, strict=True)
    )
    return replace(image, layers=layers)


def part_of(trace, index, logits=None):
    """The trace of a part of the steps, sequences or units: every array at an index."""
    return Trace(
        [array[index] for array in trace.events],
        [array[index] for array in trace.states],
        trace.logits if logits is None else logits,
        [None if array is None else array[index] for array in trace.gated],
    )


def test_one_step_worked_by_hand():
    # fa = 11. Candidate: a = 1024, so 0.5 at fraction 11, index 64 at fraction 7, tanh(0.5) * 2^15 = 15142.5.
    # z = 11; c~ = 15143 + rshr(11 * -15143, 15) = 15143 - 5 = 15138 > 8192, y = rshr(15138, 7) = 118.
    trace = IntegerNetwork(one_unit(8192, 1024)).run(np.zeros((2, 1), int))
    assert tanh_table(10)[512 + 64] == 15143
    assert trace.events[0].tolist() == [[118], [118]]
    # second step: c = 15138 - 8192 = 6946; c~ = 15143 + rshr(11 * (6946 - 15143), 15) = 15143 - 3 = 15140
    assert trace.states[0].tolist() == [[6946], [6948]]
    assert trace.logits.tolist() == [[123, -113], [123, -113]]


def test_an_output_is_subtracted_in_the_next_step():
    image = one_unit(8192, 1024, state_reset="output")
    trace = IntegerNetwork(image).run(np.zeros((3, 1), int))
    # First step as above, but nothing is subtracted: c = 15138. Then y * 2^7 = 118 * 128 = 15104 goes:
    # c~ = 15143 + rshr(11 * (15138 - 15143), 15) - 15104 = 39, silent; so the third step is like the first,
    # c~ = 15143 + rshr(11 * (39 - 15143), 15) = 15143 - 5.
    assert trace.states[0].tolist() == [[15138], [39], [15138]]
    assert trace.events[0].tolist() == [[118], [0], [118]]


def test_a_reset_gate_before_the_product_acts_on_the_events():
    # r = sigmoid(0) = 2^14, so w = rshr(2^14 * y, 15): half of y. Weight 8 at fraction 3, so R = 1.
    # sh = 11 - (8 + 3) = 0, and the candidate's biases add up: 768 + 256 = 1024.
    image = one_unit(8192, 768, recurrent_bias=256, recurrent_weight=8, reset="before")
    trace = IntegerNetwork(image).run(np.zeros((2, 1), int))
    assert trace.events[0][0] == 118 and trace.states[0][0] == 6946  # as without any weight
    assert trace.gated[0].tolist() == [[0], [59]]
    # Q = 8 * 59 = 472; index rshr(1024 + 472, 11 - 7) = 93.5 -> 94; g = 2^15 tanh(94 / 128) = 20504.07;
    # c~ = 20504 + rshr(11 * (6946 - 20504), 15) = 20504 - 5
    assert tanh_table(10)[512 + 94] == 20504
    assert trace.states[0][1] == 20499 - 8192
    assert trace.events[0][1] == 160  # rshr(20499, 7)


def test_a_closed_reset_gate_leaves_nothing_of_an_event():
    # r = sigmoid(-8) = 11 / 2^15, and rshr(11 * 118, 15) = 0
    image = one_unit(8192, 1024, r_bias=-(2**20), recurrent_weight=127, reset="before")
    trace = IntegerNetwork(image).run(np.zeros((2, 1), int))
    assert trace.events[0].tolist() == [[118], [118]]
    assert trace.gated[0].tolist() == [[0], [0]]
    assert trace.states[0].tolist() == [[6946], [6948]]


def test_only_layers_that_gate_their_events_show_gated_events():
    image, x = random_case(0, units=(3, 3, 3), activity=None)
    image = with_variants(image, ("before", "output"), ("after", "output"), ("before", "threshold"))
    trace = IntegerNetwork(image).run(x)
    assert [w is None for w in trace.gated] == [False, True, False]


@pytest.mark.parametrize("event_bits", range(2, 9))
def test_the_lowest_state_of_the_page_is_reached_and_no_lower_one_is(event_bits):
    """The second step gets the lowest candidate there is, and subtracts the largest output."""
    image = one_unit(2 ** (15 - event_bits), 0, event_bits=event_bits, state_reset="output")
    layer = image.layers[0]
    weight = np.array([[0], [0], [127]])
    layer = replace(
        layer, input_weight=weight, sigmoid=np.zeros(1024, int), tanh=np.repeat([-32767, 32767], 512)
    )
    image = replace(image, layers=(layer,))
    x = np.array([[127], [-128], [-128], [127], [-128], [127], [127]])
    trace = IntegerNetwork(image).run(x)
    states, (low, high) = trace.states[0].flatten().tolist(), layer.spec.state_range
    assert (low, high) == (-65535 + 2 ** (15 - event_bits), 32767)
    assert states[:3] == [high, low, -32767] and min(states) == low
    assert states[5:] == [32767, 32767 - 32768 + 2 ** (15 - event_bits)]
    assert first_difference(reference_trace(image, x), trace) is None


@combinations
def test_no_state_leaves_its_range(reset, state_reset):
    for seed in range(60):
        image, x = random_case(
            seed, random_tables=seed % 2 == 0, threshold=(0.0, 0.1), activity=None, reset=reset,
            state_reset=state_reset,
        )  # fmt: skip
        trace = IntegerNetwork(image).run(x)
        for layer, states, events in zip(image.layers, trace.states, trace.events, strict=True):
            low, high = layer.spec.state_range
            assert low <= states.min() and states.max() <= high
            if state_reset == "output":
                assert np.array_equal(events > 0, states > layer.threshold)
            else:
                assert (low, high) == (-32767, 32767)


@combinations
def test_gated_events_are_events_of_the_step_before_made_no_larger(reset, state_reset):
    lost = 0
    for seed in range(40):
        image, x = random_case(seed, activity=None, reset=reset, state_reset=state_reset)
        trace = IntegerNetwork(image).run(x)
        for w, y in zip(trace.gated, trace.events, strict=True):
            if reset == "after":
                assert w is None
                continue
            assert not w[0].any()
            assert (w >= 0).all() and (w[1:] <= y[:-1]).all()
            lost += ((w[1:] == 0) & (y[:-1] > 0)).sum()
    assert (lost > 0) == (reset == "before")


def test_equality_does_not_fire_and_one_more_does():
    events = [IntegerNetwork(one_unit(t, 1024)).run(np.zeros((1, 1), int)).events[0] for t in (15138, 15137)]
    assert [e.item() for e in events] == [0, 118]


@pytest.mark.parametrize(
    ("a", "q", "index"),
    [
        (40960, -31744, 65),  # a is cut to 32767: (32767 * 2^15 - 32757 * 31744) / 2^19 = 64.6
        (-40960, 31744, -65),
        (-31744, 40960, 63),  # q is cut to 32767
        (31744, -40960, -63),
    ],
)
def test_both_parts_of_the_candidate_are_saturated_before_they_meet(a, q, index):
    image = one_unit(32767, a, r_bias=2**20, recurrent_bias=q)
    trace = IntegerNetwork(image).run(np.zeros((1, 1), int))
    g = int(tanh_table(10)[512 + index])
    assert trace.states[0].item() == g + reference.rshr(11 * -g, 15)
    assert first_difference(reference_trace(image, np.zeros((1, 1), int)), trace) is None


@pytest.mark.parametrize("event_bits", range(2, 9))
def test_a_payload_saturates_and_the_smallest_event_is_not_zero(event_bits):
    lowest = 2 ** (15 - event_bits)
    top = IntegerNetwork(one_unit(lowest, 2**20, event_bits=event_bits)).run(np.zeros((1, 1), int))
    assert top.events[0].item() == 2**event_bits - 1
    for seed in range(30):
        image, x = random_case(seed, event_bits=event_bits, threshold=(0.0, 0.0), activity=None)
        trace = IntegerNetwork(image).run(x)
        for layer, events, states in zip(image.layers, trace.events, trace.states, strict=True):
            before = states + np.where(events > 0, layer.threshold, 0)
            assert np.array_equal(events > 0, before > layer.threshold)


def test_the_independent_implementation_shares_no_code_with_the_model():
    code = "import sys, integer_reference; print(*sorted({name.split('.')[0] for name in sys.modules}))"
    run = subprocess.run(
        [sys.executable, "-S", "-c", code],
        cwd=Path(reference.__file__).parent,
        capture_output=True,
        check=True,
    )
    loaded = set(run.stdout.decode().split())
    assert "integer_reference" in loaded and not loaded & {"egru", "numpy", "torch", "safetensors"}


@combinations
@pytest.mark.parametrize("seed", range(60))
def test_an_independent_implementation_agrees_in_every_bit(seed, reset, state_reset):
    image, x = random_case(seed, reset=reset, state_reset=state_reset)
    assert first_difference(reference_trace(image, x, seed=seed), IntegerNetwork(image).run(x)) is None


@pytest.mark.parametrize(
    "path", sorted((NUMERICS.parents[1] / "golden" / "networks").glob("*.egret")), ids=lambda p: p.stem
)
def test_the_independent_implementation_agrees_on_shipped_networks(path):
    image = load_image(path)
    x = random_input(np.random.default_rng(1), image, steps=12, density=0.9)
    trace = IntegerNetwork(image).run(x)
    assert np.count_nonzero(trace.events[0]) > 0
    assert first_difference(reference_trace(image, x), trace) is None


@pytest.mark.parametrize("mode", ["mean", "last", "every"])
@pytest.mark.parametrize("weight_bits", range(2, 9))
def test_every_weight_width_and_mode_agrees_with_the_independent_implementation(weight_bits, mode):
    for seed, k in enumerate(range(4, 13)):
        image, x = random_case(
            100 * seed, weight_bits=weight_bits, mode=mode, table_bits=k, input_bits=1 + seed % 8,
            input_signed=seed % 8 > 0 and bool(seed % 2), event_bits=2 + seed % 7, units=(3, 2),
            activity=None,
        )  # fmt: skip
        reset, state_reset = COMBINATIONS[seed % 4]
        image = with_variants(image, (reset, state_reset), ("before", state_reset))
        assert first_difference(reference_trace(image, x), IntegerNetwork(image).run(x)) is None


@combinations
@pytest.mark.parametrize("bug", [{"rounding": reference.floor_shift}, {"fires": operator.ge}])
def test_a_planted_bug_is_caught(bug, reset, state_reset):
    """Changed rounding, and a threshold that fires on equality."""
    image, x = one_unit(15138, 1024, reset=reset, state_reset=state_reset), np.zeros((3, 1), int)
    assert first_difference(reference_trace(image, x), IntegerNetwork(image).run(x)) is None
    message = first_difference(reference_trace(image, x, **bug), IntegerNetwork(image).run(x))
    assert message is not None and "layer 0 at [0, 0]" in message


def test_the_comparison_names_the_first_difference_and_never_passes_on_nothing():
    good = Trace([np.array([[1, 2], [3, 4]])], [np.array([[5, 6], [7, 8]])], np.array([9]))
    assert first_difference(good, good) is None
    late = Trace([np.array([[1, 2], [3, 0]])], [np.array([[5, 0], [7, 8]])], np.array([8]))
    assert first_difference(good, late) == "states of layer 0 at [0, 1]: expected 6, found 0"
    logits = Trace(good.events, good.states, np.array([8]))
    assert first_difference(good, logits) == "logits at [0]: expected 9, found 8"
    cut = Trace([good.events[0][:1]], good.states, good.logits)
    assert "shape" in first_difference(good, cut)
    assert "layers" in first_difference(good, Trace([], [], good.logits))
    empty = Trace([np.zeros((0, 2))], [np.zeros((0, 2))], np.array([9]))
    assert "nothing to compare" in first_difference(empty, empty)
    gated = [Trace(good.events, good.states, good.logits, [w]) for w in (np.eye(2), 2 * np.eye(2), None)]
    assert first_difference(gated[0], gated[0]) is None
    assert first_difference(gated[0], gated[1]) == "gated of layer 0 at [0, 0]: expected 1.0, found 2.0"
    assert "gated events: expected of layers [0], found []" in first_difference(gated[0], gated[2])
    assert "gated events: expected of layers [], found [0]" in first_difference(gated[2], gated[0])
    assert first_difference(gated[0], good) is None  # a trace that does not show them


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_renumbering_inputs_and_units_renumbers_the_results_and_nothing_else(seed):
    rng = np.random.default_rng(seed)
    reset, state_reset = COMBINATIONS[seed % 4]
    image = random_image(
        rng, inputs=5, units=(6,), random_tables=bool(seed % 3), reset=reset, state_reset=state_reset
    )
    x = random_input(rng, image, 6)
    layer, inputs, units = image.layers[0], rng.permutation(5), rng.permutation(6)
    rows = np.concatenate([units, units + 6, units + 12])
    moved = NetworkImage(
        "moved",
        image.input,
        (
            Layer(
                spec=layer.spec,
                input_format=layer.input_format,
                input_weight=layer.input_weight[rows][:, inputs],
                recurrent_weight=layer.recurrent_weight[rows][:, units],
                bias=layer.bias[:, units],
                threshold=layer.threshold[units],
                sigmoid=layer.sigmoid,
                tanh=layer.tanh,
            ),
        ),
        Readout(spec=image.readout.spec, weight=image.readout.weight[:, units], bias=image.readout.bias),
        {},
    )
    before, after = IntegerNetwork(image).run(x), IntegerNetwork(moved).run(x[:, inputs])
    assert first_difference(part_of(before, (slice(None), units)), after) is None


@pytest.mark.parametrize("mode", ["mean", "last", "every"])
@pytest.mark.parametrize("seed", range(5))
def test_a_batch_with_lengths_is_its_sequences_one_by_one(seed, mode):
    rng = np.random.default_rng(seed)
    image = random_image(rng, units=(5, 4), mode=mode)
    image = with_variants(image, COMBINATIONS[seed % 4], ("before", "output"))
    x = random_input(rng, image, 9, batch=6)
    lengths = rng.integers(1, 10, 6)
    lengths[0] = 9
    batch = IntegerNetwork(image).run(x, lengths)
    for b, length in enumerate(lengths):
        alone = IntegerNetwork(image).run(x[:length, b])
        logits = batch.logits[:length, b] if mode == "every" else batch.logits[b]
        assert first_difference(alone, part_of(batch, (slice(length), b), logits)) is None
        gated = [array for array in batch.gated if array is not None]
        rest = [array[length:, b] for array in (*batch.events, *batch.states, *gated)]
        if mode == "every":
            rest.append(batch.logits[length:, b])
        assert not any(array.any() for array in rest)


@combinations
@pytest.mark.parametrize("activity", [0.0, 0.25, 1.0])
def test_random_networks_have_the_activity_asked_for(activity, reset, state_reset):
    for seed in range(20):
        image, x = random_case(
            seed, activity=activity, random_tables=False, units=(8, 4), reset=reset, state_reset=state_reset
        )
        for layer, events in zip(image.layers, IntegerNetwork(image).run(x).events, strict=True):
            count = (events > 0).sum(axis=1)
            assert (count[::2] == activity * layer.spec.units).all()
            assert (count[1::2] == (activity * layer.spec.units if state_reset == "threshold" else 0)).all()


def test_random_networks_and_inputs_depend_on_the_generator_alone():
    first, second = (random_case(7) for _ in range(2))
    assert first[0] == second[0]
    assert np.array_equal(first[1], second[1])
    assert random_case(8)[0] != first[0]


@pytest.mark.parametrize("reset", ["after", "before"])
def test_the_largest_sums_that_a_network_can_have_do_not_overflow(reset):
    """65535 inputs, extreme weights and the widest shift, against Python integers."""
    image = random_image(
        np.random.default_rng(0), inputs=65535, units=(1,), weight_bits=8, extreme=True, event_bits=8,
        input_bits=8, input_signed=False, input_frac=0, any_frac=True, mode="mean", reset=reset,
    )  # fmt: skip
    x = np.full((2, 65535), 255)
    assert first_difference(reference_trace(image, x), IntegerNetwork(image).run(x)) is None


def test_of_equal_logits_the_lowest_index_decides():
    assert decide(np.array([[3, 7, 7], [5, 5, 5]])).tolist() == [1, 0]


@pytest.mark.parametrize(
    ("x", "lengths", "message"),
    [
        (np.zeros((2, 1)), None, "x must hold integers, not float64"),
        (np.zeros((2, 1), bool), None, "x must hold integers, not bool"),
        (np.zeros((0, 1), int), None, "at least one step"),
        (np.zeros((2, 0, 1), int), None, "at least one step and one sequence"),
        (np.zeros((2, 3), int), None, r"x must have shape T x 1 or T x B x 1, not \(2, 3\)"),
        (np.zeros(2, int), None, "x must have shape"),
        (np.full((2, 1), 128), None, r"x must be within -128\.\.127, not 128\.\.128"),
        (np.full((2, 1), -129), None, "x must be within"),
        (np.zeros((5, 1), int), None, "at most max_steps = 4 steps, not 5"),
        (np.zeros((2, 1), int), [2], "lengths need x of shape T x B x I"),
        (np.zeros((2, 3, 1), int), [1, 2], "lengths must be 3 integers"),
        (np.zeros((2, 3, 1), int), [1.0, 2.0, 2.0], "lengths must be 3 integers"),
        (np.zeros((2, 3, 1), int), [0, 1, 2], r"lengths must be within 1\.\.2, not 0\.\.2"),
        (np.zeros((2, 3, 1), int), [1, 1, 3], r"lengths must be within 1\.\.2, not 1\.\.3"),
    ],
)
def test_impossible_inputs_are_refused(x, lengths, message):
    network = IntegerNetwork(one_unit(8192, 0, mode="mean", max_steps=4))
    with pytest.raises(EgretError, match=message):
        network.run(x, lengths)


def test_only_the_mode_mean_limits_the_steps():
    x = np.zeros((5, 2, 1), int)
    assert len(IntegerNetwork(one_unit(8192, 0, mode="last")).run(x).events[0]) == 5
    assert len(IntegerNetwork(one_unit(8192, 0, mode="mean", max_steps=4)).run(x, [4, 4]).events[0]) == 5


def worked_example(reset="after"):
    """Section 8 of docs/numerics.md: the image, x, and its tables as name -> numbers.

    The second part of the section, about the other resets, is that with reset="before".
    """
    text = NUMERICS.read_text(encoding="utf-8").split("## 8. A worked example")[1]
    net = json.loads(re.search(r"```json\n(.*?)```", text, re.DOTALL)[1])
    first, second = text.split("### The same with the other resets")
    if reset == "before":
        changed = re.search(r'`("reset": "before".*?)`', second)[1]
        net["layer"] |= json.loads("{" + changed + "}")
    source, spec = InputSpec(**net["input"]), LayerSpec(**net["layer"])
    tensors = {name: np.array(net[name]) for name in Layer.TENSORS}
    layer = Layer(spec=spec, input_format=source.format, **tensors)
    readout = Readout(
        spec=ReadoutSpec(**net["readout"]),
        weight=np.array(net["readout_weight"]),
        bias=np.array(net["readout_bias"]),
    )
    lines = re.findall(r"^\|.*\|$", first if reset == "after" else second, re.M)
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    rows = {name: [int(v) for v in values] for name, *values in cells if re.fullmatch(r"-?\d+", values[0])}
    return NetworkImage("example", source, (layer,), readout, {}), np.array(net["x"]), rows


@pytest.mark.parametrize("reset", ["after", "before"])
def test_the_worked_example_of_the_page_is_right_in_every_number(reset):
    image, x, rows = worked_example(reset)
    layer = image.layers[0]
    assert layer.spec.state_reset == ("threshold" if reset == "after" else "output")
    found = {}
    c, y = [0, 0], [0, 0]
    for inputs in x.tolist():
        units = reference.layer_step(network_of(image)["layers"][0], inputs, c, y)
        for unit in units:
            for name, value in unit.items():
                name = f"index of {name[1]}" if name in ("iz", "ir", "ig") else name
                found.setdefault(name, []).append(value)
        c, y = [unit["c"] for unit in units], [unit["y"] for unit in units]
    trace = IntegerNetwork(image).run(x)
    for name, row in enumerate(image.readout.weight.astype(int)):
        m = (trace.events[0] @ row + image.readout.bias[name]).tolist()
        found[f"m[{name}]"] = [*m, sum(m)]
    if reset == "before":
        # A is in the first part's table.
        found = {name: values for name, values in found.items() if not name.startswith("A[")}
        assert trace.gated[0].flatten().tolist() == rows["w"]
    assert rows == found
    assert trace.events[0].flatten().tolist() == rows["y"]
    assert trace.states[0].flatten().tolist() == rows["c"]
    assert trace.logits.tolist() == [rows["m[0]"][-1], rows["m[1]"][-1]]


def test_the_worked_example_shows_what_the_page_says_it_shows():
    image, _, rows = worked_example()
    layer = image.layers[0]
    assert (layer.acc_frac, layer.input_shift, layer.recurrent_shift) == (12, 0, 5)
    assert rows["c~"][1] == layer.threshold[1] and rows["fired"][1] == 0
    assert rows["Sa"][1] % 2 == 1 and rows["a"][1] == (rows["Sa"][1] + 1) // 2
    assert rows["y"][3] == layer.event_format.hi
    assert (
        reference.rshr(rows["a"][5] * 2**15 + rows["r"][5] * rows["q"][5], 25)
        == 9
        > rows["index of g"][5]
        == 7
    )
    assert decide(np.array([rows["m[0]"][-1], rows["m[1]"][-1]])) == 0


def test_the_second_part_of_the_worked_example_shows_what_the_page_says_it_shows():
    image, _, rows = worked_example("before")
    assert rows["w"][2] == reference.rshr(3906 * 8, 15) == 1
    assert rows["w"][3] == reference.rshr(16384 * 14, 15) == 7
    m = rows["g"][2] + reference.rshr(rows["z"][2] * (rows["c"][0] - rows["g"][2]), 15)
    assert m == 28068 and m - 8 * 2**11 == rows["c~"][2] == 11684 and rows["fired"][2] == 1
    assert rows["c~"][3] == rows["c"][3] == 2042 and rows["fired"][3] == 0
    left = rows["g"][5] + reference.rshr(rows["z"][5] * (rows["c"][3] - rows["g"][5]), 15)
    assert left == rows["c~"][5]
    assert decide(np.array([rows["m[0]"][-1], rows["m[1]"][-1]])) == 0
    assert image.layers[0].acc_frac - (image.layers[0].spec.table_bits - 3) == 11
