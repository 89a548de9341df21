"""Predicted cycles against Verilator, where more steps are affordable than in Amaranth's simulator."""

import numpy as np
import pytest

from egret.bench_loads import echo_image, echo_input
from egret_hw.config import AcceleratorConfig
from egret_hw.cycle_model import predict
from egret_sim.run import simulate
from egru.testing import random_image, random_input


def test_random_patterns_take_the_cycles_that_are_predicted():
    image = echo_image(40)
    config = AcceleratorConfig(lanes=16, update_lanes=2)
    rng = np.random.default_rng(0)
    sequences = [
        x for share in (0.0, 0.03, 0.1, 0.6, 1.0)
        for x in echo_input(rng, inputs=40, share=share, steps=120, sequences=2)
    ]  # fmt: skip
    report = simulate(image, sequences, config, optimise="quick")
    assert report.passed
    assert report.outcome.sequence_ends == list(predict(image, sequences, config).ends)


@pytest.mark.parametrize("streams", [1, 3])
def test_chains_of_layers_take_the_cycles_that_are_predicted(streams):
    options = {"reset": "before", "state_reset": "output"} if streams == 3 else {}
    image = random_image(
        np.random.default_rng(1), inputs=6, units=(20, 30, 9), classes=3, mode="every", threshold=(0.0, 0.3),
        **options,
    )  # fmt: skip
    config = AcceleratorConfig(lanes=(12, 5, 20), queue_depth=3, streams=streams)
    rng = np.random.default_rng(2)
    sequences = [
        random_input(rng, image, int(rng.integers(1, 150)), density=float(rng.random())) for _ in range(8)
    ]
    report = simulate(image, sequences, config, optimise="quick")
    assert report.passed
    assert min(report.work.layer_events) > 0
    found = predict(image, sequences, config)
    assert report.outcome.sequence_ends == list(found.ends)
    assert report.cycles == found.cycles
