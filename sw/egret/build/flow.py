"""A bitstream from a network image: synthesis, place and route, packing, and the report."""

import json
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from egret.build.boards import BLOCK_RAM, CAPACITY, Board
from egret.build.ice40_clock import PllClock
from egret.build.report import (
    BuildReport,
    DoesNotFitError,
    cells_of_statistics,
    check_fit,
    check_timing,
    explain_failure,
    parse_report,
    predicted_usage,
)
from egret.build.tools import ToolError, run_tool, shown_stage
from egret.console import Console
from egret.identity import identity
from egret_hw.blocks.family import ECP5, ICE40
from egret_hw.blocks.ice40_memory import SPRAM_ADDRESS_BITS, SPRAM_WIDTH
from egret_hw.config import AcceleratorConfig
from egret_hw.generate import describe
from egret_hw.link_protocol import LOGIT_BITS, encode_weights
from egret_hw.widths import ReadoutWidths
from egru.errors import EgretError
from egru.image import NetworkImage
from egru.writing import make_directory, write_whole

if TYPE_CHECKING:
    from egret.build.top import BoardTop

#: Names of the results, below the output directory.
BITSTREAM, JTAG, REPORT, LOGS = "egret.bit", "egret.svf", "report.json", "logs"
#: For iCE40, and what a host sends to load the weights.
BINARY, WEIGHTS = "egret.bin", "weights.bin"

_NAME = "egret"
#: What synthesis and placement say of their result, in the folder where the tools work.
STATISTICS, PLACED = f"{_NAME}.stat.json", f"{_NAME}.report.json"
_STAGES = {
    "yosys": "Synthesis",
    "nextpnr-ecp5": "Place and route",
    "nextpnr-ice40": "Place and route",
    "ecppack": "Packing",
    "icepack": "Packing",
}
#: Logs that the platform has the tools write.
_OWN_LOGS = {"yosys": f"{_NAME}.rpt", "nextpnr-ecp5": f"{_NAME}.tim", "nextpnr-ice40": f"{_NAME}.tim"}
#: What synthesis is told beside the top. Timing of the UltraPlus; never `-dsp`, which would take our SB_MAC16
#: for its own. A tile's eight flip-flops share an enable, so one for a few of them would leave the rest of
#: its tile empty.
SYNTH_OPTIONS = {ICE40: "-device u -dffe_min_ce_use 9"}
#: What the tools make that is kept.
_MADE = {
    ECP5: ((f"{_NAME}.bit", BITSTREAM), (f"{_NAME}.svf", JTAG)),
    ICE40: ((f"{_NAME}.bin", BINARY),),
}


def build_bitstream(
    image: NetworkImage,
    board: Board,
    directory: Path,
    *,
    config: AcceleratorConfig | None = None,
    seed: int = 1,
    console: Console | None = None,
) -> BuildReport:
    """Build a bitstream of the network for a board.

    Writes `egret.bit` (for openFPGALoader), `egret.svf` (for JTAG programmers), `report.json` and the
    tools' logs; for iCE40 `egret.bin`. Where weights are loaded at run time, `weights.bin` holds the bytes
    that a host sends for it (docs/link.md). Results appear together, and only if the design fits and is fast
    enough; the logs always.

    Parameters
    ----------
    image
        The network.
    board
        See `egret.build.boards`.
    directory
        Where the results go; made if need be.
    config
        How the accelerator is built.
    seed
        Of the placement.
    console
        Where progress is shown; standard error by default.

    Raises
    ------
    EgretError
        If the configuration does not suit the image, the device is too small or too slow, a tool fails, or
        the directory cannot be written.
    """
    console = console or Console(stderr=True)
    top = board_top(image, board, config)
    sidecar = describe(top.accelerator)
    loaded = top.accelerator.config.loaded
    check_memories(sidecar["memories"], board, loaded=loaded)

    logs = directory / LOGS
    for folder in (directory, logs):
        make_directory(folder)
    with tempfile.TemporaryDirectory(prefix="egret-bitstream-") as name:
        work = Path(name)
        report = _build(image, board, top, sidecar, work, logs, seed, console)
        (work / REPORT).write_text(json.dumps(report.as_json(), indent=2) + "\n")
        made = [*_MADE[board.family], (REPORT, REPORT)]
        if loaded:
            words = [tile.weight_words for tile in top.accelerator.tiles]
            tokens, _ = encode_weights(words, word_bytes=top.linked.link.word_bytes)
            (work / WEIGHTS).write_bytes(tokens)
            made.insert(0, (WEIGHTS, WEIGHTS))
        # The report last: where it is, the rest is.
        for source, name in made:
            write_whole(directory / name, (work / source).read_bytes())
    return report


def board_top(image: NetworkImage, board: Board, config: AcceleratorConfig | None = None) -> "BoardTop":
    """What goes onto the board for a network; EgretError where the link cannot carry its logits."""
    from egret.build.top import BoardTop

    widths = ReadoutWidths.of(image.readout, image.layers[-1].event_format)
    if widths.logit_bits > LOGIT_BITS:
        raise EgretError(
            f"logits must fit the {LOGIT_BITS} bits of the link, but those of {image.name} can be "
            f"{widths.logit}: lower max_steps ({image.readout.spec.max_steps}) or the readout's weights"
        )

    return BoardTop(
        image,
        config,
        clock_hz=board.clock_hz,
        baud=board.baud,
        receive_bytes=board.receive_bytes,
        counters=board.counters,
        clock=PllClock(to_hz=board.clock_hz) if board.pll else None,
    )


