"""The byte format between a host and the accelerator, for hardware and host alike.

To the accelerator go tokens of four bytes, from it come messages of eight; `docs/link.md` explains both
and the rules of pacing. Multi-byte numbers are little-endian, negative numbers two's complement.
"""

import enum
import struct
from collections.abc import Iterable
from dataclasses import dataclass

from amaranth.lib.crc.catalog import CRC16_IBM_3740

from egret_hw.stream import Kind

__all__ = [
    "CHECKSUM",
    "LOGIT_BITS",
    "MESSAGE_BYTES",
    "RECEIVE_BUFFER_BYTES",
    "RESYNC_BYTE",
    "TOKEN_BYTES",
    "Flag",
    "Message",
    "Request",
    "Source",
    "checksum",
    "decode_message",
    "encode_check",
    "encode_counter",
    "encode_load",
    "encode_token",
    "encode_weights",
]

TOKEN_BYTES = 4
MESSAGE_BYTES = 8
#: Of the value in a message, and so of a logit at most.
LOGIT_BITS = 8 * (MESSAGE_BYTES - 3)
#: Bytes that the accelerator's side can hold before it reads them.
RECEIVE_BUFFER_BYTES = 2048
#: A byte that starts no token. As many as a token has at most bring the reader back to a token's first byte.
RESYNC_BYTE = 0xFF
#: Of the bytes of all LOAD tokens since the last CHECK.
CHECKSUM = CRC16_IBM_3740(data_width=8)


class Request(enum.IntEnum):
    """First byte of a token for the board itself and not for the network."""

    #: A word of weights: bytes 1, 2 are its address, byte 3 the layer; the word's bytes follow.
    LOAD = 4
    #: Asks for the number of words and the checksum of what was loaded since the last CHECK.
    CHECK = 5
    #: Asks for a performance counter: bytes 1, 2 are its number.
    COUNTER = 6


class Source(enum.IntEnum):
    """High half of the first byte of a message: where it comes from."""

    #: The readout: a logit, the end of a step's logits, the end of a sequence's.
    LOGITS = 1
    #: The last layer: an event, the end of a step, the end of a sequence.
    EVENTS = 2
    #: The link itself: something was wrong, see `Flag`.
    STATUS = 3
    #: The answer to CHECK: index is the number of words written, modulo 65536, the value their checksum.
    WEIGHTS = 4
    #: The answer to COUNTER: index is the counter's number, the value what it counted.
    COUNTERS = 5


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
    #: A LOAD for a word that does not exist, or a COUNTER that does not; nothing was written or answered.
    BAD_REQUEST = 16
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


def encode_load(layer: int, address: int, word: int, *, word_bytes: int) -> bytes:
    """A LOAD token: four bytes and those of the word, lowest first.

    Raises
    ------
    ValueError
        If ``layer`` is outside 0 .. 255, ``address`` outside 0 .. 65535, or ``word`` too large.
    """
    if not 0 <= layer <= 255:
        raise ValueError(f"layer must be in 0 .. 255, not {layer}")
    if not 0 <= address < 1 << 16:
        raise ValueError(f"address must be in 0 .. 65535, not {address}")
    if not 0 <= word < 1 << 8 * word_bytes:
        raise ValueError(f"word must be in 0 .. 2**{8 * word_bytes} - 1, not {word}")
    return struct.pack("<BHB", Request.LOAD, address, layer) + word.to_bytes(word_bytes, "little")


def encode_check() -> bytes:
    """A CHECK token."""
    return struct.pack("<BHB", Request.CHECK, 0, 0)


def encode_counter(number: int) -> bytes:
    """A COUNTER token; counter c of layer k has number ``k * len(COUNTED) + c`` (`egret_hw.counters`).

    Raises
    ------
    ValueError
        If ``number`` is outside 0 .. 65535.
    """
    if not 0 <= number < 1 << 16:
        raise ValueError(f"number must be in 0 .. 65535, not {number}")
    return struct.pack("<BHB", Request.COUNTER, number, 0)


def encode_weights(layers: Iterable[Iterable[int]], *, word_bytes: int) -> tuple[bytes, Message]:
    """What loads all weights: LOAD for each word of each layer, and CHECK; and the answer to expect.

    ``layers`` has each layer's words by address, as `egret_hw.tile.Tile.weight_words` gives them.
    """
    tokens = [
        encode_load(layer, address, word, word_bytes=word_bytes)
        for layer, words in enumerate(layers)
        for address, word in enumerate(words)
    ]
    answer = Message(Source.WEIGHTS, Kind.EVENT, len(tokens) & 0xFFFF, checksum(b"".join(tokens)))  # type: ignore[arg-type]
    return b"".join([*tokens, encode_check()]), answer


def checksum(data: bytes) -> int:
    """CRC-16/IBM-3740 of the bytes of LOAD tokens."""
    return CHECKSUM.compute(data)


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
