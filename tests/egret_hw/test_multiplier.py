"""The portable multipliers against Python's integers, in Amaranth's own simulator."""

import itertools
import random

import pytest
from amaranth.sim import Simulator

from egret_hw.multiplier import MULTIPLY_LATENCY, Multiplier, PairMultiplier


def products(dut, operands):
    """Feed one set of operands per cycle and return the outputs for each, `MULTIPLY_LATENCY` cycles later."""
    outputs = [name for name in ("product", "product0", "product1") if hasattr(dut, name)]
    seen = []

    async def bench(ctx):
        for values in [*operands, *([operands[0]] * MULTIPLY_LATENCY)]:
            for name, value in values.items():
                ctx.set(getattr(dut, name), value)
            sample = [getattr(dut, name) for name in outputs]
            _, _, *got = await ctx.tick().sample(*sample)
            seen.append(tuple(got))

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    return seen[MULTIPLY_LATENCY:]


def extremes(bits):
    """Numbers of `bits` bits, signed, at and near the ends of the range and zero."""
    low, high = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
    return sorted({number for number in (low, low + 1, -1, 0, 1, high - 1, high) if low <= number <= high})


@pytest.mark.parametrize(("a_bits", "b_bits"), [(1, 1), (8, 9), (18, 18), (16, 17), (30, 9)])
def test_a_product_is_exact_and_comes_after_its_latency(a_bits, b_bits):
    rng = random.Random(1)
    pairs = list(itertools.product(extremes(a_bits), extremes(b_bits)))
    pairs += [
        (rng.randrange(-(1 << (a_bits - 1)), 1 << (a_bits - 1)), rng.choice(extremes(b_bits)))
        for _ in range(50)
    ]
    seen = products(Multiplier(a_bits=a_bits, b_bits=b_bits), [{"a": a, "b": b} for a, b in pairs])
    assert seen == [(a * b,) for a, b in pairs]


@pytest.mark.parametrize("value_bits", [2, 8, 9])
def test_both_products_of_a_pair_are_exact_for_all_weights_of_4_bits(value_bits):
    weights = range(-8, 8)
    operands = [
        {"weight0": first, "weight1": second, "value": value}
        for first, second in itertools.product(weights, weights)
        for value in extremes(value_bits)
    ]
    seen = products(PairMultiplier(weight_bits=4, value_bits=value_bits), operands)
    assert seen == [(each["weight0"] * each["value"], each["weight1"] * each["value"]) for each in operands]


@pytest.mark.parametrize(("weight_bits", "value_bits"), [(2, 9), (3, 9), (5, 9), (8, 9)])
def test_pairs_of_other_widths_are_exact(weight_bits, value_bits):
    weights = extremes(weight_bits)
    operands = [
        {"weight0": first, "weight1": second, "value": value}
        for first, second in itertools.product(weights, weights)
        for value in extremes(value_bits)
    ]
    seen = products(PairMultiplier(weight_bits=weight_bits, value_bits=value_bits), operands)
    assert seen == [(each["weight0"] * each["value"], each["weight1"] * each["value"]) for each in operands]
