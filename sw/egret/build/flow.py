"""A bitstream from a network image: synthesis, place and route, packing, and the report."""

import json
import os
import shutil
import tempfile
import time
from pathlib import Path

from rich.console import Console

from egret.build.boards import CAPACITY, DP16KD_BITS, Board
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
from egret_hw.config import AcceleratorConfig
from egret_hw.generate import describe
from egru.errors import EgretError
from egru.image import NetworkImage

#: Names of the results, below the output directory.
BITSTREAM, JTAG, REPORT, LOGS = "egret.bit", "egret.svf", "report.json", "logs"

_NAME = "egret"
_STAGES = {"yosys": "Synthesis", "nextpnr-ecp5": "Place and route", "ecppack": "Packing"}
#: Logs that the platform has the tools write.
_OWN_LOGS = {"yosys": f"{_NAME}.rpt", "nextpnr-ecp5": f"{_NAME}.tim"}


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
    tools' logs. Results appear together, and only if the design fits and is fast enough; the logs always.

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
    from egret.build.top import BoardTop

    console = console or Console(stderr=True)
    top = BoardTop(image, config, clock_hz=board.clock_hz, baud=board.baud)
    sidecar = describe(top.accelerator)
    check_memories(sidecar["memories"], board)

    try:
        directory.mkdir(parents=True, exist_ok=True)
        logs = directory / LOGS
        logs.mkdir(exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=".work-", dir=directory))
    except OSError as error:
        raise EgretError(f"output directory {directory} cannot be written: {error.strerror}") from None
    try:
        report = _build(image, board, top, sidecar, work, logs, seed, console)
        (work / REPORT).write_text(json.dumps(report.as_json(), indent=2) + "\n")
        # The report last: where it is, the rest is.
        for made, name in ((f"{_NAME}.bit", BITSTREAM), (f"{_NAME}.svf", JTAG), (REPORT, REPORT)):
            os.replace(work / made, directory / name)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return report


def check_memories(memories: list[dict], board: Board) -> None:
    """Refuse, before minutes of synthesis, what can never fit: more bits than the device's block RAMs hold.

    Memories small enough for LUT RAM (32 words) are left out.

    Raises
    ------
    DoesNotFitError
    """
    bits = sum(memory["bits"] for memory in memories if memory["words"] > 32)
    available = CAPACITY[board.device]["DP16KD"] * DP16KD_BITS
    if bits > available:
        weights = sum(memory["bits"] for memory in memories if memory["holds"] == "weights")
        raise DoesNotFitError(
            f"the network does not fit {board.device} of board {board.name}: its memories take {bits} bits "
            f"({weights} of them weights), the block RAMs hold {available}, {bits - available} "
            f"({100 * (bits / available - 1):.0f} %) too many; use a smaller network or narrower weights"
        )


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
        plan = board.make_platform().prepare(
            top,
            _NAME,
            script_after_synth=f"tee -q -o {_NAME}.stat.json stat -json",
            nextpnr_opts=f"--report {_NAME}.report.json --seed {seed}",
        )
        for name, content in plan.files.items():
            path = work / name
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
    commands = json.loads((work / f"build_{_NAME}.json").read_text())["commands"]

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
            if tool == "nextpnr-ecp5":
                explain_failure(error.log, board)
            raise
        seconds[tool] = round(time.monotonic() - start, 1)
        if tool == "yosys":
            cells = cells_of_statistics((work / f"{_NAME}.stat.json").read_text())
            check_fit(predicted_usage(cells, board.device), board)
        elif tool == "nextpnr-ecp5":
            resources, clock = parse_report((work / f"{_NAME}.report.json").read_text())
            check_fit(resources, board)
            check_timing(clock)

    if resources is None or clock is None:
        raise EgretError(f"board {board.name} has no place and route step")
    return BuildReport(
        network=image.name,
        board=board.name,
        device=board.device,
        seed=seed,
        parameters=sidecar["parameters"],
        resources=resources,
        clock=clock,
        memories=tuple(sidecar["memories"]),
        seconds=seconds,
    )
