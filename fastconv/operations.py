"""What the public functions have in common: a call's way from its arguments to its result."""

# ruff: noqa: A002 - PyTorch calls an argument input

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

from . import calls
from ._arguments import flag, one_of, sizes
from .dispatch import Call, open_call
from .geometry import check_samples, forward_geometry, gradient_geometry, transposed_geometry
from .options import current

ACTIVATIONS = ("relu",)

# Stride, padding, dilation, groups: the public functions' own order; and padding_mode.
Settings: TypeAlias = tuple[Any, Any, Any, Any, Any]
# Stride, padding, output_padding, groups, dilation; and padding_mode.
TransposedSettings: TypeAlias = tuple[Any, Any, Any, Any, Any, Any]


def conv(
    rank: int,
    input: Any,
    weight: Any,
    bias: Any,
    settings: Settings,
    activation: str | None,
    out: Any,
    algorithm: str,
    stream: Any,
) -> Any:
    """Return a convolution over ``rank`` axes."""
    if out is None and stream is None:
        how = current().planning
        ready = calls.known.find(
            "conv", how, input, weight, bias, rank, settings, algorithm, activation
        )
        if ready is not None:
            return ready(input, weight, bias)
    arguments = (rank, *settings, algorithm, activation)
    arrays = {"input": input, "weight": weight}
    call = open_call("conv", arrays, arguments, bias=bias, out=out, stream=stream)
    if (known := call.repeat()) is not None:
        return known[0]
    result = checked_conv(call, rank, settings, activation, algorithm)
    call.keep()
    return result


def checked_conv(
    call: Call, rank: int, settings: Settings, activation: str | None, algorithm: str
) -> Any:
    """What ``call`` makes of a convolution, once its arguments are checked."""
    x, w = call.operands()
    if activation is not None:
        activation = one_of(activation, "activation", ACTIVATIONS)
    g = forward_geometry(x.shape, w.shape, *settings[:4], rank, padding_mode=settings[4])
    return call.run("forward", g, "input", "weight", algorithm, activation)


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
    if out is None and stream is None:
        how = current().planning
        ready = calls.known.find(
            "conv_transpose", how, input, weight, bias, rank, settings, algorithm, None
        )
        if ready is not None:
            return ready(input, weight, bias)
    arguments = (rank, *settings, algorithm, None)
    arrays = {"input": input, "weight": weight}
    call = open_call("conv_transpose", arrays, arguments, bias=bias, out=out, stream=stream)
    if (known := call.repeat()) is not None:
        return known[0]
    result = checked_conv_transpose(call, rank, settings, algorithm)
    call.keep()
    return result


def checked_conv_transpose(
    call: Call, rank: int, settings: TransposedSettings, algorithm: str
) -> Any:
    """What ``call`` makes of a transposed convolution, once its arguments are checked."""
    x, w = call.operands()
    g = transposed_geometry(x.shape, w.shape, *settings[:5], rank, settings[5])
    return call.run("input_gradient", g, "input", "weight", algorithm)


def weight_gradient(
    rank: int,
    input: Any,
    weight_size: Sequence[int],
    grad_output: Any,
    settings: Settings,
    per_sample: bool,
    out: Any,
    algorithm: str,
    stream: Any,
) -> Any:
    """Return the gradient of a convolution over ``rank`` axes with respect to its weight."""
    kind = "weight_gradient"
    if per_sample is not False and flag(per_sample, "per_sample"):
        kind = "per_sample_gradient"
    if out is None and stream is None:
        how = current().planning
        ready = calls.known.find(
            kind, how, input, grad_output, None, rank, settings, algorithm, weight_size
        )
        if ready is not None:
            return ready(input, grad_output)
    arguments = (rank, *settings, algorithm, weight_size)
    arrays = {"input": input, "grad_output": grad_output}
    call = open_call(kind, arrays, arguments, out=out, stream=stream)
    if (known := call.repeat()) is not None:
        return known[0]
    result = checked_weight_gradient(call, kind, rank, weight_size, settings, algorithm)
    call.keep()
    return result


def checked_weight_gradient(
    call: Call, kind: str, rank: int, weight_size: Sequence[int], settings: Settings, algorithm: str
) -> Any:
    """What ``call`` makes of a weight gradient, or one a sample, once its arguments are checked."""
    x, dy = call.operands()
    size, names = sizes(weight_size, "weight_size"), ("input", "weight_size")
    g = gradient_geometry(x.shape, size, dy.shape, *settings[:4], rank, names, settings[4])
    if kind != "weight_gradient":
        check_samples(g, "weight_size")
    return call.run(kind, g, "input", "grad_output", algorithm)


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
    if out is None and stream is None:
        how = current().planning
        ready = calls.known.find(
            "input_gradient", how, grad_output, weight, None, rank, settings, algorithm, input_size
        )
        if ready is not None:
            return ready(grad_output, weight)
    arguments = (rank, *settings, algorithm, input_size)
    arrays = {"weight": weight, "grad_output": grad_output}
    call = open_call("input_gradient", arrays, arguments, out=out, stream=stream)
    if (known := call.repeat()) is not None:
        return known[0]
    result = checked_input_gradient(call, rank, input_size, settings, algorithm)
    call.keep()
    return result


def checked_input_gradient(
    call: Call, rank: int, input_size: Sequence[int], settings: Settings, algorithm: str
) -> Any:
    """What ``call`` makes of an input gradient, once its arguments are checked."""
    w, dy = call.operands()
    size, names = sizes(input_size, "input_size"), ("input_size", "weight")
    g = gradient_geometry(size, w.shape, dy.shape, *settings[:4], rank, names, settings[4])
    return call.run("input_gradient", g, "grad_output", "weight", algorithm)
