"""What is handed to the integer model: inputs, lengths and states outside the page, and windows inside it."""

from dataclasses import replace

import integer_reference as reference
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference_trace import network_of

from egret_sim.run import simulate
from egru.errors import EgretError
from egru.formats import IntFormat
from egru.integer import IntegerNetwork, check_sequence
from egru.testing import random_image, random_input


def image_of(mode="mean", seed=2, **knobs):
    knobs = {"inputs": 2, "units": (3, 2), "classes": 2, "max_steps": 4, "activity": 1.0} | knobs
    return random_image(np.random.default_rng(seed), mode=mode, **knobs)


HUGE = 10**30
BAD_INPUTS = {
    "ragged": [[1, 2], [3]],
    "complex": np.zeros((2, 2), complex),
    "texts": [["1", "2"]],
    "huge": [[HUGE, 0]],
    "thousands of digits": [[10**5000, 0]],
    "not finite": [[float("nan"), 0]],
    "reals": [[1.0, 2.0]],
    "booleans": [[True, False]],
    "nothing": None,
    "an object": object(),
    "a dictionary": {1: 2},
    "dates": np.zeros((2, 2), "M8[s]"),
    "records": np.zeros(2, [("a", "i4"), ("b", "i4")]),
    "no steps": np.zeros((0, 2), int),
    "no inputs": np.zeros((2, 0), int),
    "another width": np.zeros((2, 3), int),
    "four dimensions": np.zeros((1, 1, 1, 2), int),
    "above": np.full((2, 2), 2**63, np.uint64),
    "below": np.full((2, 2), -(2**63)),
}


@pytest.mark.parametrize("name", BAD_INPUTS)
def test_inputs_that_are_none_are_refused_in_one_line_by_the_model_and_the_cosimulation(name):
    image, x = image_of(), BAD_INPUTS[name]
    for run in (
        lambda: IntegerNetwork(image).run(x),
        lambda: check_sequence("sequence 0", x, image),
        lambda: simulate(image, [x]),  # before anything is built
    ):
        with pytest.raises(EgretError, match=r"^(x|sequence 0) must") as caught:
            run()
        assert "\n" not in str(caught.value) and len(str(caught.value)) < 250


@pytest.mark.parametrize(
    "lengths", [[[1], [1, 2]], "ab", 2, [1.0, 1.0], [HUGE, 1], [None, 1], object(), [0, 1], [1, 5]]
)
def test_lengths_that_are_none_are_refused_in_one_line(lengths):
    image = image_of()
    with pytest.raises(EgretError, match=r"^lengths must") as caught:
        IntegerNetwork(image).run(np.zeros((3, 2, 2), int), lengths)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 250


@pytest.mark.parametrize("state_reset", ["threshold", "output"])
def test_both_implementations_refuse_a_number_outside_the_input_format_and_not_its_ends(state_reset):
    image = image_of(state_reset=state_reset)
    fmt, network = image.input.format, network_of(image)
    for value, legal in ((fmt.lo, True), (fmt.hi, True), (fmt.lo - 1, False), (fmt.hi + 1, False)):
        x = np.array([[0, value]])
        if legal:
            assert IntegerNetwork(image).run(x).logits.tolist() == reference.run(network, x)[3]
            continue
        with pytest.raises(EgretError, match=f"x must be within {fmt.lo}..{fmt.hi}"):
            IntegerNetwork(image).run(x)
        with pytest.raises(ValueError, match="input format"):
            reference.run(network, x)


def good_state(image, batch):
    rng = np.random.default_rng(1)
    return [
        (
            rng.integers(-32767, 32767, (batch, layer.spec.units), endpoint=True),
            rng.integers(0, layer.event_format.hi, (batch, layer.spec.units), endpoint=True),
        )
        for layer in image.layers
    ]


