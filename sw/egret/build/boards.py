"""The boards that a bitstream can be built for, and what their devices hold."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from egret_hw.blocks.family import ECP5, ICE40
from egret_hw.link_protocol import RECEIVE_BUFFER_BYTES
from egru.errors import EgretError

if TYPE_CHECKING:
    from amaranth.build import TemplatedPlatform


@dataclass(frozen=True)
class Board:
    """A board: its name on the command line, its device, and how the accelerator is built for it.

    Attributes
    ----------
    clock_hz : of the accelerator
    baud : of the serial port
    family : of the device
    pll : whether the clock comes from the device's PLL
    receive_bytes : that the board holds for the accelerator
    counters : whether a host may read performance counters
    lanes : by default
    compact, weights : see :class:`egret_hw.config.AcceleratorConfig`
    """

    name: str
    title: str
    device: str
    clock_hz: int
    baud: int
    make_platform: Callable[[], "TemplatedPlatform"]
    family: str = ECP5
    pll: bool = False
    receive_bytes: int = RECEIVE_BUFFER_BYTES
    counters: bool = True
    lanes: int = 16
    compact: bool = False
    weights: str = "fixed"


def _ulx3s(size: str) -> Board:
    def make_platform() -> "TemplatedPlatform":
        from amaranth_boards import ulx3s

        return getattr(ulx3s, f"ULX3S_{size}_Platform")()

    return Board(
        name=f"ulx3s_{size.lower()}",
        title=f"ULX3S with an LFE5U-{size}",
        device=f"LFE5U-{size}",
        clock_hz=25_000_000,
        baud=1_000_000,
        make_platform=make_platform,
    )


def _icebreaker() -> Board:
    def make_platform() -> "TemplatedPlatform":
        from amaranth_boards.icebreaker import ICEBreakerPlatform

        return ICEBreakerPlatform()

    return Board(
        name="icebreaker",
        title="iCEBreaker with an iCE40UP5K",
        device="iCE40UP5K",
        clock_hz=24_000_000,
        baud=1_000_000,
        make_platform=make_platform,
        family=ICE40,
        pll=True,
        receive_bytes=512,
        counters=False,
        lanes=8,
        compact=True,
        weights="loaded",
    )


#: Every board by name, smallest device first within a family.
BOARDS = {
    board.name: board for board in (_ulx3s("12F"), _ulx3s("25F"), _ulx3s("45F"), _ulx3s("85F"), _icebreaker())
}

#: Resources of each device, named as nextpnr names them. (Source: its own utilisation report. The open tools
#: use the 12F as the 25F that it is.)
CAPACITY = {
    "LFE5U-12F": {"TRELLIS_COMB": 24288, "TRELLIS_FF": 24288, "DP16KD": 56, "MULT18X18D": 28},
    "LFE5U-25F": {"TRELLIS_COMB": 24288, "TRELLIS_FF": 24288, "DP16KD": 56, "MULT18X18D": 28},
    "LFE5U-45F": {"TRELLIS_COMB": 43848, "TRELLIS_FF": 43848, "DP16KD": 108, "MULT18X18D": 72},
    "LFE5U-85F": {"TRELLIS_COMB": 83640, "TRELLIS_FF": 83640, "DP16KD": 208, "MULT18X18D": 156},
    "iCE40UP5K": {"ICESTORM_LC": 5280, "ICESTORM_RAM": 30, "ICESTORM_SPRAM": 4, "ICESTORM_DSP": 8},
}

#: Of each family, its block RAM, and the bits of one.
BLOCK_RAM = {ECP5: ("DP16KD", 18 * 1024), ICE40: ("ICESTORM_RAM", 4 * 1024)}


def board_named(name: str) -> Board:
    """The board of that name.

    Raises
    ------
    EgretError
        If there is none; the message lists those that there are.
    """
    try:
        return BOARDS[name]
    except KeyError:
        raise EgretError(f"board must be one of {', '.join(BOARDS)}, not {name!r}") from None
