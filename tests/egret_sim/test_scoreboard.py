"""The scoreboard, without a simulator: what is right passes, and each kind of fault is caught and named."""

from types import SimpleNamespace

import numpy as np
import pytest

from egret_sim.scoreboard import Scoreboard
from egret_sim.tokens import END, EVENT, PASS, TICK
from egret_sim.turns import plan

# Two sequences, of 3 and 2 steps, through layers of 4 and 2 units, and a readout of 2 classes.
TRACES = [
    SimpleNamespace(
        events=[
            np.array([[0, 3, 0, 5], [0, 0, 0, 0], [1, 2, 3, 4]]),
            np.array([[0, 9], [0, 0], [8, 0]]),
        ],
        logits=np.array([-7, 0]),
    ),
    SimpleNamespace(
        events=[np.array([[0, 0, 0, 0], [6, 0, 0, 0]]), np.array([[0, 0], [0, 0]])],
        logits=np.array([12, 3]),
    ),
]


def layer_tokens(layer):
    """Tokens of a tap, as (kind, index, value), events in falling order of their units."""
    tokens = []
    for trace in TRACES:
        for row in trace.events[layer]:
            tokens += [(EVENT, unit, int(row[unit])) for unit in reversed(range(len(row))) if row[unit]]
            tokens.append((TICK, 0, 0))
        tokens.append((END, 0, 0))
    return tokens


def logit_tokens():
    tokens = []
    for trace in TRACES:
        tokens += [(EVENT, index, int(value)) for index, value in enumerate(trace.logits)]
        tokens.append((END, 0, 0))
    return tokens


def right_tokens():
    return {"tap0": layer_tokens(0), "tap1": layer_tokens(1), "logits": logit_tokens()}


def score(ports, *, traces=TRACES, every=False, streams=1, piece=3):
    """Feed the streams in pieces, as a run does; a token's cycle is ten times its position."""
    turns = plan([len(trace.events[0]) for trace in traces], streams)
    board = Scoreboard(traces, turns, layers=2, every=every)
    for name, tokens in ports.items():
        rows = np.array(tokens, np.int64).reshape(-1, 3)
        for begin in range(0, len(rows), piece):
            part = rows[begin : begin + piece]
            board.feed(name, *part.T, 10 * np.arange(begin, begin + len(part)))
    board.finish()
    return board


@pytest.mark.parametrize("piece", [1, 2, 5, 1000])
def test_right_tokens_pass_whatever_the_pieces_they_come_in(piece):
    board = score(right_tokens(), piece=piece)
    assert board.mismatches == 0
    assert board.first is None
    # Five steps of 4 + 2 units, and two sequences of 2 logits.
    assert board.compared == 5 * 6 + 4
    assert all(check.done for check in board.streams.values())


def test_a_missing_event_is_found():
    streams = right_tokens()
    streams["tap0"].remove((EVENT, 3, 5))
    board = score(streams)
    assert board.mismatches == 1
    assert str(board.first) == "sequence 0, layer 0, step 0, unit 3: expected event 5, got nothing (cycle 10)"


def test_an_extra_event_is_found():
    streams = right_tokens()
    streams["tap1"].insert(2, (EVENT, 1, 77))  # in the silent step 1
    board = score(streams)
    assert board.mismatches == 1
    assert str(board.first).startswith("sequence 0, layer 1, step 1, unit 1: expected silence, got event 77")


def test_a_wrong_payload_is_found():
    streams = right_tokens()
    place = streams["tap0"].index((EVENT, 2, 3))
    streams["tap0"][place] = (EVENT, 2, 4)
    board = score(streams)
    assert board.mismatches == 1
    assert str(board.first).startswith("sequence 0, layer 0, step 2, unit 2: expected event 3, got event 4")


def test_a_wrong_unit_is_found_as_both_a_missing_and_an_extra_event():
    streams = right_tokens()
    place = streams["tap0"].index((EVENT, 0, 6))
    streams["tap0"][place] = (EVENT, 1, 6)
    board = score(streams)
    assert board.mismatches == 2
    assert {mismatch.unit for mismatch in board.streams["tap0"].mismatches} == {0, 1}
    assert (board.first.sequence, board.first.step) == (1, 1)


def test_an_event_behind_its_tick_is_found():
    streams = right_tokens()
    tokens = streams["tap0"]
    tokens.remove((EVENT, 1, 3))
    tokens.insert(tokens.index((TICK, 0, 0)) + 1, (EVENT, 1, 3))
    board = score(streams)
    assert board.mismatches == 2
    assert str(board.first).startswith("sequence 0, layer 0, step 0, unit 1: expected event 3, got nothing")


