"""Widths of all sums: exactly those of an account that was written from the page alone."""

import dataclasses
import json
import re

import exact_sums
import numpy as np
import pytest
from accelerator_simulation import expected_of, simulate, tokens_of
from hypothesis import given, settings
from hypothesis import strategies as st
from one_sum import FOUND, MINIMAL, STEPS

from egret_hw.accelerator import Accelerator
from egret_hw.config import AcceleratorConfig
from egret_hw.generate import generate
from egret_hw.widths import (
    CANDIDATE,
    CANDIDATE_INPUT,
    CANDIDATE_RECURRENT,
    GATE,
    Bounds,
    LayerWidths,
    R,
    ReadoutWidths,
    Z,
)
from egru.integer import IntegerNetwork
from egru.options import RESETS, STATE_RESETS
from egru.testing import random_image

SUMS = {
    "gate": GATE,
    "candidate": CANDIDATE,
    "input part": CANDIDATE_INPUT,
    "recurrent part": CANDIDATE_RECURRENT,
}
TOTALS = {"z": Z, "r": R, "g": CANDIDATE, "a": CANDIDATE_INPUT, "q": CANDIDATE_RECURRENT}


def widths_of(layer, **options):
    bits = max(layer.spec.input_weight_bits, layer.spec.recurrent_weight_bits)
    return LayerWidths.of(layer, weight_bits=bits, **options)


@st.composite
def networks(draw):
    """Random and extreme images of every option."""
    rng = np.random.default_rng(draw(st.integers(0, 1 << 32)))
    image = random_image(
        rng,
        units=[int(rng.integers(1, 6)) for _ in range(int(rng.integers(1, 3)))],
        any_frac=draw(st.booleans()),
        extreme=draw(st.booleans()),
        weight_bits=draw(st.one_of(st.none(), st.integers(2, 8))),
        max_steps=draw(st.sampled_from([1, 2, 3, 4096, 1 << 24])),
        reset=draw(st.sampled_from(RESETS)),
        state_reset=draw(st.sampled_from(STATE_RESETS)),
    )
    if draw(st.booleans()):  # all weights of one sign, and biases at the ends of their range
        sign = draw(st.sampled_from([-1, 1]))
        layers = []
        for layer in image.layers:
            inputs, recurrent = (
                np.clip(sign * np.abs(weight.astype(int)), -128, fmt.hi)
                for weight, fmt in (
                    (layer.input_weight, layer.spec.input_weight_format),
                    (layer.recurrent_weight, layer.spec.recurrent_weight_format),
                )
            )
            bias = rng.choice([-(1 << 31), (1 << 31) - 1, 0], layer.bias.shape)
            layers.append(
                dataclasses.replace(layer, input_weight=inputs, recurrent_weight=recurrent, bias=bias)
            )
        image = dataclasses.replace(image, layers=tuple(layers))
    return image


@settings(max_examples=300, deadline=None)
@given(image=networks(), compact=st.booleans())
def test_every_bound_is_exactly_that_of_the_page(image, compact):
    arriving = image.input.bits, image.input.frac, image.input.signed
    for layer in image.layers:
        widths = widths_of(layer, compact=compact)
        want, common = exact_sums.of_layer(layer, arriving)
        assert widths.common_shift == common
        sums = {name for name in want if name in SUMS}
        assert {SUMS[name] for name in sums} == set(widths.sums)
        for name in sums:
            found = widths.sums[SUMS[name]]
            assert (found.low << common, found.high << common) == want[name], name
        bits = [exact_sums.least_bits(*(end >> common for end in want[name])) for name in sums]
        assert widths.sum_bits == max(bits)
        assert {TOTALS[name] for name in want if name in TOTALS} == set(widths.totals)
        for name in want.keys() & TOTALS.keys():
            found = widths.totals[TOTALS[name]]
            assert (found.low, found.high) == want[name], name
            assert widths.total_bits(TOTALS[name]) == exact_sums.least_bits(*want[name])
        for name, found, width in (
            ("bias", widths.biases, widths.bias_bits),
            ("state", widths.state, widths.state_bits),
            ("above", widths.above, widths.above_bits),
        ):
            assert (found.low, found.high) == want[name], name
            assert width == exact_sums.least_bits(*want[name])
        arriving = layer.spec.event_bits, layer.spec.event_bits, False
    want = exact_sums.of_readout(image.readout, image.layers[-1].spec.event_bits)
    found = ReadoutWidths.of(image.readout, image.layers[-1].event_format)
    for name in want:
        bounds = getattr(found, name)
        assert (bounds.low, bounds.high) == want[name], name
        assert getattr(found, f"{name}_bits") == exact_sums.least_bits(*want[name])


