"""Every command's readers of strangers' files: what is no such file is refused in one line of our own."""

import io
import json
import os
import pickle
import struct
import tracemalloc
import zipfile
from collections import OrderedDict

import numpy as np
import pytest
import torch
from safetensors.torch import save

from egret.checkpoint import Checkpoint, build, load_checkpoint, save_checkpoint
from egret.cli.main import main
from egret.files import header_of, read_report
from egret.interop.network_file import load_network, save_network
from egret.interop.state_dict import read_state_dict
from egret.recipes import Recipe
from egret.tasks import wikitext
from egret.tasks.pickles import ForbiddenError, unpickle
from egret_hw.config import AcceleratorConfig
from egret_sim.cosimulation import Stalls
from egret_sim.fuzz.case import Case, Phase, load_case, save_case
from egru import Network
from egru.errors import EgretError
from egru.testing import random_image, random_input

READERS = {
    "header": header_of,
    "checkpoint": load_checkpoint,
    "network": load_network,
    "state dict": read_state_dict,
    "fuzz case": load_case,
    "report": read_report,
}


def refusal(reader, path, most=600):
    with pytest.raises(EgretError) as caught:
        reader(path)
    text = str(caught.value)
    assert "\n" not in text and len(text) < most + len(str(path))
    for alien in (
        "Error",
        "safetensors_rust",
        "weights_only",
        "torch.load",
        "line 1 column 1 (char",
        "__init__",
        "deserializing",
    ):
        assert alien not in text
    return text


@pytest.mark.parametrize("reader", READERS.values(), ids=READERS)
def test_what_is_no_regular_file_is_neither_read_nor_waited_for(reader, tmp_path):
    os.mkfifo(tmp_path / "fifo")
    with open(tmp_path / "sparse", "wb") as file:
        file.truncate(64 << 30)
    (tmp_path / "link").symlink_to("/dev/zero")
    (tmp_path / "empty").write_bytes(b"")
    for name, reason in (
        ("fifo", "a FIFO"),
        ("sparse", "and may have at most"),
        ("link", "a device"),
        ("", "a directory"),
        ("empty", ""),
        ("none", "No such file"),
        ("a\0b", "NUL"),
        ("a\ud800", "half a character"),
        ("x" * 1000, "too long"),
    ):
        assert reason in refusal(reader, tmp_path / name)


