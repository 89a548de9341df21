"""The network image: what is written is read back, and everything else is refused."""

import json
import os
import re
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st

from egru import container
from egru.errors import EgretError
from egru.formats import IntFormat
from egru.image import (
    ImageError,
    InputSpec,
    LayerSpec,
    NetworkImage,
    Readout,
    ReadoutSpec,
    load_image,
    save_image,
)
from egru.testing import random_image


def image_of(seed=0, **knobs):
    knobs = {"inputs": 3, "units": (4, 2), "classes": 2, "mode": "mean", "table_bits": 4} | knobs
    return random_image(np.random.default_rng(seed), **knobs)


def saved(tmp_path, **knobs):
    path = tmp_path / "net.egret"
    save_image(image_of(**knobs), path)
    return path


def parts(path):
    """Header and tensors' bytes of a file, to be tampered with."""
    data = path.read_bytes()
    end = 8 + int.from_bytes(data[:8], "little")
    return json.loads(data[8:end]), data[end:]


def put(path, header, body):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + body)


def altered(path, change):
    """Apply change(description) to the image's JSON object, leaving all tensors as they are."""
    header, body = parts(path)
    description = json.loads(header["__metadata__"]["egret"])
    result = change(description)
    header["__metadata__"]["egret"] = result if isinstance(result, str) else json.dumps(description)
    put(path, header, body)


