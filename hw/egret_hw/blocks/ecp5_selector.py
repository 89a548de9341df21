"""ECP5: a multiplexer of four in one slice."""

from amaranth.hdl import Const, Instance, Module, Signal, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

#: Of inputs D, C, B, A: D & (C ? B : A).
_PICK = 0xCA00


class Mux4(wiring.Component):
    """One of four words: two look-up tables and the slice's own multiplexer for a bit.

    From functions of six inputs, synthesis makes three tables in two levels.

    Members
    -------
    choices : In, four words
    index : In, which of them
    enable : In, 0 = the result is zero
    chosen : Out, the word
    """

    def __init__(self, *, width: int):
        self.width = width
        super().__init__(
            {
                "choices": In(data.ArrayLayout(unsigned(width), 4)),
                "index": In(2),
                "enable": In(1),
                "chosen": Out(width),
            }
        )

    def elaborate(self, platform):
        m = Module()
        for bit in range(self.width):
            halves = Signal(2, name=f"halves{bit}")
            for high in range(2):
                m.submodules[f"bit{bit}_half{high}"] = Instance(
                    "LUT4",
                    p_INIT=Const(_PICK, 16),
                    i_A=self.choices[2 * high][bit],
                    i_B=self.choices[2 * high + 1][bit],
                    i_C=self.index[0],
                    i_D=self.enable,
                    o_Z=halves[high],
                )
            m.submodules[f"bit{bit}"] = Instance(
                "PFUMX", i_BLUT=halves[0], i_ALUT=halves[1], i_C0=self.index[1], o_Z=self.chosen[bit]
            )
        return m
