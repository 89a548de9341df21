"""The harness around an accelerator: written for the ports that its sidecar describes.

The parts (player, sink, recorder) are fixed SystemVerilog files beside this one. What is written here is the
top, which has as many recorders as the accelerator has taps, and their widths.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from egret_sim.build import PACKAGE
from egret_sim.tokens import TokenLayout
from egru.errors import EgretError

TOP = "egret_bench"
PARTS = [PACKAGE / name for name in ("random.sv", "player.sv", "sink.sv", "recorder.sv")]

#: Tokens in one row of the player's memory, rows of it, and the same of a recorder. A row is what one access
#: from Python moves.
PLAYER_SLOTS, PLAYER_ROWS = 32, 512
RECORDER_SLOTS, RECORDER_ROWS = 16, 1024
#: A bench that looks at the harness at least this often (in cycles) never lets the player run dry, and reads
#: every recorder before it wraps: a stream moves at most one token in a cycle.
POLL_CYCLES = 6000

#: What Python reaches in the harness.
PUBLIC = [
    *((TOP, name) for name in ("rst", "cycle", "idle")),
    *(("egret_player", name) for name in ("memory", "filled", "played", "seed", "gap_chance", "gap_mask")),
    *(("egret_player", name) for name in ("valid", "ready")),
    *(("egret_sink", name) for name in ("seed", "gap_chance", "gap_mask", "broken", "broken_cycle")),
    *(("egret_sink", name) for name in ("valid", "ready")),
    *(("egret_recorder", name) for name in ("memory", "count", "ends")),
]
#: What a driver in C++ reaches: all of it but the reset, which a counter in the harness releases.
NATIVE_PUBLIC = [signal for signal in PUBLIC if signal != (TOP, "rst")]
#: Clock edges in reset.
RESET_CYCLES = 4
_CLOCK_MADE = [
    f"module {TOP};",
    "    logic clk = 0;",
    "    logic rst = 1;",
    "    always #5ns clk = !clk;",
]
# As a port, the reset would make Verilator work out all that hangs on it twice in each cycle.
_CLOCK_PORT = [
    f"module {TOP} (input logic clk);",
    "    logic rst = 1;",
    "    int unsigned edges = 0;",
    "    always_ff @(posedge clk) begin",
    "        edges <= edges + 1;",
    f"        if (edges == {RESET_CYCLES - 1}) rst <= 0;",
    "    end",
]


def stall_seed(seed: int, unit: str) -> int:
    """The seed of the gaps of ``player`` or ``sink`` in a run with this seed: 32 bits, never 0."""
    number = {"player": 1, "sink": 2}[unit]
    return (seed * 2 + number) * 0x9E3779B1 % (1 << 32) or 1


def tap_names(sidecar: Mapping[str, Any]) -> list[str]:
    """Names of the taps, layer by layer."""
    names = [name for name, port in sidecar["ports"].items() if port["kind"] == "tap"]
    return sorted(names, key=lambda name: int(name.removeprefix("tap")))


def load_names(sidecar: Mapping[str, Any]) -> list[str]:
    """Names of the ports that take weights, layer by layer; none where weights are fixed."""
    names = [f"load{number}" for number in range(len(tap_names(sidecar)))]
    return [name for name in names if name in sidecar["ports"]]


def layouts(sidecar: Mapping[str, Any]) -> dict[str, TokenLayout]:
    """Token layout of every port of the accelerator that carries tokens."""
    loads = load_names(sidecar)
    return {
        name: TokenLayout.from_port(port)
        for name, port in sidecar["ports"].items()
        if port["kind"] in ("stream", "tap") and name not in loads
    }


def write_top(
    sidecar: Mapping[str, Any],
    *,
    accelerator: str = "accelerator",
    clock_port: bool = False,
    weights: Sequence[Sequence[int]] = (),
) -> str:
    """SystemVerilog of the harness's top module for an accelerator with this sidecar.

    With ``clock_port`` the clock is a port, and the harness leaves its reset by itself; without, the harness
    makes the clock, and whoever runs it drives ``rst``.

    ``weights`` are the words for each port that takes weights, by address. The harness loads them, a word in
    each cycle, and keeps everything else in reset meanwhile, so that cycles count from the last word.

    Raises
    ------
    EgretError
        If there is not one list of words for each of those ports.
    """
    ports = layouts(sidecar)
    loads = load_names(sidecar)
    if len(weights) != len(loads):
        raise EgretError(
            f"weights must hold one list of words for each port that takes them ({len(loads)}), "
            f"not {len(weights)} lists"
        )
    # What the accelerator's surroundings are reset by.
    common, held = (".clk, .rst(hold)", "hold") if loads else (".clk, .rst", "rst")
    taps = tap_names(sidecar)
    events, logits = ports["events"].width, ports["logits"].width
    lines = [
        "// The bench of a whole accelerator: a clock, a source of events, a sink for logits, and recorders.",
        *(_CLOCK_PORT if clock_port else _CLOCK_MADE),
        "",
        "    // Cycles since reset, and cycles since any token moved.",
        "    longint unsigned cycle = 0;",
        "    longint unsigned idle = 0;",
        "",
        f"    logic [{events - 1}:0] events_payload;",
        "    logic events_valid, events_ready;",
        f"    logic [{logits - 1}:0] logits_payload;",
        "    logic logits_valid, logits_ready;",
    ]
    for tap in taps:
        lines += [f"    logic {tap}_strobe;", f"    logic [{ports[tap].width - 1}:0] {tap}_token;"]
    connections = ["clk(clk)", "rst(rst)"]
    for stream in ("events", "logits"):
        connections += [f"{stream}__{part}({stream}_{part})" for part in ("payload", "valid", "ready")]
    for tap in taps:
        connections += [f"{tap}__{part}({tap}_{part})" for part in ("strobe", "token")]
    for name, words in zip(loads, weights, strict=True):
        lines += _loader(name, sidecar["ports"][name], words)
        connections += [f"{name}__{part}({name}_{part})" for part in ("payload", "valid", "ready")]
    if loads:
        lines += ["", f"    wire hold = rst || {' || '.join(f'{name}_valid' for name in loads)};"]
    moved = [
        "events_valid && events_ready",
        "logits_valid && logits_ready",
        *(f"{tap}_strobe" for tap in taps),
    ]
    lines += [
        "",
        f"    {accelerator} dut (",
        ",\n".join(f"        .{connection}" for connection in connections),
        "    );",
        "",
        f"    egret_player #(.TOKEN_BITS({events}), .SLOTS({PLAYER_SLOTS}), .ROWS({PLAYER_ROWS})) player (",
        f"        {common}, .payload(events_payload), .valid(events_valid), .ready(events_ready)",
        "    );",
        f"    egret_sink #(.TOKEN_BITS({logits})) sink (",
        f"        {common}, .cycle, .payload(logits_payload), .valid(logits_valid), .ready(logits_ready)",
        "    );",
    ]
    recorded = {"logits": ("logits_valid && logits_ready", "logits_payload")}
    recorded |= {tap: (f"{tap}_strobe", f"{tap}_token") for tap in taps}
    for name, (strobe, token) in recorded.items():
        kind = ports[name].kind
        lines += [
            "    egret_recorder #(",
            f"        .TOKEN_BITS({ports[name].width}),",
            f"        .KIND_OFFSET({kind.offset}), .KIND_BITS({kind.width}),",
            f"        .SLOTS({RECORDER_SLOTS}), .ROWS({RECORDER_ROWS})",
            f"    ) {name}_recorder ({common}, .cycle, .strobe({strobe}), .token({token}));",
        ]
    lines += [
        "",
        "    always_ff @(posedge clk) begin",
        f"        cycle <= {held} ? 0 : cycle + 1;",
        f"        idle <= {held} || {' || '.join(moved)} ? 0 : idle + 1;",
        "    end",
        "endmodule",
    ]
    return "\n".join(lines) + "\n"


def _loader(name: str, port: Mapping[str, Any], words: Sequence[int]) -> list[str]:
    """SystemVerilog that gives a port its words once after a reset, from `valid` in the first cycle on."""
    fields = {field["name"]: field for field in port["fields"]}
    address, word = fields["address"], fields["word"]
    bits = max(1, len(words).bit_length())

    def place(field: Mapping[str, Any]) -> str:
        return f"{name}_payload[{field['offset']}+:{field['width']}]"

    return [
        "",
        f"    logic [{port['width'] - 1}:0] {name}_payload;",
        f"    logic {name}_ready;",
        f"    logic [{word['width'] - 1}:0] {name}_words[{len(words)}];",
        f"    logic [{bits - 1}:0] {name}_next = 0;",
        f"    wire {name}_valid = !rst && {name}_next != {len(words)};",
        "    always_comb begin",
        f"        {name}_payload = 0;",
        f"        {place(address)} = {name}_next[{address['width'] - 1}:0];",
        f"        {place(word)} = {name}_words[{name}_next];",
        "    end",
        "    always_ff @(posedge clk)",
        f"        if (rst) {name}_next <= 0;",
        f"        else if ({name}_valid && {name}_ready) {name}_next <= {name}_next + 1;",
        "    initial begin",
        *(f"        {name}_words[{at}] = {word['width']}'h{value:x};" for at, value in enumerate(words)),
        "    end",
    ]