def bitstream_name(board: Board) -> str:
    """Name of the bitstream's file, below the output directory."""
    return _MADE[board.family][0][1]


def result_names(board: Board) -> list[str]:
    """Names of all results but the logs, below the output directory."""
    return [WEIGHTS, *(name for _, name in _MADE[board.family]), REPORT]


def check_memories(memories: list[dict], board: Board, *, loaded: bool = False) -> None:
    """Refuse, before minutes of synthesis, what can never fit: more bits than the device's memories hold.

    Weights that are loaded lie in the single-port RAMs of iCE40. Memories small enough for LUT RAM (32 words)
    are left out.

    Raises
    ------
    DoesNotFitError
    """
    if loaded and board.family == ICE40:
        check_single_port(memories, board)
        memories = [memory for memory in memories if not _is_layers_weights(memory)]
    bits = sum(memory["bits"] for memory in memories if memory["words"] > 32)
    block, block_bits = BLOCK_RAM[board.family]
    available = CAPACITY[board.device][block] * block_bits
    if bits > available:
        weights = sum(memory["bits"] for memory in memories if memory["holds"] == "weights")
        raise DoesNotFitError(
            f"the network does not fit {board.device} of board {board.name}: its memories take {bits} bits "
            f"({weights} of them weights), the block RAMs hold {available}, {bits - available} "
            f"({100 * (bits / available - 1):.0f} %) too many; use a smaller network or narrower weights"
        )


def check_single_port(memories: list[dict], board: Board) -> None:
    """Refuse weights that are wider or more than the single-port RAMs of the device hold.

    Raises
    ------
    DoesNotFitError
    """
    have = CAPACITY[board.device]["ICESTORM_SPRAM"]
    weights = [memory for memory in memories if _is_layers_weights(memory)]
    needed = sum(-(-one["width"] // SPRAM_WIDTH) * -(-one["words"] >> SPRAM_ADDRESS_BITS) for one in weights)
    if needed > have:
        listed = ", ".join(f"{one['words']} words of {one['width']} bits" for one in weights)
        raise DoesNotFitError(
            f"the weights do not fit {board.device} of board {board.name}: {listed} take {needed} "
            f"single-port RAMs of {1 << SPRAM_ADDRESS_BITS} words of {SPRAM_WIDTH} bits, there are {have}; "
            f"lanes x weight bits of all layers together must be at most {have * SPRAM_WIDTH}: use fewer "
            "lanes (--lanes) or narrower weights"
        )


def _is_layers_weights(memory: dict) -> bool:
    return memory["holds"] == "weights" and memory["path"].startswith("layer")


def prepare(top: "BoardTop", board: Board, work: Path, seed: int) -> list[list[str]]:
    """Write what the tools read into `work`; the commands that make a bitstream of it there, in order."""
    plan = board.make_platform().prepare(
        top,
        _NAME,
        script_after_synth=f"tee -q -o {STATISTICS} stat -json",
        nextpnr_opts=f"--report {PLACED} --seed {seed}",
        synth_opts=SYNTH_OPTIONS.get(board.family, ""),
    )
    for name, content in plan.files.items():
        path = work / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return json.loads((work / f"build_{_NAME}.json").read_text())["commands"]


def _build(
    image: NetworkImage,
    board: Board,
    top,
    sidecar: dict,
    work: Path,
    logs: Path,
    seed: int,
    console: Console,
) -> BuildReport:
    with shown_stage("Generation", console):
        commands = prepare(top, board, work, seed)

    seconds: dict[str, float] = {}
    resources, clock = None, None
    for tool, *arguments in commands:
        start = time.monotonic()
        log = logs / f"{tool}.log"
        try:
            run_tool(
                tool,
                arguments,
                title=_STAGES[tool],
                log=log,
                directory=work,
                console=console,
                own_log=_OWN_LOGS.get(tool),
            )
        except ToolError as error:
            if tool.startswith("nextpnr"):
                explain_failure(error.log, board)
            raise
        seconds[tool] = round(time.monotonic() - start, 1)
        if tool == "yosys":
            cells = cells_of_statistics((work / STATISTICS).read_text())
            check_fit(predicted_usage(cells, board.device), board)
        elif tool.startswith("nextpnr"):
            resources, clock = parse_report((work / PLACED).read_text())
            check_fit(resources, board)
            check_timing(clock)

    if resources is None or clock is None:
        raise EgretError(f"board {board.name} has no place and route step")
    return BuildReport(
        network=image.name,
        image=identity(image),
        board=board.name,
        device=board.device,
        seed=seed,
        parameters=sidecar["parameters"],
        resources=resources,
        clock=clock,
        memories=tuple(sidecar["memories"]),
        seconds=seconds,
    )
