"""What bench-train compares, and how its figures are made. Times themselves are not judged here."""

import json

import numpy as np
import pytest
import torch

from egret import bench_train as bench
from egret import bench_train_loads as loads
from egret import networks
from egret.cli.main import main
from egru.errors import EgretError
from egru.image import load_image
from egru.kernels.sparse import ADAPTIVE

SMALL = bench.Sizes(steps=12, batch=6, inputs=5, units=40)


@pytest.fixture(autouse=True)
def threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def small_bench():
    return bench.TrainBench(sizes=SMALL, rounds=3, threads=1, say=lambda text: None)


@pytest.mark.parametrize("activity", [0.0, 0.1, 0.5, 1.0])
def test_thresholds_are_found_for_any_activity(activity):
    x = torch.randn(60, 16, 8, generator=torch.Generator().manual_seed(1))
    module = loads.random_layer(8, 64, x, activity)
    with torch.no_grad():
        fired = float((module(x)[0] != 0).float().mean())
    assert fired == pytest.approx(activity, abs=0.02)


def test_the_plain_loop_is_the_layer_in_value_and_gradient():
    chosen = small_bench()
    module = chosen.layer(0.3)
    found = []
    for layer in (loads.dense_kernel(module), loads.plain_loop(module), loads.kernel(module, ADAPTIVE)):
        loads.training(layer, chosen.x, chosen.gradient, module)()
        found.append([layer(chosen.x).detach(), *(p.grad for p in module.parameters())])
    for other in found[1:]:
        for wanted, got in zip(found[0], other, strict=True):
            torch.testing.assert_close(got, wanted, rtol=1e-3, atol=1e-4)


def test_a_trained_layer_has_the_real_values_of_the_image():
    image = load_image(networks.shipped("digits"))
    module, layer = loads.trained_layer(image), image.layers[0]
    scaled = module.weight_hh_l0.detach().numpy() * 2.0**layer.spec.recurrent_weight_frac
    assert np.array_equal(scaled, layer.recurrent_weight)
    assert np.array_equal(module.theta_l0.detach().numpy() * 2.0**15, layer.threshold)
    candidate = module.bias_hh_l0.detach().numpy()[2 * layer.spec.units :]
    assert np.array_equal(candidate * 2.0**layer.acc_frac, layer.bias[3])


def test_a_ratio_is_the_median_over_rounds_and_not_a_ratio_of_medians():
    times = {"slow": [4.0, 1.0, 9.0], "fast": [1.0, 1.0, 3.0]}
    assert bench.ratio(times, "slow", "fast") == 3.0


def test_a_straight_line_is_found_and_a_bent_one_is_noticed():
    exact = bench.fit_line([0.0, 0.5, 1.0], [1.0, 2.0, 3.0])
    assert exact == pytest.approx({"slope": 2.0, "intercept": 1.0, "r2": 1.0})
    assert bench.fit_line([0.0, 0.5, 1.0], [1.0, 3.0, 3.0])["r2"] < 0.8


def test_every_contender_runs_once_in_each_round():
    calls = []
    times = bench.measure({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, 3)
    assert [len(t) for t in times.values()] == [3, 3]
    assert "".join(calls).endswith("b" * 20)
    assert calls.count("a") == calls.count("b") == 2 + 3 * 20


def test_kept_bytes_are_those_that_are_said_to_be_kept():
    chosen = small_bench()
    module = chosen.layer(0.3)
    kept = loads.bytes_kept(loads.kernel(module, ADAPTIVE), chosen.x, module)
    panel = 64  # 40 units fill panels of 32 (AVX-512), 16 or 8
    values = 5 * SMALL.steps * SMALL.batch
    assert 4 * values * 40 <= kept <= 4 * (values * panel + 3 * panel * 40 + 2 * SMALL.batch * 40) + 1024
    for other in (chosen.layer(0.0), chosen.layer(1.0)):
        assert loads.bytes_kept(loads.kernel(other, ADAPTIVE), chosen.x, other) == kept


def test_all_sections_are_written_whole(monkeypatch, tmp_path):
    monkeypatch.setattr(bench, "SWEEP", (0.0, 0.5, 1.0))
    monkeypatch.setattr(bench, "SLOPES", (1.0, 5.0))
    chosen = small_bench()
    sections = [*chosen.comparison(), chosen.support(), chosen.sweep(), chosen.memory()]
    bench.save(sections, bench.machine(), tmp_path, SMALL)
    figures = json.loads((tmp_path / bench.JSON).read_text())
    assert [row["target"] for row in figures["targets"]] == [3.0, 2.2, 1.5, 3.5, 2.4, 5.0, 5.0]
    assert all(row["met"] == (row["measured"] >= row["target"]) for row in figures["targets"])
    assert [round(p["activity"], 1) for p in figures["sweep"]["points"]] == [0.0, 0.5, 1.0]
    assert figures["support"][0]["needed"] >= figures["support"][1]["needed"] > 0
    page = (tmp_path / bench.MARKDOWN).read_text()
    assert all(f"## {section.title}" in page for section in sections)
    assert (tmp_path / bench.PICTURE).read_text().startswith("<?xml")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        (bench.JSON, bench.MARKDOWN, bench.PICTURE)
    )


def test_a_directory_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(EgretError, match=r"directory .*file cannot be written"):
        bench.save([], bench.machine(), tmp_path / "file", SMALL)


def test_the_command_refuses_no_rounds(capsys):
    assert main(["bench-train", "--rounds", "0"]) == 2
    assert "rounds" in capsys.readouterr().err
