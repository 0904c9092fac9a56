"""What the public functions have in common: a call's way from its arguments to its result."""

# ruff: noqa: A002 - PyTorch calls an argument input

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

from . import calls
from ._arguments import sizes
from .dispatch import open_call
from .geometry import forward_geometry, gradient_geometry, transposed_geometry

# Stride, padding, dilation, groups: the public functions' own order.
Settings: TypeAlias = tuple[Any, Any, Any, Any]
# Stride, padding, output_padding, groups, dilation.
TransposedSettings: TypeAlias = tuple[Any, Any, Any, Any, Any]


def conv(
    rank: int,
    input: Any,
    weight: Any,
    bias: Any,
    settings: Settings,
    out: Any,
    algorithm: str,
    stream: Any,
) -> Any:
    """Return a convolution over ``rank`` axes."""
    arguments = (rank, *settings, algorithm)
    elsewhere = out is not None or stream is not None
    if (ready := calls.find("conv", input, weight, bias, arguments, elsewhere)) is not None:
        return ready(input, weight, bias)
    arrays = {"input": input, "weight": weight}
    call = open_call("conv", arrays, arguments, bias=bias, out=out, stream=stream)
    if (known := call.repeat()) is not None:
        return known[0]
    x, w = call.operands()
    g = forward_geometry(x.shape, w.shape, *settings, rank)
    result = call.run("forward", g, "input", "weight", algorithm)
    call.keep()
    return result


def conv_transpose(
    rank: int,
    input: Any,
    weight: Any,
    bias: Any,
    settings: TransposedSettings,
    out: Any,
    algorithm: str,
    stream: Any,
) -> Any:
    """Return a transposed convolution over ``rank`` axes."""
    arguments = (rank, *settings, algorithm)
    elsewhere = out is not None or stream is not None
    ready = calls.find("conv_transpose", input, weight, bias, arguments, elsewhere)
    if ready is not None:
        return ready(input, weight, bias)
    arrays = {"input": input, "weight": weight}
    call = open_call("conv_transpose", arrays, arguments, bias=bias, out=out, stream=stream)
    if (known := call.repeat()) is not None:
        return known[0]
    x, w = call.operands()
    g = transposed_geometry(x.shape, w.shape, *settings, rank)
    result = call.run("input_gradient", g, "input", "weight", algorithm)
    call.keep()
    return result


def weight_gradient(
    rank: int,
    input: Any,
    weight_size: Sequence[int],
    grad_output: Any,
    settings: Settings,
    out: Any,
    algorithm: str,
    stream: Any,
) -> Any:
    """Return the gradient of a convolution over ``rank`` axes with respect to its weight."""
    arguments = (rank, weight_size, *settings, algorithm)
    elsewhere = out is not None or stream is not None
    ready = calls.find("weight_gradient", input, grad_output, None, arguments, elsewhere)
    if ready is not None:
        return ready(input, grad_output)
    arrays = {"input": input, "grad_output": grad_output}
    call = open_call("weight_gradient", arrays, arguments, out=out, stream=stream)
    if (known := call.repeat()) is not None:
        return known[0]
    x, dy = call.operands()
    size, names = sizes(weight_size, "weight_size"), ("input", "weight_size")
    g = gradient_geometry(x.shape, size, dy.shape, *settings, rank, names)
    result = call.run("weight_gradient", g, "input", "grad_output", algorithm)
    call.keep()
    return result


def input_gradient(
    rank: int,
    input_size: Sequence[int],
    weight: Any,
    grad_output: Any,
    settings: Settings,
    out: Any,
    algorithm: str,
    stream: Any,
) -> Any:
    """Return the gradient of a convolution over ``rank`` axes with respect to its input."""
    arguments = (rank, input_size, *settings, algorithm)
    elsewhere = out is not None or stream is not None
    ready = calls.find("input_gradient", grad_output, weight, None, arguments, elsewhere)
    if ready is not None:
        return ready(grad_output, weight)
    arrays = {"weight": weight, "grad_output": grad_output}
    call = open_call("input_gradient", arrays, arguments, out=out, stream=stream)
    if (known := call.repeat()) is not None:
        return known[0]
    w, dy = call.operands()
    size, names = sizes(input_size, "input_size"), ("input_size", "weight")
    g = gradient_geometry(size, w.shape, dy.shape, *settings, rank, names)
    result = call.run("input_gradient", g, "grad_output", "weight", algorithm)
    call.keep()
    return result