@pytest.mark.parametrize("seed", range(30))
def test_an_image_survives_the_way_through_a_file(tmp_path, seed):
    image = random_image(
        np.random.default_rng(seed), any_frac=True, extreme=seed % 2 == 0, random_tables=True,
        reset=("after", "before")[seed % 2], state_reset=("threshold", "output")[seed // 2 % 2],
    )  # fmt: skip
    save_image(image, tmp_path / "a.egret")
    loaded = load_image(tmp_path / "a.egret")
    assert loaded == image
    save_image(loaded, tmp_path / "b.egret")
    assert (tmp_path / "a.egret").read_bytes() == (tmp_path / "b.egret").read_bytes()


def test_info_and_name_survive_too_and_do_not_touch_the_rest(tmp_path):
    info = {"task": "digits", "seeds": [1, 2], "accuracy": 0.9125, "nested": {"a": None, "é": "ü\n"}}
    image = replace(image_of(), name="Ziffern é", info=info)
    save_image(image, tmp_path / "a.egret")
    loaded = load_image(tmp_path / "a.egret")
    assert loaded.info == info and loaded.name == "Ziffern é"
    assert replace(loaded, name="x", info={}) == replace(image_of(), name="x", info={})


@pytest.mark.parametrize("reset", ["after", "before"])
@pytest.mark.parametrize("state_reset", ["threshold", "output"])
def test_every_layer_has_a_variant_of_its_own(tmp_path, reset, state_reset):
    path = saved(tmp_path)
    altered(path, set_key("layers", 1, "reset", reset))
    altered(path, set_key("layers", 1, "state_reset", state_reset))
    specs = [layer.spec for layer in load_image(path).layers]
    assert [(s.reset, s.state_reset) for s in specs] == [("after", "threshold"), (reset, state_reset)]


def test_the_file_is_the_safetensors_that_others_read_and_write(tmp_path):
    path = saved(tmp_path)
    tensors = safetensors.numpy.load_file(path)
    image = image_of()
    assert len(tensors) == 2 * 6 + 2
    assert np.array_equal(tensors["layers.1.bias"], image.layers[1].bias)
    with safetensors.safe_open(path, "numpy") as file:
        metadata = file.metadata()
    safetensors.numpy.save_file(tensors, tmp_path / "other.egret", metadata)
    assert load_image(tmp_path / "other.egret") == image


def test_derived_formats_follow_the_page():
    image = image_of(input_bits=8, input_signed=True, input_frac=5, weight_bits=8, event_bits=8)
    layer = image.layers[0]
    spec = replace(layer.spec, input_weight_frac=2, recurrent_weight_frac=7)
    layer = replace(layer, spec=spec)
    assert (layer.acc_frac, layer.input_shift, layer.recurrent_shift) == (15, 8, 0)
    assert layer.event_format == IntFormat(8, 8, False)
    assert image.layers[1].input_format == IntFormat(8, 8, False)
    assert image.logit_frac == 8 + image.readout.spec.weight_frac
    wide = replace(layer, spec=replace(spec, recurrent_weight_frac=0, input_weight_frac=0))
    assert (wide.acc_frac, wide.input_shift, wide.recurrent_shift) == (11, 6, 3)


def test_an_image_cannot_be_changed_behind_its_back():
    image = image_of()
    source = image.layers[0].threshold.copy()
    layer = replace(image.layers[0], threshold=source)
    source[:] = 0
    assert layer == image.layers[0]
    with pytest.raises(ValueError, match="read-only"):
        image.layers[0].bias[0, 0] = 1
    info = {"a": [1]}
    kept = replace(image, info=info)
    info["a"].append(2)
    assert kept.info == {"a": [1]}


def test_every_truncation_is_refused(tmp_path):
    data = saved(tmp_path).read_bytes()
    cut = tmp_path / "cut.egret"
    lengths = {*range(0, 40), *range(40, len(data), 97), len(data) - 1}
    for length in sorted(lengths):
        cut.write_bytes(data[:length])
        with pytest.raises(ImageError, match=re.escape(str(cut))):
            load_image(cut)


def test_bytes_after_the_last_tensor_are_refused(tmp_path):
    path = saved(tmp_path)
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(ImageError, match="1 bytes after the last tensor"):
        load_image(path)


@pytest.mark.parametrize("length", [2**20 + 1, 2**63, 2**64 - 1, 10**6])
def test_a_header_longer_than_the_file_or_the_limit_is_refused_before_anything_is_allocated(tmp_path, length):
    path = tmp_path / "a.egret"
    path.write_bytes(length.to_bytes(8, "little") + b"{}")
    with pytest.raises(ImageError, match=f"header length is {length} bytes"):
        load_image(path)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (b"\xff\xfe", "not valid JSON"),
        (b"hello", "not valid JSON"),
        (b"", "not valid JSON"),
        (b"[1]", "header must be a JSON object"),
        (b"[" * 100_000, "nested too deeply|not valid JSON"),
        (b'{"a": ' + b"9" * 5000 + b"}", "not valid JSON"),
        (b'{"__metadata__": {"egret": 1}}', "__metadata__ must be an object of strings"),
        (b'{"__metadata__": {}, "__metadata__": {}}', "a key twice"),
        (b"{}", "must have the one entry 'egret'"),
        (b'{"__metadata__": {"egret": "{}", "more": ""}}', "must have the one entry 'egret'"),
        (b'{"__metadata__": {"egret": "[]"}}', "no network image"),
        (b'{"__metadata__": {"egret": "NaN"}}', "NaN is not a JSON number"),
        (b'{"a": 1}', "must have exactly dtype, shape and data_offsets"),
    ],
)
def test_a_header_that_is_not_what_it_should_be_is_refused(tmp_path, header, message):
    put(tmp_path / "a.egret", header, b"")
    with pytest.raises(ImageError, match=message):
        load_image(tmp_path / "a.egret")


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"dtype": "F32"}, "dtype of tensor 'readout.bias' must be one of I8, I16, I32, not 'F32'"),
        ({"dtype": ["I8"]}, "dtype of tensor"),
        ({"dtype": "I16", "shape": [4]}, r"tensor readout.bias must be I32 of shape \(2,\), not int16"),
        ({"shape": [-2]}, "shape of tensor"),
        ({"shape": [True, 2]}, "shape of tensor"),
        ({"shape": [2.0]}, "shape of tensor"),
        ({"shape": [0]}, "shape of tensor"),
        ({"shape": 2}, "shape of tensor"),
        ({"shape": [1, 1, 1, 1, 2]}, "shape of tensor"),
        ({"shape": [10**9, 10**9]}, "bytes cannot be at"),
        ({"shape": [1, 2]}, r"must be I32 of shape \(2,\), not int32 of shape \(1, 2\)"),
        ({"data_offsets": [0, 4]}, "bytes cannot be at"),
        ({"data_offsets": [10**12, 10**12 + 8]}, "bytes cannot be at"),
        ({"data_offsets": [-8, 0]}, "data_offsets of tensor"),
        ({"data_offsets": [0]}, "data_offsets of tensor"),
        ({"data_offsets": None}, "data_offsets of tensor"),
        ({"extra": 1}, "must have exactly"),
    ],
)
def test_a_tensor_entry_that_does_not_fit_is_refused(tmp_path, entry, message):
    path = saved(tmp_path)
    header, body = parts(path)
    header["readout.bias"] |= entry
    put(path, header, body)
    with pytest.raises(ImageError, match=message):
        load_image(path)


