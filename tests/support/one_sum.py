"""The network in which the fuzzer found a sum that wrapped: reset "before", one input, one unit.

Products of inputs and of gated events meet in one sum of the candidate, and the hardware had a width for
each of the two apart. Two steps show it: the unit fires in both, and the hardware was silent in the second.
"""

import numpy as np

from egru.image import InputSpec, Layer, LayerSpec, NetworkImage, Readout, ReadoutSpec
from egru.tables import sigmoid_table, tanh_table


def _one_unit(input_weight, recurrent_weight, bias, threshold, sigmoid, tanh):
    """One input and one unit with reset "before": the shape of the network whose candidate's sum wrapped."""
    spec = LayerSpec(
        inputs=1, units=1, reset="before", state_reset="threshold",
        input_weight_bits=6, input_weight_frac=4, recurrent_weight_bits=6, recurrent_weight_frac=5,
        event_bits=5, table_bits=5,
    )  # fmt: skip
    source = InputSpec(size=1, bits=5, frac=3, signed=True)
    layer = Layer(
        spec=spec,
        input_format=source.format,
        input_weight=np.array(input_weight)[:, None],
        recurrent_weight=np.array(recurrent_weight)[:, None],
        bias=np.array(bias)[:, None],
        threshold=np.array([threshold]),
        sigmoid=sigmoid,
        tanh=tanh,
    )
    readout = Readout(
        spec=ReadoutSpec(classes=1, mode="last", weight_bits=6, weight_frac=4, max_steps=1),
        weight=np.array([[1]]),
        bias=np.array([-12]),
    )
    return NetworkImage(name="one sum", input=source, layers=(layer,), readout=readout, info={})


#: The network in which the fault was found, and the same without all that the fault does not need.
FOUND = _one_unit([9, -17, -31], [14, -3, 31], [0, 0, 0, 0], 13213, sigmoid_table(5), tanh_table(5))
_UPPER = np.arange(32) >= 16
MINIMAL = _one_unit(
    [0, 0, -31],
    [0, 0, 31],
    [-(1 << 31), (1 << 31) - 1, 0, 0],
    13213,
    np.where(_UPPER, 32767, 0),
    np.where(_UPPER, 32767, -32767),
)
#: Inputs of the two steps.
STEPS = np.array([[-12], [-16]])
