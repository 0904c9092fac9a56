"""What an object says of its memory, held against itself: NumPy's array interface, CUDA's, DLPack.

What it says cannot be held against the memory: whether that is there, only the object knows.
"""

from __future__ import annotations

import operator
from math import prod
from typing import Any, NamedTuple

import numpy as np

from ._arguments import items_of, shown

_VERSION = 3  # of the interfaces that are known
_MOST_AXES = 64
_MOST_ADDRESS, _MOST_BYTES = 2**64 - 1, 2**57  # no processor's address space is larger


class Said(NamedTuple):
    """An array as an interface describes it; strides are in bytes."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    strides: tuple[int, ...]
    data: Any  #: an address and whether it is read-only, or what holds the memory


def read(described: Any) -> Said:
    """What ``__array_interface__`` or ``__cuda_array_interface__`` says, if that can be."""
    if not issubclass(type(described), dict):
        raise TypeError(f"its interface is of type {type(described).__name__}, and no dict")
    if described.get("mask") is not None:
        raise TypeError("it has a mask, which would be ignored")
    version = operator.index(described.get("version", _VERSION))
    if not 0 <= version <= _VERSION:
        raise ValueError(f"its interface is of version {version}")
    shape = _integers(described.get("shape"), "shape")
    if len(shape) > _MOST_AXES or any(size < 0 for size in shape):
        raise ValueError(f"its shape is {shape}")
    dtype = _dtype(described.get("typestr"))
    strides = described.get("strides")
    steps = c_order(shape, dtype.itemsize) if strides is None else _integers(strides, "strides")
    if len(steps) != len(shape):
        raise ValueError(f"its strides are {steps} and its shape is {shape}")
    data = described.get("data")
    if isinstance(data, tuple):
        if len(data) != 2:
            raise TypeError(f"its data is a tuple of {len(data)}")
        data = operator.index(0 if data[0] is None else data[0]), bool(data[1])
        check_reach(data[0], shape, steps, dtype.itemsize)
    return Said(shape, dtype, steps, data)


def _integers(value: Any, what: str) -> tuple[int, ...]:
    items = items_of(value)
    if items is None:
        raise TypeError(f"its {what} is of type {type(value).__name__}, and no tuple")
    return tuple(operator.index(item) for item in items)  # type: ignore[arg-type]


def _dtype(typestr: Any) -> np.dtype[Any]:
    if not isinstance(typestr, str):  # of which NumPy would make something
        raise TypeError(f"its typestr is {shown(typestr)}")
    dtype = np.dtype(typestr)
    if dtype.hasobject or dtype.itemsize == 0:
        raise TypeError(f"its typestr is {shown(typestr)}")
    return dtype


def c_order(shape: tuple[int, ...], size: int = 1) -> tuple[int, ...]:
    """Strides of a C-ordered array: in elements, or in bytes if they are of so many."""
    return tuple(size * prod(shape[axis + 1 :]) for axis in range(len(shape)))


def check_reach(address: int, shape: tuple[int, ...], strides: tuple[int, ...], size: int) -> None:
    """Refuse memory that no address space has; whether it is there cannot be known."""
    if 0 in shape:
        return
    steps = [(count - 1) * step for count, step in zip(shape, strides, strict=True)]
    first = address + sum(min(step, 0) for step in steps)
    last = address + sum(max(step, 0) for step in steps) + size
    if first <= 0 or last > _MOST_ADDRESS or max(last - first, prod(shape) * size) > _MOST_BYTES:
        raise ValueError(f"its memory goes from address {first} to {last}")
