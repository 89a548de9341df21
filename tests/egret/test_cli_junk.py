"""Every command with random junk: names, files, folders, numbers. `make junk N=examples` for longer."""

import os
import random
from pathlib import Path

import pytest
import typer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from egret import networks
from egret.cli.main import app, main

EXAMPLES = int(os.environ.get("EGRET_JUNK", "40"))

#: How every command begins, so that it has nothing to do: FILE and NAME stand for junk.
BEGINNINGS = [
    *(["generate", "FILE", "-o", "out"], ["bitstream", "FILE", "-o", "out"], ["evaluate", "FILE"]),
    *(["statistics", "FILE"], ["simulate", "FILE"], ["sim-full", "FILE"], ["sim-netlist", "FILE"]),
    *(["plan", "FILE"], ["timing", "FILE", "-o", "out.svg"], ["faults", "FILE"], ["quantize", "FILE"]),
    *(["prune", "FILE", "--density", "0.5"], ["widths", "FILE"], ["frontier", "FILE"], ["export", "FILE"]),
    *(["import", "gru", "FILE"], ["import", "evnn", "FILE"], ["fuzz", "--replay", "FILE"]),
    *(["summary", "FILE"], ["train", "NAME"], ["seeds", "NAME"], ["formal", "--only", "NAME"]),
    *(["bench-fpga", "--only", "NAME"], ["mutate", "--module", "NAME", "--mutants", "-1"], ["NAME"]),
    *(["bench", "--steps", "-1"], ["bench-train", "--rounds", "-1"], ["doctor", "NAME"]),
]
COMMANDS = typer.main.get_command(app).commands

texts = st.text(st.characters(exclude_categories=[]), max_size=20).map(
    lambda text: "".join(c for c in text if not 0xD800 <= ord(c) <= 0xDFFF or 0xDC80 <= ord(c) <= 0xDCFF)
)
names = texts | st.sampled_from(
    ["[/x]", "[red]x", "\x1b[2J", "..", "/", "", "é" * 200, "a/b", "-", "nul\0", "a\nb"]
)
numbers = st.one_of(
    st.integers(-(10**25), 10**25).map(str),
    st.floats().map(str),
    st.sampled_from(["0", "-1", "1", "１６", "1_0", "1,2", ",", "9" * 5000, "0x1", "1e400"]),
)
files = st.sampled_from(
    [
        "no",
        "empty",
        "folder",
        "dangling",
        "loop",
        "image",
        "half",
        "text",
        "bytes",
        "json",
        "/dev/null",
        "[red]x",
        ".",
    ]
)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder of junk, with one good image that is only read by halves."""
    folder = tmp_path_factory.mktemp("junk")
    image = networks.shipped("digits").read_bytes()
    for name, content in {
        "empty": b"",
        "half": image[: len(image) // 2],
        "image": image[:-1],
        "text": "grün\n".encode() * 100,
        "bytes": random.Random(1).randbytes(3000),
        "json": b'{"format": "egret-fuzz-case", "version": 2}',
        "[red]x": b"\x80\x02}",
    }.items():
        (folder / name).write_bytes(content)
    (folder / "folder").mkdir()
    (folder / "dangling").symlink_to("nothing")
    (folder / "loop").symlink_to("loop")
    before = Path.cwd()
    os.chdir(folder)
    os.environ["EGRET_BUILD"] = str(folder / "build")
    yield folder
    os.chdir(before)
    del os.environ["EGRET_BUILD"]


@st.composite
def command_lines(draw):
    words = [
        draw(files if word == "FILE" else names) if word in ("FILE", "NAME") else word
        for word in draw(st.sampled_from(BEGINNINGS))
    ]
    command = COMMANDS.get(words[0])
    for _ in range(draw(st.integers(0, 3))):
        options = [option for option in getattr(command, "params", ()) if option.param_type_name == "option"]
        if not options or draw(st.booleans()):
            words.append(draw(names | st.sampled_from(["--help", "--no-such", "--version", "--"])))
            continue
        option = draw(st.sampled_from(options))
        words.append(option.opts[-1])
        if not option.is_flag:
            words.append(draw(names | numbers | files))
    return words


@settings(
    max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), derandomize=EXAMPLES == 40
)
@given(words=command_lines())
def test_junk_gets_a_documented_status_and_no_traceback(place, words):
    before = sorted(path for path in os.listdir(place) if path not in ("out", "build"))
    contents = {path: Path(path).read_bytes() for path in before if Path(path).is_file()}
    assert main(words) in (0, 1, 2), words  # an exception would be a traceback
    for path, content in contents.items():
        assert Path(path).read_bytes() == content, f"{words} changed {path}"
