"""Arrays in host memory that are none of NumPy's, as NumPy arrays of the same memory.

In this order: a CPU tensor of PyTorch, ``__array_interface__``, the buffer protocol, DLPack. No
library is imported that the caller has not, but for ml_dtypes where bfloat16 comes by DLPack.
Nothing is copied; what cannot be had without a copy, or says of itself what cannot be, is a
TypeError.
"""

from __future__ import annotations

import operator
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from math import prod
from typing import Any, TypeAlias

import numpy as np

from . import options
from ._dlpack import describe

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

#: what a result loses nothing of
_PLAIN = (np.ndarray, np.memmap, np.matrix, np.recarray)
_HOST_DEVICES = (1, 3)  # DLPack's numbers for host memory, and for pinned host memory
_MOST_ADDRESS, _MOST_BYTES = 2**64 - 1, 2**57  # no processor's address space is larger


def viewed(array: object, name: str) -> Array:
    """Return an argument as a NumPy array of its own memory."""
    if type(array) is np.ndarray:
        return array
    if isinstance(array, np.ndarray):
        return _of_subclass(array, name)
    torch = sys.modules.get("torch")
    if isinstance(array, getattr(torch, "Tensor", ())):
        return _of_tensor(array, name)
    if not isinstance(array, (np.generic, type)):
        for protocol in (_by_interface, _by_buffer, _by_dlpack):
            if (made := protocol(array, name)) is not None:
                return made
    raise TypeError(
        f"{name} must be a numpy.ndarray or an array of another library, "
        f"got {type(array).__name__}: convert it, for example with numpy.asarray({name})"
    )


def _of_subclass(array: Array, name: str) -> Array:
    kind = type(array)
    if isinstance(array, np.ma.MaskedArray):
        raise TypeError(
            f"{name} must have no mask, got a {kind.__name__}: fill what is masked, "
            f"for example with {name}.filled(0)"
        )
    if kind not in _PLAIN:
        raise TypeError(
            f"{name} must be a plain numpy.ndarray, got its subclass {kind.__name__}, whose "
            f"meaning a result would lose: pass {name}.view(numpy.ndarray)"
        )
    return np.asarray(array)


def check_tensor(tensor: Any, name: str) -> None:
    """Refuse a tensor of PyTorch whose numbers are not simply those in its memory."""
    torch: Any = sys.modules["torch"]
    if tensor.requires_grad and torch.is_grad_enabled():
        raise ValueError(
            f"{name} must not require grad, of which fastconv keeps no record: "
            f"pass {name}.detach(), or call under torch.no_grad()"
        )
    if tensor.layout is not torch.strided or tensor.is_neg() or tensor.is_conj():
        raise TypeError(f"{name} must be a plain strided tensor, got {_described(tensor)}")


def _described(tensor: Any) -> str:
    torch: Any = sys.modules["torch"]
    if tensor.layout is not torch.strided:
        return str(tensor.layout)
    view, method = ("negative", "resolve_neg") if tensor.is_neg() else ("conjugate", "resolve_conj")
    return f"a {view} view, which its {method}() makes one of"


def _of_tensor(tensor: Any, name: str) -> Array:
    torch: Any = sys.modules["torch"]
    check_tensor(tensor, name)
    if tensor.device.type != "cpu":
        raise TypeError(
            f"{name} must be in host memory or a CUDA device's, got a tensor on {tensor.device}"
        )
    plain = tensor.detach()
    with _told(name, tensor):
        if plain.dtype is not torch.bfloat16:
            made: Array = plain.numpy()
            return made
        bits: Array = plain.view(torch.int16).numpy()
    return bits.view(_bfloat16(name))


def _bfloat16(name: str) -> np.dtype[Any]:
    """The dtype of bfloat16: ml_dtypes' own, or the bits of `options`."""
    if options.current().bfloat16_bits:
        return np.dtype(np.uint16)
    try:
        return np.dtype(import_module("ml_dtypes").bfloat16)
    except ImportError:
        raise TypeError(
            f"{name} holds bfloat16, for which NumPy needs ml_dtypes: install that, "
            "or call under fastconv.options(bfloat16_bits=True)"
        ) from None


