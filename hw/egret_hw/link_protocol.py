"""The byte format between a host and the accelerator, for hardware and host alike.

To the accelerator go tokens of four bytes, from it come messages of eight; `docs/link.md` explains both
and the rules of pacing. Multi-byte numbers are little-endian, negative numbers two's complement.
"""

import enum
import struct
from dataclasses import dataclass

from egret_hw.stream import Kind

TOKEN_BYTES = 4
MESSAGE_BYTES = 8
#: Bytes that the accelerator's side can hold before it reads them.
RECEIVE_BUFFER_BYTES = 2048
#: A byte that starts no token. Four of them bring the reader back to a token's first byte.
RESYNC_BYTE = 0xFF


class Source(enum.IntEnum):
    """High half of the first byte of a message: where it comes from."""

    #: The readout: a logit, the end of a step's logits, the end of a sequence's.
    LOGITS = 1
    #: The last layer: an event, the end of a step, the end of a sequence.
    EVENTS = 2
    #: The link itself: something was wrong, see `Flag`.
    STATUS = 3


class Flag(enum.IntFlag):
    """The value of a status message: what went wrong since the last one."""

    #: A first byte that is no token kind; that one byte was ignored.
    BAD_KIND = 1
    #: An event for an input that does not exist, or with a value that does not fit; it was ignored.
    BAD_EVENT = 2
    #: Bytes came faster than the buffer allows; at least one was lost.
    OVERFLOW = 4
    #: A stop bit read low (wrong speed, or a broken line); a byte was lost.
    FRAMING = 8
    #: A memory or a stream of the accelerator held a wrong bit (docs/faults.md). Said once, until reset.
    FAULT = 32


@dataclass(frozen=True)
class Message:
    """One message from the accelerator."""

    source: Source
    kind: Kind
    index: int
    value: int


def encode_token(kind: Kind, index: int = 0, value: int = 0) -> bytes:
    """Four bytes: kind (the numbers of `egret_hw.stream.Kind`), index low, index high, value.

    Raises
    ------
    ValueError
        If ``index`` is outside 0 .. 65535 or ``value`` outside -128 .. 255.
    """
    if not 0 <= index < 1 << 16:
        raise ValueError(f"index must be in 0 .. 65535, not {index}")
    if not -128 <= value <= 255:
        raise ValueError(f"value must be in -128 .. 255, not {value}")
    return struct.pack("<BHB", kind.value, index, value & 0xFF)


def decode_message(data: bytes) -> Message:
    """The message in eight bytes: source and kind, index low, index high, value in five bytes, signed.

    Raises
    ------
    ValueError
        If ``data`` is not eight bytes long, or its first byte names no source or kind.
    """
    if len(data) != MESSAGE_BYTES:
        raise ValueError(f"a message must be {MESSAGE_BYTES} bytes long, not {len(data)}")
    return Message(
        source=Source(data[0] >> 4),
        kind=Kind(data[0] & 0xF),
        index=int.from_bytes(data[1:3], "little"),
        value=int.from_bytes(data[3:], "little", signed=True),
    )
