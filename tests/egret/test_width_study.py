"""`egret widths`: every row is the network that it names, and the test part decides nothing."""

import dataclasses
import json
from contextlib import nullcontext
from itertools import chain

import numpy as np
import pytest

from egret import tasks, training
from egret.checkpoint import save_checkpoint
from egret.cli.main import main
from egret.evaluation import evaluate_image
from egret.quantisation import post_training, quantise
from egret.recipes import RECIPES
from egret.tasks import Sequences
from egret.width_study import parse_setting, study, weight_bytes
from egru.errors import EgretError
from egru.image import save_image
from egru.testing import random_image
from egru.widths import Widths


@pytest.fixture
def trained(small_task, small_recipe, monkeypatch):
    monkeypatch.setitem(RECIPES, small_task.name, small_recipe)
    return training.train(small_task, small_recipe, seed=0)


def quietly(*_):
    return nullcontext(None)


def test_every_row_is_of_the_network_that_it_names(small_task, small_recipe, trained, tmp_path):
    widths = Widths.of((3, 4, 5), event_bits=6)
    (first,), rows = study(small_task, trained, [widths], small_recipe, quietly)
    assert [r.network for r in (first, *rows)] == ["float", "PTQ", "QAT", "QAT, scales learned"]
    assert first.validation == trained.figures["validation_accuracy"] and first.weight_bytes == 4 * 280
    learned = small_recipe.but(learn_scales=True)
    images = [
        post_training(trained, widths).to_image("small"),
        quantise(small_task, trained, bits=widths).image,
        quantise(small_task, trained, bits=widths, recipe=learned).image,
    ]
    for row, image in zip(rows, images, strict=True):
        assert row.widths == "weights 3 4 5, events 6"
        assert row.validation == evaluate_image(image, small_task.validation).accuracy
        seen = evaluate_image(image, small_task.test)
        assert (row.test, row.activity) == (seen.accuracy, seen.mean_activity)
        assert row.weight_bytes == (72 * 3 + 192 * 4 + 16 * 5) // 8
        spec, readout = image.layers[0].spec, image.readout.spec
        assert row.fractions == (spec.input_weight_frac, spec.recurrent_weight_frac, readout.weight_frac)
    save_image(images[1], tmp_path / "image.egret")
    assert rows[1].file_bytes == (tmp_path / "image.egret").stat().st_size
    assert [r.chosen for r in rows] == [r is max(rows, key=lambda r: r.validation) for r in rows]


def test_the_test_part_chooses_no_row(small_task, small_recipe, trained):
    spoilt = dataclasses.replace(small_task, test=Sequences(small_task.test.x, 1 - small_task.test.y))
    one, two = (study(t, trained, [Widths.of(2)], small_recipe, quietly) for t in (small_task, spoilt))
    for a, b in zip(chain(*one), chain(*two), strict=True):
        assert (a.validation, a.fractions, a.chosen) == (b.validation, b.fractions, b.chosen)
        assert a.test == pytest.approx(1 - b.test)


def test_bytes_of_weights_are_rounded_up_once_for_all_tensors():
    image = random_image(
        np.random.default_rng(0), inputs=1, units=(1,), classes=1, input_weight_bits=3,
        recurrent_weight_bits=2, readout_weight_bits=2,
    )  # fmt: skip
    assert weight_bytes(image) == 3  # 9 + 6 + 2 bits


@pytest.mark.parametrize(
    ("text", "widths"),
    [
        ("8", Widths.of(8)),
        ("4,4,6/6/8/6", Widths.of((4, 4, 6), event_bits=6, table_bits=8, input_bits=6)),
        ("2,3,4,5,6/7,8", Widths.of((2, 3, 4, 5, 6), event_bits=(7, 8))),
    ],
)
def test_a_setting_is_read_part_by_part(text, widths):
    assert parse_setting(text) == widths


@pytest.mark.parametrize("text", ["", "x", "8/", "8/8/8/8/8", "8/8/8/8,8", "8;6"])
def test_a_setting_that_cannot_be_read_is_refused(text):
    with pytest.raises(EgretError, match="setting must be weights/events/tables/inputs"):
        parse_setting(text)


def test_the_command_writes_the_page_and_the_figures(
    small_task, small_recipe, trained, tmp_path, capsys, monkeypatch
):
    task = dataclasses.replace(small_task, name="digits")
    monkeypatch.setattr(tasks, "load", lambda _name: task)
    monkeypatch.setitem(RECIPES, "digits", small_recipe)
    path = tmp_path / "small.safetensors"
    save_checkpoint(dataclasses.replace(trained, task="digits"), path)
    asked = ["--setting", "4", "--setting", "2/3", "--epochs", "1"]
    assert main(["widths", str(path), *asked, "-o", str(tmp_path)]) == 0
    shown = capsys.readouterr()
    assert "learned" in shown.out and "2 bits, events 3: QAT: epoch 1/1" in shown.err
    page = (tmp_path / "quantisation.md").read_text()
    assert "`egret widths small.safetensors --setting 4 --setting 2/3 --epochs 1`" in page
    figures = json.loads((tmp_path / "quantisation.json").read_text())
    (network,) = figures["networks"]
    assert network["network"] == "digits, 8 units, seed 0" and network["recipe"]["qat_epochs"] == 1
    assert len(network["rows"]) == 7
    for row in network["rows"]:
        assert f"{row['test']:.2%} |" in page and f"{row['weight_bytes']:,} |" in page
    assert figures["machine"]["torch"] in page


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["widths", "none.safetensors"], "checkpoint none.safetensors must be an existing file"),
        (["widths", "none.safetensors", "--setting", "9"], "setting '9': weight_bits must be one or three"),
        (
            ["widths", "small.safetensors", "--setting", "8/8,8"],
            "event_bits must be one integer, or one for each",
        ),
        (
            ["widths", "small.safetensors", "--epochs", "-1"],
            "qat_epochs must be an integer of at least 0, not -1",
        ),
        (
            ["widths", "small.safetensors", "-o", "small.safetensors/x"],
            "output directory small.safetensors/x cannot be",
        ),
    ],
)
def test_a_bad_request_gets_one_line(trained, tmp_path, capsys, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    save_checkpoint(trained, tmp_path / "small.safetensors")
    assert main(arguments) == 2
    shown = capsys.readouterr()
    assert len(shown.err.strip().splitlines()) == 1 and message in shown.err
