"""Fuzzes the readers of strangers' files, guided by coverage: `readers.py --seconds 60 --corpus FOLDER`.

Anything but EgretError is a finding, and so is more memory than MEMORY_MB, an input that takes more than
INPUT_SECONDS, and an image that does not come back as it was read. A finding ends the run with a status other
than 0; the input stays in the corpus' folder, and `--replay FILE` reads it again.
"""

from __future__ import annotations

import argparse
import io
import json
import random
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import atheris

with atheris.instrument_imports(include=["egru", "egret", "egret_sim"]):
    import torch
    from safetensors.torch import save

    from egret.checkpoint import Checkpoint, build, load_checkpoint, save_checkpoint
    from egret.files import read_report
    from egret.interop.network_file import load_network, save_network
    from egret.interop.state_dict import read_state_dict
    from egret.networks import shipped
    from egret.recipes import Recipe
    from egret_hw.config import AcceleratorConfig
    from egret_sim.fuzz.case import Case, Phase, load_case, save_case
    from egru import Network, container, load_image, save_image
    from egru.errors import EgretError
    from egru.testing import random_image, random_input

import numpy as np

MEMORY_MB = 2048  #: of the whole process, of which PyTorch takes some 500
INPUT_SECONDS = 20
INPUT_BYTES = 200_000
MESSAGE_MAX = 2000

JUNK: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2, 7, 255, 65536, 2**31, 2**63, 2**64, 10**30, 10**4000, -0.0, 0.5, 1e308),
    *(float("nan"), float("inf"), "", "x", "x" * 5000, "\0", "\ud800", "é", "../x", "[/x]", [], {}, [[]]),
    *([1] * 9, {"a": 1}, {"dtype": "I8", "shape": [1], "data_offsets": [0, 1]}, [None], [-1], [2**40, 2**40]),
    *("F32", "BF16", "F8_E4M3", "I64", "C64", "BOOL", "mean", "last", "every", "after", "output"),
)  # fmt: skip

LONG = (b"[" * 3000, b'{"a":' * 3000, b"9" * 5000, b'"\\"' * 3000, b"\xef\xbb\xbf", b"\0" * 100)


def read_whole_image(path: Path) -> None:
    """An image that can be read can be written, and is the same then."""
    image = load_image(path)
    again = path.with_name("again.egret")
    save_image(image, again)
    if load_image(again) != image:
        raise AssertionError("the image is another one after it was saved")


def read_whole_checkpoint(path: Path) -> None:
    load_checkpoint(path).network()


#: A reader for each kind of file, by the first byte of a fuzzer's input; the rest is the file.
READERS: tuple[Callable[[Path], object], ...] = (
    read_whole_image,
    read_whole_checkpoint,
    load_network,
    read_state_dict,
    load_case,
    read_report,
)


def seeds() -> Iterator[bytes]:
    """Small whole files of every kind, each behind the number of its reader."""
    rng = np.random.default_rng(1)
    with tempfile.TemporaryDirectory() as name:
        folder, path = Path(name), Path(name) / "x"
        for reset, mode in (("after", "mean"), ("before", "every")):
            image = random_image(rng, inputs=3, units=(2, 3), reset=reset, mode=mode, table_bits=4)
            save_image(image, path)
            yield b"\0" + path.read_bytes()
        yield b"\0" + shipped("digits").read_bytes()
        recipe = Recipe(units=2)
        weights = build("egru", 3, 2, recipe).state_dict()
        save_checkpoint(Checkpoint("digits", "egru", 1, recipe, 3, 2, weights, {"a": 1.5}), path)
        yield b"\1" + path.read_bytes()
        save_network(Network(3, 2, 2), path)
        yield b"\2" + path.read_bytes()
        odd = {"a": torch.ones(2, dtype=torch.bfloat16), "b": torch.ones((), dtype=torch.int64)}
        yield b"\3" + save(weights | odd)
        for new in (True, False):
            buffer = io.BytesIO()
            torch.save({"state_dict": weights, "epoch": 3}, buffer, _use_new_zipfile_serialization=new)
            yield b"\3" + buffer.getvalue()
        case = Case(image, AcceleratorConfig(lanes=3), (Phase((random_input(rng, image, steps=3),), 1),))
        yield b"\4" + save_case(case, folder, "case", {}).read_bytes()
        yield b"\5" + b'[{"stalls": null, "steps": 3, "a": [1.5, {"b": "\\u00e9"}]}]'


