"""Weights for hardware that loads them: what it has room for, and what is refused by name."""

import dataclasses

import numpy as np
import pytest
from typer.testing import CliRunner

from egret.cli.main import app, main
from egret_hw.config import AcceleratorConfig
from egret_hw.link_protocol import encode_weights
from egret_hw.loading import loaded_words, word_bytes
from egret_hw.tile import weight_words
from egret_hw.widths import LayerWidths
from egru.errors import EgretError
from egru.image import save_image
from egru.testing import random_image

LOADED = AcceleratorConfig(lanes=4, weights="loaded")


@pytest.fixture
def built():
    image = random_image(
        np.random.default_rng(3), inputs=4, units=(6, 5), classes=3, weight_bits=8, input_signed=True
    )
    return halved(image)


def changed(image, number, **tensors):
    layers = list(image.layers)
    layers[number] = dataclasses.replace(layers[number], **tensors)
    return dataclasses.replace(image, layers=tuple(layers))


def halved(image):
    for number, layer in enumerate(image.layers):
        image = changed(
            image, number, input_weight=layer.input_weight // 4, recurrent_weight=layer.recurrent_weight // 4
        )
    return image


def test_other_weights_that_fit_become_the_words_of_each_layer(built):
    smaller = halved(built)
    words = loaded_words(built, LOADED, smaller)
    update = LOADED.resolve(built).update_lanes
    assert words == [
        weight_words(layer, 4, lanes, compact=False)
        for layer, lanes in zip(smaller.layers, update, strict=True)
    ]
    assert words != loaded_words(built, LOADED, built)


@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize("name", ["input_weight", "recurrent_weight"])
@pytest.mark.parametrize("end", [-128, 127])
def test_weights_whose_sums_do_not_fit_are_refused_by_name(built, number, name, end):
    layer = built.layers[number]
    weight = getattr(layer, name).astype(int)
    weight[2 * layer.spec.units] = end
    other = changed(built, number, **{name: weight})
    room = LayerWidths.of(layer, weight_bits=8).sum_bits
    wide = LayerWidths.of(other.layers[number], weight_bits=8)
    if wide.sum_bits > room:
        with pytest.raises(
            EgretError, match=rf"weights of layer {number} .* the {room} bits of the hardware"
        ):
            loaded_words(built, LOADED, other)
    everything = changed(built, number, **{name: np.full_like(weight, end)})
    with pytest.raises(
        EgretError, match=rf"weights of layer {number} must keep every .* within the \d+ bits"
    ):
        loaded_words(built, LOADED, everything)


def test_weights_at_the_bound_itself_are_taken(built):
    layer = built.layers[0]
    widths = LayerWidths.of(layer, weight_bits=8)
    again = changed(built, 0, input_weight=layer.input_weight.copy())
    assert loaded_words(built, LOADED, again) == loaded_words(built, LOADED, built)
    assert max(bounds.bits for bounds in widths.sums.values()) == widths.sum_bits


@pytest.mark.parametrize("name", ["bias", "threshold", "sigmoid", "tanh"])
def test_what_is_not_loaded_must_be_the_same(built, name):
    tensor = getattr(built.layers[1], name).copy()
    tensor.flat[0] ^= 1
    with pytest.raises(EgretError, match=f"{name} of layer 1 must be as the hardware was built"):
        loaded_words(built, LOADED, changed(built, 1, **{name: tensor}))


def test_other_shapes_readouts_and_forms_are_refused(built):
    other = random_image(np.random.default_rng(4), inputs=5, units=(6, 5), classes=3)
    with pytest.raises(EgretError, match="input must be"):
        loaded_words(built, LOADED, other)
    with pytest.raises(EgretError, match="layers must be 2"):
        loaded_words(built, LOADED, dataclasses.replace(built, layers=built.layers[:1], readout=random_image(
            np.random.default_rng(4), inputs=4, units=(6,), classes=3).readout))  # fmt: skip
    with pytest.raises(EgretError, match="readout must be the one"):
        bias = built.readout.bias + 1
        loaded_words(
            built, LOADED, dataclasses.replace(built, readout=dataclasses.replace(built.readout, bias=bias))
        )
    with pytest.raises(EgretError, match="must be 'loaded'"):
        loaded_words(built, AcceleratorConfig(lanes=4), built)


def test_the_command_writes_the_bytes_for_the_link_or_nothing(built, tmp_path, capsys):
    save_image(built, tmp_path / "built.egret")
    save_image(halved(built), tmp_path / "new.egret")
    too_wide = np.full_like(built.layers[0].input_weight, 127)
    save_image(changed(built, 0, input_weight=too_wide), tmp_path / "wide.egret")
    options = ["--built", str(tmp_path / "built.egret"), "--lanes", "4", "-o"]
    done = CliRunner().invoke(
        app, ["weights", str(tmp_path / "new.egret"), *options, str(tmp_path / "w.bin")]
    )
    assert done.exit_code == 0, done.output
    config = AcceleratorConfig(lanes=4, weights="loaded", compact=True)
    words = loaded_words(built, config, halved(built))
    tokens, _ = encode_weights(words, word_bytes=word_bytes(built, config))
    assert (tmp_path / "w.bin").read_bytes() == tokens
    assert main(["weights", str(tmp_path / "wide.egret"), *options, str(tmp_path / "none.bin")]) == 2
    assert "weights of layer 0 must keep" in capsys.readouterr().err
    assert not (tmp_path / "none.bin").exists()
