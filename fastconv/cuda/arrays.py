"""Device arrays of any library, read as address, shape, strides and kind."""

from __future__ import annotations

import functools
import operator
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from .. import _array_interface as interface
from .. import _dlpack as dlpack
from .._arguments import shown
from .._host_arrays import check_tensor, told
from ..devices import CUDA_DEVICES
from . import streams
from .ptx.simulated import Pointer

KINDS = {"float32": "f32", "float64": "f64", "float16": "f16", "bfloat16": "bf16"}
DTYPES = {kind: dtype for dtype, kind in KINDS.items()}
SIZES = {"f32": 4, "f64": 8, "f16": 2, "bf16": 2}


class DeviceArray(NamedTuple):
    """What a call knows of a device array."""

    owner: Any  #: the library's own array
    family: str  #: the library: "torch", "cupy", "jax", "numba", or "" for any other
    address: Any  #: of the first element: an integer, or a Pointer in the simulator
    shape: tuple[int, ...]
    strides: tuple[int, ...]  #: in bytes
    kind: str
    device: int
    stream: int | None = None  #: that the data is ready on; None: on any
    writeable: bool = True
    lease: object = None  #: what keeps the memory lent until the device has used it

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def dtype(self) -> str:
        """The dtype's name."""
        return DTYPES[self.kind]

    @property
    def itemsize(self) -> int:
        """Bytes of an element."""
        return SIZES[self.kind]

    @property
    def empty(self) -> bool:
        """Whether there is no element."""
        return 0 in self.shape

    @property
    def steps(self) -> tuple[int, ...]:
        """Strides in elements."""
        size = SIZES[self.kind]
        return tuple(stride // size for stride in self.strides)

    @property
    def aligned(self) -> bool:
        """Whether vectors of 16 bytes can be read at its address."""
        return int(self.address) % 16 == 0

    @property
    def known_by(self) -> tuple[Any, ...]:
        """What a plan and the checks of a call depend on."""
        where = self.family, self.device, int(self.address) % 16 == 0, self.writeable
        return where, self.kind, self.shape, self.strides

    @property
    def span(self) -> tuple[int, int]:
        """The first address of its memory, and the first past it."""
        first = int(self.address)
        before, past = _reach(self.shape, self.strides, SIZES[self.kind])
        return first - before, first + past


@functools.lru_cache(maxsize=1024)
def _reach(shape: tuple[int, ...], strides: tuple[int, ...], size: int) -> tuple[int, int]:
    """Bytes before the first element, and from there to the memory's end."""
    steps = [(count - 1) * stride for count, stride in zip(shape, strides, strict=True)]
    return -sum(min(step, 0) for step in steps), sum(max(step, 0) for step in steps) + size


class Ready(NamedTuple):
    """What is known of a call's stream when an array is read."""

    given: int | None  #: by the caller
    chosen: int | None  #: so far: given, or named by an earlier array


Reader = Callable[[Any, str, Ready], DeviceArray]


def read(array: object, name: str, ready: Ready) -> DeviceArray:
    """Read a device array that is the call's argument ``name``."""
    result = _reader(type(array))(array, name, ready)  # type: ignore[arg-type]
    size = SIZES[result.kind]
    if int(result.address) % size:
        raise ValueError(
            f"{name} must be aligned in memory, got address {int(result.address):#x} "
            f"for elements of {size} bytes"
        )
    return result


@functools.lru_cache(maxsize=256)
def _reader(kind: type) -> Reader:
    """The reader for arrays of a type."""
    if getattr(kind, "__cuda_ndarray__", False):
        return _read_simulated if kind.__name__.startswith("Fake") else _read_numba
    torch = sys.modules.get("torch")
    if issubclass(kind, getattr(torch, "Tensor", ())):
        return _read_torch
    libraries = {base.__module__.partition(".")[0] for base in kind.__mro__}
    if "cupy" in libraries:
        return _read_cupy
    if hasattr(kind, "__dlpack__"):
        jax = bool(libraries & {"jax", "jaxlib"})
        return functools.partial(_read_lent, family="jax" if jax else "")
    return _read_interface


def _read_torch(tensor: Any, name: str, ready: Ready) -> DeviceArray:
    torch: Any = sys.modules["torch"]
    check_tensor(tensor, name)
    kind = _torch_kind(tensor.dtype, name)
    device, size = tensor.get_device(), SIZES[kind]
    return DeviceArray(
        tensor,
        "torch",
        tensor.data_ptr(),
        tuple(tensor.shape),
        tuple([step * size for step in tensor.stride()]),
        kind,
        device,
        torch.cuda.current_stream(device).cuda_stream if ready.given is None else None,
    )


@functools.lru_cache(maxsize=64)
def _torch_kind(dtype: Any, name: str) -> str:
    return _kind(str(dtype).removeprefix("torch."), name)


def _read_cupy(array: Any, name: str, ready: Ready) -> DeviceArray:
    cupy: Any = sys.modules["cupy"]
    device = int(array.device.id)
    return DeviceArray(
        array,
        "cupy",
        int(array.data.ptr),
        array.shape,
        array.strides,
        _numpy_kind(array.dtype, name),
        device,
        int(cupy.cuda.get_current_stream(device).ptr) if ready.given is None else None,
    )


def _read_numba(array: Any, name: str, ready: Ready) -> DeviceArray:
    address = array.device_ctypes_pointer.value or 0
    named = array.stream
    return DeviceArray(
        array,
        "numba",
        address,
        tuple(array.shape),
        tuple(array.strides),
        _numpy_kind(array.dtype, name),
        streams.device_of(address),
        streams.handle_of(named) if named else None,
    )


def _read_simulated(array: Any, name: str, ready: Ready) -> DeviceArray:
    values: np.ndarray[Any, Any] = array._ary
    return DeviceArray(
        array,
        "numba",
        Pointer.over(values),
        tuple(values.shape),
        values.strides,
        _numpy_kind(values.dtype, name),
        0,
        writeable=values.flags.writeable,
    )


def _read_lent(array: Any, name: str, ready: Ready, *, family: str) -> DeviceArray:
    """By DLPack: the library makes the data ready on the stream that we name."""
    ready_on = ready.chosen or streams.LEGACY
    with told(name, array):
        capsule = array.__dlpack__(stream=ready_on)
        described = dlpack.describe(capsule)
        if described.device_type not in CUDA_DEVICES:
            raise TypeError(f"its memory is on a device of type {described.device_type}")
    if described.kind is None:
        _refuse_dtype(described.dtype, name)
    kind = str(described.kind)
    strides = tuple(step * SIZES[kind] for step in described.strides)
    with told(name, array):
        interface.check_reach(described.address, described.shape, strides, SIZES[kind])
    return DeviceArray(
        array,
        family,
        described.address,
        described.shape,
        strides,
        kind,
        described.device,
        ready_on if ready.given is None else None,
        # JAX's arrays never change, and what was compiled may rely on it.
        writeable=family != "jax",
        lease=capsule,
    )


def _read_interface(array: Any, name: str, ready: Ready) -> DeviceArray:
    described = array.__cuda_array_interface__
    if described.get("mask") is not None:
        raise TypeError(f"{name} must have no mask, got a masked {type(array).__name__}")
    with told(name, array):
        said = interface.read(described)
        if not isinstance(said.data, tuple):
            raise TypeError("its data is no address")
        address, read_only = said.data
        named = described.get("stream")
        named = None if named is None else operator.index(named)
        if named is not None and not 0 <= named < 2**64:
            raise ValueError(f"its stream is {shown(named)}")
    if named == 0:
        raise ValueError(
            f"{name} must name a stream that is not 0, which the array interface leaves undefined"
        )
    return DeviceArray(
        array,
        "",
        address,
        said.shape,
        said.strides,
        _numpy_kind(said.dtype, name),
        _device_of(address, name),
        named,
        writeable=not read_only,
    )


def _device_of(address: int, name: str) -> int:
    """The device whose memory an interface tells of; the driver knows whether there is any."""
    try:
        return streams.device_of(address)
    except RuntimeError as error:
        raise ValueError(
            f"{name} must lie in a CUDA device's memory, got address {address:#x}: {error}"
        ) from error


@functools.lru_cache(maxsize=64)
def _numpy_kind(dtype: np.dtype[Any], name: str) -> str:
    if not dtype.isnative:
        raise TypeError(f"{name} must be in native byte order, got dtype {dtype.str!r}")
    return _kind(dtype.name, name)


def _kind(dtype: str, name: str) -> str:
    if dtype not in KINDS:
        _refuse_dtype(dtype, name)
    return KINDS[dtype]


def _refuse_dtype(dtype: str, name: str) -> None:
    raise TypeError(f"{name} must have dtype float32, float64, float16 or bfloat16, got {dtype}")
