"""Plans: one pass of one geometry on arrays of given strides, compiled and ready to run."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType
from typing import NamedTuple

from fastconv.cpu import threads
from fastconv.cpu.operands import Operands
from fastconv.cpu.program import Program
from fastconv.cpu.staging import Workspace
from fastconv.geometry import ConvGeometry
from fastconv.lowering import Lowered, clipped, lower_forward, lower_input_gradient, subsampled

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
    low = _lowered(pass_name, g)
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
    steps = make(low, arrays, space, threads.most())
    serial = low.multiply_adds < _SERIAL_MULTIPLY_ADDS
    return Plan(algorithm, Program(steps, space.size, serial))


def candidates(
    pass_name: str, g: ConvGeometry, arrays: Operands, winograd: bool
) -> tuple[str, ...]:
    """The algorithms that can do a pass, but for those that `make_plan` may not choose."""
    low = _lowered(pass_name, g)
    allowed = (name for name in ALGORITHMS if winograd or name not in _COARSE)
    return tuple(name for name in allowed if not _refusal(name, pass_name, low, arrays))


def _lowered(pass_name: str, g: ConvGeometry) -> Lowered:
    if pass_name == "input_gradient":
        return lower_input_gradient(g)
    low = clipped(lower_forward(g))
    # What no tap reads is nothing to a weight gradient.
    return low._replace(parts=low.parts[-1:]) if pass_name == "weight_gradient" else low


def _module(algorithm: str, pass_name: str) -> ModuleType:
    return import_module(f"{__package__}.{_MODULES[algorithm][pass_name == 'weight_gradient']}")


def _refusal(algorithm: str, pass_name: str, low: Lowered, arrays: Operands) -> str | None:
    """Why ``algorithm`` cannot do a pass, as the rest of a sentence, or None."""
    module = _module(algorithm, pass_name)
    if not hasattr(module, "refusal"):
        return None
    reason: str | None = module.refusal(pass_name, low, arrays)
    return reason


def _chosen(pass_name: str, low: Lowered, arrays: Operands, winograd: bool) -> str:
    """The algorithm for "auto": by the estimates of `cycles`, and measured exceptions.

    Small problems, that a caller may know the exact result of, are not worth the coarser rounding
    of a Winograd algorithm.
    """
    plain = "direct"
    if pass_name != "weight_gradient" and _prefers_columns(low, arrays):
        plain = "im2col"
    if low.multiply_adds < _SERIAL_MULTIPLY_ADDS or not winograd:
        return plain
    if _refusal("winograd", pass_name, low, arrays):
        return plain
    costs = {
        name: _module(name, pass_name).cycles(pass_name, low, arrays)
        for name in ("direct", "winograd")
    }
    return "winograd" if costs["winograd"] < costs["direct"] else plain


def _prefers_columns(low: Lowered, arrays: Operands) -> bool:
    """Whether columns are faster than direct convolution.

    With channels last and images of 2x2 and 3x3 pixels, columns of several taps that run through
    all images are 1.15 to 1.5 times as fast (Zen 5).
    """
    shortest = max(low.parts[-1].counts) < 4 and low.target_channels >= arrays.lanes
    if arrays.channels_last and shortest and len(low.parts[-1].taps) > 1:
        return True
    suit: bool = _module("im2col", "forward").panels_suit(low, arrays)
    return suit