class Readers:
    """Feeds files to the readers."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "input"
        save_image(random_image(np.random.default_rng(1), inputs=3, units=(2, 3)), folder / "case.egret")

    def __call__(self, data: bytes) -> None:
        """Read one input; raises what is a finding."""
        if not data:
            return
        self.path.write_bytes(data[1:])
        try:
            READERS[data[0] % len(READERS)](self.path)
        except EgretError as error:
            text = str(error)
            if "\n" in text or len(text) > MESSAGE_MAX:
                raise AssertionError(f"a message must be one short line, not {text[:200]!r}") from None


def mutated(data: bytes, max_size: int, seed: int) -> bytes:
    """Change an input where its format has a meaning, or anywhere."""
    rng = random.Random(seed)
    try:
        if len(data) > 9 and rng.random() < 0.8:
            kind, file = data[:1], data[1:]
            for change in (_zip, _tensors, _text):
                if (found := change(file, rng)) is not None:
                    return (kind + found)[:max_size]
    except (ValueError, RecursionError, OverflowError, KeyError, TypeError, AttributeError):
        pass
    return atheris.Mutate(data, max_size)


def _any(data: bytes, rng: random.Random) -> bytes:
    if rng.random() < 0.05:
        place = rng.randrange(len(data) + 1)
        return data[:place] + rng.choice(LONG) + data[place:]
    return atheris.Mutate(data, len(data) + 64) if data else bytes([rng.randrange(256)])


def _zip(file: bytes, rng: random.Random) -> bytes | None:
    if not file.startswith(b"PK"):
        return None
    try:
        with zipfile.ZipFile(io.BytesIO(file)) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
    except Exception:
        return None
    if not members:
        return None
    name = rng.choice([*members, *(n for n in members if n.endswith(".pkl"))])
    members[name] = _any(members[name], rng)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def _tensors(file: bytes, rng: random.Random) -> bytes | None:
    length = int.from_bytes(file[:8], "little")
    if not 2 <= length <= len(file) - 8 or file[8:9] != b"{":
        return None
    text, body = file[8 : 8 + length], file[8 + length :]
    place = rng.randrange(4)
    if place == 0:
        body = _any(body, rng)
    elif place == 1:
        text = _any(text, rng)
    else:
        header = json.loads(text)
        if place == 2 and isinstance(header.get("__metadata__"), dict):
            inner = header["__metadata__"].get("egret", "{}")
            header["__metadata__"]["egret"] = (_text(inner.encode(), rng) or b"{}").decode("utf-8", "replace")
        else:
            _change(header, rng)
        text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + body


def _text(file: bytes, rng: random.Random) -> bytes | None:
    if rng.random() < 0.3 or not file.lstrip().startswith((b"{", b"[")):
        return None
    value = json.loads(file)
    for _ in range(rng.randrange(1, 4)):
        _change(value, rng)
    return json.dumps(value).encode()


def _change(value: Any, rng: random.Random) -> None:
    """Replace, remove, double or add one thing somewhere in a value of JSON."""
    while True:
        keys = list(value) if isinstance(value, dict) else list(range(len(value)))
        if not keys:
            return
        key = rng.choice(keys)
        if not isinstance(value[key], dict | list) or rng.random() < 0.2:
            break
        value = value[key]
    action = rng.randrange(5)
    if action == 0:
        del value[key]
    elif action == 1 and isinstance(value, dict):
        value[rng.choice(("a", "__metadata__", "layers.0.bias", "units", "format"))] = rng.choice(JUNK)
    elif action == 2 and type(value[key]) is int:
        value[key] += rng.choice((-1, 1, 2 ** rng.randrange(64)))
    elif action == 3 and isinstance(value, list):
        value.append(rng.choice((value[key], rng.choice(JUNK))))
    else:
        value[key] = rng.choice(JUNK)


def plant(name: str) -> None:
    """Plant a bug that the fuzzer must find."""
    if name == "naturals":  # a shape of anything
        container._naturals = lambda value, low: isinstance(value, list)
    elif name == "memory":  # a tensor as large as its header says
        check = container._naturals

        def trusting(value: Any, low: int) -> bool:
            if check(value, low) and value and value[0] >= 1 << 31:
                bytearray(b"\1") * (5 << 29)
            return check(value, low)

        container._naturals = trusting
    else:
        raise SystemExit(f"no bug of that name: {name}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=0)
    parser.add_argument("--runs", type=int, default=-1)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--corpus", type=Path)
    parser.add_argument("--plant")
    parser.add_argument("--replay", type=Path)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        readers = Readers(Path(name))
        whole = list(seeds())
        if chosen.plant:
            plant(chosen.plant)
        if chosen.replay:
            readers(chosen.replay.read_bytes())
            return
        corpus = chosen.corpus or Path(name) / "corpus"
        corpus.mkdir(parents=True, exist_ok=True)
        for number, seed in enumerate(whole):
            (corpus / f"seed-{number}").write_bytes(seed)
        options = [f"-runs={chosen.runs}", f"-seed={chosen.seed}", f"-max_len={INPUT_BYTES}"]
        options += [f"-max_total_time={chosen.seconds}", f"-timeout={INPUT_SECONDS}"]
        options += [
            f"-rss_limit_mb={MEMORY_MB}",
            "-len_control=0",
            f"-artifact_prefix={corpus}-",
            str(corpus),
        ]
        atheris.Setup([sys.argv[0], *options], readers, custom_mutator=mutated)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
