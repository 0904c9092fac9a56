"""The handler that XLA calls: a C function, made by ctypes, of XLA's foreign function interface.

XLA hands over addresses of operands and result, so that nothing is copied and no array is made in
a callback. The structures are those of ``xla/ffi/api/c_api.h``, which jaxlib installs with itself
and whose fields stay where they are for as long as its major version does. Each structure tells its
size, and ``Unknown`` is raised for one that is smaller than what is read of it.
"""

from __future__ import annotations

import ctypes
import re
from ctypes import POINTER, Structure, c_char_p, c_int, c_int64, c_size_t, c_uint32, c_void_p
from math import prod
from pathlib import Path
from typing import Any

import jax
import ml_dtypes
import numpy as np

from fastconv._arrays import Array

from .operation import job

MAJOR = 0  #: of the interface whose structures these are

_METADATA, _STRING, _EXECUTE = 1, 4, 3  # of the interface's enumerations
_INTERNAL = 13

_NUMBERS = {
    2: np.int8, 3: np.int16, 4: np.int32, 5: np.int64,
    6: np.uint8, 7: np.uint16, 8: np.uint32, 9: np.uint64,
    10: np.float16, 11: np.float32, 12: np.float64,
    15: np.complex64, 18: np.complex128, 16: ml_dtypes.bfloat16,
}  # fmt: skip
_DTYPES = {number: np.dtype(kind) for number, kind in _NUMBERS.items()}


def is_known() -> bool:
    """Whether the structures of the JAX installed here are these: its header tells.

    To register a handler that XLA then refuses would leave JAX without a CPU.
    """
    header = Path(jax.ffi.include_dir()) / "xla" / "ffi" / "api" / "c_api.h"
    try:
        text = header.read_text(encoding="utf-8")
    except OSError:
        return False
    major = re.search(r"#define XLA_FFI_API_MAJOR (\d+)", text)
    return major is not None and int(major[1]) == MAJOR


class Unknown(RuntimeError):
    """XLA's structures are not those that are known here."""


class _Extension(Structure):
    pass


_Extension._fields_ = [("size", c_size_t), ("type", c_int), ("next", POINTER(_Extension))]


class _Version(Structure):
    _fields_ = [("size", c_size_t), ("extension", c_void_p), ("major", c_int), ("minor", c_int)]


class _ErrorArguments(Structure):
    _fields_ = [("size", c_size_t), ("extension", c_void_p), ("text", c_char_p), ("code", c_int)]


_CreateError = ctypes.CFUNCTYPE(c_void_p, POINTER(_ErrorArguments))


class _Api(Structure):
    """As far as the first function."""

    _fields_ = [
        ("size", c_size_t),
        ("extension", c_void_p),
        ("version", _Version),
        ("internal", c_void_p),
        ("create_error", _CreateError),
    ]


class _Metadata(Structure):
    _fields_ = [("size", c_size_t), ("version", _Version), ("traits", c_uint32)]


class _MetadataExtension(Structure):
    _fields_ = [("base", _Extension), ("metadata", POINTER(_Metadata))]


class _Buffer(Structure):
    _fields_ = [
        ("size", c_size_t),
        ("extension", c_void_p),
        ("dtype", c_int),
        ("data", c_void_p),
        ("rank", c_int64),
        ("dims", POINTER(c_int64)),
    ]


class _Span(Structure):
    _fields_ = [("start", c_void_p), ("length", c_size_t)]


class _Buffers(Structure):
    _fields_ = [
        ("size", c_size_t),
        ("extension", c_void_p),
        ("count", c_int64),
        ("types", POINTER(c_int)),
        ("items", POINTER(POINTER(_Buffer))),
    ]


class _Attributes(Structure):
    _fields_ = [
        ("size", c_size_t),
        ("extension", c_void_p),
        ("count", c_int64),
        ("types", POINTER(c_int)),
        ("names", c_void_p),
        ("items", POINTER(POINTER(_Span))),
    ]


class _Frame(Structure):
    _fields_ = [
        ("size", c_size_t),
        ("extension", POINTER(_Extension)),
        ("api", POINTER(_Api)),
        ("context", c_void_p),
        ("stage", c_int),
        ("operands", _Buffers),
        ("results", _Buffers),
        ("attributes", _Attributes),
    ]


class _Memory:
    """Bytes at an address, as NumPy knows them."""

    __slots__ = ("__array_interface__",)

    def __init__(self, address: int, length: int) -> None:
        data = (address, False)
        self.__array_interface__ = {
            "shape": (length,),
            "typestr": "|u1",
            "data": data,
            "version": 3,
        }


def _array(buffer: _Buffer, shape: tuple[int, ...]) -> Array:
    """The array in a buffer, which must have the shape."""
    _known(buffer)
    given = tuple(buffer.dims[: buffer.rank])
    if given != shape:
        raise ValueError(f"an array of shape {shape} was expected, and XLA gave one of {given}")
    dtype = _DTYPES[buffer.dtype]
    if 0 in shape:
        return np.empty(shape, dtype)
    length = prod(shape) * dtype.itemsize
    return np.asarray(_Memory(buffer.data, length)).view(dtype).reshape(shape)


def _known(structure: Any) -> None:
    if structure.size < ctypes.sizeof(structure):
        raise Unknown(f"{type(structure).__name__} has {structure.size} bytes")


def _execute(frame: _Frame) -> None:
    for structure in (frame, frame.operands, frame.results, frame.attributes):
        _known(structure)
    operands, results, attributes = frame.operands, frame.results, frame.attributes
    counts = operands.count, results.count, attributes.count
    if counts != (2, 1, 1) or attributes.types[0] != _STRING:
        raise Unknown(f"{counts} operands, results and attributes")
    text = attributes.items[0].contents
    to_do = job(ctypes.string_at(text.start, text.length))
    buffers = operands.items[0], operands.items[1], results.items[0]
    to_do.run(*(_array(b.contents, shape) for b, shape in zip(buffers, to_do.shapes, strict=True)))


def _describe(frame: _Frame) -> None:
    """Tell XLA for which version of its interface the handler is: its own."""
    extension = ctypes.cast(frame.extension, POINTER(_MetadataExtension)).contents
    version, its = extension.metadata.contents.version, frame.api.contents.version
    version.major, version.minor = MAJOR, its.minor
    extension.metadata.contents.traits = 0


def _handle(pointer: Any) -> int | None:
    frame = pointer.contents
    try:
        if frame.extension and frame.extension.contents.type == _METADATA:
            _describe(frame)
        elif frame.stage == _EXECUTE:
            _execute(frame)
    except BaseException as error:  # none may pass into XLA
        text = f"fastconv: {type(error).__name__}: {error}".encode()
        given = _ErrorArguments(ctypes.sizeof(_ErrorArguments), None, text, _INTERNAL)
        return frame.api.contents.create_error(ctypes.byref(given))
    return None


#: What XLA is given, for as long as the process lives.
handler = ctypes.CFUNCTYPE(c_void_p, POINTER(_Frame))(_handle)
