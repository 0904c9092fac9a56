"""A block of code in which a model's convolutions run on fastconv wherever it is faster.

It is a ``TorchFunctionMode``: it meets torch.nn.functional.conv2d and its kin before autograd does,
so what it puts in their place has a backward pass of its own, wherever that runs later. A
``TorchDispatchMode`` would see the backward pass only within the block, and would take ten times as
long for every operator that it leaves alone.
"""

# ruff: noqa: A002 - PyTorch calls an argument input

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from ..geometry import ConvGeometry
from . import functional, rule, sizes
from .layout import channels_last
from .operators import FASTEST
from .passes import transformed

_PLAIN = (torch.Tensor, torch.nn.Parameter)


class accelerate(TorchFunctionMode):  # noqa: N801 - used as a function is
    """Run the convolutions of a block of code on fastconv wherever it is faster.

    ``with fastconv.torch.accelerate(): y = model(x)`` needs no change to a model. It holds for
    torch.nn.functional.conv1d to conv3d and conv_transpose1d to conv_transpose3d, and so for
    layers; and for the gradients of their results, also after the block. Each pass of each
    convolution runs on fastconv or stays with PyTorch by a rule of its sizes.

    Blocks nest. A block holds for the thread that entered it, and one object may be entered by many
    threads at once.

    Notes
    -----
    Left to PyTorch are: all that is not float32, float64, float16 or bfloat16, strided, and in the
    host's memory; subclasses of Tensor; code under torch.autocast, torch.jit.trace and
    torch.export; functions of torch.nn.quantized and compiled TorchScript. So are wrong arguments,
    whose errors are PyTorch's.

    Examples
    --------
    >>> import torch
    >>> import fastconv.torch
    >>> model = torch.nn.Sequential(torch.nn.Conv2d(64, 64, 3, padding=1), torch.nn.ReLU())
    >>> with fastconv.torch.accelerate():
    ...     y = model(torch.zeros(1, 64, 56, 56))
    >>> y.grad_fn.next_functions[0][0].name()
    'GeneratedBackwardFor_fastconv_convolution_defaultBackward'
    """

    def __torch_function__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Run a function of PyTorch's, or what is put in its place."""
        given = {} if kwargs is None else kwargs
        replace = _REPLACED.get(func)
        instead = replace(*args, **given) if replace is not None else None
        return func(*args, **given) if instead is None else instead()


Instead = Callable[[], Any] | None


def _conv(
    rank: int,
    input: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: Any = 1,
) -> Instead:
    """A convolution by fastconv, or None where it is better left alone."""
    settings = stride, padding, dilation, groups
    given = input, weight, bias, settings
    found = _algorithm("forward", sizes.forward, rank, *given)
    if found is None:
        return None
    return partial(functional.conv, rank, input, weight, bias, *settings, found)


def _conv_transpose(
    rank: int,
    input: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: Any = 1,
    dilation: Any = 1,
) -> Instead:
    settings = stride, padding, output_padding, groups, dilation
    given = input, weight, bias, settings
    found = _algorithm("input_gradient", sizes.transposed, rank, *given)
    if found is None:
        return None
    return partial(functional.conv_transpose, rank, input, weight, bias, *settings, found)


def _algorithm(
    forward: str,
    geometry: Callable[..., ConvGeometry],
    rank: int,
    input: Any,
    weight: Any,
    bias: Any,
    settings: tuple[Any, ...],
) -> str | None:
    """How a convolution is to run whose result is that pass, or None."""
    if not _are_plain(input, weight, bias) or _is_recorded():
        return None
    if torch.compiler.is_compiling():
        # Decided when the compiled code runs, of whatever sizes; under transforms it could not run.
        return None if transformed() else FASTEST
    try:
        g = geometry(rank, input, weight, *settings)
    except (TypeError, ValueError):
        return None
    ours = rule.passes(g, input.dtype, channels_last(input, weight))
    channels = g.K if forward == "forward" else g.C
    if bias is not None and tuple(bias.shape) != (channels,):
        return None
    if not ours or (forward not in ours and not torch.is_grad_enabled()):
        return None
    if g.pad_before == g.pad_after:
        return FASTEST
    # PyTorch's operators could not take over single passes of a convolution padded otherwise.
    return "auto" if ours == rule.PASSES else None


def _are_plain(input: Any, weight: Any, bias: Any) -> bool:
    tensors = (input, weight) if bias is None else (input, weight, bias)
    return all(
        type(tensor) in _PLAIN
        and tensor.dtype in rule.DTYPES
        and tensor.dtype is tensors[0].dtype
        and tensor.device.type == "cpu"
        and tensor.layout is torch.strided
        and not tensor.is_nested
        for tensor in tensors
    )


def _is_recorded() -> bool:
    """Whether casts are PyTorch's, or a program is written down that is to run without us."""
    return (
        torch.is_autocast_enabled("cpu") or torch.jit.is_tracing() or torch.compiler.is_exporting()
    )


_REPLACED: dict[Any, Callable[..., Instead]] = {
    torch.conv1d: partial(_conv, 1),
    torch.conv2d: partial(_conv, 2),
    torch.conv3d: partial(_conv, 3),
    torch.conv_transpose1d: partial(_conv_transpose, 1),
    torch.conv_transpose2d: partial(_conv_transpose, 2),
    torch.conv_transpose3d: partial(_conv_transpose, 3),
}
