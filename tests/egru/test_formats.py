"""Formats and the one rounding rule."""

from fractions import Fraction
from math import floor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from egru.errors import EgretError
from egru.formats import IntFormat, round_half_up, round_shift, saturate, saturate_signed

formats = st.builds(
    lambda bits, frac, signed: IntFormat(bits + signed, frac, signed),
    st.integers(1, 31), st.integers(0, 12), st.booleans(),
)  # fmt: skip


@given(st.integers(-(2**60), 2**60), st.integers(0, 40))
def test_round_shift_is_the_exact_quotient_rounded_half_up(value, shift):
    expected = floor(Fraction(value, 2**shift) + Fraction(1, 2)) if shift else value
    assert round_shift(value, shift) == expected
    assert round_shift(np.array([value]), shift)[0] == expected


def test_a_half_is_rounded_towards_plus_infinity_on_both_sides_of_zero():
    assert [round_shift(v, 1) for v in (-3, -2, -1, 0, 1, 2, 3)] == [-1, -1, 0, 0, 1, 1, 2]


@given(formats, st.floats(-1e6, 1e6))
def test_quantise_is_floor_of_value_plus_half_without_a_second_rounding(fmt, value):
    exact = floor(Fraction(value) * 2**fmt.frac + Fraction(1, 2))
    assert fmt.quantise([value])[0] == min(max(exact, fmt.lo), fmt.hi)


def test_just_below_a_half_is_rounded_down():
    below = np.nextafter(0.5, 0.0)
    assert below + 0.5 == 1.0
    assert round_half_up(np.array([below, 0.5, -0.5, np.nextafter(-0.5, -1.0)])).tolist() == [0, 1, 0, -1]
    assert IntFormat(8, 0, True).quantise(below) == 0


@given(formats, st.data())
def test_every_integer_of_a_format_survives_the_way_to_a_real_number_and_back(fmt, data):
    value = data.draw(st.integers(fmt.lo, fmt.hi))
    assert fmt.quantise(fmt.to_real([value])).tolist() == [value]


@pytest.mark.parametrize(
    ("fmt", "lo", "hi"),
    [
        (IntFormat(8, 5, True), -128, 127),
        (IntFormat(8, 8, False), 0, 255),
        (IntFormat(1, 0, False), 0, 1),
        (IntFormat(2, 0, True), -2, 1),
    ],
)
def test_ends_of_the_range(fmt, lo, hi):
    assert (fmt.lo, fmt.hi) == (lo, hi)
    assert fmt.quantise([-1e30, 1e30]).tolist() == [lo, hi]


def test_saturation_keeps_what_is_inside_and_clips_what_is_not():
    assert [saturate(v, -3, 4) for v in (-9, -3, 0, 4, 5)] == [-3, -3, 0, 4, 4]
    assert saturate_signed(np.array([-129, -128, 127, 128]), 8).tolist() == [-128, -128, 127, 127]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_no_finite_number_is_refused(value):
    with pytest.raises(EgretError, match="finite numbers, not"):
        IntFormat(8, 5, True).quantise([0.0, value])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 0, False), r"bits of a format must be an integer 1\.\.32 \(unsigned\), not 0"),
        ((1, 0, True), r"bits of a format must be an integer 2\.\.32 \(signed\), not 1"),
        ((33, 0, True), "not 33"),
        ((True, 0, True), "not True"),
        ((8.0, 0, True), r"not 8\.0"),
        ((8, -1, True), r"frac of a format must be an integer 0\.\.32, not -1"),
        ((8, 0, 1), "signed must be true or false, not 1"),
    ],
)
def test_impossible_formats_are_refused_by_name_value_and_rule(arguments, message):
    with pytest.raises(EgretError, match=message):
        IntFormat(*arguments)
