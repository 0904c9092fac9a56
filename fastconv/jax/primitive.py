"""The primitive that JAX differentiates, batches and compiles: a pass, linear in both operands.

The three passes are each other's transposes: whichever of x, w and y is asked for, it is computed
from the other two. So all derivatives of all orders, forward and reverse, are passes again.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache, partial
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from . import call_frame
from .operation import Operation, computed

TARGET = "fastconv_convolution"
# The indices of the first two axes: two arrays share one that is not summed, the third has both.
_INDICES = {"x": ("N", "C"), "w": ("K", "C"), "y": ("N", "K")}
_GROUPED = {"x": "C", "w": "K", "y": "K"}  #: the axis that is cut into groups

convolution = Primitive("fastconv_convolution")


def apply(operation: Operation, a: Any, b: Any) -> Any:
    """The pass of two arrays."""
    return convolution.bind(a, b, operation=operation)


@convolution.def_impl
def _run(a: Any, b: Any, *, operation: Operation) -> Any:
    return _compiled(operation)(a, b)


@lru_cache(maxsize=1024)
def _compiled(operation: Operation) -> Any:
    return jax.jit(partial(apply, operation))


@convolution.def_abstract_eval
def _shape(a: Any, b: Any, *, operation: Operation) -> Any:
    return jax.core.ShapedArray(operation.shape(operation.result), a.dtype)


# Derivatives.


def _transposed(first: bool, cotangent: Any, a: Any, b: Any, *, operation: Operation) -> Any:
    """The cotangent of one operand, from the result's and the other operand."""
    wanted, other = operation.operands if first else operation.operands[::-1]
    given = {operation.result: cotangent, other: b if first else a}
    to_do = replace(operation, result=wanted)
    return apply(to_do, *(given[name] for name in to_do.operands))


ad.defbilinear(convolution, partial(_transposed, True), partial(_transposed, False))


# Batches.


def _batched(
    operands: tuple[Any, Any], axes: tuple[int | None, int | None], *, operation: Operation
) -> tuple[Any, int]:
    """A batch of passes as one: with more images, more channels or more groups."""
    names, arrays = operation.operands, list(operands)
    result, g = operation.result, operation.g
    (size,) = {a.shape[axis] for a, axis in zip(arrays, axes, strict=True) if axis is not None}
    if size == 0:
        return jnp.zeros((0, *operation.shape(result)), arrays[0].dtype), 0
    if None in axes:
        batched = 1 if axes[0] is None else 0
        (index,) = set(_INDICES[names[batched]]) & set(_INDICES[result])
        if index == "N" or g.groups == 1:
            axis = axes[batched] or 0
            arrays[batched] = _merged(operation, names[batched], arrays[batched], axis, index)
            larger = replace(operation, g=replace(g, **{index: size * getattr(g, index)}))
            return _split(operation, size, apply(larger, *arrays), index)
    for i, name in enumerate(names):
        if axes[i] is None:
            arrays[i] = jnp.broadcast_to(arrays[i], (size, *arrays[i].shape))
        arrays[i] = _merged(operation, name, arrays[i], axes[i] or 0, _GROUPED[name])
    grouped = replace(g, C=size * g.C, K=size * g.K, groups=size * g.groups)
    larger = replace(operation, g=grouped)
    return _split(operation, size, apply(larger, *arrays), _GROUPED[result])


def _position(operation: Operation, name: str, index: str) -> int:
    return operation.axes(name)[_INDICES[name].index(index)]


def _merged(operation: Operation, name: str, array: Any, axis: int, index: str) -> Any:
    """The axis of the batch and that of an index as one, the batch's the slower."""
    at = _position(operation, name, index)
    moved = jnp.moveaxis(array, axis, at)
    return moved.reshape(*moved.shape[:at], prod(moved.shape[at : at + 2]), *moved.shape[at + 2 :])


def _split(operation: Operation, size: int, result: Any, index: str) -> tuple[Any, int]:
    """The result of a larger operation with an axis for the batch, and where that is."""
    at = _position(operation, operation.result, index)
    each = operation.shape(operation.result)[at]
    return result.reshape(*result.shape[:at], size, each, *result.shape[at + 1 :]), at


batching.primitive_batchers[convolution] = _batched


# Compilation.


def _by_callback(a: Any, b: Any, *, operation: Operation) -> Any:
    result = jax.ShapeDtypeStruct(operation.shape(operation.result), a.dtype)
    return jax.pure_callback(partial(computed, operation), result, a, b)


def lower_by_callback() -> None:
    """Let XLA run passes by JAX's own callbacks, which copy what they are given."""
    rule = mlir.lower_fun(_by_callback, multiple_results=False)
    mlir.register_lowering(convolution, rule, platform="cpu")
    _compiled.cache_clear()


def lower_by_handler() -> None:
    """Let XLA call `call_frame.handler`, which works on XLA's own memory."""
    jax.ffi.register_ffi_target(TARGET, jax.ffi.pycapsule(call_frame.handler), platform="cpu")
    lowering = jax.ffi.ffi_lowering(TARGET)

    def rule(context: Any, a: Any, b: Any, *, operation: Operation) -> Any:
        return lowering(context, a, b, operation=operation.text())

    mlir.register_lowering(convolution, rule, platform="cpu")
    _compiled.cache_clear()


def lower() -> None:
    """Choose how XLA runs passes."""
    if call_frame.is_known():
        lower_by_handler()
    else:
        lower_by_callback()


lower()