def test_tensors_that_overlap_or_leave_a_hole_are_refused(tmp_path):
    path = saved(tmp_path)
    header, body = parts(path)
    header["layers.0.sigmoid"]["data_offsets"] = header["layers.0.tanh"]["data_offsets"]
    put(path, header, body)
    with pytest.raises(ImageError, match="overlap or leave a hole"):
        load_image(path)


def test_a_missing_and_an_extra_tensor_are_refused(tmp_path):
    path = saved(tmp_path)
    header, body = parts(path)
    header["layers.7.bias"] = header.pop("layers.1.bias")
    put(path, header, body)
    with pytest.raises(ImageError, match=r"tensors are missing: \['layers\.1\.bias'\]"):
        load_image(path)
    header["layers.1.bias"] = header.pop("layers.7.bias")
    size = len(body)
    header["extra"] = {"dtype": "I8", "shape": [1], "data_offsets": [size, size + 1]}
    put(path, header, body + b"\0")
    with pytest.raises(ImageError, match=r"tensors that no image has: \['extra'\]"):
        load_image(path)


def set_key(*path_and_value):
    *path, key, value = path_and_value

    def change(description):
        for step in path:
            description = description[step]
        description[key] = value

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (set_key("format", "other"), "format must be 'egret-network-image'"),
        (set_key("version", 2), "version must be 1, not 2"),
        (set_key("version", True), "version must be 1, not True"),
        (set_key("version", 1.0), r"version must be 1, not 1\.0"),
        (set_key("extra", 1), "the image must be an object of format, version, name"),
        (lambda d: d.pop("info") and None, "the image must be an object of format, version, name"),
        (set_key("name", ""), "name must be 1 to 64 printable characters"),
        (set_key("name", "a\nb"), "name must be 1 to 64 printable characters"),
        (set_key("name", "x" * 65), "name must be 1 to 64 printable characters"),
        (set_key("name", "\ud800"), "name must be 1 to 64 printable characters"),
        (set_key("name", 5), "name must be 1 to 64 printable characters, not 5"),
        (set_key("info", []), "info must be a JSON object"),
        (lambda d: json.dumps(d | {"info": {"a": float("nan")}}), "NaN is not a JSON number"),
        (lambda d: json.dumps(d | {"info": {"a": float("inf")}}), "Infinity is not a JSON number"),
        (lambda d: json.dumps(d).replace('"info": {}', '"info": {"a": 1e999}'), "1e999 is too large"),
        (lambda d: json.dumps(d).replace('"info"', '"name": "twice", "info"'), "a key twice"),
        (lambda d: json.dumps(d)[:-1], "not valid JSON"),
        (set_key("input", None), "input must be an object of size, bits, frac, signed, not None"),
        (set_key("input", "size", 0), r"input.size must be an integer 1\.\.65535, not 0"),
        (set_key("input", "size", 10**9), r"input.size must be an integer 1\.\.65535, not 1000000000"),
        (set_key("input", "size", "3"), r"input.size must be an integer 1\.\.65535, not '3'"),
        (set_key("input", "size", 4), r"layers\.0\.inputs must be 4, not 3"),
        (set_key("input", "bits", True), r"input.bits must be an integer .\.\.8, not True"),
        (set_key("input", "bits", 9), "input.bits"),
        (set_key("input", "bits", 8.0), "input.bits"),
        (set_key("input", "frac", 13), r"input.frac must be an integer 0\.\.12, not 13"),
        (set_key("input", "frac", -1), r"input.frac must be an integer 0\.\.12, not -1"),
        (set_key("input", "signed", 1), "input.signed must be true or false, not 1"),
        (set_key("layers", {}), "layers must be a list"),
        (set_key("layers", []), "tensors that no image has|must hold at least one layer|missing"),
        (set_key("layers", 1, 7), r"layers\.1: layer must be an object of inputs, units"),
        (set_key("layers", 0, "units", 10**9), r"layers\.0: layer.units must be an integer 1\.\.65535"),
        (set_key("layers", 0, "units", 65535), r"tensor layers\.0\.input_weight must be I8 of shape"),
        (set_key("layers", 0, "units", -1), r"layers\.0: layer.units"),
        (set_key("layers", 0, "reset", "output"), "layer.reset must be 'after' or 'before', not 'output'"),
        (set_key("layers", 0, "reset", ["after"]), "layer.reset must be 'after' or 'before', not"),
        (
            set_key("layers", 0, "state_reset", "before"),
            "layer.state_reset must be 'threshold' or 'output', not 'before'",
        ),
        (set_key("layers", 0, "state_reset", None), "layer.state_reset must be 'threshold' or 'output', not"),
        (set_key("layers", 0, "input_weight_bits", 1), r"layer.input_weight_bits must be an integer 2\.\.8"),
        (set_key("layers", 0, "input_weight_frac", 13), r"input_weight_frac must be an integer 0\.\.12"),
        (
            set_key("layers", 0, "recurrent_weight_bits", 9),
            r"recurrent_weight_bits must be an integer 2\.\.8",
        ),
        (set_key("layers", 0, "recurrent_weight_frac", None), "recurrent_weight_frac must be an integer"),
        (set_key("layers", 0, "event_bits", 1), r"event_bits must be an integer 2\.\.8, not 1"),
        (set_key("layers", 0, "table_bits", 13), r"table_bits must be an integer 4\.\.12, not 13"),
        (set_key("layers", 0, "table_bits", 5), r"tensor layers\.0\.sigmoid must be I16 of shape \(32,\)"),
        (set_key("readout", "classes", 0), r"readout.classes must be an integer 1\.\.65535, not 0"),
        (set_key("readout", "mode", "sum"), "readout.mode must be 'mean' or 'last' or 'every', not 'sum'"),
        (set_key("readout", "weight_bits", 0), "readout.weight_bits"),
        (set_key("readout", "weight_frac", 99), "readout.weight_frac"),
        (set_key("readout", "max_steps", 0), r"readout.max_steps must be an integer 1\.\.16777216, not 0"),
        (set_key("readout", "max_steps", 2**24 + 1), "readout.max_steps must be an integer"),
        (set_key("readout", "mode", "last"), "max_steps must be 1 in mode 'last', not 4096"),
    ],
)
def test_a_description_that_breaks_a_rule_is_refused(tmp_path, change, message):
    path = saved(tmp_path)
    altered(path, change)
    with pytest.raises(ImageError, match=message) as caught:
        load_image(path)
    text = str(caught.value)
    assert text.startswith(str(path)) and "\n" not in text and len(text) < 500


