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
from typing import Any, TypeAlias

import numpy as np

from . import _array_interface as interface
from . import options
from ._arguments import items_of
from ._dlpack import describe

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

#: what a result loses nothing of
_PLAIN = (np.ndarray, np.memmap, np.matrix, np.recarray)
_HOST_DEVICES = (1, 3)  # DLPack's numbers for host memory, and for pinned host memory


def viewed(array: object, name: str) -> Array:
    """Return an argument as a NumPy array of its own memory."""
    kind = type(array)  # for an object may say that it is of another
    if kind is np.ndarray:
        return array  # type: ignore[return-value]
    if issubclass(kind, np.ndarray):
        return _of_subclass(array, name)  # type: ignore[arg-type]
    torch = sys.modules.get("torch")
    if issubclass(kind, getattr(torch, "Tensor", ())):
        return _of_tensor(array, name)
    if not issubclass(kind, (np.generic, type)):
        for protocol in (_by_interface, _by_buffer, _by_dlpack):
            if (made := protocol(array, name)) is not None:
                return made
    raise TypeError(
        f"{name} must be a numpy.ndarray or an array of another library, "
        f"got {kind.__name__}: convert it, for example with numpy.asarray({name})"
    )


def array_of(value: object, name: str) -> Array:
    """Return an array-like as a NumPy array: of memory that is lent, or as NumPy makes one."""
    kind = type(value)
    if issubclass(kind, np.ndarray):
        return np.asarray(value)
    if issubclass(kind, getattr(sys.modules.get("torch"), "Tensor", ())):
        return _of_tensor(value, name)
    if not issubclass(kind, (np.generic, type, list, tuple)):
        for protocol in (_by_interface, _by_buffer, _by_dlpack):
            if (made := protocol(value, name)) is not None:
                return made
    items = items_of(value)
    try:
        return np.asarray(value if items is None else items)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise TypeError(
            f"{name} must be an array or what NumPy makes one of, got {kind.__name__}: "
            f"{_first_line(error)}"
        ) from error


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
    with told(name, tensor):
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
def told(name: str, array: object) -> Iterator[None]:
    """Turn what a library raises when it is asked for its memory into an error of the argument."""
    try:
        yield
    except Exception as error:
        first = _first_line(error)
        raise TypeError(
            f"{name} must lend its memory as an array, which this {type(array).__name__} "
            f"does not: {first}"
        ) from error


def _first_line(error: Exception) -> str:
    try:
        return str(error).splitlines()[0]
    except Exception:  # it says nothing
        return type(error).__name__


class _Memory:
    """What NumPy takes for an array at an address; it keeps the memory's owners alive."""

    def __init__(self, described: dict[str, Any], *owners: object) -> None:
        self.__array_interface__ = described | {"version": 3}
        self._owners = owners


def _by_interface(array: Any, name: str) -> Array | None:
    with told(name, array):
        described = getattr(array, "__array_interface__", None)
        if described is None:
            return None
        said = interface.read(described)
        if not isinstance(said.data, tuple):  # a buffer, by default of the object itself
            memory = memoryview(array if said.data is None else said.data).cast("B")
            start = operator.index(described.get("offset", 0))
            return np.ndarray(said.shape, said.dtype, memory, start, said.strides)
        address, read_only = said.data
        return _at(address, said.shape, said.strides, said.dtype, read_only, array)


def _at(
    address: int,
    shape: tuple[int, ...],
    strides: tuple[int, ...],
    dtype: np.dtype[Any],
    read_only: bool,
    *owners: object,
) -> Array:
    if 0 in shape:  # at whatever address
        nothing = np.empty(shape, dtype)
        nothing.flags.writeable = not read_only
        return nothing
    described = {"shape": shape, "typestr": dtype.str, "strides": strides}
    return np.asarray(_Memory({**described, "data": (address, read_only)}, *owners))


def _by_buffer(array: Any, name: str) -> Array | None:
    with told(name, array):
        try:
            memory = memoryview(array)
        except (TypeError, BufferError):  # it has none, or none that says what its elements are
            return None
        if any(offset >= 0 for offset in memory.suboffsets or ()):
            raise TypeError("its buffer has suboffsets: addresses stand where elements are to be")
        return np.asarray(memory)


def _by_dlpack(array: Any, name: str) -> Array | None:
    if not hasattr(type(array), "__dlpack__"):
        return None
    with told(name, array):
        place = operator.index(array.__dlpack_device__()[0])
        if place not in _HOST_DEVICES:
            raise TypeError(f"it is in neither host memory nor a CUDA device's, but on {place}")
        capsule = _capsule_of(array)
        described = describe(capsule)
        if described.device_type not in _HOST_DEVICES:
            raise TypeError(f"it says that it is in host memory, and is on {described.device_type}")
        halves = described.dtype == "bfloat16"
        dtype = np.dtype("uint16" if halves else described.dtype.replace("bool8", "bool"))
        strides = tuple(step * dtype.itemsize for step in described.strides)
        interface.check_reach(described.address, described.shape, strides, dtype.itemsize)
        memory = described.address, described.shape, strides, dtype, described.read_only
        view = _at(*memory, array, capsule)
    return view.view(_bfloat16(name)) if halves else view


def _capsule_of(array: Any) -> Any:
    """A capsule of a library's array: of DLPack 1 where it knows that, which tells more."""
    try:
        return array.__dlpack__(max_version=(1, 0))
    except TypeError:  # as older libraries do
        return array.__dlpack__()
