"""Checks of NumPy arrays that a caller gives: kind, dtype, byte order, where a result goes."""

from typing import Any, TypeAlias, TypeVar

import numpy as np
from numpy.typing import DTypeLike

from ._arguments import shown
from ._dtypes import NAMES, NEED
from ._host_arrays import Array as Array
from ._host_arrays import viewed

# What the public functions take and return: NumPy arrays, or one library's device arrays.
AnyArray = TypeVar("AnyArray")
Stream: TypeAlias = object

# Enough to tell slices of one buffer apart; a harder case counts as an overlap. Any, because
# NumPy's annotation allows only the two special values.
_OVERLAP_WORK: Any = 1000


def checked_array(array: object, name: str) -> Array:
    """Return host memory as a NumPy array of numbers in native byte order; refuse anything else."""
    plain = viewed(array, name)
    _check_dtype(plain.dtype, name)
    return plain if plain.flags.aligned else plain.copy()


def _check_dtype(dtype: np.dtype[Any], name: str) -> None:
    if dtype.name not in NAMES:
        raise TypeError(
            f"{name} must have {NEED}, got {dtype}: "
            f"convert it, for example with {name}.astype(numpy.float32)"
        )
    native = dtype.newbyteorder("=")
    if dtype != native:
        raise TypeError(
            f"{name} must be in native byte order, got dtype {dtype.str!r}: "
            f"convert it, for example with {name}.astype(numpy.{native})"
        )


def checked_dtype(dtype: DTypeLike, name: str = "dtype") -> np.dtype[Any]:
    """Return a dtype that kernels exist for; refuse any other."""
    kind = as_dtype(dtype, name)
    if kind.name not in NAMES:
        raise TypeError(f"{name} must be {NEED}, got {kind}")
    return kind


def as_dtype(value: Any, name: str) -> np.dtype[Any]:
    """Return what NumPy makes a dtype of as one; refuse anything else."""
    try:
        return np.dtype(value)
    except (TypeError, ValueError, SyntaxError, KeyError, RecursionError):
        got = f"{shown(value)} ({type(value).__name__})"
        raise TypeError(f"{name} must be a dtype that NumPy knows, got {got}") from None


def checked_like(array: object, name: str, reference: Array, reference_name: str) -> Array:
    """Return a checked array that has the dtype of ``reference``."""
    result = checked_array(array, name)
    if result.dtype != reference.dtype:
        raise TypeError(
            f"{name} must have the dtype of {reference_name}, {reference.dtype}, "
            f"got {result.dtype}: convert it, for example with "
            f"{name}.astype(numpy.{reference.dtype})"
        )
    return result


def checked_bias(bias: object, channels: int, reference: Array) -> Array | None:
    """Return a bias of shape (channels,), or None."""
    if bias is None:
        return None
    result = checked_like(bias, "bias", reference, "input")
    if result.shape != (channels,):
        raise ValueError(
            f"bias must have shape ({channels},), one number per output channel, got {result.shape}"
        )
    return result


def checked_out(given: object, shape: tuple[int, ...], operands: dict[str, Array]) -> Array:
    """Return ``out`` as an array; refuse one that cannot take the result or overlaps an operand."""
    name, reference = next(iter(operands.items()))
    out = viewed(given, "out")
    checked_like(out, "out", reference, name)
    if out.shape != shape:
        raise ValueError(f"out must have shape {shape}, got {out.shape}")
    if not out.flags.writeable:
        raise ValueError("out must be writeable, got a read-only array")
    if not out.flags.aligned:
        raise ValueError("out must be aligned in memory, got an unaligned array")
    for other, array in operands.items():
        if overlap(out, array):
            raise ValueError(f"out must not share memory with {other}, got arrays that overlap")
    if overlaps_itself(out.shape, out.strides, out.itemsize):
        raise ValueError(
            f"out must have an element of its own for each result, got strides {out.strides} "
            f"for shape {out.shape}"
        )
    return out


def overlaps_itself(shape: tuple[int, ...], strides: tuple[int, ...], itemsize: int) -> bool:
    """Whether two elements may share memory: an axis steps less far than those inside it reach."""
    if 0 in shape:
        return False  # NumPy gives an empty array strides of 0
    reach = itemsize
    for step, size in sorted((abs(t), s) for t, s in zip(strides, shape, strict=True)):
        if size > 1:
            if step < reach:
                return True
            reach += step * (size - 1)
    return False


def overlap(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> bool:
    """Whether two arrays share an element's memory; if that is hard to tell, they do."""
    try:
        return np.shares_memory(a, b, max_work=_OVERLAP_WORK)
    except np.exceptions.TooHardError:
        return True