@pytest.mark.parametrize(
    ("tensor", "dtype", "value", "message"),
    [
        ("layers.0.input_weight", "<i1", 8, r"layers\.0: layer.input_weight must be within -8\.\.7, not 8"),
        ("layers.0.recurrent_weight", "<i1", -9, r"recurrent_weight must be within -8\.\.7, not -9"),
        (
            "layers.1.threshold",
            "<i2",
            127,
            r"layers\.1: layer.threshold must be within 128\.\.32767, not 127",
        ),
        ("layers.0.threshold", "<i2", -1, "threshold must be within"),
        ("layers.0.sigmoid", "<i2", -1, r"sigmoid must be within 0\.\.32767, not -1"),
        ("layers.0.tanh", "<i2", -32768, r"tanh must be within -32767\.\.32767, not -32768"),
        ("readout.weight", "<i1", 127, r"readout.weight must be within -8\.\.7, not 127"),
    ],
)
def test_a_number_out_of_range_in_a_tensor_is_refused(tmp_path, tensor, dtype, value, message):
    path = saved(tmp_path, weight_bits=4, event_bits=8)
    header, body = parts(path)
    start = header[tensor]["data_offsets"][0]
    item = np.array([value], dtype).tobytes()
    put(path, header, body[:start] + item + body[start + len(item) :])
    with pytest.raises(ImageError, match=message):
        load_image(path)


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_a_damaged_byte_gives_a_valid_image_or_one_clear_error(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "damaged.egret"
    save_image(image_of(units=(2,)), path)
    raw = bytearray(path.read_bytes())
    place = data.draw(st.integers(0, len(raw) - 1))
    raw[place] = data.draw(st.integers(0, 255))
    path.write_bytes(raw)
    try:
        loaded = load_image(path)
    except ImageError as error:
        assert "\n" not in str(error)
    else:
        assert isinstance(loaded, NetworkImage)


def test_a_missing_file_and_a_directory_are_refused_by_name(tmp_path):
    with pytest.raises(ImageError, match=r"none\.egret: cannot be read: No such file"):
        load_image(tmp_path / "none.egret")
    with pytest.raises(ImageError, match="cannot be read"):
        load_image(tmp_path)


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_a_failed_save_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, failing):
    path = saved(tmp_path)
    before = path.read_bytes()

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, failing, fail)
    with pytest.raises(EgretError, match="cannot be written: No space left"):
        save_image(image_of(seed=5), path)
    monkeypatch.undo()
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_saving_where_nothing_can_be_is_refused():
    with pytest.raises(EgretError, match="cannot be written"):
        save_image(image_of(), "/dev/null/no.egret")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"threshold": np.zeros(4)}, "layer.threshold must hold integers, not float64"),
        ({"threshold": np.full(4, np.nan)}, "layer.threshold must hold integers, not float64"),
        ({"threshold": np.full(4, True)}, "layer.threshold must hold integers, not bool"),
        ({"threshold": np.full(3, 9999)}, r"layer.threshold must have shape \(4,\), not \(3,\)"),
        (
            {"bias": np.full((4, 4), 2**31)},
            "layer.bias must be within -2147483648..2147483647, not 2147483648",
        ),
        ({"sigmoid": np.zeros(15, int)}, r"layer.sigmoid must have shape \(16,\)"),
    ],
)
def test_a_layer_is_checked_however_it_is_made(change, message):
    with pytest.raises(ImageError, match=message):
        replace(image_of().layers[0], **change)


