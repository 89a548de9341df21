"""The boards that a bitstream can be built for, and what their devices hold."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from egru.errors import EgretError

if TYPE_CHECKING:
    from amaranth.vendor import LatticeECP5Platform


@dataclass(frozen=True)
class Board:
    """A board: its name on the command line, its device, and the rate of its serial port."""

    name: str
    title: str
    device: str
    clock_hz: int
    baud: int
    make_platform: Callable[[], "LatticeECP5Platform"]


def _ulx3s(size: str) -> Board:
    def make_platform() -> "LatticeECP5Platform":
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


#: Every board by name, smallest device first within a family.
BOARDS = {board.name: board for board in (_ulx3s("12F"), _ulx3s("25F"), _ulx3s("45F"), _ulx3s("85F"))}

#: Resources of each device, named as nextpnr names them. (Source: its own utilisation report. The open tools
#: use the 12F as the 25F that it is.)
CAPACITY = {
    "LFE5U-12F": {"TRELLIS_COMB": 24288, "TRELLIS_FF": 24288, "DP16KD": 56, "MULT18X18D": 28},
    "LFE5U-25F": {"TRELLIS_COMB": 24288, "TRELLIS_FF": 24288, "DP16KD": 56, "MULT18X18D": 28},
    "LFE5U-45F": {"TRELLIS_COMB": 43848, "TRELLIS_FF": 43848, "DP16KD": 108, "MULT18X18D": 72},
    "LFE5U-85F": {"TRELLIS_COMB": 83640, "TRELLIS_FF": 83640, "DP16KD": 208, "MULT18X18D": 156},
}

#: Bits of one block RAM.
DP16KD_BITS = 18 * 1024


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
