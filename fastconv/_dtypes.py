"""Element types of NumPy arrays: which there are, and what NumPy cannot do with some of them."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import options

_FLOATS = ("float32", "float64", "float16", "bfloat16")
_INTEGERS = tuple(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64))
_COMPLEX = ("complex64", "complex128")
NAMES = (*_FLOATS, *_INTEGERS, *_COMPLEX)
NEED = "a floating-point dtype of 16, 32 or 64 bits, bfloat16, an integer or a complex one"


def element_of(dtype: np.dtype[Any]) -> str:
    """The name of an array's element type; that of uint16 is a matter of the options.

    bfloat16 is known by its name, whichever library it is from.
    """
    name = dtype.name
    return "bfloat16" if name == "uint16" and options.current().bfloat16_bits else name


def summed_in(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """What NumPy sums such elements in, so that at most the result is rounded."""
    element = element_of(dtype)
    if element in _FLOATS:
        return np.dtype(np.float64)
    return np.dtype(np.complex128 if element in _COMPLEX else np.int64)


def widened(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """An array that NumPy can add up: halves in float32, others as they are."""
    if element_of(array.dtype) not in ("float16", "bfloat16"):
        return array
    if array.dtype != np.uint16:
        return array.astype(np.float32)
    return (array.astype(np.uint32) << 16).view(np.float32)


def narrowed(array: np.ndarray[Any, Any], dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
    """Sums as elements of ``dtype``: halves rounded to nearest even."""
    if element_of(dtype) != "bfloat16" or dtype != np.uint16:
        return array.astype(dtype, copy=False)
    bits = np.ascontiguousarray(array, np.float32).view(np.uint32)
    rounded = (bits + (0x7FFF + (bits >> 16 & 1))) >> 16
    return np.where(np.isnan(array), 0x7FC0, rounded).astype(np.uint16)
