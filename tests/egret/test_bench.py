"""`egret bench`: its loads, its tables, and what it writes."""

import json

import numpy as np
import pytest

from egret import bench, networks
from egret.bench_loads import echo_image, echo_input, edgedrnn_cycles, random_patterns
from egret.cli.main import main
from egret_hw.config import AcceleratorConfig
from egru.integer import IntegerNetwork
from egru.testing import random_image, random_input


@pytest.mark.parametrize("units,inputs", [(1, None), (12, None), (12, 5)])
def test_units_of_an_echo_network_fire_exactly_where_their_input_is_one(units, inputs):
    (x,) = echo_input(np.random.default_rng(0), inputs=inputs or units, share=0.4, steps=60, sequences=1)
    (events,) = IntegerNetwork(echo_image(units, inputs=inputs)).run(x).events
    assert np.array_equal(events != 0, x[:, np.arange(units) % x.shape[1]] != 0)
    assert 0.1 < x.mean() < 0.9


def test_random_patterns_are_as_active_as_they_are_asked_to_be():
    patterns = random_patterns(
        np.random.default_rng(0), inputs=200, units=100, share=0.2, steps=50, sequences=2
    )
    assert len(patterns) == 2
    for activity in patterns:
        assert np.mean(activity.inputs) == pytest.approx(40, rel=0.05)
        assert np.mean([len(units) for units in activity.fired[0]]) == pytest.approx(20, rel=0.1)
        assert all(units == sorted(set(units)) for units in activity.fired[0])


@pytest.mark.parametrize(
    "elements,units,silent,measured",
    [
        (8, 64, 0.9, 252),
        (8, 64, 0.95, 169),
        (8, 128, 0.95, 442),
        (8, 256, 0.95, 1529),
        (16, 256, 0.95, 780),
        (8, 64, 0.0, 1975),
        (8, 64, 1.0, 136),
        (8, 128, 1.0, 240),
        (16, 64, 1.0, 116),
        (16, 256, 1.0, 368),
    ],
)
def test_the_law_of_edgedrnn_gives_the_cycles_measured_on_its_rtl(elements, units, silent, measured):
    rng = np.random.default_rng(0)
    active = np.arange(16 + units) < round((1 - silent) * (16 + units))
    cycles = [edgedrnn_cycles(rng.permutation(active), units=units, elements=elements) for _ in range(100)]
    assert np.mean(cycles) == pytest.approx(measured, rel=0.03 if silent < 1 else 0)


def test_more_update_lanes_help_where_the_update_binds():
    image = random_image(np.random.default_rng(0), inputs=4, units=(64,), classes=2, activity=0.0)
    x = random_input(np.random.default_rng(1), image, 30, density=0.3)
    from egret_hw.cycle_model import Shape, activity_of

    activities = activity_of(image, [x])
    narrow, wide = (Shape.of(image, AcceleratorConfig(lanes=32, update_lanes=count)) for count in (1, 5))
    assert bench._update_gain(narrow, activities) > 0.3
    assert bench._update_gain(wide, activities) < 0.2


def test_the_command_writes_tables_figures_and_a_picture(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(networks, "names", lambda: ())
    monkeypatch.setattr(bench, "_UNITS", 24)
    monkeypatch.setenv("COLUMNS", "300")
    monkeypatch.setattr(bench, "_SWEEP_LANES", (1, 8, 16))
    assert main(["bench", "--no-rtl", "--steps", "20", "-o", str(tmp_path / "docs")]) == 0
    figures = json.loads((tmp_path / "docs" / "bench.json").read_text())
    assert list(figures) == ["shipped", "one_layer", "sweep", "silent", "edgedrnn"]
    assert all(row["echo_cycles_per_step_rtl"] is None for row in figures["one_layer"])
    sweep = {row["share"]: [point["cycles_per_step"] for point in row["lanes"]] for row in figures["sweep"]}
    assert sweep[0.0] < sweep[0.1] < sweep[1.0]
    # Rows of 72, 9 and 5 words.
    one, eight, sixteen = sweep[1.0]
    assert one / eight == pytest.approx(72 / 9, rel=0.02)
    assert one / sixteen == pytest.approx(72 / 5, rel=0.03)
    for row in figures["silent"]:
        groups = -(-row["units"] // row["update_lanes"])
        assert 0 <= row["cycles"] - groups < 40
    page = (tmp_path / "docs" / "bench.md").read_text()
    out = capsys.readouterr().out
    for heading in ("Shipped networks", "One layer", "Cycles per step over", "without events", "EdgeDRNN"):
        assert heading in page
        assert heading in out
    assert "![cycles per step over activity](bench.svg)" in page
    assert (tmp_path / "docs" / "bench.svg").read_text().count("<path") > 3
    assert sorted(path.name for path in (tmp_path / "docs").iterdir()) == [
        "bench.json",
        "bench.md",
        "bench.svg",
    ]


def test_shipped_networks_are_measured_on_their_own_data():
    chosen = bench.Bench(samples=3, steps=20, rtl=False)
    for row in chosen.shipped().figures:
        assert row["network"] in networks.names()
        assert row["cycles_rtl"] is None
        assert row["cycles_predicted"] / row["steps"] < row["dense_cycles"] / row["steps"] / 3
        assert 90 < row["layers_busy_percent"] <= 100
        assert row["busy_percent"] <= row["layers_busy_percent"]


def test_a_directory_that_cannot_be_written_is_named(tmp_path, monkeypatch, capsys):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(bench.Bench, "sections", lambda self: iter(()))
    assert main(["bench", "--no-rtl", "-o", str(tmp_path / "file" / "docs")]) == 2
    assert "file/docs cannot be written" in capsys.readouterr().err.replace("\n", "")
