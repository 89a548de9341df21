"""A wide choice among a few words."""

from amaranth.hdl import Cat, Module, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .blocks.ecp5_selector import Mux4
from .blocks.family import ECP5, family_of
from .stream import index_shape

_WAYS = 4


class Selector(wiring.Component):
    """One of `count` words of `width` bits, without a register.

    Built where the family is known of the multiplexers that its cells make: synthesis finds larger ones.

    Members
    -------
    choices : In, the words, the first lowest
    index : In, which of them; the result is undefined beyond the last one
    enable : In, 0 = the result is zero
    chosen : Out, the word
    """

    def __init__(self, *, width: int, count: int):
        if width < 1 or count < 1:
            raise ValueError(f"width and count must be 1 or more, not {width!r} and {count!r}")
        self.width = width
        self.count = count
        super().__init__(
            {
                "choices": In(width * count),
                "index": In(index_shape(count)),
                "enable": In(1),
                "chosen": Out(width),
            }
        )

    def elaborate(self, platform):
        m = Module()
        words: list[Value] = [self.choices.word_select(n, self.width) for n in range(self.count)]
        if family_of(platform) != ECP5 or self.count <= 2:
            with m.If(self.enable), m.Switch(self.index):
                for number, word in enumerate(words[:-1]):
                    with m.Case(number):
                        m.d.comb += self.chosen.eq(word)
                with m.Default():
                    m.d.comb += self.chosen.eq(words[-1])
            return m
        # A tree; the last level is the one that `enable` holds back.
        index, level = self.index, 0
        while len(words) > 1:
            above = []
            for number in range(0, len(words), _WAYS):
                group = words[number : number + _WAYS]
                if len(group) == 1:
                    above += group
                    continue
                part = Mux4(width=self.width)
                m.submodules[f"level{level}_{number // _WAYS}"] = part
                for place in range(_WAYS):
                    m.d.comb += part.choices[place].eq(group[min(place, len(group) - 1)])
                last = len(words) <= _WAYS
                m.d.comb += [part.index.eq(Cat(index[:2])), part.enable.eq(self.enable if last else 1)]
                above.append(part.chosen)
            words, index, level = above, index[2:], level + 1
        m.d.comb += self.chosen.eq(words[0])
        return m
