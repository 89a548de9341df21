"""Ports that a portable component and its hard blocks have in common."""

from amaranth.hdl import Shape, ShapeLike
from amaranth.lib.wiring import In, Out
from amaranth.utils import bits_for


def ram_members(shape: ShapeLike, depth: int) -> dict:
    """Members of a memory of `depth` words that is read at one address and written at another."""
    word = Shape.cast(shape)
    address = max(1, bits_for(depth - 1))
    return {
        "address": In(address),
        "data": Out(word),
        "write_enable": In(1),
        "write_address": In(address),
        "write_data": In(word),
    }


def choosing_adder_members(width: int) -> dict:
    """Members of an adder of one word and one of two others."""
    return {"addend": In(width), "low": In(width), "high": In(width), "pick": In(1), "total": Out(width)}
