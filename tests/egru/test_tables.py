"""The tables, against decimal arithmetic."""

from decimal import ROUND_FLOOR, Decimal, localcontext

import numpy as np
import pytest

from egru.errors import EgretError
from egru.tables import sigmoid_table, tanh_table


def entry(function, s, fraction):
    """floor(2^15 * function(s * 2^-fraction) + 1/2) with 50 digits."""
    with localcontext() as context:
        context.prec = 50
        x = Decimal(s) / 2**fraction
        value = 1 / (1 + (-x).exp()) if function == "sigmoid" else 1 - 2 / ((2 * x).exp() + 1)
        return int((value * 2**15 + Decimal("0.5")).to_integral_value(ROUND_FLOOR))


@pytest.mark.parametrize("k", range(4, 13))
def test_every_entry_of_both_tables_is_the_one_that_the_formula_gives(k):
    indices = range(-(2 ** (k - 1)), 2 ** (k - 1))
    sigmoid = [min(32767, entry("sigmoid", s, k - 4)) for s in indices]
    tanh = [min(max(entry("tanh", s, k - 3), -32767), 32767) for s in indices]
    assert sigmoid_table(k).tolist() == sigmoid
    assert tanh_table(k).tolist() == tanh
    assert sigmoid_table(k).dtype == tanh_table(k).dtype == np.int16


def test_known_entries_at_zero_and_at_the_ends():
    assert sigmoid_table(4).tolist()[::8] == [11, 16384]
    assert tanh_table(4).tolist()[::8] == [-32746, 0]


@pytest.mark.parametrize("k", [3, 13, True, 10.0, "10"])
def test_other_widths_are_refused(k):
    for table in (sigmoid_table, tanh_table):
        with pytest.raises(EgretError, match=rf"table_bits must be an integer 4\.\.12, not {k!r}"):
            table(k)
