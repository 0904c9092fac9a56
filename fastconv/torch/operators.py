"""The three passes as PyTorch's operators: ``torch.ops.fastconv.convolution`` and its gradients.

Each runs on host and CUDA tensors without a copy. ``padding`` is two integers an axis, before and
after. ``algorithm`` is any of fastconv's, or "fastest": "auto" where `rule.ours` expects fastconv
to be faster, and PyTorch's own operator elsewhere.
"""

# ruff: noqa: A002 - PyTorch calls an argument input

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch

import fastconv

from ..geometry import forward_geometry, gradient_geometry
from . import rule, theirs
from .arrays import array_of, kernels_of, options_for, tensor_of
from .layout import channels_last, empty

Ints = Sequence[int]

FASTEST = "fastest"

_SETTINGS = "SymInt[] stride, SymInt[] padding, SymInt[] dilation, SymInt groups, str algorithm"
_SCHEMAS = (
    f"convolution(Tensor input, Tensor weight, Tensor? bias, {_SETTINGS}) -> Tensor",
    f"input_gradient(SymInt[] input_size, Tensor weight, Tensor grad_output, {_SETTINGS})"
    " -> Tensor",
    f"weight_gradient(Tensor input, SymInt[] weight_size, Tensor grad_output, {_SETTINGS})"
    " -> Tensor",
)
# Compiled code is to hand over tensors with the strides that they would have without it.
_TAGS = (torch.Tag.needs_exact_strides, torch.Tag.pt2_compliant_tag)

library = torch.library.Library("fastconv", "DEF")
for _schema in _SCHEMAS:
    library.define(_schema, tags=_TAGS)

_FORWARD = (fastconv.conv1d, fastconv.conv2d, fastconv.conv3d)
_INPUT_GRADIENT = (fastconv.conv1d_input, fastconv.conv2d_input, fastconv.conv3d_input)
_WEIGHT_GRADIENT = (fastconv.conv1d_weight, fastconv.conv2d_weight, fastconv.conv3d_weight)


def _convolution(input: Any, weight: Any, bias: Any, *settings: Any) -> Any:
    *sizes, algorithm = settings
    last = channels_last(input, weight)
    if algorithm == FASTEST:
        if not rule.ours("forward", input.shape, weight.shape, sizes, input, last):
            return theirs.convolution(input, weight, bias, *sizes)
        algorithm = "auto"
    extra = None if bias is None else array_of(bias)
    call = partial(_FORWARD[weight.ndim - 3], array_of(input), kernels_of(weight), extra)
    shape = partial(_output_shape, input.shape, weight.shape, *sizes)
    return _result(call, sizes, algorithm, input, last, shape)


def _input_gradient(input_size: Ints, weight: Any, grad_output: Any, *settings: Any) -> Any:
    *sizes, algorithm = settings
    last = channels_last(weight, grad_output)
    if algorithm == FASTEST:
        if not rule.ours("input_gradient", input_size, weight.shape, sizes, grad_output, last):
            return theirs.input_gradient(input_size, weight, grad_output, last, *sizes)
        algorithm = "auto"
    operands = kernels_of(weight), array_of(grad_output)
    call = partial(_INPUT_GRADIENT[weight.ndim - 3], input_size, *operands)
    return _result(call, sizes, algorithm, grad_output, last, lambda: input_size)


def _weight_gradient(input: Any, weight_size: Ints, grad_output: Any, *settings: Any) -> Any:
    *sizes, algorithm = settings
    last = channels_last(input, grad_output)
    if algorithm == FASTEST:
        if not rule.ours("weight_gradient", input.shape, weight_size, sizes, input, last):
            return theirs.weight_gradient(input, weight_size, grad_output, last, *sizes)
        algorithm = "auto"
    operands = array_of(input), weight_size, array_of(grad_output)
    call = partial(_WEIGHT_GRADIENT[len(weight_size) - 3], *operands)
    return _called(call, sizes, algorithm, input)


def _result(
    call: Callable[..., Any],
    sizes: Sequence[Any],
    algorithm: str,
    source: Any,
    last: bool,
    shape: Callable[[], Sequence[int]],
) -> Any:
    """Run a pass whose result is channels_last, or is not."""
    unasked = source.shape[1] > 1 and source.stride(1) == 1  # fastconv's own rule
    out = None if unasked == last else array_of(empty(shape(), source, last))
    return _called(call, sizes, algorithm, source, out)


def _called(
    call: Callable[..., Any], sizes: Sequence[Any], algorithm: str, source: Any, out: Any = None
) -> Any:
    stride, padding, dilation, groups = sizes
    # Calls seen before are known by the string object, and PyTorch makes a new one each time.
    name = sys.intern(algorithm)
    with options_for(source):
        result = call(stride, _pairs(padding), dilation, groups, out=out, algorithm=name)
    return tensor_of(result, source)


def _pairs(padding: Ints) -> tuple[tuple[int, int], ...]:
    """Padding as fastconv takes it: (before, after) of each axis."""
    return tuple(zip(padding[::2], padding[1::2], strict=True))


def _output_shape(input_shape: Ints, weight_shape: Ints, *sizes: Any) -> tuple[int, ...]:
    stride, padding, dilation, groups = sizes
    shapes, pairs = (tuple(input_shape), tuple(weight_shape)), _pairs(padding)
    return forward_geometry(*shapes, stride, pairs, dilation, groups, len(pairs)).output_shape


def _check_gradient(input_shape: Ints, weight_shape: Ints, grad_shape: Ints, *sizes: Any) -> None:
    stride, padding, dilation, groups = sizes
    shapes = tuple(input_shape), tuple(weight_shape), tuple(grad_shape)
    pairs = _pairs(padding)
    gradient_geometry(*shapes, stride, pairs, dilation, groups, len(pairs))


# What compilers ask for: a result's shape and strides, without its numbers.


def _fake_convolution(input: Any, weight: Any, bias: Any, *settings: Any) -> Any:
    shape = _output_shape(input.shape, weight.shape, *settings[:-1])
    return empty(shape, input, channels_last(input, weight))


def _fake_input_gradient(input_size: Ints, weight: Any, grad_output: Any, *settings: Any) -> Any:
    _check_gradient(input_size, weight.shape, grad_output.shape, *settings[:-1])
    return empty(input_size, grad_output, channels_last(weight, grad_output))


def _fake_weight_gradient(input: Any, weight_size: Ints, grad_output: Any, *settings: Any) -> Any:
    _check_gradient(input.shape, weight_size, grad_output.shape, *settings[:-1])
    return empty(weight_size, input, False)


for _name, _kernel, _fake in (
    ("convolution", _convolution, _fake_convolution),
    ("input_gradient", _input_gradient, _fake_input_gradient),
    ("weight_gradient", _weight_gradient, _fake_weight_gradient),
):
    _opaque = torch.compiler.disable(_kernel)  # Dynamo looks into it where a transform is outside
    library.impl(_name, _opaque, "CPU")
    library.impl(_name, _opaque, "CUDA")
    torch.library.register_fake(f"fastconv::{_name}", _fake, lib=library)
