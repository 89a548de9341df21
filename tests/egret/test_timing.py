"""The timing diagram: what it records is what the tile does."""

import numpy as np
import pytest

from egret import timing
from egret.cli.main import main
from egret_hw.config import AcceleratorConfig
from egru.integer import IntegerNetwork
from egru.testing import random_image, random_input


def test_bars_are_runs_of_one_step():
    assert timing.bars([-1, 0, 0, 1, -1, -1, 1, 1]) == [(1, 2, 0), (3, 1, 1), (6, 2, 1)]
    assert timing.bars([]) == []


def test_a_recording_has_every_event_and_every_group(tmp_path):
    rng = np.random.default_rng(3)
    image = random_image(rng, inputs=4, units=(10,), classes=2, mode="mean", threshold=(0.0, 0.2))
    x = random_input(rng, image, 5, density=0.7)
    trace = timing.record(image, AcceleratorConfig(lanes=6), x)
    events = IntegerNetwork(image).run(x).events[0]
    words = 5  # 30 positions in 6 lanes
    rows = {row: np.array(steps) for row, steps in trace.activity.items()}
    for step in range(5):
        busy = rows["lanes: input events"] == step
        assert busy.sum() == words * np.count_nonzero(x[step])
        assert (rows["update"] == step).sum() == 10
        assert (rows["events and tick sent"] == step).sum() == np.count_nonzero(events[step]) + 1
        if step:
            recurrent = rows["lanes: recurrent events"] == step
            assert recurrent.sum() == words * np.count_nonzero(events[step - 1])
    assert np.count_nonzero(events) > 0
    assert len(trace.ticks) == 5
    timing.draw(trace, tmp_path / "timing.svg", title="small")
    assert "<svg" in (tmp_path / "timing.svg").read_text()


@pytest.mark.parametrize(
    "options,message",
    [
        (["-o", "out.pdf"], "output must end in .svg or .png, not 'out.pdf'"),
        (["-o", "out.svg", "--steps", "0"], "steps must be an integer from 1 to 20, not 0"),
    ],
)
def test_bad_requests_are_refused(options, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["timing", *options]) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