@pytest.mark.parametrize(
    "arguments",
    [
        ["evaluate", "FILE"],
        ["statistics", "FILE"],
        ["quantize", "FILE"],
        ["prune", "FILE", "--density", "0.5"],
        ["export", "FILE"],
        ["import", "gru", "FILE"],
        ["generate", "FILE", "-o", "out"],
        ["bitstream", "FILE", "--board", "ulx3s_85f", "-o", "out"],
        ["simulate", "FILE", "--task", "digits"],
        ["fuzz", "--replay", "FILE"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_every_command_ends_in_one_line_and_status_2(arguments, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    os.mkfifo("fifo")
    os.symlink("/dev/zero", "zero")
    for name in ("fifo", "zero", ".", "none", "a\0b"):
        assert main([name if word == "FILE" else word for word in arguments]) == 2
        shown = capsys.readouterr().err
        assert shown.startswith("egret: ") and shown.count("\n") == 1 and "\0" not in shown


def deep(depth=100_000):
    return "[" * depth + "]" * depth


@pytest.fixture
def weights():
    torch.manual_seed(1)
    return build("egru", 3, 2, Recipe(units=2)).state_dict()


@pytest.fixture
def checkpoint(weights, tmp_path):
    """A checkpoint's path, its header and a function that writes it anew."""
    path = tmp_path / "net.safetensors"
    recipe = Recipe(units=2)
    save_checkpoint(Checkpoint("digits", "egru", 1, recipe, 3, 2, weights, {"a": 1.5}), path)
    header = header_of(path)

    def write(header, tensors=weights):
        text = header if isinstance(header, str) else json.dumps(header)
        path.write_bytes(save(tensors, metadata={"egret": text}))
        return path

    return path, header, write


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (deep(), "nested too deeply"),
        ('{"format": ' + "9" * 5000 + "}", "digits"),
        ('{"a": 1, "a": 1}', "a key twice"),
        ('{"a": NaN}', "NaN"),
        ('{"a": "\\ud800"}', "half a surrogate"),
        ("\ufeff{}", "not valid JSON"),
        ("{", "not valid JSON"),
    ],
    ids=lambda _: "text",
)
def test_a_header_outside_the_bounds_is_refused_by_all_that_read_it(checkpoint, text, message):
    path = checkpoint[2](text)
    for reader in (header_of, load_checkpoint, load_network):
        assert message in refusal(reader, path) and "must be a safetensors file" in refusal(reader, path)


@pytest.mark.parametrize("reader", [header_of, load_checkpoint, load_network, read_state_dict])
def test_a_files_header_begins_with_its_brace(checkpoint, reader):
    path = checkpoint[0]
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    path.write_bytes((length + 1).to_bytes(8, "little") + b" " + data[8:])
    assert "must begin with its brace" in refusal(reader, path)


@pytest.mark.parametrize("reader", [load_checkpoint, read_state_dict, header_of])
@pytest.mark.parametrize(
    "shape", [[10**4000], [10**4000, 10**4000], [-1], [1.5], None, [2**62, 4], [1] * 100]
)
def test_an_impossible_shape_is_refused(checkpoint, reader, shape):
    path = checkpoint[0]
    data = path.read_bytes()
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:end])
    header["readout.bias"]["shape"] = shape
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data[end:])
    assert "tensor 'readout.bias'" in refusal(reader, path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"recipe": None}, "recipe must be complete"),
        ({"recipe": {"units": "2"}}, "units of type int, not '2'"),
        ({"recipe": {"units": True}}, "units of type int, not True"),
        ({"recipe": {"units": 70_000_000}}, "it needs about 10^16 numbers|it needs 147"),
        ({"recipe": {"units": 10**4000}}, "it needs about 10^"),
        ({"recipe": {"units": 2, "layers": 10**12}}, "must not have more layers than tensors"),
        ({"recipe": {"units": 2, "sizes": [2, 10**9]}}, "it needs"),
        ({"recipe": {"units": 2, "sizes": 5}}, "sizes of type list"),
        ({"recipe": {"units": 2, "kernel": ["dense"]}}, "kernel of type str"),
        ({"recipe": {"units": 2, "eps": "x"}}, "eps of type float"),
        ({"recipe": {"units": 2, "eps": 10**4000}}, "a number for eps"),
        ({"recipe": {"units": 2, "x" * 10_000: 1}}, "has no setting"),
        ({"input_size": 10**9}, "it needs"),
        ({"input_size": 0}, "input_size of checkpoint"),
        ({"num_classes": -5}, "num_classes of checkpoint"),
        ({"num_classes": 10**4000}, "it needs"),
        ({"seed": -1}, "seed must be at least 0"),
        ({"seed": 10**4000}, "seed must be"),
        ({"model": "x" * 10_000}, "model must be one of"),
        ({"version": [deep(30)]}, "must have version 1"),
    ],
    ids=lambda _: "header",
)
def test_a_checkpoint_cannot_ask_for_more_than_its_tensors(checkpoint, change, message):
    _, header, write = checkpoint
    path = write(header | change)
    text = refusal(lambda path: load_checkpoint(path).network(), path)
    assert any(part in text for part in message.split("|"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hidden_size": 10**9}, "it needs"),
        ({"num_layers": 10**12}, "num_layers must not be more than there are tensors"),
        ({"hidden_size": "2"}, "hidden_size must be an integer"),
        ({"options": {"device": "meta"}}, "options must be an object of"),
        ({"options": 5}, "options must be an object of"),
        ({"options": {"gamma": "x"}}, "gamma must be a number"),
        ({"options": {"reset": "x" * 10_000}}, "reset must be one of"),
        ({"readout": ["mean"]}, "readout must be one of"),
    ],
    ids=lambda _: "header",
)
def test_a_network_cannot_ask_for_more_than_its_tensors(tmp_path, change, message):
    network, path = Network(3, 2, 2), tmp_path / "net"
    save_network(network, path)
    header = header_of(path)
    path.write_bytes(save(network.state_dict(), metadata={"egret": json.dumps(header | change)}))
    assert message in refusal(load_network, path)


