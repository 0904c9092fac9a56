"""Convolutions of tensors with torch.nn.functional's signatures, and all that autograd needs."""

# ruff: noqa: A002 - PyTorch calls an argument input

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.nn.functional import pad

from .._arguments import Ints, Padding, Pads, one_of, per_axis
from ..dispatch import ALGORITHMS
from ..geometry import ConvGeometry
from . import sizes
from .operators import FASTEST
from .passes import passes

_ALGORITHMS = (FASTEST, *ALGORITHMS)


def conv1d(
    input: Any,
    weight: Any,
    bias: Any = None,
    stride: Ints = 1,
    padding: Padding = 0,
    dilation: Ints = 1,
    groups: int = 1,
    *,
    algorithm: str = "auto",
) -> Any:
    """Convolve signals with kernels: `conv2d` with one spatial axis in place of two."""
    return conv(1, input, weight, bias, stride, padding, dilation, groups, algorithm)


def conv2d(
    input: Any,
    weight: Any,
    bias: Any = None,
    stride: Ints = 1,
    padding: Padding = 0,
    dilation: Ints = 1,
    groups: int = 1,
    *,
    algorithm: str = "auto",
) -> Any:
    """Convolve images with kernels: torch.nn.functional.conv2d by fastconv.

    Parameters
    ----------
    input : Tensor, shape (N, C, H, W) or (C, H, W)
        On the host or a CUDA device, any strides; float32, float64, float16, bfloat16, and on the
        host also complex and integer ones, of which the latter have no gradients.
    weight : Tensor, shape (K, C // groups, R, S)
        The kernels, of the input's dtype and on its device.
    bias : Tensor, shape (K,), optional
        Added to each output channel.
    stride, padding, dilation, groups
        As in `fastconv.conv2d`: beyond PyTorch's, padding may be a pair ``(before, after)`` for
        each axis.
    algorithm : str
        One of fastconv's, or "fastest", which leaves each pass to PyTorch unless fastconv is
        expected to be faster. It holds for the gradients, too: an algorithm that cannot do all
        three passes, as "col2im", is an error in the others.

    Returns
    -------
    Tensor, shape (N, K, P, Q) or (K, P, Q)
        channels_last if the input or the weight is, in C order otherwise.

    Raises
    ------
    TypeError, ValueError
        As `fastconv.conv2d`, in place of PyTorch's RuntimeError.

    Notes
    -----
    Derivatives of every order are recorded, and calculated by fastconv: in reverse mode only.
    Under torch.autocast, operands become its dtype, as PyTorch's own do.

    Examples
    --------
    >>> import torch
    >>> from fastconv.torch import conv2d
    >>> x = torch.arange(1.0, 10.0).reshape(1, 1, 3, 3)
    >>> w = torch.tensor([[3.0, 2.0], [1.0, 5.0]]).reshape(1, 1, 2, 2).requires_grad_()
    >>> conv2d(x, w).sum().backward()
    >>> w.grad[0, 0]
    tensor([[12., 16.],
            [24., 28.]])
    """
    return conv(2, input, weight, bias, stride, padding, dilation, groups, algorithm)


def conv3d(
    input: Any,
    weight: Any,
    bias: Any = None,
    stride: Ints = 1,
    padding: Padding = 0,
    dilation: Ints = 1,
    groups: int = 1,
    *,
    algorithm: str = "auto",
) -> Any:
    """Convolve volumes with kernels: `conv2d` with three spatial axes in place of two."""
    return conv(3, input, weight, bias, stride, padding, dilation, groups, algorithm)


def conv(
    rank: int,
    input: Any,
    weight: Any,
    bias: Any,
    stride: Ints,
    padding: Padding,
    dilation: Ints,
    groups: int,
    algorithm: str,
) -> Any:
    """Return a convolution over ``rank`` axes."""
    x, w, b = _cast(input, weight, bias)
    algorithm = one_of(algorithm, "algorithm", _ALGORITHMS)
    g = sizes.forward(rank, x, w, stride, padding, dilation, groups)
    batched = x.ndim == rank + 2
    images = x if batched else x.unsqueeze(0)
    y = passes().convolution(images, w, b, *_settings(g, g.pad_after), algorithm)
    return y if batched else y.squeeze(0)


def conv_transpose1d(
    input: Any,
    weight: Any,
    bias: Any = None,
    stride: Ints = 1,
    padding: Pads = 0,
    output_padding: Ints = 0,
    groups: int = 1,
    dilation: Ints = 1,
    *,
    algorithm: str = "auto",
) -> Any:
    """Apply a transposed convolution to signals: `conv_transpose2d` with one spatial axis."""
    settings = stride, padding, output_padding, groups, dilation
    return conv_transpose(1, input, weight, bias, *settings, algorithm)


