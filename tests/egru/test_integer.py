"""The integer model: hand-worked numbers, an independent implementation, properties, and refusals."""

import json
import operator
import random
import re
from pathlib import Path

import integer_reference as reference
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from egru.errors import EgretError
from egru.formats import IntFormat
from egru.image import InputSpec, Layer, LayerSpec, NetworkImage, Readout, ReadoutSpec
from egru.integer import IntegerNetwork, Trace, decide
from egru.tables import sigmoid_table, tanh_table
from egru.testing import first_difference, random_image, random_input

NUMERICS = Path(__file__).parents[2] / "docs" / "numerics.md"


def one_unit(
    threshold, candidate_bias, *, r_bias=0, recurrent_bias=0, event_bits=8, mode="every", max_steps=1
):
    """One unit with zero weights, biases at fraction 11, and z = sigmoid(-8) = 11 / 2^15."""
    spec = LayerSpec(inputs=1, units=1, input_weight_frac=6, recurrent_weight_frac=3, event_bits=event_bits)
    layer = Layer(
        spec=spec,
        input_format=IntFormat(8, 5, True),
        input_weight=np.zeros((3, 1), int),
        recurrent_weight=np.zeros((3, 1), int),
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


def test_one_step_worked_by_hand():
    # fa = 11. Candidate: a = 1024, so 0.5 at fraction 11, index 64 at fraction 7, tanh(0.5) * 2^15 = 15142.5.
    # z = 11; c~ = 15143 + rshr(11 * -15143, 15) = 15143 - 5 = 15138 > 8192, y = rshr(15138, 7) = 118.
    trace = IntegerNetwork(one_unit(8192, 1024)).run(np.zeros((2, 1), int))
    assert tanh_table(10)[512 + 64] == 15143
    assert trace.events[0].tolist() == [[118], [118]]
    # second step: c = 15138 - 8192 = 6946; c~ = 15143 + rshr(11 * (6946 - 15143), 15) = 15143 - 3 = 15140
    assert trace.states[0].tolist() == [[6946], [6948]]
    assert trace.logits.tolist() == [[123, -113], [123, -113]]


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
    assert first_difference(reference.run(image, np.zeros((1, 1), int)), trace) is None


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


@pytest.mark.parametrize("seed", range(150))
def test_an_independent_implementation_agrees_in_every_bit(seed):
    image, x = random_case(seed)
    assert first_difference(reference.run(image, x, seed=seed), IntegerNetwork(image).run(x)) is None


@pytest.mark.parametrize("mode", ["mean", "last", "every"])
@pytest.mark.parametrize("weight_bits", range(2, 9))
def test_every_weight_width_and_mode_agrees_with_the_independent_implementation(weight_bits, mode):
    for seed, k in enumerate(range(4, 13)):
        image, x = random_case(
            100 * seed, weight_bits=weight_bits, mode=mode, table_bits=k, input_bits=1 + seed % 8,
            input_signed=seed % 8 > 0 and bool(seed % 2), event_bits=2 + seed % 7, units=(3, 2),
            activity=None,
        )  # fmt: skip
        assert first_difference(reference.run(image, x), IntegerNetwork(image).run(x)) is None


@pytest.mark.parametrize("bug", [{"rounding": reference.floor_shift}, {"fires": operator.ge}])
def test_a_planted_bug_is_caught(bug):
    """Changed rounding, and a threshold that fires on equality."""
    image, x = one_unit(15138, 1024), np.zeros((3, 1), int)
    assert first_difference(reference.run(image, x), IntegerNetwork(image).run(x)) is None
    message = first_difference(reference.run(image, x, **bug), IntegerNetwork(image).run(x))
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


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_renumbering_inputs_and_units_renumbers_the_results_and_nothing_else(seed):
    rng = np.random.default_rng(seed)
    image = random_image(rng, inputs=5, units=(6,), random_tables=bool(seed % 2))
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
    expected = Trace([before.events[0][:, units]], [before.states[0][:, units]], before.logits)
    assert first_difference(expected, after) is None


@pytest.mark.parametrize("mode", ["mean", "last", "every"])
@pytest.mark.parametrize("seed", range(5))
def test_a_batch_with_lengths_is_its_sequences_one_by_one(seed, mode):
    rng = np.random.default_rng(seed)
    image = random_image(rng, units=(5, 4), mode=mode)
    x = random_input(rng, image, 9, batch=6)
    lengths = rng.integers(1, 10, 6)
    lengths[0] = 9
    batch = IntegerNetwork(image).run(x, lengths)
    for b, length in enumerate(lengths):
        alone = IntegerNetwork(image).run(x[:length, b])
        logits = batch.logits[:length, b] if mode == "every" else batch.logits[b]
        part = Trace([e[:length, b] for e in batch.events], [s[:length, b] for s in batch.states], logits)
        assert first_difference(alone, part) is None
        rest = [array[length:, b] for array in (*batch.events, *batch.states)]
        if mode == "every":
            rest.append(batch.logits[length:, b])
        assert not any(array.any() for array in rest)


@pytest.mark.parametrize("activity", [0.0, 0.25, 1.0])
def test_random_networks_have_the_activity_asked_for(activity):
    for seed in range(20):
        image, x = random_case(seed, activity=activity, random_tables=False, units=(8, 4))
        for layer, events in zip(image.layers, IntegerNetwork(image).run(x).events, strict=True):
            assert ((events > 0).sum(axis=1) == activity * layer.spec.units).all()


def test_random_networks_and_inputs_depend_on_the_generator_alone():
    first, second = (random_case(7) for _ in range(2))
    assert first[0] == second[0]
    assert np.array_equal(first[1], second[1])
    assert random_case(8)[0] != first[0]


def test_the_largest_sums_that_a_network_can_have_do_not_overflow():
    """65535 inputs, extreme weights and the widest shift, against Python integers."""
    image = random_image(
        np.random.default_rng(0), inputs=65535, units=(1,), weight_bits=8, extreme=True, event_bits=8,
        input_bits=8, input_signed=False, input_frac=0, any_frac=True, mode="mean",
    )  # fmt: skip
    x = np.full((2, 65535), 255)
    assert first_difference(reference.run(image, x), IntegerNetwork(image).run(x)) is None


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


def worked_example():
    """Section 8 of docs/numerics.md: the image, x, and its tables as name -> numbers."""
    text = NUMERICS.read_text(encoding="utf-8").split("## 8. A worked example")[1]
    net = json.loads(re.search(r"```json\n(.*?)```", text, re.DOTALL)[1])
    source, spec = InputSpec(**net["input"]), LayerSpec(**net["layer"])
    tensors = {name: np.array(net[name]) for name in Layer.TENSORS}
    layer = Layer(spec=spec, input_format=source.format, **tensors)
    readout = Readout(
        spec=ReadoutSpec(**net["readout"]),
        weight=np.array(net["readout_weight"]),
        bias=np.array(net["readout_bias"]),
    )
    cells = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in re.findall(r"^\|.*\|$", text, re.M)
    ]
    rows = {name: [int(v) for v in values] for name, *values in cells if re.fullmatch(r"-?\d+", values[0])}
    return NetworkImage("example", source, (layer,), readout, {}), np.array(net["x"]), rows


def test_the_worked_example_of_the_page_is_right_in_every_number():
    image, x, rows = worked_example()
    layer, units = image.layers[0], 2
    found = {}
    c, y = [0] * units, [0] * units
    for inputs in x.tolist():
        done = []
        for u in range(units):
            order = random.Random(0)
            A = reference.products(layer.input_weight.tolist(), inputs, units, u, order)
            Q = reference.products(layer.recurrent_weight.tolist(), y, units, u, order)
            step = {f"A[{g}]": A[g] for g in range(3)} | {f"Q[{g}]": Q[g] for g in range(3)}
            done.append(reference.layer_step(layer, u, c[u], A, Q))
            for name, value in (step | done[-1]).items():
                name = f"index of {name[1]}" if name in ("iz", "ir", "ig") else name
                found.setdefault(name, []).append(value)
        c, y = [unit["c"] for unit in done], [unit["y"] for unit in done]
    trace = IntegerNetwork(image).run(x)
    for name, row in enumerate(image.readout.weight.astype(int)):
        m = (trace.events[0] @ row + image.readout.bias[name]).tolist()
        found[f"m[{name}]"] = [*m, sum(m)]
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