@pytest.mark.parametrize("new", [True, False])
def test_a_file_of_torch_is_read_as_torch_reads_it(tmp_path, new):
    torch.manual_seed(3)
    base = torch.randn(4, 6)
    tensors = OrderedDict(
        a=base, view=base[1:, ::2], turned=base.t(), scalar=torch.tensor(3.0), none=torch.zeros(0, 3),
        double=base.double(), half=base.half(), brain=base.bfloat16(), whole=torch.arange(5), flags=base > 0,
        parameter=torch.nn.Parameter(base * 2),
    )  # fmt: skip
    path = tmp_path / "a.pt"
    more = {
        "epoch": 3,
        "rate": 0.1,
        "name": "x",
        "sizes": [1, (2, 3)],
        "seen": {1: "a"},
        "dtype": torch.float32,
    }
    torch.save({"model": tensors, **more}, path, _use_new_zipfile_serialization=new)
    found, expected = read_state_dict(path), torch.load(path, weights_only=True)["model"]
    assert list(found) == list(expected)
    for name, value in expected.items():
        wide = value.float() if value.dtype in (torch.half, torch.bfloat16) else value
        assert found[name].dtype == wide.dtype and torch.equal(found[name], wide.detach())


def test_a_module_and_its_optimiser_can_stand_in_the_same_file(tmp_path):
    module = torch.nn.GRU(2, 3)
    optimiser = torch.optim.AdamW(module.parameters())
    module(torch.zeros(1, 1, 2))[0].sum().backward()
    optimiser.step()
    torch.save({"optimiser": optimiser.state_dict(), "state_dict": module.state_dict()}, tmp_path / "a.pt")
    found = read_state_dict(tmp_path / "a.pt")
    assert all(torch.equal(found[name], value) for name, value in module.state_dict().items())


