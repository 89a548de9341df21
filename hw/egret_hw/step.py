"""What travels with a step from its closing to its update."""

from amaranth.lib import data

from .stream import index_shape


def step_layout(*, streams: int) -> data.StructLayout:
    """What an update must know of its step.

    Members
    -------
    has_any, has_input, has_recurrent : 0 = no event of that kind came, so its sums count as zero
    gate : 1 = only the reset gate is wanted yet, to gate the step's recurrent events (reset="before")
    fresh : 1 = first step of a sequence, so the state counts as zero
    stream : whose state it is
    """
    return data.StructLayout(
        {
            "has_any": 1,
            "has_input": 1,
            "has_recurrent": 1,
            "gate": 1,
            "fresh": 1,
            "stream": index_shape(streams),
        }
    )
