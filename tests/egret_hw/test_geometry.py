"""Where weights and sums lie."""

import numpy as np
import pytest

from egret_hw.geometry import CANDIDATE, GATES, LayerGeometry, layer_rows


@pytest.mark.parametrize("units,lanes,update", [(8, 4, 1), (64, 8, 2), (32, 16, 4), (40, 20, 5)])
def test_spread_second_sums_lie_in_the_lanes_that_a_group_leaves_free(units, lanes, update):
    geometry = LayerGeometry.of(units=units, lanes=lanes)
    assert geometry.spreads(update)
    seconds = [geometry.second_position(unit, update) for unit in range(units)]
    assert sorted(seconds) == list(range(CANDIDATE, GATES * units, GATES))  # candidates change places
    for group in range(units // update):
        members = range(group * update, (group + 1) * update)
        firsts = [
            position % lanes for unit in members for position in range(GATES * unit, GATES * (unit + 1))
        ]
        used = firsts + [seconds[unit] % lanes for unit in members]
        assert sorted(used) == list(range(lanes))


@pytest.mark.parametrize("units,lanes,update", [(64, 8, 1), (60, 8, 2), (24, 12, 3), (64, 16, 2), (6, 6, 1)])
def test_otherwise_both_sums_of_a_candidate_lie_in_one_lane(units, lanes, update):
    geometry = LayerGeometry.of(units=units, lanes=lanes)
    assert not geometry.spreads(update)
    assert [geometry.second_position(unit, update) for unit in range(units)] == list(
        range(CANDIDATE, GATES * units, GATES)
    )


def test_only_recurrent_weights_of_candidates_change_places():
    rng = np.random.default_rng(0)
    units, inputs = 8, 3
    arriving, recurrent = rng.integers(-9, 9, (3 * units, inputs)), rng.integers(-9, 9, (3 * units, units))
    geometry = LayerGeometry.of(units=units, lanes=4)
    seconds = [geometry.second_position(unit, 1) for unit in range(units)]
    plain, spread = layer_rows(arriving, recurrent), layer_rows(arriving, recurrent, seconds)
    assert np.array_equal(plain[:inputs], spread[:inputs])
    for gate in range(CANDIDATE):
        assert np.array_equal(plain[:, gate::GATES], spread[:, gate::GATES])
    for unit, position in enumerate(seconds):
        assert np.array_equal(spread[inputs:, position], recurrent[CANDIDATE * units + unit])
