"""Section 7 of docs/numerics.md: `load_image` and a reader made of the page alone agree on every file."""

import json
import random
import sys
import tracemalloc
import unicodedata
from dataclasses import replace

import image_reference
import numpy as np
import pytest

from egru import container
from egru.errors import EgretError
from egru.formats import IntFormat
from egru.image import (
    INFO_DEPTH_MAX,
    ImageError,
    InputSpec,
    Layer,
    LayerSpec,
    NetworkImage,
    Readout,
    ReadoutSpec,
    load_image,
    save_image,
)
from egru.tables import sigmoid_table, tanh_table
from egru.testing import random_image

DEEP = 10**4000


def small():
    return random_image(
        np.random.default_rng(3), inputs=2, units=(3, 1), classes=2, mode="mean", table_bits=4
    )


@pytest.fixture
def parts(tmp_path):
    """A file's path, and its header, description and data, to be put together in another way."""
    path = tmp_path / "net.egret"
    save_image(small(), path)
    data = path.read_bytes()
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:end])
    return path, header, json.loads(header["__metadata__"]["egret"]), data[end:]


def put(path, header, description, body, *, before=b"", behind=b""):
    text = description if isinstance(description, str) else json.dumps(description)
    header = {**header, "__metadata__": {"egret": text}}
    put_text(path, before + json.dumps(header).encode() + behind, body)


def put_text(path, text, body):
    path.write_bytes(len(text).to_bytes(8, "little") + text + body)


def verdict(path):
    """Whether both readers take the file, in which case they have read the same."""
    try:
        image = load_image(path)
    except ImageError as error:
        assert "\n" not in str(error) and len(str(error)) < 1000
        image = None
    try:
        network = image_reference.read(path)
    except ValueError:
        network = None
    assert (image is None) == (network is None), "the page and the reader differ"
    if image is not None and network is not None:
        assert (image.name, image.info) == (network["name"], network["info"])
        for layer, other in zip(image.layers, network["layers"], strict=True):
            assert all(getattr(layer, name).tolist() == other[name] for name in Layer.TENSORS)
        assert image.readout.weight.tolist() == network["readout"]["weight"]
    return image is not None


def in_info(value):
    return lambda d: d["info"].update(a=value)


def in_text(old, new):
    return lambda d: json.dumps(d).replace(old, new)


def key(*path_and_value):
    *path, last, value = path_and_value

    def change(description):
        for step in path:
            description = description[step]
        description[last] = value

    return change


