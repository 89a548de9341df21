"""Hard blocks of FPGA families, each behind a component with the behaviour of the portable one.

:mod:`egret_hw.memory` and :mod:`egret_hw.multiplier` choose among them by the platform; nothing else of the
design knows a family. `models` holds Verilog models of the blocks, for simulation only.
"""
