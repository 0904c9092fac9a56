"""Plans: one pass of one geometry on arrays of given strides, compiled and ready to run."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType
from typing import NamedTuple

from fastconv.cpu import simd, threads
from fastconv.cpu.operands import Operands
from fastconv.cpu.program import Program, Step
from fastconv.cpu.staging import Workspace
from fastconv.geometry import ConvGeometry
from fastconv.lowering import Lowered, lower_forward, lower_input_gradient, subsampled

_SERIAL_MULTIPLY_ADDS = 1 << 20  # below this, waking a second thread costs more than it saves

# The modules with `correlate` and with `weight_gradient`: one line an algorithm. Imported when a
# plan first needs them, so that importing fastconv stays quick. A module of an algorithm that
# cannot do every pass has `refusal`, which says why, and `cycles`, an estimate for "auto".
_MODULES = {
    "direct": ("direct", "direct_gradient"),
    "im2col": ("im2col", "im2col"),
    "winograd": ("winograd", "winograd_gradient"),
}
ALGORITHMS = tuple(_MODULES)
_EXACT = ("direct", "im2col")  # that need no more than products and sums, so serve integers too
_COARSE = ("winograd",)  # that round more coarsely, which `options(winograd=False)` forbids


class Plan(NamedTuple):
    """A pass ready to run, and what it does."""

    algorithm: str
    program: Program


def make_plan(
    pass_name: str, g: ConvGeometry, arrays: Operands, algorithm: str, winograd: bool = True
) -> Plan:
    """The plan of a pass: "forward", "weight_gradient" or "input_gradient".

    ``winograd``: whether "auto" may choose an algorithm that rounds more coarsely.
    """
    space = Workspace()
    name, steps, multiply_adds = plan_steps(pass_name, g, arrays, algorithm, winograd, space)
    return Plan(name, Program(steps, space.size, is_small(multiply_adds)))


def plan_steps(
    pass_name: str,
    g: ConvGeometry,
    arrays: Operands,
    algorithm: str,
    winograd: bool,
    space: Workspace,
) -> tuple[str, list[Step], int]:
    """What `make_plan` makes a program of: the algorithm, its steps, and their multiply-adds."""
    low = lower_input_gradient(g) if pass_name == "input_gradient" else lower_forward(g)
    if algorithm == "auto":
        algorithm = _chosen(pass_name, low, arrays, winograd)
    elif reason := _refusal(algorithm, pass_name, low, arrays):
        others = [name for name in ALGORITHMS if not _refusal(name, pass_name, low, arrays)]
        raise ValueError(
            f"algorithm {algorithm!r} {reason}; for this call it must be one of "
            f"{', '.join(map(repr, ('auto', *others)))}"
        )
    module = _module(algorithm, pass_name)
    make = module.weight_gradient if pass_name == "weight_gradient" else module.correlate
    low, moves = subsampled(low)
    seen = zip(arrays.x[2:], moves, strict=True)
    arrays = arrays._replace(x=(*arrays.x[:2], *(stride * move for stride, move in seen)))
    return algorithm, make(low, arrays, space, threads.most()), low.multiply_adds


def is_small(multiply_adds: int) -> bool:
    """Whether waking a second thread would cost more than it saves."""
    return multiply_adds < _SERIAL_MULTIPLY_ADDS


def choice(pass_name: str, g: ConvGeometry, arrays: Operands, winograd: bool) -> str:
    """The algorithm that "auto" is."""
    low = lower_input_gradient(g) if pass_name == "input_gradient" else lower_forward(g)
    return _chosen(pass_name, low, arrays, winograd)


def estimate(algorithm: str, pass_name: str, g: ConvGeometry, arrays: Operands) -> float:
    """About how many cycles a pass takes."""
    low = lower_input_gradient(g) if pass_name == "input_gradient" else lower_forward(g)
    cycles: float = _module(algorithm, pass_name).cycles(pass_name, low, arrays)
    return cycles


def candidates(
    pass_name: str, g: ConvGeometry, arrays: Operands, winograd: bool
) -> tuple[str, ...]:
    """The algorithms that can do a pass, but for those that `make_plan` may not choose."""
    low = lower_input_gradient(g) if pass_name == "input_gradient" else lower_forward(g)
    allowed = (name for name in ALGORITHMS if winograd or name not in _COARSE)
    return tuple(name for name in allowed if not _refusal(name, pass_name, low, arrays))


def _module(algorithm: str, pass_name: str) -> ModuleType:
    return import_module(f"{__package__}.{_MODULES[algorithm][pass_name == 'weight_gradient']}")


def _refusal(algorithm: str, pass_name: str, low: Lowered, arrays: Operands) -> str | None:
    """Why ``algorithm`` cannot do a pass, as the rest of a sentence, or None."""
    if arrays.bits == simd.INT64 and algorithm not in _EXACT:
        return "computes in floating point, and the arrays hold integers"
    module = _module(algorithm, pass_name)
    if not hasattr(module, "refusal"):
        return None
    reason: str | None = module.refusal(pass_name, low, arrays)
    return reason


def _chosen(pass_name: str, low: Lowered, arrays: Operands, winograd: bool) -> str:
    """The algorithm for "auto": by the estimates of `cycles`, and two measured exceptions.

    With channels last and images of 2x2 and 3x3 pixels, columns that run through all images are
    1.15 to 1.5 times as fast as direct convolution (Zen 5). Small problems, that a caller may
    know the exact result of, are not worth the coarser rounding of a Winograd algorithm.
    """
    shortest = max(low.parts[-1].counts) < 4 and low.target_channels >= arrays.lanes
    plain = "direct"
    if arrays.bits == simd.INT64:
        return plain
    if pass_name != "weight_gradient" and arrays.channels_last and shortest:
        plain = "im2col"
    if is_small(low.multiply_adds) or not winograd:
        return plain
    if _refusal("winograd", pass_name, low, arrays):
        return plain
    costs = {
        name: _module(name, pass_name).cycles(pass_name, low, arrays)
        for name in ("direct", "winograd")
    }
    return "winograd" if costs["winograd"] < costs["direct"] else plain