NESTED = json.loads("[" * (INFO_DEPTH_MAX - 1) + "]" * (INFO_DEPTH_MAX - 1))
RULES = {
    "nothing changed": (lambda d: None, True),
    "a name of 64 characters beyond the first plane": (key("name", "\U0001f600" * 64), True),
    "a name of 65": (key("name", "x" * 65), False),
    "a name with spaces": (key("name", " a b "), True),
    "a name with marks": (key("name", "e\u0301\u0902"), True),
    "no name": (key("name", ""), False),
    **{
        f"a name with U+{ord(c):04X}": (key("name", f"a{c}b"), False)
        for c in "\0\t\n\x7f\x85\xa0\xad\u200b\u200e\u2028\u2029\u202e\u3000\ue000\ufeff\ufffe\ud800\udfff"
    },
    "info that is nested as deep as can be": (in_info(NESTED), True),
    "info that is nested one deeper": (in_info([NESTED]), False),
    "info with other brackets in a text": (in_info("[{" * 100 + '"\\'), True),
    "info that is a list": (key("info", []), False),
    "info with half a pair": (in_info("\ud800"), False),
    "info with half a pair as a key": (key("info", {"\udc00": 1}), False),
    "info with a whole pair": (in_info("\U0001f600"), True),
    "info with 4300 digits": (in_info(int("9" * 4300)), True),
    "info with more digits": (in_text('"info": {}', '"info": {"a": ' + "9" * 4301 + "}"), False),
    "info with -0": (in_text('"info": {}', '"info": {"a": [-0, -0.0]}'), True),
    "info with NaN": (in_text('"info": {}', '"info": {"a": NaN}'), False),
    "info with an infinity": (in_text('"info": {}', '"info": {"a": -Infinity}'), False),
    "info with 1e999": (in_text('"info": {}', '"info": {"a": 1e999}'), False),
    "info with a key twice": (in_text('"info": {}', '"info": {"a": 1, "a": 1}'), False),
    "a size of 2.0": (key("input", "size", 2.0), False),
    "a size as 2e0": (in_text('"size": 2', '"size": 2e0'), False),
    "a size that is true": (key("layers", 1, "units", True), False),
    "a size of thousands of digits": (key("layers", 0, "units", DEEP), False),
    "a byte order mark in the text": (lambda d: "\ufeff" + json.dumps(d), False),
    "white space around the text": (lambda d: " \n" + json.dumps(d) + "\t", True),
    "no layers": (key("layers", []), False),
    "max_steps of 2^24": (key("readout", "max_steps", 2**24), True),
    "max_steps of 2^24 + 1": (key("readout", "max_steps", 2**24 + 1), False),
    "max_steps of 0": (key("readout", "max_steps", 0), False),
    "max_steps in mode last": (lambda d: d["readout"].update(mode="last"), False),
    "max_steps of 1 in mode last": (lambda d: d["readout"].update(mode="last", max_steps=1), True),
    "max_steps of 1 in mode every": (lambda d: d["readout"].update(mode="every", max_steps=1), True),
    "max_steps of true in mode every": (lambda d: d["readout"].update(mode="every", max_steps=True), False),
    "no max_steps": (lambda d: d["readout"].pop("max_steps") and None, False),
    "version true": (key("version", True), False),
}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.encode("ascii", "replace").decode())
def test_both_readers_follow_the_page_in_the_description(parts, rule):
    path, header, description, body = parts
    change, legal = RULES[rule]
    changed = change(description)
    put(path, header, description if changed is None else changed, body)
    assert verdict(path) == legal


def test_minus_zero_is_the_integer_zero(parts):
    path, header, description, body = parts
    description["input"]["frac"] = 0
    put(path, header, json.dumps(description).replace('"frac": 0', '"frac": -0'), body)
    assert verdict(path) and load_image(path).input.frac == 0
    text = json.dumps({**header, "__metadata__": {"egret": json.dumps(description)}})
    put_text(path, text.replace("[0, ", "[-0, ").encode(), body)
    assert verdict(path)
    assert IntFormat(8, 3, True).quantise([-0.0, 0.0]).tolist() == [0, 0]


def test_tensors_and_entries_may_come_in_any_order(parts):
    path, header, description, body = parts
    order = list(header.items())
    random.Random(1).shuffle(order)
    put(path, dict(order), description, body)
    assert verdict(path) and load_image(path) == small()
    moved, data = {}, b""
    for name, entry in order:
        if name != "__metadata__":
            start, stop = entry["data_offsets"]
            moved[name] = {**entry, "data_offsets": [len(data), len(data) + stop - start]}
            data += body[start:stop]
    assert data != body
    put(path, moved, description, data)
    assert verdict(path) and load_image(path) == small()


def test_every_byte_of_the_data_belongs_to_one_tensor(parts):
    path, header, description, body = parts
    names = sorted(set(header) - {"__metadata__"}, key=lambda name: header[name]["data_offsets"])

    def shifted(by, from_name):
        moved = {name: dict(entry) for name, entry in header.items()}
        for name in names[names.index(from_name) :]:
            moved[name]["data_offsets"] = [place + by for place in moved[name]["data_offsets"]]
        return moved

    middle = names[3]
    put(path, shifted(1, middle), description, body + b"\0")  # a hole
    assert not verdict(path)
    put(path, shifted(1, names[0]), description, b"\0" + body)  # a hole before the first one
    assert not verdict(path)
    put(path, shifted(-1, middle), description, body[:-1])  # an overlap
    assert not verdict(path)
    put(path, header, description, body + b"\0")
    assert not verdict(path)
    put(path, header, description, body[:-1])
    assert not verdict(path)