def test_parts_that_do_not_fit_each_other_are_refused():
    image = image_of()
    with pytest.raises(ImageError, match=r"layers\.0\.inputs must be 3, not 4"):
        replace(image, layers=image.layers[1:])
    with pytest.raises(ImageError, match="what arrives is"):
        other = IntFormat(image.input.bits, image.input.frac ^ 1, image.input.signed)
        replace(image, layers=(replace(image.layers[0], input_format=other), image.layers[1]))
    with pytest.raises(ImageError, match=r"readout\.weight must have 4 columns, one per unit, not 2"):
        replace(image, layers=image.layers[:1])
    with pytest.raises(ImageError, match="at least one layer"):
        replace(image, layers=())
    with pytest.raises(ImageError, match=r"readout\.weight must have shape"):
        Readout(spec=ReadoutSpec(2), weight=np.zeros(2, int), bias=np.zeros(2, int))
    for info in ({"a": float("nan")}, {"a": {1, 2}}, {"a": np.int64(3)}, ["a"]):
        with pytest.raises(ImageError, match="info must"):
            replace(image, info=info)


def test_specs_check_themselves():
    with pytest.raises(ImageError, match=r"input.bits must be an integer 2\.\.8, not 1"):
        InputSpec(3, 1, 0, True)
    assert InputSpec(3, 1, 0, False).format.hi == 1
    with pytest.raises(ImageError, match=r"layer\.units"):
        LayerSpec(3, 0)
    assert LayerSpec(3, 2, event_bits=4).threshold_range == (2048, 32767)
    assert LayerSpec(3, 2, event_bits=4).state_range == (-32767, 32767)
    assert LayerSpec(3, 2, event_bits=4, state_reset="output").state_range == (-32767 - 15 * 2048, 32767)


def test_strict_json_is_json_otherwise():
    assert container.strict_json(b'{"a": [1, 2.5, null, true, "x"]}') == {"a": [1, 2.5, None, True, "x"]}


def test_images_and_the_integer_model_do_not_need_torch():
    code = (
        "import sys, egru.testing, egru.image, egru.integer, egru.tables, egru\n"
        "egru.load_image, egru.IntegerNetwork\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
