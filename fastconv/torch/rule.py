"""Where fastconv is faster than PyTorch, by the sizes alone: what "fastest" and `accelerate` ask.

The rule was drawn from ``bench/results`` (Zen 4, one and two threads, both layouts, all passes) and
from `bench.torch_training`; nothing is timed when it is asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch

from ..geometry import ConvGeometry, forward_geometry
from ..options import current

PASSES = ("forward", "weight_gradient", "input_gradient")

# A call through PyTorch's dispatcher to Python and back takes a tenth of a millisecond longer than
# PyTorch's own, so the work of a pass must take longer.
_LEAST_FLOPS = 5e7


def ours(
    pass_name: str,
    input_shape: Sequence[int],
    weight_shape: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
    dtype: Any,
    last: bool,
) -> bool:
    """Whether fastconv is expected to run a pass faster; the arguments are the operators' own."""
    sizes = (input_shape, weight_shape, stride, padding, dilation)
    return _decided(pass_name, *map(tuple, sizes), groups, dtype, last, *_circumstances())


def expected(pass_name: str, g: ConvGeometry, dtype: Any, last: bool) -> bool:
    """The same, of a geometry."""
    return decide(pass_name, g, dtype, last, *_circumstances())


def _circumstances():
    return torch.get_num_threads() > 1, current().winograd


@lru_cache(maxsize=4096)
def _decided(pass_name, input_shape, weight_shape, stride, padding, dilation, groups, *others):
    pairs = tuple(zip(padding[::2], padding[1::2], strict=True))
    g = forward_geometry(input_shape, weight_shape, stride, pairs, dilation, groups, len(stride))
    return decide(pass_name, g, *others)


@lru_cache(maxsize=4096)
def decide(pass_name: str, g: ConvGeometry, dtype: Any, last: bool, several: bool, winograd: bool) -> bool:
    if g.pad_before != g.pad_after:
        return True  # PyTorch takes a padded copy
    if g.flops < _LEAST_FLOPS:
        return False
    return True
