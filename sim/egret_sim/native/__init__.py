"""The harness of an accelerator with a driver in C++ in place of cocotb: the same runs, in less time."""

from egret_sim.native.program import NativeSimulation, build_native

__all__ = ["NativeSimulation", "build_native"]
