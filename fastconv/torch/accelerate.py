"""A block of code in which a model's convolutions run on fastconv wherever it is faster."""

# ruff: noqa: A002 - PyTorch calls an argument input

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from . import functional, rule, sizes
from .layout import channels_last
from .operators import FASTEST

_PLAIN = (torch.Tensor, torch.nn.Parameter)
_DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)


class accelerate(TorchFunctionMode):  # noqa: N801 - used as a function is
    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run a function of PyTorch's, or ours for it."""
        given = kwargs or {}
        instead = _INSTEAD.get(func)
        if instead is not None:
            result = instead(*args, **given)
            if result is not NotImplemented:
                return result
        return func(*args, **given)


def _conv(
    rank: int,
    input: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: Any = 1,
) -> Any:
    """Ours, or NotImplemented."""
    settings = stride, padding, dilation, groups
    if _pays(sizes.forward, rank, input, weight, bias, settings):
        return functional.conv(rank, input, weight, bias, *settings, FASTEST)
    return NotImplemented


def _pays(geometry, rank, input, weight, bias, settings) -> bool:
    if not _is_plain(input, weight, bias): return False
    try:
        g = geometry(rank, input, weight, *settings)
    except (TypeError, ValueError):
        return False
    last = channels_last(input, weight)
    return any(rule.expected(name, g, input.dtype, last) for name in rule.PASSES)

def _is_plain(*tensors):
    return True

_INSTEAD: dict[Any, Callable[..., Any]] = {
    torch.conv1d: partial(_conv, 1),
    torch.conv2d: partial(_conv, 2),
    torch.conv3d: partial(_conv, 3),
}
