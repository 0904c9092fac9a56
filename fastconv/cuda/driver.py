"""The CUDA driver: modules, launches, stream-ordered scratch memory; or their simulated likeness.

All calls concern the device that is current in the calling thread. Handles are plain integers.
"""

from __future__ import annotations

import functools
import struct
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np

from .ptx.instruction import SIMULATED
from .ptx.simulated import Pointer

if TYPE_CHECKING:
    from .program import Kernel

if not SIMULATED:
    from cuda.bindings import driver as cu

_STATIC_SHARED = 48 * 1024  # more than this a function must be allowed to have


def checked(answer: tuple[Any, ...]) -> Any:
    """The values of a driver call, or an error with the driver's own words."""
    if answer[0]:  # success is 0
        _, name = cu.cuGetErrorName(answer[0])
        _, words = cu.cuGetErrorString(answer[0])
        raise RuntimeError(f"CUDA: {name.decode()}: {words.decode()}")
    return answer[1] if len(answer) == 2 else answer[1:]


def device() -> int:
    """The current device's ordinal; without a current context, device 0's primary one is taken."""
    if SIMULATED:
        return 0
    _started()
    if not int(checked(cu.cuCtxGetCurrent())):
        checked(cu.cuCtxSetCurrent(_primary_context(0)))
    return int(checked(cu.cuCtxGetDevice()))


@functools.cache
def _started() -> None:
    checked(cu.cuInit(0))


def current(ordinal: int) -> AbstractContextManager[None]:
    """Make a device current for a block of code."""
    if SIMULATED:
        return _UNCHANGED
    _started()
    status, now = cu.cuCtxGetDevice()  # refused where no context is current
    return _UNCHANGED if not status and int(now) == ordinal else _pushed(ordinal)


_UNCHANGED = nullcontext()


@contextmanager
def _pushed(ordinal: int) -> Iterator[None]:
    checked(cu.cuCtxPushCurrent(_primary_context(ordinal)))
    try:
        yield
    finally:
        checked(cu.cuCtxPopCurrent())


@functools.cache
def _primary_context(ordinal: int) -> Any:
    return checked(cu.cuDevicePrimaryCtxRetain(checked(cu.cuDeviceGet(ordinal))))


@functools.cache
def capability(ordinal: int) -> tuple[int, int]:
    """A device's compute capability."""
    if SIMULATED:
        return 9, 0
    attribute = cu.CUdevice_attribute
    handle = checked(cu.cuDeviceGet(ordinal))
    major = attribute.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR
    minor = attribute.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR
    return tuple(checked(cu.cuDeviceGetAttribute(which, handle)) for which in (major, minor))


@functools.cache
def function(kernel: Kernel, shared: int, ordinal: int) -> Any:
    """The kernel on the current device, allowed ``shared`` bytes of dynamic shared memory."""
    assembly = kernel.assembly(capability(ordinal))
    module = checked(cu.cuModuleLoadData(assembly.text.encode() + b"\0"))
    handle = checked(cu.cuModuleGetFunction(module, assembly.entry.encode()))
    if shared > _STATIC_SHARED:
        limit = cu.CUfunction_attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
        checked(cu.cuFuncSetAttribute(handle, limit, shared))
    return handle


class Launch:
    """A kernel with its grid and its integers, to be started on addresses."""

    def __init__(
        self,
        handle: Any,
        grid: tuple[int, int, int],
        threads: int,
        shared: int,
        addresses: int,
        integers: Sequence[int],
    ) -> None:
        self._how = (handle, *grid, threads, 1, 1, shared)
        self._values = np.array([0] * addresses + list(integers), np.int64)
        self._memory = self._values.data
        self._put_addresses = struct.Struct(f"{addresses}Q").pack_into
        # The driver wants the address of each argument, and has copied all when it returns.
        self._places = np.arange(self._values.size, dtype=np.uint64) * 8
        self._places += np.uint64(self._values.ctypes.data)
        self._given = self._places.ctypes.data
        self._lock = threading.Lock()

    def start(self, addresses: Sequence[int], stream: int) -> None:
        """Start the kernel; nothing waits for it."""
        with self._lock:
            self._put_addresses(self._memory, 0, *addresses)
            answer = cu.cuLaunchKernel(*self._how, stream, self._given, 0)
        checked(answer)


def allocate(size: int, stream: int, ordinal: int) -> Any:
    """Scratch memory that is there for what the stream does from now on."""
    if SIMULATED:
        return Pointer.over(np.full(size, 0xFF, np.uint8))  # NaN in every kind
    return int(checked(cu.cuMemAllocFromPoolAsync(size, _pool(ordinal), stream)))


def release(address: Any, stream: int) -> None:
    """Give scratch memory back once the stream has come to this point."""
    if not SIMULATED:
        checked(cu.cuMemFreeAsync(address, stream))


def fill_zero(address: Any, size: int, stream: int) -> None:
    """Set ``size`` bytes to zero, in the stream's order."""
    if SIMULATED:
        for i in range(size):
            (address + i).write([0], np.uint8)
    else:
        checked(cu.cuMemsetD8Async(address, 0, size, stream))


@functools.cache
def _pool(ordinal: int) -> Any:
    """A memory pool of our own, which keeps what is given back to it for the next call."""
    properties = cu.CUmemPoolProps()
    properties.allocType = cu.CUmemAllocationType.CU_MEM_ALLOCATION_TYPE_PINNED
    properties.location.type = cu.CUmemLocationType.CU_MEM_LOCATION_TYPE_DEVICE
    properties.location.id = ordinal
    pool = checked(cu.cuMemPoolCreate(properties))
    keep = cu.CUmemPool_attribute.CU_MEMPOOL_ATTR_RELEASE_THRESHOLD
    checked(cu.cuMemPoolSetAttribute(pool, keep, cu.cuuint64_t(2**64 - 1)))
    _pools.append(pool)
    return pool


_pools: list[Any] = []


def trim() -> None:
    """Give unused scratch memory back to the device."""
    for pool in _pools:
        checked(cu.cuMemPoolTrimTo(pool, 0))


def upload(values: np.ndarray[Any, Any], ordinal: int) -> int:
    """The address of a copy on the current device, there for every stream from now on.

    The copy goes by a stream of its own, so it waits for nobody else's work.
    """
    address = int(checked(cu.cuMemAlloc(values.nbytes)))
    stream = _copy_stream(ordinal)
    checked(cu.cuMemcpyHtoDAsync(address, values.ctypes.data, values.nbytes, stream))
    checked(cu.cuStreamSynchronize(stream))
    return address


@functools.cache
def _copy_stream(ordinal: int) -> Any:
    return checked(cu.cuStreamCreate(cu.CUstream_flags.CU_STREAM_NON_BLOCKING))


def free(address: int, ordinal: int) -> None:
    """Give back what `upload` took."""
    with current(ordinal):
        checked(cu.cuMemFree(address))


def is_captured(stream: int) -> bool:
    """Whether what the stream is given goes into a CUDA graph, to be run again later."""
    if SIMULATED:
        return False
    return bool(checked(cu.cuStreamIsCapturing(stream)))  # none is 0


@contextmanager
def fast_switching() -> Iterator[None]:
    """Let the simulator's threads take turns quickly: its own loop is busy all the time."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        yield
    finally:
        sys.setswitchinterval(interval)
