"""Where fastconv is faster than PyTorch, by the sizes alone: what "fastest" and `accelerate` ask.

Drawn from the ratios to PyTorch in ``bench/results`` (AMD Zen 4, one and two threads, both layouts,
all passes). Nothing is timed when it is asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import inf, prod
from typing import Any

import torch

from ..cpu import convolution
from ..cpu.operands import Operands
from ..explain import operand_strides
from ..geometry import ConvGeometry, forward_geometry
from ..options import current

_Steps = tuple[int, ...]

PASSES = ("forward", "weight_gradient", "input_gradient")
DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)

# Algorithms with fewer products, none with zeros, or planes in cache, which PyTorch does not have.
_AHEAD = ("winograd", "col2im", "fft", "depthwise")
_THIN = 16  # channels of a group: fewer do not fill a vector of PyTorch's

# From how many million flops a pass is ours, channels first and channels last. An operator written
# in Python costs 0.06 ms a call, which the pass must win back.
_LEAST = {
    "ahead": (12, 20),
    "depthwise": (10, 40),
    "depthwise gradient": (10, 20),
    "pointwise": (200, 200),
    "grouped": (200, inf),
    "grouped weight gradient": (200, 200),
    "thin": (60, 100),
    "thin weight gradient": (60, 600),
    "dense": (inf, inf),
}
# For the other dtypes: kernels of one tap, of several, and depthwise ones.
_LEAST_OF: dict[Any, dict[str, tuple[float, float]]] = {
    torch.float64: {"pointwise": (inf, 60), "taps": (4, 4), "depthwise": (4, 4)},
    torch.float16: {"pointwise": (2, 2), "taps": (2, 2), "depthwise": (2, 2)},
    torch.bfloat16: {"pointwise": (inf, inf), "taps": (60, inf), "depthwise": (14, inf)},
}


def ours(
    pass_name: str,
    input_shape: Sequence[int],
    weight_shape: Sequence[int],
    settings: Sequence[Any],
    source: Any,
    last: bool,
) -> bool:
    """Whether a pass of such a tensor is fastconv's; ``settings`` are the operators' own."""
    stride, padding, dilation, groups = settings
    if padding[::2] != padding[1::2]:
        return True  # PyTorch's operators know no such padding
    if source.is_complex() or not source.is_floating_point():
        return True  # nor these numbers
    if source.is_cuda:
        return False  # not measured
    sizes = (input_shape, weight_shape, stride, padding[::2], dilation)
    return pass_name in passes(_geometry(*map(tuple, sizes), groups), source.dtype, last)


@lru_cache(maxsize=1024)
def _geometry(x: Any, w: Any, stride: Any, *settings: Any) -> ConvGeometry:
    padding, dilation, groups = settings
    return forward_geometry(x, w, stride, padding, dilation, groups, len(stride))


def passes(g: ConvGeometry, dtype: Any, last: bool) -> tuple[str, ...]:
    """The passes that fastconv is expected to run faster than PyTorch, as things are set now.

    ``last`` is whether the layout is channels_last.
    """
    return _passes(g, dtype, last, torch.get_num_threads() > 1, current().winograd)


@lru_cache(maxsize=1024)
def _passes(
    g: ConvGeometry, dtype: Any, last: bool, several: bool, winograd: bool
) -> tuple[str, ...]:
    if not g.flops or dtype not in DTYPES:
        return ()
    return tuple(
        name for name in PASSES if g.flops >= 1e6 * _least(name, g, dtype, last, several, winograd)
    )


def _least(
    pass_name: str, g: ConvGeometry, dtype: Any, last: bool, several: bool, winograd: bool
) -> float:
    """From how many million flops such a pass is ours."""
    if dtype is not torch.float32:
        kind = "pointwise" if prod(g.kernel) == 1 else "depthwise" if _is_depthwise(g) else "taps"
        return _LEAST_OF[dtype][kind][last]
    kind = _kind(pass_name, g, last, winograd)
    if kind == "pointwise" and last and several:
        return inf  # PyTorch's products of matrices spread better over threads
    return _LEAST[kind][last]


def _kind(pass_name: str, g: ConvGeometry, last: bool, winograd: bool) -> str:
    """A float32 pass as `_LEAST` names it."""
    if _is_depthwise(g):
        return "depthwise" if pass_name == "forward" else "depthwise gradient"
    x, w, y = _strides(pass_name, g, last)
    operands = Operands(32, x, w, y)
    thin = min(g.C, g.K) < _THIN
    if g.rank == 3 and not thin:
        return "dense"  # no algorithm of ours is ahead of PyTorch's there
    if convolution.choice(pass_name, g, operands, winograd) in _AHEAD:
        return "ahead"
    which = " weight gradient" if pass_name == "weight_gradient" else ""
    if g.groups > 1:
        return "grouped" + which
    if prod(g.kernel) == 1:
        return "pointwise"
    return "thin" + which if thin and g.rank < 3 else "dense"


def _is_depthwise(g: ConvGeometry) -> bool:
    return g.groups == g.C > 1


def _strides(pass_name: str, g: ConvGeometry, last: bool) -> tuple[_Steps, _Steps, _Steps]:
    """Byte strides of a pass's source, weights and target, all in one layout."""
    x, y, w = operand_strides(g, 4, pass_name, last)
    orders = {"forward": (x, w, y), "weight_gradient": (x, y, w), "input_gradient": (y, w, x)}
    return orders[pass_name]