def conv_transpose2d(
    input: Any,
    weight: Any,
    bias: Any = None,
    stride: Ints = 1,
    padding: Pads = 0,
    output_padding: Ints = 0,
    groups: int = 1,
    dilation: Ints = 1,
    *,
    algorithm: str = "auto",
) -> Any:
    """Apply a transposed convolution to images: torch.nn.functional.conv_transpose2d by fastconv.

    Parameters
    ----------
    input : Tensor, shape (N, K, P, Q) or (K, P, Q)
        As in `conv2d`.
    weight : Tensor, shape (K, C // groups, R, S)
    bias : Tensor, shape (C,), optional
    stride, padding, output_padding, groups, dilation
        As in `fastconv.conv_transpose2d`.
    algorithm : str
        As in `conv2d`.

    Returns
    -------
    Tensor, shape (N, C, H, W) or (C, H, W)

    Raises
    ------
    TypeError, ValueError
        As `fastconv.conv_transpose2d`.

    Examples
    --------
    >>> import torch
    >>> from fastconv.torch import conv_transpose2d
    >>> conv_transpose2d(torch.ones(1, 1, 2, 2), torch.ones(1, 1, 2, 2))
    tensor([[[[1., 2., 1.],
              [2., 4., 2.],
              [1., 2., 1.]]]])
    """
    settings = stride, padding, output_padding, groups, dilation
    return conv_transpose(2, input, weight, bias, *settings, algorithm)


def conv_transpose3d(
    input: Any,
    weight: Any,
    bias: Any = None,
    stride: Ints = 1,
    padding: Pads = 0,
    output_padding: Ints = 0,
    groups: int = 1,
    dilation: Ints = 1,
    *,
    algorithm: str = "auto",
) -> Any:
    """Apply a transposed convolution to volumes: `conv_transpose2d` with three spatial axes."""
    settings = stride, padding, output_padding, groups, dilation
    return conv_transpose(3, input, weight, bias, *settings, algorithm)


def conv_transpose(
    rank: int,
    input: Any,
    weight: Any,
    bias: Any,
    stride: Ints,
    padding: Pads,
    output_padding: Ints,
    groups: int,
    dilation: Ints,
    algorithm: str,
) -> Any:
    """Return a transposed convolution over ``rank`` axes: the input gradient of an ordinary one."""
    x, w, b = _cast(input, weight, bias)
    algorithm = one_of(algorithm, "algorithm", _ALGORITHMS)
    g = sizes.transposed(rank, x, w, stride, padding, output_padding, groups, dilation)
    batched = x.ndim == rank + 2
    images = x if batched else x.unsqueeze(0)
    after, beyond = _output_padding(g, per_axis(output_padding, "output_padding", rank, 0))
    size = (g.N, g.C, *(whole - more for whole, more in zip(g.input, beyond, strict=True)))
    if min(size[2:]) < 1:  # all of it lies beyond every kernel
        nothing = images.flatten()[:0].sum() + w.flatten()[:0].sum()
        y = nothing.expand(g.N, g.C, *g.input)
    else:
        y = passes().input_gradient(size, w.conj(), images, *_settings(g, after), algorithm)
        if any(beyond):
            y = pad(y, [side for more in reversed(beyond) for side in (0, more)])
    if b is not None:
        y = y + _row(b, x, g)
    return y if batched else y.squeeze(0)


def _output_padding(
    g: ConvGeometry, extra: Sequence[int]
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The padding at the ends of a convolution whose input gradient this is, and what lies beyond.

    That convolution steps over what output_padding adds if it is less than the stride. If not, it
    lies first where padding cut the result off, then beyond every kernel: those are zeros.
    """
    if all(more < step for more, step in zip(extra, g.stride, strict=True)):
        return g.pad_after, (0,) * g.rank
    both = tuple(zip(g.pad_after, extra, strict=True))
    after = tuple(max(end - more, 0) for end, more in both)
    return after, tuple(max(more - end, 0) for end, more in both)


def _settings(g: ConvGeometry, pad_after: Sequence[int]) -> tuple[Any, ...]:
    """The operators' arguments between the tensors and the algorithm."""
    sides = zip(g.pad_before, pad_after, strict=True)
    return g.stride, [side for pair in sides for side in pair], g.dilation, g.groups


def _row(bias: Any, input: Any, g: ConvGeometry) -> Any:
    """A transposed convolution's bias, to be added to its result."""
    if bias.dtype != input.dtype:
        raise TypeError(f"bias must have the dtype of input, {input.dtype}, got {bias.dtype}")
    if bias.shape != (g.C,):
        raise ValueError(f"bias must have shape ({g.C},), got {tuple(bias.shape)}")
    return bias.reshape(-1, *(1,) * g.rank)


def _cast(input: Any, weight: Any, bias: Any) -> tuple[Any, ...]:
    """Operands, which are tensors, as torch.autocast wants them: in its dtype, but for 64 bits."""
    operands = input, weight, bias
    for name, tensor in zip(("input", "weight", "bias"), operands, strict=True):
        if not (isinstance(tensor, torch.Tensor) or (name == "bias" and tensor is None)):
            raise TypeError(
                f"{name} must be a torch.Tensor, got {type(tensor).__name__}: convert it, "
                f"for example with torch.as_tensor({name})"
            )
    place = input.device.type
    if not torch.is_autocast_enabled(place):
        return operands
    kind = torch.get_autocast_dtype(place)
    return tuple(
        tensor.to(kind)
        if tensor is not None and tensor.is_floating_point() and tensor.dtype != torch.float64
        else tensor
        for tensor in operands
    )