@pytest.mark.parametrize(
    ("options", "legal"),
    [
        ({}, True),
        ({"behind": b" \n\t\r "}, True),
        ({"behind": b"\0"}, False),
        ({"behind": b"{}"}, False),
        ({"before": b" "}, False),
        ({"before": b"\n"}, False),
        ({"before": b"\xef\xbb\xbf"}, False),
    ],
)
def test_a_header_begins_with_its_brace_and_may_end_in_white_space(parts, options, legal):
    path, header, description, body = parts
    put(path, header, description, body, **options)
    assert verdict(path) == legal


@pytest.mark.parametrize(
    "entry",
    [
        {"shape": [DEEP]},
        {"shape": [DEEP, DEEP]},
        {"shape": [3, DEEP]},
        {"shape": [-3]},
        {"shape": [3.0]},
        {"shape": []},
        {"shape": [0, DEEP]},
        {"data_offsets": [DEEP, DEEP]},
        {"data_offsets": [0, DEEP]},
        {"data_offsets": [-DEEP, 0]},
        {"dtype": "F32"},
        {"dtype": None},
    ],
    ids=lambda entry: "-".join(entry),
)
@pytest.mark.parametrize("name", ["readout.bias", "layers.0.input_weight"])
def test_a_tensor_of_an_impossible_shape_or_place_is_refused(parts, name, entry):
    path, header, description, body = parts
    header[name] |= entry
    put(path, header, description, body)
    assert not verdict(path)


def test_a_header_may_be_16_mebibytes_long_and_no_longer(parts):
    path, header, description, body = parts
    text = json.dumps({**header, "__metadata__": {"egret": json.dumps(description)}}).encode()
    for length, legal in ((container.HEADER_BYTES_MAX, True), (container.HEADER_BYTES_MAX + 1, False)):
        put_text(path, text.ljust(length), body)
        assert verdict(path) == legal


def of_layers(count):
    """A network of so many layers of one unit."""
    spec = LayerSpec(inputs=1, units=1, table_bits=4)

    def layer(fmt):
        return Layer(
            spec, fmt, np.ones((3, 1), int), np.ones((3, 1), int), np.zeros((4, 1), int),
            np.array([9999]), sigmoid_table(4), tanh_table(4),
        )  # fmt: skip

    source = InputSpec(1, 8, 5, True)
    first, later = layer(source.format), layer(spec.event_format)
    readout = Readout(ReadoutSpec(1), np.ones((1, 1), int), np.zeros(1, int))
    return NetworkImage("deep", source, (first, *[later] * (count - 1)), readout, {})


def test_a_network_of_1500_layers_comes_back(tmp_path):
    image, path = of_layers(1500), tmp_path / "deep.egret"
    save_image(image, path)
    assert int.from_bytes(path.read_bytes()[:8], "little") > 1 << 20
    assert load_image(path) == image and verdict(path)


def test_a_network_whose_header_would_be_too_long_is_not_written(tmp_path):
    with pytest.raises(EgretError, match=r"the header would have .* bytes, more than"):
        save_image(replace(of_layers(1), info={"a": "x" * (1 << 24)}), tmp_path / "a.egret")
    assert not list(tmp_path.iterdir())


def peak_of_refusal(path):
    """Bytes that are taken until an image is refused."""
    tracemalloc.start()
    try:
        with pytest.raises(ImageError):
            load_image(path)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("layers", ["{}", "1", '{"units":65535}', "[]"])
def test_a_million_layers_in_a_header_are_refused_in_bounded_memory(parts, layers):
    path, header, description, body = parts
    text = json.dumps({**description, "layers": 0}).replace(
        '"layers": 0', f'"layers":[{",".join([layers] * 10**6)}]'
    )
    put(path, header, text, body)
    assert peak_of_refusal(path) < 40 * container.HEADER_BYTES_MAX
    assert path.stat().st_size > 2 * 10**6


def test_many_tensors_in_a_header_are_refused_in_bounded_memory(parts):
    path, _, description, body = parts
    entry = {"dtype": "I8", "shape": [1], "data_offsets": [0, 1]}
    put(path, {f"{number}": entry for number in range(50_000)}, description, body)
    assert peak_of_refusal(path) < 40 * container.HEADER_BYTES_MAX


