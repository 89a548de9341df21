"""Widths per tensor and per layer: who gets which bits, and what is refused."""

import numpy as np
import pytest
import torch

from egru import EgretError, IntegerNetwork, Network, QuantNetwork
from egru.formats import IntFormat
from egru.widths import Widths

torch.set_num_threads(1)


def network(layers):
    torch.manual_seed(layers)
    return Network(5, 9, 3, layers, readout="every")


@pytest.mark.parametrize(
    ("weights", "pairs", "readout"),
    [
        (6, [(6, 6), (6, 6)], 6),
        ((4, 5, 7), [(4, 5), (4, 5)], 7),
        ((2, 3, 4, 5, 6), [(2, 3), (4, 5)], 6),
    ],
)
def test_one_three_or_all_weight_widths_reach_their_tensors(weights, pairs, readout):
    widths = Widths.of(weights, event_bits=[6, 3], table_bits=(8, 12)).check_layers(2)
    for k, pair in enumerate(pairs):
        bits = widths.layer(k)
        assert (bits["input_weight_bits"], bits["recurrent_weight_bits"]) == pair
        assert (bits["event_bits"], bits["table_bits"]) == ((6, 8), (3, 12))[k]
    assert widths.readout == readout


def test_a_network_of_other_widths_in_every_tensor_equals_its_image_in_every_bit():
    x, lively = 3 * torch.randn(40, 5, 5), network(3)
    with torch.no_grad():
        for k in range(3):
            lively.egru.layer_parameters(k).theta.fill_(0.01)
            lively.egru.layer_parameters(k).weight_ih.mul_(3)
    quantised = QuantNetwork.from_float(
        lively, calibration=x, input_bits=6, weight_bits=(2, 8, 5, 4, 7, 3, 6), event_bits=(2, 8, 5),
        table_bits=(4, 12, 7),
    )  # fmt: skip
    image = quantised.to_image("mixed")
    specs = [layer.spec for layer in image.layers]
    assert [(s.input_weight_bits, s.recurrent_weight_bits) for s in specs] == [(2, 8), (5, 4), (7, 3)]
    assert [(s.event_bits, s.table_bits) for s in specs] == [(2, 4), (8, 12), (5, 7)]
    assert (image.readout.spec.weight_bits, image.input.bits) == (6, 6)
    with torch.no_grad():
        found = quantised(x)
    expected = IntegerNetwork(image).run(image.input.format.quantise(x.numpy()))
    for y, wanted, spec in zip(found.events, expected.events, specs, strict=True):
        assert wanted.any()
        assert np.array_equal(np.ldexp(y.double().numpy(), spec.event_bits), wanted)
    assert np.array_equal(np.ldexp(found.logits.numpy(), image.logit_frac), expected.logits)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"weight_bits": (4, 4)}, r"weight_bits must be one or three integers 2\.\.8, not \(4, 4\)"),
        ({"weight_bits": ()}, r"weight_bits must be one or three integers 2\.\.8, not \(\)"),
        ({"weight_bits": (4, 9, 4)}, r"weight_bits must be .* 2\.\.8, not \(4, 9, 4\)"),
        ({"event_bits": (4, 1)}, r"event_bits must be an integer 2\.\.8, not 1"),
        ({"event_bits": ()}, r"event_bits must be an integer 2\.\.8, not \(\)"),
        ({"table_bits": 13}, r"table_bits must be an integer 4\.\.12, not 13"),
        ({"input_bits": 1}, r"input_bits must be an integer 2\.\.8, not 1"),
    ],
)
def test_widths_out_of_range_are_refused_by_name(arguments, message):
    with pytest.raises(EgretError, match=message):
        Widths.of(**arguments)


@pytest.mark.parametrize(
    ("layers", "arguments", "message"),
    [
        (1, {"weight_bits": (4,) * 5}, r"weight_bits must be one or three integers for 1 layer, not \(4, "),
        (
            2,
            {"weight_bits": (4,) * 7},
            r"weight_bits must be one, three or 5 integers for 2 layers, not \(4, ",
        ),
        (2, {"event_bits": (4, 5, 6)}, r"event_bits must be one integer, or one for each of 2 layers, not"),
        (3, {"table_bits": (4, 5)}, r"table_bits must be one integer, or one for each of 3 layers, not"),
    ],
)
def test_widths_for_another_number_of_layers_are_refused(layers, arguments, message):
    with pytest.raises(EgretError, match=message):
        QuantNetwork.from_float(network(layers), input_format=IntFormat(8, 4, True), **arguments)


def test_widths_in_words_leave_out_what_is_as_usual():
    assert Widths.of(8).label == "8 bits"
    assert Widths.of((4, 4, 8), event_bits=6).label == "weights 4 4 8, events 6"
    assert Widths.of(6, table_bits=(8, 9), input_bits=4).label == "6 bits, tables 8 9, inputs 4"
