"""DLPack capsules: what one says of an array, and one that hands over memory of ours.

The structures are those of DLPack's C header. A capsule of ours is as before its version 1.0, which
all libraries read.
"""

from __future__ import annotations

import ctypes
import itertools
from typing import Any, NamedTuple

from ._array_interface import c_order

_KINDS = {(2, 16): "f16", (2, 32): "f32", (2, 64): "f64", (4, 16): "bf16"}
_CODES = {kind: code for code, kind in _KINDS.items()}
_TYPE_NAMES = {0: "int", 1: "uint", 2: "float", 4: "bfloat", 5: "complex", 6: "bool"}
_NAME, _VERSIONED_NAME = b"dltensor", b"dltensor_versioned"
_READ_ONLY = 1  # of the flags
_MOST_AXES = 64


class _Device(ctypes.Structure):
    _fields_ = (("type", ctypes.c_int32), ("ordinal", ctypes.c_int32))


class _DataType(ctypes.Structure):
    _fields_ = (("code", ctypes.c_uint8), ("bits", ctypes.c_uint8), ("lanes", ctypes.c_uint16))


class _Tensor(ctypes.Structure):
    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device", _Device),
        ("ndim", ctypes.c_int32),
        ("dtype", _DataType),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    )


class _ManagedTensor(ctypes.Structure):
    pass


_Deleter = ctypes.CFUNCTYPE(None, ctypes.POINTER(_ManagedTensor))
_ManagedTensor._fields_ = (
    ("tensor", _Tensor),
    ("context", ctypes.c_void_p),
    ("deleter", _Deleter),
)


class _VersionedTensor(ctypes.Structure):
    _fields_ = (
        ("major", ctypes.c_uint32),
        ("minor", ctypes.c_uint32),
        ("context", ctypes.c_void_p),
        ("deleter", ctypes.c_void_p),
        ("flags", ctypes.c_uint64),
        ("tensor", _Tensor),
    )


# Prototypes of our own: ctypes.pythonapi's function objects are shared by all who use them.
_api = ctypes.pythonapi
_Destructor = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
_new_capsule = ctypes.PYFUNCTYPE(
    ctypes.py_object, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p
)(("PyCapsule_New", _api))
_pointer_in = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(
    ("PyCapsule_GetPointer", _api)
)
_is_capsule = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p)(
    ("PyCapsule_IsValid", _api)
)
_raw_pointer_in = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_char_p)(
    ("PyCapsule_GetPointer", _api)
)


class Description(NamedTuple):
    """What a capsule says of an array; strides are in elements."""

    address: int
    device: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    kind: str | None  #: None for a dtype that no kernel takes
    dtype: str
    device_type: int = 1
    read_only: bool = True  #: also where a capsule is older than DLPack 1, and does not say


def describe(capsule: Any) -> Description:
    """Read a capsule that nobody has taken; it stays the exporter's, and whole."""
    tensor, read_only = _tensor_in(capsule)
    if not 0 <= tensor.ndim <= _MOST_AXES or (tensor.ndim and not tensor.shape):
        raise ValueError(f"its capsule tells of {tensor.ndim} axes")
    shape = tuple(tensor.shape[: tensor.ndim])
    if any(size < 0 for size in shape):
        raise ValueError(f"its capsule tells of the shape {shape}")
    code, bits = tensor.dtype.code, tensor.dtype.bits
    plain = tensor.dtype.lanes == 1
    lanes = "" if plain else f"x{tensor.dtype.lanes}"
    return Description(
        address=(tensor.data or 0) + tensor.byte_offset,
        device=tensor.device.ordinal,
        shape=shape,
        strides=tuple(tensor.strides[: tensor.ndim]) if tensor.strides else c_order(shape),
        kind=_KINDS.get((code, bits)) if plain else None,
        dtype=f"{_TYPE_NAMES.get(code, 'unknown')}{bits}{lanes}",
        device_type=tensor.device.type,
        read_only=read_only,
    )


def _tensor_in(capsule: Any) -> tuple[Any, bool]:
    """The description in a capsule, and whether the memory may not be written to."""
    if not _is_capsule(id(capsule), _VERSIONED_NAME):
        address = _pointer_in(capsule, _NAME)  # raises for what is none, or has been taken
        return ctypes.cast(address, ctypes.POINTER(_ManagedTensor)).contents.tensor, True
    address = _pointer_in(capsule, _VERSIONED_NAME)
    versioned = ctypes.cast(address, ctypes.POINTER(_VersionedTensor)).contents
    if versioned.major != 1:
        raise ValueError(f"its capsule is of DLPack {versioned.major}.{versioned.minor}")
    return versioned.tensor, bool(versioned.flags & _READ_ONLY)


class _Lent:
    """What must live as long as somebody holds a capsule of ours."""

    def __init__(self, described: Description, device_type: int, owner: object) -> None:
        count = len(described.shape)
        self.owner = owner
        self.shape = (ctypes.c_int64 * count)(*described.shape)
        self.strides = (ctypes.c_int64 * count)(*described.strides)
        self.managed = _ManagedTensor()
        tensor = self.managed.tensor
        tensor.data = described.address
        tensor.device = _Device(device_type, described.device)
        tensor.ndim = count
        code, bits = _CODES[str(described.kind)]
        tensor.dtype = _DataType(code, bits, 1)
        tensor.shape = ctypes.cast(self.shape, ctypes.POINTER(ctypes.c_int64))
        tensor.strides = ctypes.cast(self.strides, ctypes.POINTER(ctypes.c_int64))
        self.managed.deleter = _give_back


_lent: dict[int, _Lent] = {}
_tickets = itertools.count(1)


@_Deleter
def _give_back(managed: Any) -> None:
    _lent.pop(managed.contents.context, None)


@_Destructor
def _destroy(capsule: int) -> None:
    """End a capsule that nobody took: whoever takes one renames it, and calls its deleter."""
    if _is_capsule(capsule, _NAME):
        managed = ctypes.cast(_raw_pointer_in(capsule, _NAME), ctypes.POINTER(_ManagedTensor))
        _give_back(managed)


def lend(described: Description, device_type: int, owner: object) -> Any:
    """A capsule over memory that ``owner`` keeps alive until the capsule's taker is done."""
    lent = _Lent(described, device_type, owner)
    ticket = next(_tickets)
    lent.managed.context = ticket
    _lent[ticket] = lent
    return _new_capsule(
        ctypes.addressof(lent.managed), _NAME, ctypes.cast(_destroy, ctypes.c_void_p)
    )
