"""A network image read by section 7 of docs/numerics.md alone; ValueError for everything that it refuses.

Nothing is shared with `egru`: plain Python, written to be held against the page, and slow.
"""

import json
import struct
import unicodedata

SIZES = {"I8": 1, "I16": 2, "I32": 4}
CODES = {1: "b", 2: "h", 4: "i"}
HEADER_BYTES, FILE_BYTES, LEVELS, DIGITS = 2**24, 2**32, 64, 4300
LAYER = {
    "inputs": (1, 65535),
    "units": (1, 65535),
    "reset": ("after", "before"),
    "state_reset": ("threshold", "output"),
    "input_weight_bits": (2, 8),
    "input_weight_frac": (0, 12),
    "recurrent_weight_bits": (2, 8),
    "recurrent_weight_frac": (0, 12),
    "event_bits": (2, 8),
    "table_bits": (4, 12),
}
READOUT = {
    "classes": (1, 65535),
    "mode": ("every", "last", "mean"),
    "weight_bits": (2, 8),
    "weight_frac": (0, 12),
    "max_steps": (1, 2**24),
}
INPUT = {"size": (1, 65535), "bits": (1, 8), "frac": (0, 12), "signed": (False, True)}


def must(condition, why):
    if not condition:
        raise ValueError(why)


def read(path):
    """The JSON description, each spec with its tensors as nested lists."""
    with open(path, "rb") as file:
        data = file.read()
    must(8 <= len(data) <= FILE_BYTES, "the size of the file")
    (length,) = struct.unpack_from("<Q", data)
    must(length <= HEADER_BYTES and length <= len(data) - 8, "the length of the header")
    must(data[8:9] == b"{", "the header's brace")
    header, body = parsed(data[8 : 8 + length].decode("utf-8")), data[8 + length :]
    metadata = header.pop("__metadata__", None)
    must(type(metadata) is dict and set(metadata) == {"egret"}, "one entry of metadata")
    must(type(metadata["egret"]) is str, "a text as metadata")
    network = parsed(metadata["egret"])
    check_description(network)
    tensors = {name: tensor(entry, body) for name, entry in header.items()}
    place = 0
    for start, stop in sorted(entry["data_offsets"] for entry in header.values()):
        must(start == place, "a hole or an overlap")
        place = stop
    must(place == len(body), "bytes behind the last tensor")

    def take(name, dtype, shape, low, high):
        must(name in tensors, f"{name} is missing")
        found, dims, values = tensors.pop(name)
        must(found == dtype and dims == shape, f"type and shape of {name}")
        must(all(low <= value <= high for value in values), f"range of {name}")
        return nested(values, dims)

    def weights(name, bits, rows, columns):
        return take(name, "I8", [rows, columns], -(2 ** (bits - 1)), 2 ** (bits - 1) - 1)

    frac, arriving = network["input"]["frac"], network["input"]["size"]
    for k, layer in enumerate(network["layers"]):
        n, i, eb, table = layer["units"], layer["inputs"], layer["event_bits"], 2 ** layer["table_bits"]
        must(i == arriving, "layers that fit each other")
        layer["fx"] = frac
        layer["input_weight"] = weights(f"layers.{k}.input_weight", layer["input_weight_bits"], 3 * n, i)
        layer["recurrent_weight"] = weights(
            f"layers.{k}.recurrent_weight", layer["recurrent_weight_bits"], 3 * n, n
        )
        layer["bias"] = take(f"layers.{k}.bias", "I32", [4, n], -(2**31), 2**31 - 1)
        layer["threshold"] = take(f"layers.{k}.threshold", "I16", [n], 2 ** (15 - eb), 32767)
        layer["sigmoid"] = take(f"layers.{k}.sigmoid", "I16", [table], 0, 32767)
        layer["tanh"] = take(f"layers.{k}.tanh", "I16", [table], -32767, 32767)
        frac, arriving = eb, n
    readout = network["readout"]
    readout["weight"] = weights("readout.weight", readout["weight_bits"], readout["classes"], arriving)
    readout["bias"] = take("readout.bias", "I32", [readout["classes"]], -(2**31), 2**31 - 1)
    must(not tensors, "tensors that the page does not know")
    return network


def check_description(network):
    keys = {"format", "version", "name", "input", "layers", "readout", "info"}
    must(type(network) is dict and set(network) == keys, "the keys")
    must(network["format"] == "egret-network-image", "the format")
    must(type(network["version"]) is int and network["version"] == 1, "the version")
    name = network["name"]
    must(type(name) is str and 1 <= len(name) <= 64 and all(map(printable, name)), "the name")
    must(type(network["layers"]) is list and network["layers"], "at least one layer")
    check_entries(network["input"], INPUT)
    must(network["input"]["bits"] >= 1 + network["input"]["signed"], "bits of a signed input")
    for layer in network["layers"]:
        check_entries(layer, LAYER)
    check_entries(network["readout"], READOUT)
    must(network["readout"]["mode"] == "mean" or network["readout"]["max_steps"] == 1, "max_steps of 1")
    must(type(network["info"]) is dict, "info")
    json.dumps(network["info"], ensure_ascii=False).encode("utf-8")  # ValueError for half a pair


def check_entries(entry, rules):
    must(type(entry) is dict and set(entry) == set(rules), "the keys of an entry")
    for key, choices in rules.items():
        value = entry[key]
        if type(choices[0]) is int:
            must(type(value) is int and choices[0] <= value <= choices[1], f"range of {key}")
        else:
            must(type(value) is type(choices[0]) and value in choices, f"value of {key}")


def printable(character):
    return character == " " or unicodedata.category(character)[0] in "LMNPS"


def tensor(entry, body):
    """Type, shape and values in one row."""
    must(type(entry) is dict and set(entry) == {"dtype", "shape", "data_offsets"}, "an entry's keys")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    must(type(dtype) is str and dtype in SIZES, "a tensor's type")
    for numbers in (shape, offsets):
        must(type(numbers) is list and all(type(n) is int and n >= 0 for n in numbers), "a list of integers")
    must(1 <= len(shape) <= 2 and len(offsets) == 2, "a shape and two offsets")
    size, count = SIZES[dtype], 1
    for n in shape:
        count *= n
    start, stop = offsets
    must(stop <= len(body) and stop - start == size * count, "the place of a tensor")
    return dtype, shape, struct.unpack(f"<{count}{CODES[size]}", body[start:stop])


def nested(values, shape):
    """A flat row-major tuple as lists of lists."""
    if len(shape) == 1:
        return list(values)
    size = len(values) // shape[0]
    return [nested(values[i * size : (i + 1) * size], shape[1:]) for i in range(shape[0])]


def parsed(text):
    """JSON within the page's bounds."""
    level, inside, escaped = 0, False, False
    for character in text:
        if inside:
            inside = escaped or character != '"'
            escaped = character == "\\" and not escaped
        elif character == '"':
            inside = True
        elif character in "[{":
            level += 1
            must(level <= LEVELS, "the nesting")
        elif character in "]}":
            level -= 1

    def integer(digits):
        must(len(digits.lstrip("-")) <= DIGITS, "an integer's digits")
        return int(digits)

    def real(digits):
        must(abs(float(digits)) != float("inf"), "a number too large")
        return float(digits)

    def pairs(items):
        must(len(dict(items)) == len(items), "a key twice")
        return dict(items)

    def constant(name):
        raise ValueError(name)

    return json.loads(
        text, parse_int=integer, parse_float=real, parse_constant=constant, object_pairs_hook=pairs
    )
