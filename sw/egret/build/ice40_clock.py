"""A clock of another frequency than the crystal's, on iCE40 UltraPlus."""

from amaranth.hdl import ClockDomain, ClockSignal, Const, Elaboratable, Instance, Module, ResetSignal, Signal

from egru.errors import EgretError

_VCO_HZ = (533_000_000, 1_066_000_000)
_DIVF_MAX, _DIVQ_MAX = 63, 6
#: Block memories read as zeroes for some 3 us after configuration, as Amaranth's platform of this family
#: says. The reset lasts five times as long, once the PLL has locked.
_RESET_S = 15e-6


def pll_dividers(*, from_hz: int, to_hz: int) -> tuple[int, int]:
    """DIVF and DIVQ with which SB_PLL40_PAD makes `to_hz` of `from_hz`: from_hz * (DIVF + 1) / 2**DIVQ.

    Raises
    ------
    EgretError
        If it cannot, exactly.
    """
    for divq in range(1, _DIVQ_MAX + 1):
        divf, rest = divmod(to_hz << divq, from_hz)
        if not rest and 1 <= divf <= _DIVF_MAX + 1 and _VCO_HZ[0] <= to_hz << divq <= _VCO_HZ[1]:
            return divf - 1, divq
    raise EgretError(f"clock must be one that the PLL makes of {from_hz} Hz, not {to_hz} Hz")


class PllClock(Elaboratable):
    """Drives the parent's domain `sync` from the crystal on the platform's default clock pin; a reset first.

    Place and route derives the clock's constraint from the crystal's.

    Parameters
    ----------
    to_hz : int
        Frequency wanted.
    """

    def __init__(self, *, to_hz: int) -> None:
        self.to_hz = to_hz

    def elaborate(self, platform) -> Module:
        m = Module()
        from_hz = int(platform.default_clk_frequency)
        divf, divq = pll_dividers(from_hz=from_hz, to_hz=self.to_hz)
        pin = platform.request(platform.default_clk, dir="-")
        clock, locked = Signal(), Signal()
        m.submodules.pll = Instance(
            "SB_PLL40_PAD",
            p_FEEDBACK_PATH="SIMPLE",
            p_DIVR=Const(0, 4),
            p_DIVF=Const(divf, 7),
            p_DIVQ=Const(divq, 3),
            p_FILTER_RANGE=Const(1, 3),  # for 10 to 20 MHz at the phase detector
            i_PACKAGEPIN=pin.io,
            o_PLLOUTGLOBAL=clock,
            o_LOCK=locked,
            i_RESETB=Const(1),
            i_BYPASS=Const(0),
        )
        m.domains += ClockDomain("por", reset_less=True, local=True)
        delay = int(_RESET_S * self.to_hz)
        timer, ready = Signal(range(delay + 1)), Signal()
        m.d.comb += [
            ClockSignal("por").eq(clock),
            ClockSignal("sync").eq(clock),
            ResetSignal("sync").eq(~ready),
        ]
        with m.If(locked):
            with m.If(timer == delay):
                m.d.por += ready.eq(1)
            with m.Else():
                m.d.por += timer.eq(timer + 1)
        return m
