"""The one payload that travels between layers: a token (kind, index, value)."""

from amaranth.hdl import Shape, ShapeLike, unsigned
from amaranth.lib import data, enum, stream
from amaranth.lib.wiring import Out, Signature
from amaranth.utils import bits_for

__all__ = ["Kind", "index_shape", "tap_signature", "token_layout", "token_stream"]


class Kind(enum.Enum, shape=2):  # type: ignore[call-arg]
    """What a token says. The numbers are part of the contract (docs/numerics.md, section 6)."""

    EVENT = 0
    TICK = 1
    END = 2
    PASS = 3


def index_shape(size: int) -> Shape:
    """Shape of an index into `size` things; one bit at least, so that no field is empty."""
    return unsigned(max(1, bits_for(size - 1)))


def token_layout(size: int, value: ShapeLike) -> data.StructLayout:
    """Layout of a token whose index is below `size`.

    Members
    -------
    kind : :class:`Kind`
    index : which input, unit or class; meaningless unless `kind` is EVENT
    value : its event value or logit; meaningless unless `kind` is EVENT
    """
    return data.StructLayout({"kind": Kind, "index": index_shape(size), "value": Shape.cast(value)})


def token_stream(size: int, value: ShapeLike) -> stream.Signature:
    """Stream of tokens with `ready` and `valid`."""
    return stream.Signature(token_layout(size, value))


def tap_signature(layout: data.StructLayout) -> Signature:
    """What an observer sees of a token stream, without a hand in it.

    Members
    -------
    strobe : 1 in each cycle in which a token is transferred
    token : that token
    """
    return Signature({"strobe": Out(1), "token": Out(layout)})
