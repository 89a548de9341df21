"""Tokens to bits and back, by the layout that a sidecar describes."""

import numpy as np
import pytest

from egret_sim.tokens import END, EVENT, PASS, TICK, TokenLayout
from egret_sim.turns import encode, plan

PORT = {
    "kind": "stream",
    "width": 14,
    "fields": [
        {"name": "kind", "offset": 0, "width": 2, "signed": False},
        {"name": "index", "offset": 2, "width": 4, "signed": False},
        {"name": "value", "offset": 6, "width": 8, "signed": True},
    ],
}


def test_encoding_and_decoding_are_inverse():
    layout = TokenLayout.from_port(PORT)
    kind, index, value = np.array([0, 1, 2, 0]), np.array([15, 0, 3, 7]), np.array([-128, 127, -1, 0])
    words = layout.encode(kind, index, value)
    assert words.tolist() == [0x203C, 0x1FC1, 0x3FCE, 0x1C]
    for got, want in zip(layout.decode(words), (kind, index, value), strict=True):
        assert got.tolist() == want.tolist()


def test_a_field_of_64_bits_in_all_still_decodes():
    fields = [dict(field) for field in PORT["fields"]]
    fields[2] |= {"offset": 6, "width": 58}
    layout = TokenLayout.from_port({**PORT, "width": 64, "fields": fields})
    value = np.array([-(1 << 57), (1 << 57) - 1, -1])
    zero = np.zeros(3, np.int64)
    assert layout.decode(layout.encode(zero, zero, value))[2].tolist() == value.tolist()


def test_what_does_not_fit_its_field_is_refused():
    layout = TokenLayout.from_port(PORT)
    for index, value in [(16, 0), (0, 128), (0, -129)]:
        with pytest.raises(ValueError, match="must be in"):
            layout.encode(np.array([0]), np.array([index]), np.array([value]))


def test_a_port_without_the_needed_fields_is_refused():
    with pytest.raises(ValueError, match="missing: \\['value'\\]"):
        TokenLayout.from_port({**PORT, "fields": PORT["fields"][:2]})


def test_a_token_wider_than_a_memory_word_is_refused():
    with pytest.raises(ValueError, match="at most 64 bits, not 65"):
        TokenLayout.from_port({**PORT, "width": 65})


def tokens_of(sequences, streams=1):
    layout = TokenLayout.from_port(PORT)
    words = encode(layout, sequences, plan([len(x) for x in sequences], streams))
    return list(zip(*(array.tolist() for array in layout.decode(words)), strict=True))


def test_a_sequence_travels_as_its_nonzero_inputs_ticks_and_an_end():
    assert tokens_of([np.array([[0, 5, -3], [0, 0, 0], [7, 0, 0]])]) == [
        (EVENT, 1, 5),
        (EVENT, 2, -3),
        (TICK, 0, 0),
        (TICK, 0, 0),
        (EVENT, 0, 7),
        (TICK, 0, 0),
        (END, 0, 0),
    ]


def test_sequences_of_several_streams_take_turns_and_a_stream_without_one_passes():
    long, short, last = np.full((4, 1), 1), np.full((1, 1), 2), np.full((1, 1), 3)
    event = {value: [(EVENT, 0, value), (TICK, 0, 0)] for value in (1, 2, 3)}
    assert tokens_of([long, short, last], streams=2) == [
        *event[1],
        *event[2],
        (END, 0, 0),
        *event[1],
        *event[3],
        (END, 0, 0),
        *event[1],
        (PASS, 0, 0),
        *event[1],
        (END, 0, 0),
    ]


def test_no_sequences_make_no_tokens():
    assert tokens_of([]) == []