@contextmanager
def _told(name: str, array: object) -> Iterator[None]:
    """Turn what a library raises when it is asked for its memory into an error of the argument."""
    try:
        yield
    except Exception as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise TypeError(
            f"{name} must lend its memory as an array, which this {type(array).__name__} "
            f"does not: {first}"
        ) from error


class _Memory:
    """What NumPy takes for an array at an address; it keeps the memory's owners alive."""

    def __init__(self, described: dict[str, Any], *owners: object) -> None:
        self.__array_interface__ = described | {"version": 3}
        self._owners = owners


def _by_interface(array: Any, name: str) -> Array | None:
    with _told(name, array):
        described = getattr(array, "__array_interface__", None)
        if described is None:
            return None
        if described.get("mask") is not None:
            raise TypeError("it has a mask, which would be ignored")
        shape, kind = _sizes(described["shape"]), _dtype(described["typestr"])
        strides = described.get("strides")
        if strides is not None:
            strides = tuple(map(operator.index, strides))
            if len(strides) != len(shape):
                raise ValueError(f"its strides are {strides} and its shape is {shape}")
        data = described.get("data")
        if not isinstance(data, tuple):  # a buffer, by default of the object itself, with an end
            memory = memoryview(array if data is None else data).cast("B")
            start = operator.index(described.get("offset", 0))
            return np.ndarray(shape, kind, memory, start, strides)
        address, read_only = operator.index(data[0]), bool(data[1])
        _check_reach(address, shape, strides, kind.itemsize)
        plain = {"shape": shape, "typestr": kind.str, "strides": strides}
        return np.asarray(_Memory({**plain, "data": (address, read_only)}, array))


def _dtype(typestr: Any) -> np.dtype[Any]:
    if not isinstance(typestr, str):  # of which NumPy would make something
        raise TypeError(f"its typestr is {typestr!r}")
    return np.dtype(typestr)


def _sizes(value: Any) -> tuple[int, ...]:
    sizes = tuple(map(operator.index, value))
    if any(size < 0 for size in sizes):
        raise ValueError(f"its shape is {sizes}")
    return sizes


def _check_reach(
    address: int, shape: tuple[int, ...], strides: tuple[int, ...] | None, size: int
) -> None:
    """Refuse memory that no address space has; whether it is there cannot be known."""
    if strides is None:
        strides = tuple(size * prod(shape[axis + 1 :]) for axis in range(len(shape)))
    if 0 in shape:
        return
    steps = [(count - 1) * step for count, step in zip(shape, strides, strict=True)]
    first = address + sum(min(step, 0) for step in steps)
    last = address + sum(max(step, 0) for step in steps) + size
    if first <= 0 or last > _MOST_ADDRESS or max(last - first, prod(shape) * size) > _MOST_BYTES:
        raise ValueError(f"its memory goes from address {first} to {last}")


def _by_buffer(array: Any, name: str) -> Array | None:
    try:
        memory = memoryview(array)
    except (TypeError, BufferError):  # it has none, or none that says what its elements are
        return None
    with _told(name, array):
        return np.asarray(memory)


def _check_known(dtype: str) -> None:
    """Refuse what NumPy, asked for an array of it, does not refuse by an ordinary error."""
    if not hasattr(np, dtype.replace("bool8", "bool")):
        raise TypeError(f"its dtype is {dtype}")


def _by_dlpack(array: Any, name: str) -> Array | None:
    if not hasattr(type(array), "__dlpack__"):
        return None
    with _told(name, array):
        place = array.__dlpack_device__()[0]
        if place not in _HOST_DEVICES:
            raise TypeError(f"it is in neither host memory nor a CUDA device's, but on {place}")
        capsule = array.__dlpack__()
        described = describe(capsule)
        if described.dtype != "bfloat16":
            _check_known(described.dtype)
            return np.from_dlpack(array)
    # Before its version 1.0 DLPack does not say whether memory may be written to.
    strides = tuple(2 * step for step in described.strides)
    plain = {"shape": described.shape, "typestr": "<u2", "strides": strides}
    bits = np.asarray(_Memory({**plain, "data": (described.address, True)}, array, capsule))
    return bits.view(_bfloat16(name))
