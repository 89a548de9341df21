"""Statistics against counts made by hand or one value at a time."""

import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from egru import EGRU, EgretError, Network, NetworkImage
from egru.image import InputSpec, Layer, LayerSpec, Readout, ReadoutSpec
from egru.statistics import measure, measure_image

torch.set_num_threads(1)


def constant_units(candidates, theta, **options):
    """Units with gates of 1/2 and constant candidates; events change nothing."""
    units = len(candidates)
    model = EGRU(3, units, dtype=torch.float64, **options)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        model.bias_ih_l0[2 * units :] = torch.atanh(torch.tensor(candidates, dtype=torch.float64))
        model.theta_l0.fill_(theta)
    return model


def test_hand_counted_layer():
    # Potentials at theta = .3: unit 0 .4, .45 (fires twice); unit 1 .1, .15 (never fires; the surrogate
    # reaches .175, so it has one in the second step only); unit 2 -.4, -.6 (neither).
    model = constant_units([0.8, 0.2, -0.8], 0.3, eps=1 / 0.175)
    x = torch.zeros(2, 1, 3, dtype=torch.float64)
    x[0, 0, 1] = 5.0
    (s,) = measure(model, x)
    assert (s.inputs, s.units, s.steps) == (3, 3, 2)
    assert (s.input_events, s.events, s.surrogate_units, s.backward_units) == (1, 2, 3, 3)
    assert s.input_activity == pytest.approx(1 / 6)
    assert s.activity == pytest.approx(2 / 6)
    assert s.surrogate_activity == s.backward_activity == pytest.approx(3 / 6)
    # forward: one input value, one event of step 0 heard in step 1; 9 MACs each
    assert s.forward_macs == 9 * (1 + 1)
    assert s.forward_macs_dense == 9 * 2 * (3 + 3)
    # backward: the same for the weights, and unit 0 at step 0 needs a gradient on its y
    assert s.backward_macs == 9 * (1 + 1 + 1)
    assert s.backward_macs_dense == 9 * (2 * (3 + 3) + 3)


def test_surrogate_activity_is_that_of_the_potential_before_the_reset():
    # c~ = .4 fires at theta = .3 and leaves c = .1: |c~ - theta| = .1 counts, |c - theta| = .2 would not.
    (s,) = measure(constant_units([0.8], 0.3, eps=1 / 0.15), torch.zeros(1, 1, 3, dtype=torch.float64))
    assert (s.events, s.surrogate_units) == (1, 1)
    # c~ = .9 is far above the threshold: it fires without a surrogate, and still counts backward.
    (s,) = measure(constant_units([0.98], 0.1, eps=5.0), torch.zeros(1, 1, 3, dtype=torch.float64))
    assert (s.events, s.surrogate_units, s.backward_units) == (1, 0, 1)


@pytest.mark.parametrize("state_reset", ["threshold", "output"])
def test_counts_of_two_layers_with_padding_equal_a_count_one_value_at_a_time(state_reset):
    torch.manual_seed(0)
    net = Network(4, 6, 2, 2, state_reset=state_reset, eps=4.0, theta_mean=0.15)
    x = torch.randn(9, 3, 4) * (torch.rand(9, 3, 4) < 0.5)
    lengths = torch.tensor([9, 2, 5])
    layers = measure(net, x, lengths)
    out = net(x, lengths)
    needs_below = None
    for k, s in enumerate(layers):
        layer_in = x if k == 0 else out.events[0]
        events_in = events = heard = needed = below = 0
        needs = {}
        for b, length in enumerate(lengths.tolist()):
            for t in range(length):
                events_in += layer_in[t, b].count_nonzero().item()
                c = net.egru.forward_layers(x[: t + 1, b : b + 1]).state[0][k, 0]
                for u in range(6):
                    fired = out.spikes[k][t, b, u].item() == 1
                    theta = net.egru.layer_parameters(k).theta[u].item()
                    before = c[u].item() + (theta if fired and state_reset == "threshold" else 0.0)
                    needs[b, t, u] = fired or abs(before - theta) * 4.0 < 1
                    events += fired
                    if t + 1 < length:
                        heard += fired
                        needed += needs[b, t, u]
        below = 0 if needs_below is None else sum(needs_below.values())
        assert s.input_events == events_in
        assert s.events == events
        assert s.backward_units == sum(needs.values())
        assert s.forward_macs == 18 * (events_in + heard)
        assert s.backward_macs == 18 * (events_in + heard + needed + below)
        assert s.steps == 16
        assert s.forward_macs_dense == 18 * 16 * (s.inputs + 6)
        assert s.backward_macs_dense == 18 * (16 * (s.inputs + 6) + 13 * 6 + (16 * 6 if k else 0))
        assert 0 < s.events < 16 * 6
        needs_below = needs