def test_an_event_sent_twice_is_found():
    streams = right_tokens()
    streams["tap0"].insert(0, (EVENT, 3, 5))
    board = score(streams)
    assert board.mismatches == 1
    assert "expected one event in a step, got another one, 5" in str(board.first)


def test_an_event_of_value_zero_is_found():
    streams = right_tokens()
    streams["tap1"].insert(0, (EVENT, 0, 0))
    board = score(streams)
    assert board.mismatches == 1
    assert "unit 0: expected silence, got event of value 0" in str(board.first)


def test_an_index_out_of_range_is_found():
    streams = right_tokens()
    streams["tap1"].insert(0, (EVENT, 2, 5))
    board = score(streams)
    assert board.mismatches == 1
    assert "expected an index below 2, got event 5" in str(board.first)


def test_a_missing_tick_is_found_and_where():
    streams = right_tokens()
    streams["tap1"].remove((TICK, 0, 0))
    board = score(streams)
    first = board.first
    assert (first.sequence, first.layer) == (0, 1)
    assert board.streams["tap1"].broken
    assert any("expected TICK number 3 of 3, got END" in str(m) for m in board.streams["tap1"].mismatches)


def test_a_tick_too_many_is_found():
    streams = right_tokens()
    place = streams["tap0"].index((END, 0, 0))
    streams["tap0"].insert(place, (TICK, 0, 0))
    board = score(streams)
    assert str(board.first).startswith(
        "sequence 0, layer 0, step 3: expected END after the last TICK, got TICK"
    )


def test_an_event_between_the_last_tick_and_end_is_found():
    streams = right_tokens()
    place = streams["tap0"].index((END, 0, 0))
    streams["tap0"].insert(place, (EVENT, 0, 1))
    board = score(streams)
    assert str(board.first).startswith(
        "sequence 0, layer 0, step 3: expected END after the last TICK, got EVENT"
    )


def test_a_missing_end_is_found():
    streams = right_tokens()
    streams["tap0"].remove((END, 0, 0))
    board = score(streams)
    assert str(board.first).startswith(
        "sequence 0, layer 0, step 3: expected END after the last TICK, got TICK"
    )


def test_a_pass_that_is_not_due_is_found():
    streams = right_tokens()
    streams["tap0"].insert(0, (PASS, 0, 0))
    board = score(streams)
    assert "expected TICK number 1 of 3, got PASS" in str(board.streams["tap0"].mismatches[-1])


def test_a_token_behind_the_last_sequence_is_found():
    for extra in [(TICK, 0, 0), (EVENT, 0, 1)]:
        streams = right_tokens()
        streams["tap1"].append(extra)
        board = score(streams)
        assert board.mismatches == 1
        assert "expected nothing after the last sequence" in str(board.first)


def test_a_stream_that_stops_short_is_found():
    streams = right_tokens()
    streams["tap0"] = streams["tap0"][:4]
    board = score(streams)
    assert board.mismatches == 1
    assert str(board.first) == ("sequence 0, layer 0, step 2: expected TICK number 3 of 3, got nothing more")


def test_a_wrong_logit_is_found():
    streams = right_tokens()
    streams["logits"][1] = (EVENT, 1, -1)
    board = score(streams)
    assert board.mismatches == 1
    assert str(board.first).startswith(
        "sequence 0, layer readout, after the last step, class 1: expected logit 0, got logit -1"
    )


def test_a_missing_logit_is_found_even_where_it_is_zero():
    streams = right_tokens()
    streams["logits"].remove((EVENT, 1, 0))
    board = score(streams)
    assert board.mismatches == 1
    assert "class 1: expected logit 0, got nothing" in str(board.first)


def test_logits_in_the_wrong_order_are_found():
    streams = right_tokens()
    streams["logits"][0], streams["logits"][1] = streams["logits"][1], streams["logits"][0]
    board = score(streams)
    assert board.mismatches == 2
    assert "expected class 0 next, got class 1" in str(board.first)


def test_logits_of_every_step_are_compared_step_by_step():
    traces = [
        SimpleNamespace(events=trace.events, logits=np.arange(2 * len(trace.events[0])).reshape(-1, 2))
        for trace in TRACES
    ]
    tokens = []
    for trace in traces:
        for row in trace.logits:
            tokens += [(EVENT, index, int(value)) for index, value in enumerate(row)] + [(TICK, 0, 0)]
        tokens.append((END, 0, 0))
    streams = {**right_tokens(), "logits": tokens}
    assert score(streams, traces=traces, every=True).mismatches == 0
    tokens[7] = (EVENT, 1, 99)  # third step's second logit
    board = score(streams, traces=traces, every=True)
    assert str(board.first).startswith(
        "sequence 0, layer readout, step 2, class 1: expected logit 5, got logit 99"
    )