@settings(max_examples=200, deadline=None)
@given(image=networks(), compact=st.booleans())
def test_a_value_on_its_way_to_the_products_fits_with_its_shift(image, compact):
    for layer in image.layers:
        widths = widths_of(layer, compact=compact)
        shifts = [*widths.value_shifts, *widths.product_shifts]
        assert sorted(shifts)[:3] == [0, 0, 0]  # at most one is made
        want = [layer.input_shift - widths.common_shift, layer.recurrent_shift - widths.common_shift]
        assert [a + b for a, b in zip(widths.value_shifts, widths.product_shifts, strict=True)] == want
        ends = [
            (fmt.lo << shift, fmt.hi << shift)
            for fmt, shift in zip((layer.input_format, layer.event_format), widths.value_shifts, strict=True)
        ]
        low, high = min(low for low, _ in ends), max(high for _, high in ends)
        assert widths.value_bits == exact_sums.least_bits(low, high)


@settings(max_examples=60, deadline=None)
@given(image=networks(), data=st.data())
def test_what_the_model_reaches_is_within_the_bounds_of_logits(image, data):
    steps = data.draw(
        st.integers(1, min(5, image.readout.spec.max_steps if image.readout.spec.mode == "mean" else 5))
    )
    x = np.array(
        data.draw(
            st.lists(
                st.lists(
                    st.sampled_from([image.input.format.lo, 0, image.input.format.hi]),
                    min_size=image.input.size,
                    max_size=image.input.size,
                ),
                min_size=steps,
                max_size=steps,
            )
        )
    )
    logits = np.asarray(IntegerNetwork(image).run(x).logits).ravel().tolist()
    bounds = ReadoutWidths.of(image.readout, image.layers[-1].event_format).logit
    assert all(bounds.low <= logit <= bounds.high for logit in logits)


@pytest.mark.parametrize(
    ("low", "high", "bits"),
    [(0, 0, 1), (-1, 0, 1), (0, 1, 2), (-2, 1, 2), (-3, 1, 3), (-8, 7, 4), (-8, 8, 5)],
)
def test_bits_of_bounds_are_the_fewest(low, high, bits):
    assert Bounds(low, high).bits == bits == exact_sums.least_bits(low, high)


def test_with_reset_before_a_candidate_has_one_sum_of_both_kinds_of_products():
    layer = FOUND.layers[0]
    assert (layer.input_shift, layer.recurrent_shift) == (4, 1)
    widths = widths_of(layer)
    inputs, recurrent = Bounds(-31 * 15 << 3, 31 * 16 << 3), Bounds(0, 31 * 31)
    assert widths.sums[CANDIDATE] == Bounds(inputs.low, inputs.high + recurrent.high)
    assert (inputs.bits, recurrent.bits) == (13, 11)  # the two apart
    assert widths.sum_bits == 14


@pytest.mark.parametrize(("image", "payloads"), [(FOUND, [23, 26]), (MINIMAL, [31, 31])])
def test_the_network_whose_sum_wrapped_computes_what_the_model_says(image, payloads):
    x = STEPS
    assert IntegerNetwork(image).run(x).events[0][:, 0].tolist() == payloads
    logits, layers = expected_of(image, [x])
    found = simulate(
        image, AcceleratorConfig(lanes=1), tokens_of([x]), len(logits), stall=0.0, cycles_max=500
    )
    assert found[:2] == (logits, layers)


def test_a_sum_a_bit_narrower_is_wrong_in_that_network(monkeypatch):
    exact = LayerWidths.sum_bits.fget
    monkeypatch.setattr(LayerWidths, "sum_bits", property(lambda widths: exact(widths) - 1))
    for image in (FOUND, MINIMAL):
        x = STEPS
        logits, layers = expected_of(image, [x])
        found = simulate(
            image, AcceleratorConfig(lanes=1), tokens_of([x]), len(logits), stall=0.0, cycles_max=500
        )
        assert found[1] != layers


@pytest.mark.parametrize("reset", RESETS)
def test_the_verilog_has_the_widths_of_the_list_and_says_where_a_number_overflows(tmp_path, reset):
    image = random_image(
        np.random.default_rng(5), inputs=3, units=(4,), classes=3, reset=reset, mode="every", weight_bits=6
    )
    generate(image, tmp_path, AcceleratorConfig(lanes=4))
    text = (tmp_path / "accelerator.v").read_text()
    tile = Accelerator(image, AcceleratorConfig(lanes=4)).tiles[0]
    kinds = {"z_sum": Z, "r_sum": R, "a_sum": CANDIDATE if reset == "before" else CANDIDATE_INPUT}
    kinds |= {} if reset == "before" else {"q_sum": CANDIDATE_RECURRENT}
    update = text[text.index("module \\accelerator.layer0.update ") :].split("endmodule")[0]
    for name, kind in kinds.items():
        (top,) = set(re.findall(rf"reg \[(\d+):0\] lane0_{name} ", update))
        assert int(top) + 1 == tile.widths.total_bits(kind)
    watching = [
        part.split("(")[0].split()[-1]
        for part in re.split(r"^module ", text, flags=re.M)
        if "assign sum_overflows" in part
    ]
    sidecar = json.loads((tmp_path / "accelerator.json").read_text())
    assert len(watching) == 4 + sidecar["parameters"]["readout_lanes"] + 2 + (reset == "before")
