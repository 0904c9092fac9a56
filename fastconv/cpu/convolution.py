"""Plans: one pass of one geometry on arrays of given strides, compiled and ready to run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from fastconv.cpu import direct, direct_gradient, im2col, threads
from fastconv.cpu.lowering import Lowered, lower_forward, lower_input_gradient, subsampled
from fastconv.cpu.operands import Operands
from fastconv.cpu.program import Program, Step
from fastconv.cpu.staging import Workspace
from fastconv.geometry import ConvGeometry

_SERIAL_MULTIPLY_ADDS = 1 << 20  # below this, waking a second thread costs more than it saves

_Maker = Callable[[Lowered, Operands, Workspace, int], list[Step]]

# What makes the steps of (forward and input gradient, weight gradient): one line an algorithm.
_MAKERS: dict[str, tuple[_Maker, _Maker]] = {
    "direct": (direct.correlate, direct_gradient.weight_gradient),
    "im2col": (im2col.correlate, im2col.weight_gradient),
}
ALGORITHMS = tuple(_MAKERS)


@dataclass(frozen=True, slots=True)
class Plan:
    """A pass ready to run, and what it does."""

    algorithm: str
    program: Program
    multiply_adds: int


def make_plan(pass_name: str, g: ConvGeometry, arrays: Operands, algorithm: str) -> Plan:
    """The plan of a pass: "forward", "weight_gradient" or "input_gradient"."""
    chosen = "direct" if algorithm == "auto" else algorithm
    correlate, gradient = _MAKERS[chosen]
    space = Workspace()
    if pass_name == "weight_gradient":
        low, make = lower_forward(g), gradient
    else:
        low = lower_forward(g) if pass_name == "forward" else lower_input_gradient(g)
        make = correlate
    low, moves = subsampled(low)
    seen = zip(arrays.x[2:], moves, strict=True)
    arrays = replace(arrays, x=(*arrays.x[:2], *(stride * move for stride, move in seen)))
    steps = make(low, arrays, space, threads.most())
    serial = low.multiply_adds < _SERIAL_MULTIPLY_ADDS
    return Plan(chosen, Program(steps, space.size, serial), low.multiply_adds)
