"""The three passes by PyTorch's own operators, with our operators' arguments."""

# ruff: noqa: A002 - PyTorch calls an argument input

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from .layout import channels_last, empty, laid_out

Ints = Sequence[int]


def convolution(
    input: Any, weight: Any, bias: Any, stride: Ints, padding: Ints, dilation: Ints, groups: int
) -> Any:
    """Return the forward pass; both ends of an axis are padded alike."""
    none = [0] * len(stride)
    y = torch.ops.aten.convolution(
        input, weight, bias, stride, padding[::2], dilation, False, none, groups
    )
    return laid_out(y, channels_last(input, weight))  # which not all of PyTorch's kernels keep


def input_gradient(
    input_size: Ints, weight: Any, grad_output: Any, last: bool, *settings: Any
) -> Any:
    """Return the gradient with respect to an input, which PyTorch knows but does not read."""
    unread = empty(input_size, grad_output, last)
    gradients = _gradients([True, False, False], grad_output, unread, weight, *settings)
    return laid_out(gradients[0], last)


def weight_gradient(
    input: Any, weight_size: Ints, grad_output: Any, last: bool, *settings: Any
) -> Any:
    """Return the gradient with respect to a weight, which PyTorch knows but does not read."""
    unread = empty(weight_size, input, last)
    gradients = _gradients([False, True, False], grad_output, input, unread, *settings)
    return gradients[1].contiguous()


def _gradients(mask: list[bool], dy: Any, x: Any, w: Any, *settings: Any) -> Any:
    stride, padding, dilation, groups = settings
    none = [0] * len(stride)
    return torch.ops.aten.convolution_backward(
        dy, x, w, None, stride, padding[::2], dilation, False, none, groups, mask
    )
