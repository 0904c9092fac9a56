"""Behind `fastconv.ndimage`: checks as SciPy's, a plan, and the result's dtype."""

# ruff: noqa: A002 - SciPy calls an argument input

from __future__ import annotations

import operator
import warnings
from collections.abc import Sequence
from itertools import islice
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import DTypeLike

from . import calls
from ._arguments import plural, quoted, shown
from ._arrays import Array, as_dtype, overlaps_itself
from ._linear import Task, checked, checked_number, prepare
from ._sums import Run

Origin: TypeAlias = int | Sequence[int]
Output: TypeAlias = Array | DTypeLike | None

_MODES = {
    "reflect": "reflect",
    "grid-mirror": "reflect",
    "constant": "constant",
    "grid-constant": "constant",
    "nearest": "nearest",
    "mirror": "mirror",
    "wrap": "wrap",
    "grid-wrap": "wrap",
}
_INTEGERS = (f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64))
_KINDS = ("bool", *_INTEGERS, "float32", "float64", "complex64", "complex128")
_SHIFT = 1 << 32  # makes any origin or axis that may be meant a positive number


def over_axes(
    correlates: bool,
    input: Any,
    weights: Any,
    output: Any,
    mode: Any,
    cval: Any,
    origin: Any,
    axes: Any,
) -> Array:
    """A call of `correlate` or of `convolve`."""
    kind = "ndimage.correlate" if correlates else "ndimage.convolve"
    # A call is known by integers from zero on.
    near = origin + _SHIFT if type(origin) is int else origin
    call = kind, 0, input, weights, None, 0, (mode, near, axes), "", _known_fill(mode, cval)
    ready: Run | None = calls.known.find(*call) if output is None else None
    if ready is not None:
        return ready(input, weights)
    x, w = checked(input, "input"), checked(weights, "weights")
    along = _axes(axes, x.ndim)
    if w.ndim != len(along):
        raise RuntimeError(f"weights must have {len(along)} axes, got shape {w.shape}")
    origins = _origins(origin, along, x.ndim)
    others = tuple(axis for axis in range(x.ndim) if axis not in along)
    spread = np.expand_dims(w, others).shape
    return _done(call, correlates, x, w, spread, output, mode, cval, origins)


def along_axis(
    correlates: bool,
    input: Any,
    weights: Any,
    axis: Any,
    output: Any,
    mode: Any,
    cval: Any,
    origin: Any,
) -> Array:
    """A call of `correlate1d` or of `convolve1d`."""
    kind = "ndimage.correlate1d" if correlates else "ndimage.convolve1d"
    near = origin + _SHIFT if type(origin) is int else origin
    place = axis + _SHIFT if type(axis) is int else axis
    call = kind, 0, input, weights, None, 0, (mode, near, place), "", _known_fill(mode, cval)
    ready: Run | None = calls.known.find(*call) if output is None else None
    if ready is not None:
        return ready(input, weights)
    x, w = checked(input, "input"), checked(weights, "weights")
    if w.ndim != 1:
        raise RuntimeError(f"weights must be 1-D, got shape {w.shape}")
    number = _axis(axis, "axis", x.ndim)
    spread, origins = [1] * x.ndim, [0] * x.ndim
    spread[number], origins[number] = len(w), _index(origin, "origin")
    return _done(call, correlates, x, w, tuple(spread), output, mode, cval, origins)


def _done(
    call: tuple[Any, ...],
    correlates: bool,
    x: Array,
    w: Array,
    spread: tuple[int, ...],
    output: Any,
    mode: Any,
    cval: Any,
    origins: Sequence[int],
) -> Array:
    """Plan a call, do it, and remember it where its result is a new array of the usual dtype.

    ``spread`` is the weights' shape with an axis for each of the input's.
    """
    word = str.__str__(mode) if issubclass(type(mode), str) else None
    if word not in _MODES:
        raise RuntimeError(f"mode must be one of {quoted(tuple(_MODES))}, got {shown(mode)}")
    value = checked_number(cval, "cval")
    for array, name in ((x, "input"), (w, "weights")):
        if array.dtype.name not in (_KINDS if array is x else (*_KINDS, "float16")):
            raise RuntimeError(
                f"{name} must have a bool, integer, float or complex dtype of up to 64 bits a "
                f"part, got {array.dtype}"
            )
    if 0 in spread:
        raise RuntimeError(f"weights must have no empty axis, got shape {w.shape}")
    kinds = x.dtype.kind + w.dtype.kind
    narrow = all(array.dtype.name in ("float32", "complex64") for array in (x, w))
    real, complex_ = (np.float32, np.complex64) if narrow else (np.float64, np.complex128)
    computed = np.dtype(complex_ if "c" in kinds else real)
    usual = np.promote_types(x.dtype, np.complex64 if "c" in kinds else x.dtype)
    target = _target(output, usual, x.shape)
    if np.iscomplexobj(value) and x.dtype.kind != "c":
        raise ValueError(f"cval must be real for an input of {x.dtype}, got {shown(cval)}")
    starts = tuple(_start(k, origin, correlates) for k, origin in zip(spread, origins, strict=True))
    task = Task(correlates, starts, x.shape, _MODES[word], value, 2 if correlates else 0)
    sums = prepare(x, w.reshape(spread), computed, task, "direct")
    cast = _Cast(target.dtype if isinstance(target, np.ndarray) else target)

    def ready(image: Array, kernel: Array) -> Array:
        return cast(sums(image, kernel.reshape(spread)))

    if output is None:
        calls.known.remember(ready, *call)
    made = ready(x, w)
    if not isinstance(target, np.ndarray):
        return made
    target[...] = made
    return target