def interleaved_tokens():
    """The two sequences in turns: their steps 0 and 0, 1 and 1, END of the second, 2, END of the first."""
    order = [(0, 0), (1, 0), (0, 1), (1, 1), END, (0, 2), END]
    tokens = {"tap0": [], "tap1": [], "logits": []}
    for layer in range(2):
        for item in order:
            if item == END:
                tokens[f"tap{layer}"].append((END, 0, 0))
                continue
            row = TRACES[item[0]].events[layer][item[1]]
            events = [(EVENT, unit, int(row[unit])) for unit in range(len(row)) if row[unit]]
            tokens[f"tap{layer}"] += [*events, (TICK, 0, 0)]
    for sequence in (1, 0):
        logits = TRACES[sequence].logits
        tokens["logits"] += [(EVENT, index, int(value)) for index, value in enumerate(logits)] + [(END, 0, 0)]
    return tokens


def test_interleaved_sequences_are_told_apart():
    board = score(interleaved_tokens(), streams=2)
    assert board.mismatches == 0
    assert board.compared == 5 * 6 + 4
    assert score(interleaved_tokens(), streams=1).mismatches
    assert score(right_tokens(), streams=2).mismatches


def test_a_fault_in_an_interleaved_sequence_is_found_in_the_order_of_turns():
    streams = interleaved_tokens()
    place = streams["tap0"].index((EVENT, 0, 6))  # sequence 1, step 1
    streams["tap0"][place] = (EVENT, 0, 7)
    streams["tap0"][-3] = (EVENT, 3, 5)  # sequence 0, step 2
    board = score(streams, streams=2)
    assert board.mismatches == 2
    assert (board.first.sequence, board.first.step, board.first.unit) == (1, 1, 0)


def test_a_missing_pass_is_found():
    traces = [TRACES[1], SimpleNamespace(events=[np.ones((4, 4)), np.ones((4, 2))], logits=np.zeros(2))]
    turns = plan([2, 4], 2)
    assert [str(turn) for turn in turns[-5:]] == [
        "PASS",
        "TICK number 3 of 4",
        "PASS",
        "TICK number 4 of 4",
        "END after the last TICK",
    ]
    board = Scoreboard(traces, turns, layers=2, every=False)
    tokens = []
    for row in [traces[0].events[1][0], traces[1].events[1][0], traces[0].events[1][1]]:
        tokens += [(EVENT, unit, int(row[unit])) for unit in range(2) if row[unit]] + [(TICK, 0, 0)]
    tokens += [(END, 0, 0), (EVENT, 0, 1), (EVENT, 1, 1), (TICK, 0, 0), (TICK, 0, 0)]
    board.feed("tap1", *np.array(tokens).T, np.arange(len(tokens)))
    assert str(board.first) == "layer 1, turn 5: expected PASS, got TICK (cycle 9)"


def test_comparing_nothing_is_a_failure():
    board = score({"tap0": [], "tap1": [], "logits": []}, traces=[])
    assert board.compared == 0
    assert board.mismatches == 3
    assert "nothing was compared" in str(board.first)


def test_one_silent_stream_is_a_failure_even_if_the_others_are_right():
    board = score({**right_tokens(), "tap1": []})
    assert board.mismatches == 1
    assert board.first.layer == 1


def test_the_first_mismatch_is_the_one_nearest_to_its_cause():
    streams = right_tokens()
    streams["logits"][0] = (EVENT, 0, -8)
    streams["tap1"][0] = (EVENT, 1, 10)
    streams["tap0"][0] = (EVENT, 3, 6)
    board = score(streams)
    assert board.mismatches == 3
    assert (board.first.layer, board.first.step, board.first.unit) == (0, 0, 3)


def test_many_mismatches_are_counted_but_not_all_kept():
    wrong = [SimpleNamespace(events=[np.full((50, 4), 2)], logits=np.array([0])) for _ in range(2)]
    board = Scoreboard(wrong, plan([50, 50]), layers=1, every=False)
    tokens = []
    for _ in range(2):
        for _ in range(50):
            tokens += [(EVENT, unit, 1) for unit in range(4)] + [(TICK, 0, 0)]
        tokens.append((END, 0, 0))
    board.feed("tap0", *np.array(tokens).T, np.arange(len(tokens)))
    assert board.mismatches == 400
    assert len(board.streams["tap0"].mismatches) < 30