def test_data_are_not_read_before_the_header_has_asked_for_them(parts):
    path, header, description, body = parts
    size = 1 << 30
    huge = {**header, "more": {"dtype": "I8", "shape": [size], "data_offsets": [len(body), len(body) + size]}}
    put(path, huge, description, body)
    with open(path, "r+b") as file:
        file.truncate(path.stat().st_size + size)
    assert peak_of_refusal(path) < 1 << 24
    put(path, header, description, body)
    with open(path, "r+b") as file:  # a hole of a file behind an image, as large as the format allows
        file.truncate(1 << 32)
    assert peak_of_refusal(path) < 1 << 24
    with open(path, "r+b") as file:
        file.truncate(64 << 30)
    assert peak_of_refusal(path) < 1 << 24


def test_what_is_printable_is_what_the_page_says_of_every_code_point():
    for number in range(sys.maxunicode + 1):
        character = chr(number)
        legal = character == " " or unicodedata.category(character)[0] in "LMNPS"
        assert character.isprintable() == legal == image_reference.printable(character)


VALUES = (
    *(None, True, 0, -1, 1, 2, 8, 2**31, 2**64, 0.5, -0.0, "", "x", [], {}, [[]], [0], {"a": 1}, "every"),
    *("last", "I8", "I32", "output", [1, 1], [0, 2], "\ud800", "\U0001f600"),
)  # fmt: skip


def mutate(value, rng):
    """Replace, remove, add or move by one something somewhere in a value of JSON."""
    while True:
        keys = list(value) if isinstance(value, dict) else list(range(len(value)))
        if not keys:
            return
        place = rng.choice(keys)
        if not isinstance(value[place], dict | list) or rng.random() < 0.15:
            break
        value = value[place]
    action = rng.randrange(4)
    if action == 0:
        del value[place]
    elif action == 1 and type(value[place]) is int:
        value[place] += rng.choice((-1, 1))
    elif action == 2 and isinstance(value, dict):
        value[rng.choice(("a", "units", "info", "layers.0.bias"))] = rng.choice(VALUES)
    else:
        value[place] = rng.choice(VALUES)


def test_both_readers_agree_on_files_that_were_changed_at_random(parts):
    path, header, description, body = parts
    taken = 0
    for seed in range(1500):
        rng = random.Random(seed)
        head, text, data = (
            json.loads(json.dumps(header)),
            json.loads(json.dumps(description)),
            bytearray(body),
        )
        for _ in range(rng.randrange(1, 3)):
            what = rng.randrange(5)
            if what == 0:
                data[rng.randrange(len(data))] = rng.randrange(256)
            elif what == 1:
                mutate(head, rng)
            else:
                mutate(text, rng)
        put(path, head, text, bytes(data))
        taken += verdict(path)
    assert 50 < taken < 1400


@pytest.mark.parametrize(
    "info",
    [
        {"a": float("nan")},
        {"a": [float("inf")]},
        {"a": np.float64("nan")},
        {"a": {1, 2}},
        {"a": b"x"},
        {"a": np.int64(3)},
        {(1, 2): 3},
        {"a": 10**5000},
        {"a": "\ud800"},
        {"\udfff": 1},
        {1: 2, "1": 3},
        {float("nan"): 1, "NaN": 2},
        {"a": [NESTED]},
    ],
    ids=lambda info: "info",
)
def test_info_that_a_program_changed_to_what_no_file_can_hold_is_not_written(tmp_path, info):
    image = small()
    with pytest.raises(ImageError, match="info must") as caught:
        replace(image, info=info)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 300
    image.info.clear()
    image.info.update(info)  # behind its back
    path = tmp_path / "a.egret"
    path.write_bytes(b"old")
    with pytest.raises(ImageError, match="info must"):
        save_image(image, path)
    assert path.read_bytes() == b"old" and len(list(tmp_path.iterdir())) == 1


def test_info_that_holds_itself_is_refused():
    endless: dict = {}
    endless["a"] = endless
    deep: list = []
    for _ in range(100_000):
        deep = [deep]
    for info in (endless, {"a": deep}):
        with pytest.raises(ImageError, match="info must"):
            replace(small(), info=info)
