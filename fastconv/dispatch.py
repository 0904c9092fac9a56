"""Runs a checked convolution: the backend by the arrays' type, the plan from a cache."""

from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np

from . import calls
from .cpu import convolution, program
from .cpu.convolution import Plan
from .cpu.operands import Operands
from .geometry import ConvGeometry

Array: TypeAlias = np.ndarray[Any, Any]

ALGORITHMS = ("auto", *convolution.ALGORITHMS)

_PLANS_KEPT = 1024


def forward(
    g: ConvGeometry,
    x: Array,
    w: Array,
    bias: Array | None = None,
    out: Array | None = None,
    algorithm: str = "auto",
) -> Array:
    """Return y of g.output_shape."""
    y = new_result(g.output_shape, x) if out is None else out
    if y.size:
        plan = plan_for("forward", g, x, w, y, algorithm)
        plan.program.run(x, w, y, _no_bias(g.K, x) if bias is None else np.ascontiguousarray(bias))
    return y


def weight_gradient(
    g: ConvGeometry, x: Array, dy: Array, out: Array | None = None, algorithm: str = "auto"
) -> Array:
    """Return dw of g.weight_shape."""
    dw = np.empty(g.weight_shape, x.dtype) if out is None else out
    if x.size:
        plan = plan_for("weight_gradient", g, x, dy, dw, algorithm)
        plan.program.run(x, dy, dw, dw)
    else:
        dw[...] = 0  # a sum over no images
    return dw


def input_gradient(
    g: ConvGeometry,
    w: Array,
    dy: Array,
    bias: Array | None = None,
    out: Array | None = None,
    algorithm: str = "auto",
) -> Array:
    """Return dx of g.input_shape; a bias makes it a transposed convolution."""
    dx = new_result(g.input_shape, dy) if out is None else out
    if dx.size:
        plan = plan_for("input_gradient", g, dy, w, dx, algorithm)
        plan.program.run(
            dy, w, dx, _no_bias(g.C, dy) if bias is None else np.ascontiguousarray(bias)
        )
    return dx


def plan_for(pass_name: str, g: ConvGeometry, x: Array, w: Array, y: Array, algorithm: str) -> Plan:
    """The plan of a pass on arrays of these strides: from the cache, or made now."""
    return plan(pass_name, g, x.itemsize * 8, x.strides, w.strides, y.strides, algorithm)


def keep_call(
    key: calls.Key | None,
    pass_name: str,
    g: ConvGeometry,
    operands: tuple[Array, Array, Array],
    bias: Array | None,
    algorithm: str,
    result: Array,
) -> None:
    """Let later calls with the same ``key`` go straight to the plan that this one ran."""
    x, w, y = operands
    plain = x.size and y.size and (bias is None or bias.flags.c_contiguous)
    if key is not None and plain:
        program = plan_for(pass_name, g, x, w, y, algorithm).program
        zeros = None if pass_name == "weight_gradient" else _no_bias(y.shape[1], y)
        calls.keep(key, calls.ReadyCall(program, result, zeros))


@lru_cache(maxsize=_PLANS_KEPT)
def plan(
    pass_name: str,
    g: ConvGeometry,
    bits: int,
    x: tuple[int, ...],
    w: tuple[int, ...],
    y: tuple[int, ...],
    algorithm: str,
) -> Plan:
    """The plan of a pass, from the item size in bits and the strides of source, weights, target."""
    return convolution.make_plan(pass_name, g, Operands(bits, x, w, y), algorithm)


@lru_cache(maxsize=64)
def _zeros(length: int, dtype: np.dtype[Any]) -> Array:
    return np.zeros(length, dtype)


def _no_bias(channels: int, like: Array) -> Array:
    return _zeros(channels, like.dtype)


def new_result(shape: tuple[int, ...], like: Array) -> Array:
    """A new array laid out as ``like`` is: channels contiguous, or in C order."""
    if like.shape[1] > 1 and like.strides[1] == like.itemsize:
        return np.moveaxis(np.empty((shape[0], *shape[2:], shape[1]), like.dtype), -1, 1)
    return np.empty(shape, like.dtype)


def clear_cache() -> None:
    """Forget all plans and free the memory kept between calls; kernels on disk stay."""
    plan.cache_clear()
    _zeros.cache_clear()
    calls.forget()
    program.forget_workspaces()