def changed(layer, part, value):
    def change(state):
        pair = list(state[layer])
        pair[part] = value(pair[part]) if callable(value) else value
        return [*state[:layer], tuple(pair), *state[layer + 1 :]]

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s[:1], "state must be a list of 2 pairs"),
        (lambda s: [*s, s[0]], "state must be a list of 2 pairs"),
        (lambda s: 5, "state must be a list of 2 pairs"),
        (lambda s: "ab", "state must be a list of 2 pairs"),
        (lambda s: np.zeros((2, 2, 2, 3), int), "state must be a list of 2 pairs"),
        (lambda s: [s[0], s[1][:1]], "state of layer 1 must be a pair"),
        (lambda s: [s[0], None], "state of layer 1 must be a pair"),
        (changed(0, 0, lambda c: c.astype(float)), "c of layer 0 in state must hold integers, not float64"),
        (changed(0, 1, lambda y: y.astype(complex)), "y of layer 0 in state must hold integers"),
        (changed(0, 0, lambda c: c > 0), "c of layer 0 in state must hold integers, not bool"),
        (changed(0, 0, "abc"), "c of layer 0 in state must hold integers"),
        (changed(0, 0, [[1], [2, 3]]), "c of layer 0 in state must be an array"),
        (changed(0, 0, [[HUGE] * 3] * 2), "c of layer 0 in state must hold integers"),
        (changed(1, 0, lambda c: c[0]), r"c of layer 1 in state must have shape \(2, 2\), not \(2,\)"),
        (changed(1, 1, lambda y: y[:1]), r"y of layer 1 in state must have shape \(2, 2\), not \(1, 2\)"),
        (changed(0, 1, lambda y: y[:, :1]), r"y of layer 0 in state must have shape \(2, 3\), not \(2, 1\)"),
        (changed(0, 0, 3), r"c of layer 0 in state must have shape \(2, 3\), not \(\)"),
        (changed(0, 0, lambda c: c * 0 + 32768), r"c of layer 0 in state must be within -32767\.\.32767"),
        (changed(0, 0, lambda c: c * 0 - 32768), r"c of layer 0 in state must be within -32767\.\.32767"),
        (changed(1, 1, lambda y: y * 0 - 1), r"y of layer 1 in state must be within 0\.\."),
        (changed(1, 1, lambda y: y * 0 + 256), r"y of layer 1 in state must be within 0\.\."),
    ],
)  # fmt: skip
def test_a_state_that_is_none_is_refused_in_one_line(change, message):
    image = image_of()
    with pytest.raises(EgretError, match=f"^{message}") as caught:
        IntegerNetwork(image).run(np.zeros((2, 2, 2), int), state=change(good_state(image, 2)))
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 300


@pytest.mark.parametrize("state_reset", ["threshold", "output"])
def test_the_ends_of_a_states_range_are_those_of_the_page_on_both_sides(state_reset):
    image = image_of(state_reset=state_reset, units=(2,))
    layer, network, x = image.layers[0], network_of(image), np.zeros((1, 2), int)
    eb = layer.spec.event_bits
    low = -32767 if state_reset == "threshold" else -65535 + 2 ** (15 - eb)
    for c, y, legal in (
        *((low, 0, True), (low - 1, 0, False), (32767, 0, True), (32768, 0, False)),
        *((0, 2**eb - 1, True), (0, 2**eb, False), (0, -1, False)),
    ):
        state = [(np.array([[c, 0]]), np.array([[y, 0]]))]
        other = [([c, 0], [y, 0])]
        if legal:
            trace = IntegerNetwork(image).run(x[:, None], state=state)
            events, states, _, logits = reference.run(network, x, state=other)
            assert (trace.events[0][:, 0].tolist(), trace.states[0][:, 0].tolist()) == (events[0], states[0])
            assert trace.logits[0].tolist() == logits
            continue
        with pytest.raises(EgretError, match="in state must be within"):
            IntegerNetwork(image).run(x[:, None], state=state)
        with pytest.raises(ValueError, match="must be in its range"):
            reference.run(network, x, state=other)


