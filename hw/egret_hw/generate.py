"""Writes an accelerator as Verilog, with a JSON sidecar that says all a program must know about it."""

import json
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import amaranth
from amaranth.back import verilog
from amaranth.hdl import Shape
from amaranth.lib import data

from egru.errors import EgretError
from egru.image import NetworkImage
from egru.writing import write_pages

from .accelerator import Accelerator
from .blocks.family import FAMILIES, GENERIC, Family
from .config import AcceleratorConfig
from .event_encoder import JOB_BITS, JOBS_DEPTH
from .tile_scheduler import BANKS

TOP = "accelerator"
SIDECAR_VERSION = 1


def generate(
    image: NetworkImage,
    directory: str | Path,
    config: AcceleratorConfig | None = None,
    *,
    family: str = GENERIC,
) -> dict[str, Any]:
    """Write `accelerator.v` and `accelerator.json` into `directory` and return the sidecar.

    Both files appear complete or not at all. `family` says whose hard blocks stand in the Verilog
    ("generic": none). Raises EgretError where the configuration does not suit the image or the directory
    cannot be written.
    """
    if family not in FAMILIES:
        raise EgretError(f"family must be one of {', '.join(FAMILIES)}, not {family!r}")
    accelerator = Accelerator(image, config)
    text = verilog.convert(accelerator, name=TOP, emit_src=False, platform=Family(family))
    sidecar = describe(accelerator)
    write_pages(directory, {f"{TOP}.v": text, f"{TOP}.json": json.dumps(sidecar, indent=2) + "\n"})
    return sidecar


def describe(accelerator: Accelerator) -> dict[str, Any]:
    """The sidecar: parameters, ports with field offsets, memories and versions."""
    image, config = accelerator.image, accelerator.config
    ports = {
        "events": {"kind": "stream", "direction": "in", **_fields(accelerator.events.payload.shape())},
        "logits": {"kind": "stream", "direction": "out", **_fields(accelerator.logits.payload.shape())},
    }
    for number, tile in enumerate(accelerator.tiles):
        if tile.loaded:
            ports[f"load{number}"] = {"kind": "stream", "direction": "in", **_fields(tile.load_layout)}
        ports[f"tap{number}"] = {"kind": "tap", "direction": "out", **_fields(tile.o.payload.shape())}
        ports[f"counters{number}"] = {
            "kind": "counters",
            "direction": "out",
            **_fields(tile.counters.shape()),
        }
    if accelerator.protected:
        ports["fault"] = {"kind": "flags", "direction": "out", **_fields(accelerator.fault.shape())}
    return {
        "format": "egret-sidecar",
        "version": SIDECAR_VERSION,
        "top": TOP,
        "parameters": {
            **asdict(config),
            "row_words": [tile.geometry.words for tile in accelerator.tiles],
            "readout_row_words": accelerator.readout.geometry.words,
        },
        "image": {
            "name": image.name,
            "input": asdict(image.input),
            "layers": [asdict(layer.spec) for layer in image.layers],
            "readout": asdict(image.readout.spec),
            "logit_frac": image.logit_frac,
        },
        "ports": ports,
        "memories": memories(accelerator),
        "versions": {"egret-hdl": _version(), "amaranth": amaranth.__version__},
    }


def memories(accelerator: Accelerator) -> list[dict[str, Any]]:
    """Every memory of the design: its path, what it holds, words, bits per word, and how many are like it.

    A protected word has a parity bit more.
    """
    found = []
    parity = int(accelerator.protected)

    def add(path: str, holds: str, words: int, width: int, count: int = 1) -> None:
        width += parity
        found.append(
            {
                "path": path,
                "holds": holds,
                "words": words,
                "width": width,
                "count": count,
                "bits": words * width * count,
            }
        )

    for number, tile in enumerate(accelerator.tiles):
        base, spec, lanes = f"layer{number}", tile.layer.spec, tile.update_lanes
        update, encoder = tile.update, tile.encoder
        token = Shape.cast(tile.i.payload.shape()).width
        add(f"{base}.queue", "waiting tokens", tile.queue_depth, token)
        add(f"{base}.recurrent", "recurrent events", tile.recurrent.depth, encoder.token_layout.size)
        words = (spec.inputs + spec.units) * tile.geometry.words
        add(f"{base}.weights", "weights", words, tile.lanes * tile.weight_bits)
        add(f"{base}.macs", "sums", tile.geometry.slots, tile.widths.sum_bits, BANKS * tile.lanes)
        add(f"{base}.update.sigmoid", "sigmoid table", len(tile.layer.sigmoid), 15, lanes)
        add(f"{base}.update.tanh", "tanh table", len(tile.layer.tanh), 16, lanes)
        add(f"{base}.update.bias", "biases", update.groups, update.biases.layout.size)
        add(f"{base}.update.threshold", "thresholds", update.groups, update.thresholds.layout.size)
        add(f"{base}.update.state", "state c", update.groups * tile.streams, update.state_layout.size * lanes)
        add(f"{base}.encoder", "groups with events", encoder.depth, encoder.result_layout.size)
        add(f"{base}.encoder.jobs", "borders to send", JOBS_DEPTH, JOB_BITS)
        if tile.scheduler.gate_first:
            gate = tile.gate
            add(f"{base}.gate.sigmoid", "sigmoid table", len(tile.layer.sigmoid), 15, lanes)
            add(f"{base}.gate.bias", "biases", gate.groups, gate.biases.layout.size)
            add(f"{base}.gate.sent", "events sent", gate.groups * tile.streams, lanes * spec.event_bits)
            add(f"{base}.gate_encoder", "groups with events", gate.groups, gate.layout.size)
            add(f"{base}.gate_encoder.jobs", "borders to send", JOBS_DEPTH, JOB_BITS)
            add(f"{base}.gated", "recurrent events", spec.units + 1, encoder.token_layout.size)
    readout = accelerator.readout
    add("readout.queue", "waiting tokens", readout.queue_depth, Shape.cast(readout.i.payload.shape()).width)
    width = readout.lanes * readout.readout.spec.weight_bits
    add("readout.weights", "weights", readout.units * readout.geometry.words, width)
    add(
        "readout.macs", "sums", readout.geometry.words, readout.widths.sum_bits, readout.banks * readout.lanes
    )
    add("readout.scan.bias", "biases", readout.classes, readout.scan.bias_bits)
    add("readout.scan.queue", "logits that wait", readout.scan.waiting, readout.scan.entry.size)
    return found


def _fields(layout: data.StructLayout) -> dict[str, Any]:
    fields = []
    for name, field in layout:
        shape = Shape.cast(field.shape)
        fields.append({"name": name, "offset": field.offset, "width": shape.width, "signed": shape.signed})
    return {"width": layout.size, "fields": fields}


def _version() -> str:
    try:
        return version("egret-hdl")
    except PackageNotFoundError:
        return "unknown"
