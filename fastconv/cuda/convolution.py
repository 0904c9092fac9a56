"""Plans: one pass of one geometry on device arrays of given strides."""

from __future__ import annotations

from functools import partial
from importlib import import_module
from typing import NamedTuple

from fastconv.geometry import ConvGeometry
from fastconv.lowering import Lowered, lower_forward, lower_input_gradient

from . import borders, samples
from .planning import NOWHERE, Operands, Workspace, pixels, reached
from .program import Program, Step

__all__ = ["ALGORITHMS", "Operands", "Plan", "make_plan"]

# The modules with `correlate` and `weight_gradient`: one line an algorithm, named as in cpu/.
_MODULES = {"direct": "direct", "im2col": "im2col", "columns": "columns"}
ALGORITHMS = tuple(_MODULES)

_THIN_GROUP = 4  # source times target channels, below which a product's tile is mostly empty
_MOST_GROUPS = 65535  # the grid's limit
_MOST_INDICES = 2**30  # that fit into 32 bits, and those of a tile past them, too
_OTHERS = {"bias_gradient": "bias", "unfold": "columns", "fold": "columns"}


class Plan(NamedTuple):
    """A pass ready to run, and what it does."""

    algorithm: str
    program: Program


def make_plan(pass_name: str, g: ConvGeometry, arrays: Operands, algorithm: str = "auto") -> Plan:
    """The plan of a pass: a convolution's four, "bias_gradient", "unfold" or "fold"."""
    space = Workspace()
    if pass_name in _OTHERS:
        module = import_module(f"{__package__}.{_OTHERS[pass_name]}")
        copying: list[Step] = getattr(module, pass_name)(g, arrays, space)
        return Plan("direct", Program(copying, space.size))
    chosen, steps = _steps(pass_name, g, arrays, algorithm, space)
    return Plan(chosen, Program(steps, space.size))


def _steps(
    pass_name: str, g: ConvGeometry, arrays: Operands, algorithm: str, space: Workspace
) -> tuple[str, list[Step]]:
    """The algorithm and the launches of a convolution's pass."""
    if pass_name == samples.PASS:
        gradient = partial(_steps, "weight_gradient", algorithm=algorithm, space=space)
        return samples.steps(g, arrays, space, gradient)
    if g.padding_mode != "zeros":
        padded, seen, copy = borders.inside(pass_name, g, arrays, space)
        chosen, steps = _steps(pass_name, padded, seen, algorithm, space)
        return chosen, borders.around(pass_name, g, arrays, copy, steps)
    low = lower_input_gradient(g) if pass_name == "input_gradient" else lower_forward(g)
    chosen = _chosen(low, arrays) if algorithm == "auto" else algorithm
    if chosen != "direct":
        _check_size(low, arrays, chosen)
    depthwise = import_module(f"{__package__}.depthwise")
    if chosen == "direct" and low.groups > 1 and depthwise.fits(low):
        module = depthwise
    else:
        module = import_module(f"{__package__}.{_MODULES[chosen]}")
    make = module.weight_gradient if pass_name == "weight_gradient" else module.correlate
    made: list[Step] = make(low, arrays, space)
    return chosen, made


def _counts(low: Lowered, arrays: Operands) -> tuple[tuple[str, int, int], ...]:
    """What a product of matrices counts: its name, how many there are, how many there may be."""
    shape = (low.groups * low.source_channels, *reached(low))
    reach = sum((size - 1) * abs(step) for size, step in zip(shape, arrays.x[1:], strict=True))
    longest = max(size + before for size, before in zip(low.source, low.before, strict=True))
    return (
        ("pixels in a batch", max(pixels(low, part) for part in low.parts), _MOST_INDICES),
        ("groups", low.groups, _MOST_GROUPS),
        ("elements from a padded image's first to its last", reach, _MOST_INDICES),
        ("elements along an axis and its padding", longest, NOWHERE),
    )


def _check_size(low: Lowered, arrays: Operands, algorithm: str) -> None:
    """Refuse what a product of matrices cannot count or the grid cannot hold."""
    for what, count, most in _counts(low, arrays):
        if count > most:
            raise ValueError(
                f"algorithm must be 'direct' for more than {most} {what}, "
                f"got {algorithm!r} for {count}"
            )


def _chosen(low: Lowered, arrays: Operands) -> str:
    """The algorithm for "auto": im2col, unless a group is too thin for a product, or all too large.

    A depthwise convolution has one channel a group: nothing is shared that a product could reuse.
    """
    thin = low.groups > 1 and low.source_channels * low.target_channels < _THIN_GROUP
    large = any(count > most for _, count, most in _counts(low, arrays))
    return "direct" if thin or large else "im2col"
