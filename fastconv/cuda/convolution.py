"""Plans: one pass of one geometry on device arrays of given strides."""

from __future__ import annotations

from importlib import import_module
from typing import NamedTuple

from fastconv.geometry import ConvGeometry
from fastconv.lowering import Lowered, lower_forward, lower_input_gradient

from .planning import Operands, Workspace, pixels
from .program import Program, Step

__all__ = ["ALGORITHMS", "Operands", "Plan", "make_plan"]

# The modules with `correlate` and `weight_gradient`: one line an algorithm, named as in cpu/.
_MODULES = {"direct": "direct", "im2col": "im2col", "columns": "columns"}
ALGORITHMS = tuple(_MODULES)

_THIN_GROUP = 4  # source times target channels, below which a product's tile is mostly empty
_MOST_GROUPS = 65535  # the grid's limit
_MOST_PIXELS = 2**30  # whose indices, and those of a tile past them, fit into 32 bits
_OTHERS = {"bias_gradient": "bias", "unfold": "columns", "fold": "columns"}


class Plan(NamedTuple):
    """A pass ready to run, and what it does."""

    algorithm: str
    program: Program


def make_plan(pass_name: str, g: ConvGeometry, arrays: Operands, algorithm: str = "auto") -> Plan:
    """The plan of a pass: a convolution's three, "bias_gradient", "unfold" or "fold"."""
    space = Workspace()
    if pass_name in _OTHERS:
        module = import_module(f"{__package__}.{_OTHERS[pass_name]}")
        steps: list[Step] = getattr(module, pass_name)(g, arrays, space)
        return Plan("direct", Program(steps, space.size))
    low = lower_input_gradient(g) if pass_name == "input_gradient" else lower_forward(g)
    chosen = _chosen(low, arrays) if algorithm == "auto" else algorithm
    if chosen != "direct":
        _check_size(low, chosen)
    depthwise = import_module(f"{__package__}.depthwise")
    if chosen == "direct" and low.groups > 1 and depthwise.fits(low):
        module = depthwise
    else:
        module = import_module(f"{__package__}.{_MODULES[chosen]}")
    make = module.weight_gradient if pass_name == "weight_gradient" else module.correlate
    return Plan(chosen, Program(make(low, arrays, space), space.size))


def _check_size(low: Lowered, algorithm: str) -> None:
    """Refuse what a product of matrices cannot count or the grid cannot hold."""
    most = max(pixels(low, part) for part in low.parts)
    if most > _MOST_PIXELS:
        raise ValueError(
            f"algorithm must be 'direct' for more than 2**30 pixels in a batch, got {algorithm!r} "
            f"for {most}"
        )
    if low.groups > _MOST_GROUPS:
        raise ValueError(
            f"algorithm must be 'direct' for more than {_MOST_GROUPS} groups, got {algorithm!r} "
            f"for {low.groups}"
        )


def _chosen(low: Lowered, arrays: Operands) -> str:
    """The algorithm for "auto": im2col, unless a group is too thin for a product, or all too large.

    A depthwise convolution has one channel a group: nothing is shared that a product could reuse.
    """
    part = low.parts[-1]
    shape = (low.N, low.groups * low.source_channels, *low.source)
    reach = sum((size - 1) * abs(step) for size, step in zip(shape[1:], arrays.x[1:], strict=True))
    thin = low.groups > 1 and low.source_channels * low.target_channels < _THIN_GROUP
    large = max(pixels(low, part), reach) > _MOST_PIXELS
    return "direct" if thin or large or low.groups > _MOST_GROUPS else "im2col"