def repacked(data, change, method=zipfile.ZIP_STORED):
    """An archive of torch.save with its members changed."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    members = change(members)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def replaced(end, old, new):
    def change(members):
        name = next(name for name in members if name.endswith(end))
        assert old in members[name]
        return members | {name: members[name].replace(old, new)}

    return change


def of_pickle(content):
    return lambda members: {k: content if k.endswith("data.pkl") else v for k, v in members.items()}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (replaced("data.pkl", b"K\x04\x85", b"J\x00\x00\x00\x40\x85"), "larger than its storage"),
        (
            replaced("data.pkl", b"K\x04\x85", b"\x8a\x10" + b"\xff" * 15 + b"\x7f\x85"),
            "not given by numbers",
        ),
        (replaced("data/0", b"\0" * 4, b""), "must have the length"),
        (lambda members: {k: v for k, v in members.items() if "data/0" not in k}, "it is damaged"),
        (lambda members: {k: v for k, v in members.items() if "data.pkl" not in k}, "must hold one data.pkl"),
        (lambda members: members | {k: b"big" for k in members if "byteorder" in k}, "little-endian"),
        (of_pickle(b"\x80\x02\x96" + b"\xff" * 7 + b"\0."), "it is damaged"),
        (of_pickle(b"\x80\x02Nr\xff\xff\xff\x7f."), "must hold tensors by name"),
        (of_pickle(b"\x80\x02})" + b"\x85" * 1_000_000 + b"Ns."), "a key that is no plain value"),
        (of_pickle(b"\x80\x04\x8f(K\x01\x90."), "it holds a set"),
        (of_pickle(pickle.dumps(os.system)), "posix.system"),
        (of_pickle(b"\x80\x02cos\n" + b"x" * 10_000 + b"\n."), "it names"),
        (of_pickle(b"garbage"), "it is damaged"),
        (of_pickle(b""), "it is damaged"),
    ],
    ids=lambda _: "change",
)
def test_a_damaged_or_hostile_archive_of_torch_is_refused(tmp_path, change, message):
    buffer = io.BytesIO()
    torch.save({"a": torch.zeros(4)}, buffer)
    path = tmp_path / "a.pt"
    path.write_bytes(repacked(buffer.getvalue(), change))
    tracemalloc.start()
    try:
        assert message in refusal(read_state_dict, path)
        assert tracemalloc.get_traced_memory()[1] < 1 << 28
    finally:
        tracemalloc.stop()


def test_a_compressed_archive_is_refused_before_it_is_unpacked(tmp_path):
    buffer = io.BytesIO()
    torch.save({"a": torch.zeros(1 << 22)}, buffer)
    path = tmp_path / "a.pt"
    path.write_bytes(repacked(buffer.getvalue(), dict, zipfile.ZIP_DEFLATED))
    assert path.stat().st_size < 1 << 18
    assert "it is compressed" in refusal(read_state_dict, path)


def test_storages_of_a_file_before_archives_are_no_longer_than_the_file(tmp_path):
    buffer = io.BytesIO()
    torch.save({"a": torch.zeros(4)}, buffer, _use_new_zipfile_serialization=False)
    data = buffer.getvalue()
    (tmp_path / "a.pt").write_bytes(data[:-4])
    assert "must have the length" in refusal(read_state_dict, tmp_path / "a.pt")
    place = data.rindex(struct.pack("<q", 4))
    (tmp_path / "a.pt").write_bytes(data[:place] + struct.pack("<q", 1 << 60) + data[place + 8 :])
    assert "must have the length" in refusal(read_state_dict, tmp_path / "a.pt")


def test_a_length_that_looks_like_a_pickle_is_still_a_header(tmp_path):
    """Of 640 bytes, 0x280: the first two bytes are those of a pickle."""
    for filler in range(8, 700):
        data = save({"a": torch.ones(3)}, metadata={"x": "x" * filler})
        if data[:2] == b"\x80\x02":
            break
    (tmp_path / "a").write_bytes(data)
    assert data[:2] == b"\x80\x02" and read_state_dict(tmp_path / "a")["a"].tolist() == [1, 1, 1]


@pytest.mark.parametrize(
    "dtype", [torch.float8_e4m3fn, torch.float16, torch.bfloat16, torch.float64, torch.int64, torch.bool]
)
def test_every_type_of_safetensors_is_read(tmp_path, dtype):
    tensors = {
        "a": torch.tensor([[1, 0], [1, 1]]).to(dtype),
        "b": torch.tensor(1).to(dtype),
        "c": torch.zeros(0, dtype=dtype),
    }
    (tmp_path / "a").write_bytes(save(tensors))
    found = read_state_dict(tmp_path / "a")
    assert all(found[name].double().tolist() == value.double().tolist() for name, value in tensors.items())


def test_what_tasks_read_as_pickles_is_bounded_as_well():
    array = np.arange(6.0).reshape(2, 3)
    assert np.array_equal(unpickle(pickle.dumps(array, protocol=2)), array)
    with pytest.raises(ForbiddenError, match=r"it names os\.system|it names posix\.system"):
        unpickle(pickle.dumps(os.system))
    with pytest.raises(ForbiddenError, match="outside the file"):
        unpickle(b"\x80\x02X\x01\x00\x00\x00aQ.")
    with pytest.raises(EOFError):
        unpickle(b"\x96" + b"\xff" * 6 + b"\0\0.")
    assert unpickle(b"\x80\x02Nr\xff\xff\xff\x7f.") is None  # a table of 2^31 places in C


@pytest.fixture
def case(tmp_path):
    image = random_image(np.random.default_rng(2), inputs=3, units=(2,), mode="mean", max_steps=9)
    x = random_input(np.random.default_rng(3), image, 3)
    made = Case(image, AcceleratorConfig(lanes=(3,)), (Phase((x,), 1, Stalls(), None),))
    path = save_case(made, tmp_path, "case", {})
    return path, json.loads(path.read_text())


def phase(**values):
    return lambda content: content["phases"][0].update(values)


def config(**values):
    return lambda content: content["config"].update(values)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.update(image="../case.egret"), "image must be the name of a file beside it"),
        (lambda c: c.update(image="/etc/passwd"), "image must be the name of a file beside it"),
        (lambda c: c.update(image=".."), "image must be the name of a file beside it"),
        (lambda c: c.update(image=5), "image must be the name of a file beside it"),
        (lambda c: c.update(image="a\0b"), "cannot be read"),
        (lambda c: c.update(phases=[]), "phases must be a list"),
        (lambda c: c.update(phases=[3]), "a phase must be a JSON object"),
        (lambda c: c.update(config=[]), "config must be a JSON object"),
        (config(unknown=1), "config has no setting 'unknown'"),
        (config(lanes="16"), "lanes of config cannot be '16'"),
        (config(lanes=None), "lanes of config cannot be None"),
        (config(streams=None), "streams of config cannot be None"),
        (config(lanes=[None]), "lanes of config cannot be"),
        (config(lanes=10**4000), "lanes of config cannot be about"),
        (config(lanes=[1] * 1000), "lanes"),
        (config(compact=1), "compact of config cannot be 1"),
        (config(weights="x"), "weights must be"),
        (phase(seed=-1), "seed must be an integer"),
        (phase(seed=2**64), "seed must be an integer"),
        (phase(seed=True), "seed must be an integer"),
        (phase(reset=1), "reset must be true or false"),
        (phase(reset_tokens="1"), "reset_tokens must be an integer"),
        (phase(source={"chance": 0, "mask": 3}), "chance must be"),
        (phase(source={"chance": 64}), "source must be null or an object of chance and mask"),
        (phase(sink=[1]), "sink must be a JSON object"),
        (phase(load=-3), "load must be an integer"),
        (phase(sequences=[[[[-1, 1]]]]), "an event must be an input"),
        (phase(sequences=[[[[3, 1]]]]), "an event must be an input"),
        (phase(sequences=[[[[0, 10**30]]]]), "an event must be an input"),
        (phase(sequences=[[[[0, 1.0]]]]), "an event must be an input"),
        (phase(sequences=[[[[0]]]]), "an event must be an input"),
        (phase(sequences=[[5]]), "an event must be an input"),
        (phase(sequences=[[]]), "at least one step"),
        (phase(sequences=[[[]] * 10]), "at most max_steps = 9 steps, not 10"),
        (phase(sequences=5), "sequences must be a list of lists"),
        (phase(sequences=[[[]] * 20_000_000]), "at most|inputs"),
    ],
    ids=lambda _: "change",
)  # fmt: skip
def test_a_case_that_could_not_be_played_is_refused(case, change, message):
    path, content = case
    assert load_case(path).phases[0].steps == 3
    change(content)
    path.write_text(json.dumps(content))
    assert any(part in refusal(load_case, path) for part in message.split("|"))


@pytest.mark.parametrize(
    "text", [deep(), "9" * 5000, '{"format": NaN}', '{"a": 1, "a": 1}', "\ufeff{}", "", "[]", "5"]
)
def test_a_case_outside_the_bounds_of_json_is_refused(case, text):
    case[0].write_text(text, encoding="utf-8")
    assert "must be a case that `egret fuzz` saved" in refusal(load_case, case[0])


@pytest.mark.parametrize(
    "content",
    [
        deep(), "9" * 5000, "[NaN]", "5", "null", '{"a": 1}', "[[]]", "[5]", '[{"stalls": []}]',
        '[{"stalls": 0, "sequences": 1, "steps": 1, "compared": 1, "mismatches": 0, "cycles_per_step": "x"}]',
    ],
    ids=lambda _: "content",
)  # fmt: skip
@pytest.mark.parametrize("name", ["net/simulation.json", "net/board/report.json"])
def test_a_summary_of_any_report_ends_in_one_line(tmp_path, capsys, content, name):
    path = tmp_path / name
    path.parent.mkdir(parents=True)
    path.write_text(content)
    assert main(["summary", str(tmp_path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_text_that_is_no_file_of_words_is_refused(tmp_path):
    for name in wikitext.FILES.values():
        (tmp_path / name).write_text("a <unk>\n")
    assert len(wikitext.load(tmp_path).vocabulary) == 3
    path = tmp_path / wikitext.FILES["test"]
    path.write_bytes(b"a \xff")
    assert "byte 2 is not" in refusal(wikitext.load, tmp_path)
    path.unlink()
    os.mkfifo(path)
    assert "a FIFO" in refusal(wikitext.load, tmp_path)