def _start(k: int, origin: int, correlates: bool) -> int:
    """Which place of the full result is an axis' first, for a kernel of k elements there."""
    # A convolution's kernel is turned over, its origin with it; an even one's centre moves by one.
    turned = origin if correlates else -origin - (k % 2 == 0)
    if not -(k // 2) <= turned <= (k - 1) // 2:
        raise ValueError(
            "origin must keep the kernel's centre inside the kernel, got "
            f"{shown(origin)} for {plural(k, 'element')}"
        )
    return k - 1 - k // 2 - turned


def _index(value: Any, name: str) -> int:
    try:
        return operator.index(value)
    except TypeError:
        got = f"{shown(value)} ({type(value).__name__})"
        raise TypeError(f"{name} must be an integer or of integers, got {got}") from None


def _axis(value: Any, name: str, ndim: int) -> int:
    axis = _index(value, name)
    if not -ndim <= axis < ndim:
        raise np.exceptions.AxisError(
            f"{name} must be at least {-ndim} and less than {ndim}, got {shown(axis)}"
        )
    return axis % ndim


def _several(value: Any, count: int, most: int) -> tuple[Any, ...]:
    """An integer so many times, or what is in a sequence: of more than ``most``, one more."""
    return tuple(islice(value, most + 1)) if np.iterable(value) else (value,) * count


def _axes(axes: Any, ndim: int) -> tuple[int, ...]:
    if axes is None:
        return tuple(range(ndim))
    along = tuple(_axis(axis, "axes", ndim) for axis in _several(axes, 1, ndim))
    if len(set(along)) < len(along):
        raise ValueError(f"axes must be different ones, got {along}")
    return along


def _origins(origin: Any, along: tuple[int, ...], ndim: int) -> list[int]:
    """An origin for each axis of the input."""
    given = _several(origin, len(along), len(along))
    if len(given) != len(along):
        raise RuntimeError(
            f"origin must be an integer or a sequence of {plural(len(along), 'integer')}, "
            f"got {shown(origin)}"
        )
    # As in SciPy, which goes by the order of `axes` only where there are others.
    places = along if len(along) < ndim else range(ndim)
    origins = [0] * ndim
    for place, value in zip(places, given, strict=True):
        origins[place] = _index(value, "origin")
    return origins


def _target(output: Any, usual: np.dtype[Any], shape: tuple[int, ...]) -> np.dtype[Any] | Array:
    """The array that receives the result, or the dtype of a new one."""
    if output is None:
        return usual
    if issubclass(type(output), (type, str, np.dtype)):
        dtype = as_dtype(output, "output")
        if usual.kind == "c" and dtype.kind != "c":
            if isinstance(output, str):
                raise RuntimeError(f"output must have a complex dtype, got {dtype}")
            warnings.warn("output is made complex, as the result is", stacklevel=5)
            dtype = np.promote_types(dtype, np.complex64)
    else:
        if not issubclass(type(output), np.ndarray):
            raise TypeError(f"output must be an array or a dtype, got {type(output).__name__}")
        if output.shape != shape:
            raise RuntimeError(f"output must have shape {shape}, got {output.shape}")
        if issubclass(type(output), np.ma.MaskedArray):
            raise TypeError("output must have no mask, got a MaskedArray: pass its data")
        if not output.flags.writeable:
            raise ValueError("output must be writeable, got a read-only array")
        if overlaps_itself(output.shape, output.strides, output.itemsize):
            raise ValueError(
                "output must have an element of its own for each result, got strides "
                f"{output.strides} for shape {output.shape}"
            )
        dtype = output.dtype
    if dtype.name not in _KINDS or (dtype.kind == "c") != (usual.kind == "c"):
        need = "complex64 or complex128" if usual.kind == "c" else "a real dtype of up to 64 bits"
        raise RuntimeError(f"output must have {need}, got {dtype}")
    return output if isinstance(output, np.ndarray) else dtype


def _known_fill(mode: Any, cval: Any) -> Any:
    """``cval`` as a part of what a call is known by: None where it is zero or never read."""
    if type(cval) is not float:
        return cval
    unread = type(mode) is str and mode not in ("constant", "grid-constant")
    return None if cval == 0 or unread else cval


class _Cast:
    """Makes sums elements of a dtype, as a C cast does: integers are cut off, and wrap."""

    def __init__(self, dtype: np.dtype[Any]) -> None:
        self._dtype = dtype

    def __call__(self, sums: Array) -> Array:
        if self._dtype == sums.dtype:
            return sums
        if self._dtype == np.bool_:
            return np.asarray(np.trunc(sums) != 0)
        with np.errstate(invalid="ignore"):  # as in C, what is no number becomes any integer
            return sums.astype(self._dtype)