def test_initial_events_are_heard_by_the_first_step():
    model = constant_units([-0.8, -0.8], 0.3)
    x = torch.zeros(1, 1, 3, dtype=torch.float64)
    state = torch.zeros(1, 1, 2, dtype=torch.float64), torch.tensor([[[0.5, 0.0]]], dtype=torch.float64)
    (s,) = measure(model, x, state=state)
    assert s.forward_macs == 6


def test_padding_counts_for_nothing():
    torch.manual_seed(0)
    model = EGRU(4, 6, 2)
    x = torch.randn(8, 2, 4)
    padded = torch.cat((x, torch.full((5, 2, 4), math.nan)))
    assert measure(model, padded, torch.tensor([8, 8])) == measure(model, x)


def test_statistics_of_batches_add_up_to_those_of_all():
    torch.manual_seed(0)
    model = EGRU(4, 6)
    x = torch.randn(8, 5, 4)
    (a,), (b,), (whole,) = measure(model, x[:, :2]), measure(model, x[:, 2:]), measure(model, x)
    assert a + b == whole
    with pytest.raises(ValueError, match="of a 4 x 6 and a 4 x 7 layer do not add"):
        a + measure(EGRU(4, 7), x)[0]


def test_a_dense_model_asks_for_all_forward_work():
    model = constant_units([0.9, 0.9], 2**-8)
    with torch.no_grad():
        model.bias_ih_l0[:2] = -20.0  # z = 0: the potential is the candidate, .9 at every step
    state = torch.zeros(1, 2, 2, dtype=torch.float64), torch.ones(1, 2, 2, dtype=torch.float64)
    (s,) = measure(model, torch.ones(5, 2, 3, dtype=torch.float64), state=state)
    assert s.activity == s.input_activity == 1.0
    assert s.forward_macs == s.forward_macs_dense
    assert s.backward_macs == s.backward_macs_dense


def test_bad_input_is_refused_like_in_a_forward_pass():
    with pytest.raises(EgretError, match="x must be T x B x I with I = 4"):
        measure(EGRU(4, 6), torch.zeros(3, 2, 5))


@pytest.mark.parametrize(
    ("reset", "state_reset", "expected"),
    [
        # |c~ - theta| by the page's table: u0 6705, 15040, 6878; u1 0, 2066, 4008.
        # u0 fires in step 0, u1 in step 1.
        (
            "after",
            "threshold",
            {"events": 2, "recurrent_events": 2, "surrogate_units": 5, "backward_units": 5},
        ),
        # u0 10530, 5911, 3325; u1 244, 26433, 4015. u0 fires in every step, u1 in step 0.
        ("before", "output", {"events": 4, "recurrent_events": 3, "surrogate_units": 4, "backward_units": 5}),
    ],
)
def test_the_worked_example_of_the_numerics_page_counted_by_hand(reset, state_reset, expected):
    page = (Path(__file__).parents[2] / "docs" / "numerics.md").read_text(encoding="utf-8")
    net = json.loads(re.search(r"```json\n(.*?)```", page.split("## 8. A worked example")[1], re.DOTALL)[1])
    source = InputSpec(**net["input"])
    spec = LayerSpec(**net["layer"] | {"reset": reset, "state_reset": state_reset})
    tensors = {name: np.array(net[name]) for name in Layer.TENSORS}
    weight, bias = np.array(net["readout_weight"]), np.array(net["readout_bias"])
    readout = Readout(spec=ReadoutSpec(**net["readout"]), weight=weight, bias=bias)
    layer = Layer(spec=spec, input_format=source.format, **tensors)
    image = NetworkImage("example", source, (layer,), readout, {})
    x = np.array(net["x"])[:, None]
    (s,) = measure_image(image, x, eps=4.0)  # the surrogate reaches 2^15 / 4 = 8192
    assert {name: getattr(s, name) for name in expected} == expected
    assert (s.steps, s.sequences, s.input_events, s.carried_units) == (3, 1, 4, 3)
    assert s.forward_macs == 6 * (4 + expected["recurrent_events"])
    assert s.backward_macs == s.forward_macs + 6 * 3
    # A padded copy beside it doubles every count, and the padding counts for nothing.
    longer = np.pad(np.concatenate((x, x), axis=1), ((0, 4), (0, 0), (0, 0)), constant_values=1)
    assert measure_image(image, longer, np.array([3, 3]), eps=4.0) == [s + s]
