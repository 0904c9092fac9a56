"""The three passes by PyTorch's own operators, with our operators' arguments."""

# ruff: noqa: A002 - PyTorch calls an argument input

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from .layout import empty

Ints = Sequence[int]


def convolution(
    input: Any, weight: Any, bias: Any, stride: Ints, padding: Ints, dilation: Ints, groups: int
) -> Any:
    """Return the forward pass; both ends of an axis are padded alike."""
    none = [0] * len(stride)
    return torch.ops.aten.convolution(
        input, weight, bias, stride, padding[::2], dilation, False, none, groups
    )


def input_gradient(
    input_size: Ints, weight: Any, grad_output: Any, last: bool, *settings: Any
) -> Any:
    """Return the gradient with respect to an input, which PyTorch knows but does not read."""
    unread = empty(input_size, grad_output, last)
    return _gradients(grad_output, unread, weight, *settings, mask=[True, False, False])[0]


def weight_gradient(
    input: Any, weight_size: Ints, grad_output: Any, last: bool, *settings: Any
) -> Any:
    """Return the gradient with respect to a weight, which PyTorch knows but does not read."""
    unread = empty(weight_size, input, last)
    gradients = _gradients(grad_output, input, unread, *settings, mask=[False, True, False])
    return gradients[1].contiguous()


def _gradients(
    grad_output: Any,
    input: Any,
    weight: Any,
    stride: Ints,
    padding: Ints,
    dilation: Ints,
    groups: int,
    mask: list[bool],
) -> Any:
    none = [0] * len(stride)
    return torch.ops.aten.convolution_backward(
        grad_output, input, weight, None, stride, padding[::2], dilation, False, none, groups, mask
    )