@pytest.mark.parametrize("mode", ["mean", "last", "every"])
@pytest.mark.parametrize("state_reset", ["threshold", "output"])
def test_windows_go_on_where_the_one_before_ended_and_max_steps_bounds_each(mode, state_reset):
    image = image_of(mode, max_steps=3, state_reset=state_reset)
    spec = replace(image.readout.spec, max_steps=6 if mode == "mean" else 1)
    whole = replace(image, readout=replace(image.readout, spec=spec))
    x = random_input(np.random.default_rng(4), image, 6)
    expected = IntegerNetwork(whole).run(x)
    first = IntegerNetwork(image).run(x[:3])
    second = IntegerNetwork(image).run(x[3:], state=first.last())
    for k in range(2):
        assert np.array_equal(np.concatenate([first.events[k], second.events[k]]), expected.events[k])
        assert np.array_equal(np.concatenate([first.states[k], second.states[k]]), expected.states[k])
    windows = [first.logits, second.logits]
    if mode == "mean":
        assert np.array_equal(sum(windows), expected.logits)
    elif mode == "last":
        assert np.array_equal(windows[1], expected.logits)
    else:
        assert np.array_equal(np.concatenate(windows), expected.logits)
    state = [(c.tolist(), y.tolist()) for c, y in first.last()]
    network = network_of(image)
    assert reference.run(network, x[3:], state=state)[3] == windows[1].tolist()
    if mode == "mean":
        with pytest.raises(EgretError, match="at most max_steps = 3 steps, not 6"):
            IntegerNetwork(image).run(x)
        with pytest.raises(ValueError, match="max_steps"):
            reference.run(network, x)
    else:
        assert len(reference.run(network, x)[0][0]) == 6


def test_an_event_is_the_next_layers_input_in_the_same_step():
    """A later layer that saw none of them would have another state."""
    image = image_of("every", units=(3, 2, 2), activity=None, threshold=(0.0, 0.0), event_bits=8)
    x = random_input(np.random.default_rng(0), image, 1, density=1.0)
    trace = IntegerNetwork(image).run(x)
    assert np.count_nonzero(trace.events[0][0])
    events, states, _, logits = reference.run(network_of(image), x)
    assert [e.tolist() for e in trace.events] == events and trace.logits.tolist() == logits
    assert [s.tolist() for s in trace.states] == states
    late = network_of(image)
    zero = [0] * late["layers"][1]["inputs"]
    delayed = reference.layer_step(late["layers"][1], zero, [0, 0], [0, 0])
    assert [unit["c"] for unit in delayed] != states[1][0]


@pytest.mark.parametrize("reset", ["after", "before"])
def test_a_potential_without_a_reset_is_no_lower_than_the_lower_of_the_old_state_and_the_candidate(reset):
    """Section 3. It may well be lower than one of the two."""
    below_one = 0
    for seed in range(30):
        image = image_of(
            seed=seed, reset=reset, state_reset="output", random_tables=True, activity=None, units=(4,)
        )
        layer = network_of(image)["layers"][0]
        c, y = [0] * 4, [0] * 4
        for row in random_input(np.random.default_rng(seed), image, 6).tolist():
            units = reference.layer_step(layer, row, c, y)
            for u, unit in enumerate(units):
                if y[u] == 0:
                    assert min(c[u], unit["g"]) <= unit["c~"] <= max(c[u], unit["g"])
                    below_one += unit["c~"] < max(c[u], unit["g"])
            c, y = [unit["c"] for unit in units], [unit["y"] for unit in units]
    assert below_one > 100


@pytest.mark.parametrize(
    "values",
    ["1.5", ["1", "2"], [[1.0], [2.0, 3.0]], 1j, np.ones(2, complex), [10**400], [None], object(), b"1",
     np.zeros(2, "M8[s]"), [float("nan")], [float("inf")], {}],
    ids=lambda value: "value",
)  # fmt: skip
def test_what_is_no_real_number_is_not_quantised(values):
    with pytest.raises(EgretError) as caught:
        IntFormat(8, 4, True).quantise(values)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 250


@given(st.lists(st.one_of(st.integers(-(10**30), 10**30), st.floats(-1e30, 1e30), st.booleans()), max_size=9))
@settings(max_examples=100, deadline=None)
def test_numbers_of_python_are_quantised_as_float64_would_be(values):
    fmt = IntFormat(6, 2, True)
    expected = [min(max(int(np.floor(float(v) * 4 + 0.5)), fmt.lo), fmt.hi) for v in values]
    assert fmt.quantise(values).tolist() == expected


@pytest.mark.parametrize(
    "value", [10**5000, "8", 8.0, None, np.int64(8), [8], True, 33, -1], ids=lambda v: "value"
)
@pytest.mark.parametrize("name", ["bits", "frac"])
def test_a_format_is_refused_in_one_line(name, value):
    with pytest.raises(EgretError, match=f"^{name} of a format must be an integer") as caught:
        IntFormat(**{"bits": 8, "frac": 4, "signed": True, name: value})
    assert len(str(caught.value)) < 200
