"""How tensors lie in memory: PyTorch's rule for channels_last, and results that keep it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

# PyTorch has no such format for signals: their results are in C order.
_FORMATS = {4: torch.channels_last, 5: torch.channels_last_3d}


def channels_last(*operands: Any) -> bool:
    """Whether a result of these operands is channels_last: as in PyTorch, if one of them is."""
    return any(_lies_so(tensor) for tensor in operands)


def _lies_so(tensor: Any) -> bool:
    """What PyTorch tells by a tensor's strides, for slices and single channels, too.

    One channel is last if its stride is the shortest; (N, 1, 1, 1) of equal strides is in C order.
    """
    shape, strides = tensor.shape, tensor.stride()
    if len(shape) not in _FORMATS or strides[1] == 0:
        return False
    least = 0
    for axis in (1, *range(len(shape) - 1, 1, -1), 0):
        if shape[axis] == 0 or strides[axis] < least or (axis == 0 and least == strides[1]):
            return False
        least = strides[axis] * shape[axis]
    return True


def laid_out(tensor: Any, last: bool) -> Any:
    """The tensor, copied if it is channels_last and should not be, or the other way round."""
    if tensor.ndim not in _FORMATS or _lies_so(tensor) == last:
        return tensor
    form = _FORMATS[tensor.ndim] if last else torch.contiguous_format
    return tensor.contiguous(memory_format=form)


def empty(shape: Sequence[Any], like: Any, last: bool) -> Any:
    """A new tensor of this shape, of the dtype and on the device of another."""
    form = _FORMATS.get(len(shape)) if last else None
    return torch.empty(
        tuple(shape),
        dtype=like.dtype,
        device=like.device,
        memory_format=form or torch.contiguous_format,
    )
