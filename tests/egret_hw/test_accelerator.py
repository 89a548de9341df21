"""Small accelerators in Amaranth's own simulator, bit for bit against the integer model."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from accelerator_simulation import at_the_threshold, expected_of, simulate, tokens_of

from egret_hw.accelerator import Accelerator
from egret_hw.config import AcceleratorConfig
from egret_hw.multiplier import PairMultiplier
from egret_hw.stream import Kind
from egru import Network, QuantNetwork
from egru.errors import EgretError
from egru.testing import random_image, random_input

CASES = [
    # inputs, units, classes, lanes, update lanes, mode, density, activity, stall
    pytest.param(1, (1,), 1, 1, 1, "mean", 0.9, None, 0.0, id="one-unit-one-input-one-lane"),
    pytest.param(3, (5,), 2, 2, 1, "every", 0.5, None, 0.3, id="two-lanes-read-in-turns"),
    pytest.param(3, (5,), 2, 3, 1, "last", 0.5, None, 0.3, id="three-lanes"),
    pytest.param(4, (7,), 3, 16, 3, "last", 0.7, None, 0.0, id="few-words-many-update-lanes"),
    pytest.param(2, (5,), 3, 16, 1, "mean", 0.9, None, 0.5, id="row-of-one-word"),
    pytest.param(3, (11, 6), 4, 4, 1, "mean", 0.5, None, 0.2, id="two-layers"),
    pytest.param(2, (4, 9, 3), 2, 7, 2, "every", 0.5, None, 0.4, id="three-layers-odd-lanes"),
    pytest.param(6, (13,), 5, 6, 2, "mean", 1.0, 1.0, 0.0, id="everything-fires"),
    pytest.param(6, (13,), 5, 4, 1, "last", 0.0, 0.0, 0.0, id="nothing-happens"),
]


@pytest.mark.parametrize("inputs,units,classes,lanes,update,mode,density,activity,stall", CASES)
def test_accelerator_equals_integer_model(
    inputs, units, classes, lanes, update, mode, density, activity, stall
):
    rng = np.random.default_rng(inputs + 7 * lanes)
    image = random_image(
        rng, inputs=inputs, units=units, classes=classes, mode=mode, activity=activity, threshold=(0.0, 0.2)
    )
    update = tuple(min(update, n) for n in units)
    config = AcceleratorConfig(lanes=lanes, update_lanes=update, readout_lanes=min(3, classes), queue_depth=4)
    sequences = [random_input(rng, image, steps, density=density) for steps in (7, 1, 1, 6)]
    wanted_logits, wanted_layers = expected_of(image, sequences)
    if activity is None:  # a case that tests something: units that fire now and then, with different values
        assert all(len({v for step in steps for v in step.values()}) > 1 for steps in wanted_layers)
    logits, layers, counters = simulate(image, config, tokens_of(sequences), len(wanted_logits), stall=stall)
    assert layers == wanted_layers
    assert logits == wanted_logits
    for number, count in enumerate(counters):
        words = -(-3 * units[number] // lanes)
        events = count["input_events"] + count["recurrent_events"]
        assert count["busy"] == events * words
        assert count["cycles"] == count["busy"] + sum(
            n for name, n in count.items() if name.startswith("idle")
        )
        arriving = sequences if number == 0 else wanted_layers[number - 1]
        assert count["input_events"] == sum(np.count_nonzero(x) if number == 0 else len(x) for x in arriving)


@pytest.mark.parametrize("streams,lanes", [(1, 6), (2, 9), (1, 16)])
@pytest.mark.parametrize(
    "reset,state_reset", [("after", "output"), ("before", "threshold"), ("before", "output")]
)
def test_every_variant_of_the_resets_equals_integer_model(reset, state_reset, streams, lanes):
    rng = np.random.default_rng(lanes)
    image = random_image(
        rng,
        inputs=4,
        units=(7, 5),
        classes=3,
        mode="every",
        threshold=(0.0, 0.2),
        reset=reset,
        state_reset=state_reset,
    )
    queues = [[random_input(rng, image, steps, density=0.7) for steps in (8, 1, 5)] for _ in range(streams)]
    if streams == 1:
        tokens = tokens_of(queues[0])
        wanted_logits, wanted_layers = expected_of(image, queues[0])
    else:
        tokens, wanted_logits, wanted_layers = interleaved(image, queues)
    assert len({v for step in wanted_layers[0] for v in step.values()}) > 1
    config = AcceleratorConfig(lanes=lanes, streams=streams)
    logits, layers, counters = simulate(image, config, tokens, len(wanted_logits), stall=0.2)
    assert layers == wanted_layers
    assert logits == wanted_logits
    arriving = sum(np.count_nonzero(x) for queue in queues for x in queue)
    assert counters[0]["input_events"] == arriving


@pytest.mark.parametrize("reset", ["after", "before"])
@pytest.mark.parametrize("units,lanes,update", [(8, 4, 1), (16, 8, 2), (32, 16, 4)])
def test_second_sums_in_other_lanes_than_the_first_change_no_bit(units, lanes, update, reset):
    rng = np.random.default_rng(units)
    image = random_image(
        rng, inputs=4, units=(units,), classes=3, mode="every", threshold=(0.0, 0.2), reset=reset
    )
    config = AcceleratorConfig(lanes=lanes, update_lanes=update)
    assert Accelerator(image, config).tiles[0].gather.spread
    sequences = [random_input(rng, image, steps, density=0.6) for steps in (8, 1, 5)]
    wanted_logits, wanted_layers = expected_of(image, sequences)
    assert len({v for step in wanted_layers[0] for v in step.values()}) > 1
    logits, layers, _ = simulate(image, config, tokens_of(sequences), len(wanted_logits), stall=0.2)
    assert layers == wanted_layers
    assert logits == wanted_logits


@pytest.mark.parametrize("weight_bits,lanes", [(4, 8), (3, 5), (2, 1)])
def test_narrow_weights_share_multipliers_and_change_no_bit(weight_bits, lanes):
    rng = np.random.default_rng(weight_bits)
    image = random_image(
        rng,
        inputs=4,
        units=(7, 5),
        classes=3,
        weight_bits=weight_bits,
        extreme=weight_bits == 2,
        input_bits=8,
        input_signed=True,
        mode="mean",
        threshold=(0.0, 0.2),
    )
    accelerator = Accelerator(image, AcceleratorConfig(lanes=lanes))
    for tile in accelerator.tiles:
        assert PairMultiplier.shares(weight_bits=weight_bits, value_bits=tile.widths.value_bits)
    sequences = [random_input(rng, image, steps, density=0.7) for steps in (9, 4)]
    wanted_logits, wanted_layers = expected_of(image, sequences)
    assert len({v for step in wanted_layers[0] for v in step.values()}) > 1
    logits, layers, _ = simulate(
        image, AcceleratorConfig(lanes=lanes), tokens_of(sequences), len(wanted_logits)
    )
    assert layers == wanted_layers
    assert logits == wanted_logits


@pytest.mark.parametrize("lanes", [4, 16])
def test_a_potential_that_equals_its_threshold_does_not_fire(lanes):
    image, x, above = at_the_threshold()
    wanted_logits, wanted_layers = expected_of(image, [x])
    assert sorted(wanted_layers[0][0]) == above
    logits, layers, _ = simulate(image, AcceleratorConfig(lanes=lanes), tokens_of([x]), len(wanted_logits))
    assert layers == wanted_layers
    assert logits == wanted_logits


def test_wrong_weights_are_noticed():
    rng = np.random.default_rng(5)
    image = random_image(rng, inputs=3, units=(6,), classes=2, mode="every", threshold=(0.0, 0.2))
    sequences = [random_input(rng, image, 8, density=0.9)]
    layer = image.layers[0]
    weight = layer.input_weight.copy()
    weight[12:, :] = -weight[12:, :]  # the candidates' inputs
    other = replace(image, layers=(replace(layer, input_weight=weight),))
    wanted_logits, wanted_layers = expected_of(image, sequences)
    _, layers, _ = simulate(other, AcceleratorConfig(lanes=4), tokens_of(sequences), len(wanted_logits))
    assert layers != wanted_layers


def turns_of(queues):
    """Tokens of streams that take their steps in turn; the order of the sequences' ends and of the steps.

    `queues` has the sequences of each stream. Ends are (stream, sequence), steps (stream, sequence, step).
    """
    tokens, ends, steps = [], [], []
    places = [(0, 0)] * len(queues)
    while any(sequence < len(queue) for (sequence, _), queue in zip(places, queues, strict=True)):
        for stream, queue in enumerate(queues):
            sequence, step = places[stream]
            if sequence == len(queue):
                tokens.append({"kind": Kind.PASS, "index": 0, "value": 0})
                continue
            x = queue[sequence]
            steps.append((stream, sequence, step))
            tokens += tokens_of([x[step : step + 1]])[:-1]
            places[stream] = (sequence, step + 1)
            if step + 1 == len(x):
                tokens.append({"kind": Kind.END, "index": 0, "value": 0})
                ends.append((stream, sequence))
                places[stream] = (sequence + 1, 0)
    return tokens, ends, steps


def interleaved(image, queues):
    """Tokens of several streams, and expected logits and events of each layer, in the order of turns."""
    tokens, ends, steps = turns_of(queues)
    alone = {(s, q): expected_of(image, [x]) for s, queue in enumerate(queues) for q, x in enumerate(queue)}
    wanted_layers = [[alone[s, q][1][layer][t] for s, q, t in steps] for layer in range(len(image.layers))]
    if image.readout.spec.mode == "every":
        wanted_logits, width = [], image.readout.spec.classes + 1
        for s, q, t in steps:
            logits = alone[s, q][0]
            wanted_logits += logits[width * t : width * (t + 1)]
            if t + 1 == len(queues[s][q]):
                wanted_logits.append(logits[-1])
    else:
        wanted_logits = [token for s, q in ends for token in alone[s, q][0]]
    return tokens, wanted_logits, wanted_layers


@pytest.mark.parametrize(
    "streams,units,lanes,mode,stall",
    [
        pytest.param(2, (7,), 4, "mean", 0.0, id="two"),
        pytest.param(3, (5, 4), 8, "last", 0.3, id="three-two-layers"),
        pytest.param(4, (6,), 16, "every", 0.2, id="four-every"),
        pytest.param(2, (3, 9), 5, "mean", 0.5, id="two-stalled"),
    ],
)
def test_interleaved_streams_equal_sequences_alone(streams, units, lanes, mode, stall):
    rng = np.random.default_rng(lanes)
    image = random_image(rng, inputs=3, units=units, classes=2, mode=mode, threshold=(0.0, 0.2))
    queues = [
        [random_input(rng, image, int(rng.integers(1, 6)), density=0.6) for _ in range(stream + 1)]
        for stream in range(streams)
    ]
    tokens, wanted_logits, wanted_layers = interleaved(image, queues)
    assert any(len(step) for step in wanted_layers[0])
    config = AcceleratorConfig(lanes=lanes, readout_lanes=2, queue_depth=4, streams=streams)
    logits, layers, _ = simulate(image, config, tokens, len(wanted_logits), stall=stall)
    assert layers == wanted_layers
    assert logits == wanted_logits


@pytest.mark.parametrize("lanes", [0, 65, -1, True])
def test_lanes_out_of_range_are_refused(lanes):
    image = random_image(np.random.default_rng(0), inputs=2, units=(3,), classes=2)
    with pytest.raises(EgretError, match=r"lanes of layer 0 must be an integer from 1 to 64, not"):
        Accelerator(image, AcceleratorConfig(lanes=lanes))


SILENT_STEP = 25
"""Cycles of a step without events, beyond one for each group of units: docs/architecture.md."""


@pytest.mark.parametrize(("units", "lanes", "update"), [(40, 12, 2), (48, 16, 1)])
def test_a_silent_step_costs_its_update_and_the_latency_that_the_docs_state(units, lanes, update):
    image = random_image(
        np.random.default_rng(1),
        inputs=3,
        units=(units,),
        classes=2,
        mode="last",
        input_bits=8,
        threshold=(0.99, 0.99),
    )
    config = AcceleratorConfig(lanes=lanes, update_lanes=update)
    cycles = []
    for steps in (4, 14):
        x = np.zeros((steps, 3), np.int64)
        wanted, layers = expected_of(image, [x])
        assert not any(layers[0])
        _, _, counters = simulate(image, config, tokens_of([x]), len(wanted))
        cycles.append(counters[0]["cycles"])
    assert (cycles[1] - cycles[0]) / 10 == -(-units // update) + SILENT_STEP


def test_other_widths_in_every_tensor_of_every_layer_change_no_bit():
    """Quantised by widths as `egret quantize` takes them: payloads, tables and weights differ by layer."""
    torch.manual_seed(1)
    network = Network(4, 7, 3, 2)
    with torch.no_grad():
        for k in range(2):
            network.egru.layer_parameters(k).theta.fill_(0.02)
    image = QuantNetwork.from_float(
        network, calibration=torch.randn(30, 4), input_bits=6, weight_bits=(3, 8, 5, 4, 6), event_bits=(3, 6),
        table_bits=(6, 9),
    ).to_image("mixed")  # fmt: skip
    rng = np.random.default_rng(1)
    sequences = [random_input(rng, image, steps, density=0.7) for steps in (9, 4)]
    wanted_logits, wanted_layers = expected_of(image, sequences)
    assert all(len({v for step in layer for v in step.values()}) > 1 for layer in wanted_layers)
    logits, layers, _ = simulate(image, AcceleratorConfig(lanes=4), tokens_of(sequences), len(wanted_logits))
    assert layers == wanted_layers
    assert logits == wanted_logits
