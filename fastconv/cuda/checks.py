"""Checks of device arrays together: where they are, their dtypes, and where a result goes."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._arrays import overlap, overlaps_itself
from ..devices import on_device
from .arrays import DeviceArray

_UNSIGNED = {2: "<u2", 4: "<u4", 8: "<u8"}


def refuse_mixed(arrays: dict[str, object]) -> None:
    """Name the first argument that is no device array while another one is."""
    first = next(name for name, array in arrays.items() if on_device(array))
    for name, array in arrays.items():
        if not on_device(array):
            raise TypeError(
                f"{name} must be in a CUDA device's memory as {first} is, "
                f"got {_described(array)}: move one of them to where the other is"
            )


def _described(array: object) -> str:
    kind = type(array)
    host = isinstance(array, np.ndarray) or hasattr(kind, "__dlpack_device__")
    name = f"numpy.{kind.__name__}" if kind.__module__ == "numpy" else kind.__name__
    return f"{name} in host memory" if host else name


def check_strides(array: DeviceArray, name: str) -> None:
    """Refuse strides that are no whole elements."""
    if any(stride % array.itemsize for stride in array.strides):
        raise ValueError(
            f"{name} must have strides of whole elements, of {array.itemsize} bytes each, "
            f"got {array.strides}"
        )


def check_like(array: DeviceArray, name: str, reference: DeviceArray, reference_name: str) -> None:
    """Refuse an array on another device or of another dtype than ``reference``."""
    if array.device != reference.device:
        raise ValueError(
            f"{name} must be on the device of {reference_name}, CUDA device {reference.device}, "
            f"got an array on CUDA device {array.device}"
        )
    if array.kind != reference.kind:
        raise TypeError(
            f"{name} must have the dtype of {reference_name}, {reference.dtype}, got {array.dtype}"
        )


def check_out(out: DeviceArray, shape: tuple[int, ...], operands: dict[str, DeviceArray]) -> None:
    """Refuse an ``out`` that cannot take the result or that overlaps an operand."""
    if out.shape != shape:
        raise ValueError(f"out must have shape {shape}, got {out.shape}")
    if not out.writeable:
        what = "a JAX array, which never changes" if out.family == "jax" else "a read-only array"
        raise ValueError(f"out must be writeable, got {what}")
    check_apart(out, operands)
    if overlaps_itself(out.shape, out.strides, out.itemsize):
        raise ValueError(
            f"out must have an element of its own for each result, got strides {out.strides} "
            f"for shape {out.shape}"
        )


def check_apart(out: DeviceArray, operands: dict[str, DeviceArray]) -> None:
    """Refuse an ``out`` that shares memory with an operand."""
    low, high = out.span
    for name, array in operands.items():
        start, end = array.span
        # Ranges may meet where elements do not: parts of one buffer, cut along an inner axis.
        if start < high and low < end and overlap(_stand_in(out), _stand_in(array)):
            raise ValueError(f"out must not share memory with {name}, got arrays that overlap")


class _Interface:
    """What NumPy needs to make an array at an address."""

    def __init__(self, array: DeviceArray) -> None:
        self.__array_interface__ = {
            "data": (int(array.address), False),
            "shape": array.shape,
            "strides": array.strides,
            "typestr": _UNSIGNED[array.itemsize],
            "version": 3,
        }


def _stand_in(array: DeviceArray) -> np.ndarray[Any, Any]:
    """A NumPy array of the same addresses, for arithmetic on them: its elements cannot be read."""
    return np.asarray(_Interface(array))
