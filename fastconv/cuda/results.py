"""New device arrays of the caller's own kind."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from importlib import import_module
from math import prod
from typing import Any

import numpy as np
from numba import cuda

from .. import _dlpack as dlpack
from .._array_interface import c_order
from . import driver, streams
from .arrays import SIZES, DeviceArray
from .ptx.instruction import SIMULATED
from .ptx.simulated import Pointer


def strides_of(shape: tuple[int, ...], size: int, *, channels_last: bool) -> tuple[int, ...]:
    """Byte strides of a new array in C order or, if asked for, with its channels innermost."""
    if not channels_last:
        return tuple(size * step for step in c_order(shape))
    batch, *inner = c_order((shape[0], *shape[2:], shape[1]))
    return tuple(size * step for step in (batch, inner[-1], *inner[:-1]))


def new(
    shape: tuple[int, ...], strides: tuple[int, ...], like: DeviceArray, stream: int
) -> DeviceArray:
    """An unwritten array of ``like``'s library, dtype and device, to be written on ``stream``.

    Its owner is what `delivered` turns into what the caller gets.
    """
    make = _MAKERS.get(like.family, _new_numba)
    owner, address = make(shape, strides, like, stream)
    return DeviceArray(owner, like.family, address, shape, strides, like.kind, like.device)


def delivered(result: DeviceArray) -> Any:
    """The caller's own array, once the work that fills it has been given to the stream."""
    if isinstance(result.owner, _Lender):
        return import_module("jax.dlpack").from_dlpack(result.owner)
    return result.owner


def _new_torch(
    shape: tuple[int, ...], strides: tuple[int, ...], like: DeviceArray, stream: int
) -> tuple[Any, int]:
    torch: Any = sys.modules["torch"]
    tensor, size = like.owner, SIZES[like.kind]
    current = like.stream
    if current is None:
        current = torch.cuda.current_stream(like.device).cuda_stream
    # PyTorch gives freed memory out again in the order of the stream it was made on.
    on_stream = (
        nullcontext()
        if current == stream
        else torch.cuda.stream(torch.cuda.ExternalStream(stream, device=tensor.device))
    )
    with on_stream:
        steps = [stride // size for stride in strides]
        made = torch.empty_strided(shape, steps, dtype=tensor.dtype, device=tensor.device)
    return made, made.data_ptr()


def _new_cupy(
    shape: tuple[int, ...], strides: tuple[int, ...], like: DeviceArray, stream: int
) -> tuple[Any, int]:
    cupy: Any = sys.modules["cupy"]
    on_stream = nullcontext() if like.stream == stream else cupy.cuda.ExternalStream(stream)
    with like.owner.device, on_stream:
        memory = cupy.cuda.alloc(prod(shape) * like.itemsize)
        made = cupy.ndarray(shape, like.owner.dtype, memory, strides)
    return made, int(made.data.ptr)


def _new_numba(
    shape: tuple[int, ...], strides: tuple[int, ...], like: DeviceArray, stream: int
) -> tuple[Any, Any]:
    dtype = getattr(like.owner, "dtype", None)
    if like.kind != "bf16":
        dtype = np.dtype(like.dtype)
    elif not isinstance(dtype, np.dtype):
        raise TypeError("out must be given for bfloat16, which a Numba device array cannot hold")
    on = cuda.external_stream(stream) if stream and not SIMULATED else 0
    with _numba_on(like.device):
        made = cuda.device_array(shape, dtype, strides=strides, stream=on)
    if SIMULATED:
        return made, Pointer.over(made._ary)
    return made, made.device_ctypes_pointer.value or 0


def _numba_on(device: int) -> AbstractContextManager[object]:
    """Numba allocates on the device that it holds to be current in this thread."""
    same = SIMULATED or cuda.current_context().device.id == device
    return nullcontext() if same else cuda.gpus[device]


class _Lender:
    """Memory of ours on its way to another library by DLPack."""

    def __init__(self, described: dlpack.Description, memory: object, stream: int) -> None:
        self._described, self._memory, self._stream = described, memory, stream

    def __dlpack_device__(self) -> tuple[int, int]:
        return 2, self._described.device

    def __dlpack__(self, *, stream: int | None = None, **_: object) -> Any:
        """Lend the memory; ``stream``, the taker's, waits for ours."""
        taker = streams.LEGACY if stream is None else stream
        if taker not in (-1, self._stream):  # -1: the taker wants no order
            with driver.current(self._described.device):
                streams.wait(taker, self._stream)
        return dlpack.lend(self._described, 2, self._memory)


def _new_jax(
    shape: tuple[int, ...], strides: tuple[int, ...], like: DeviceArray, stream: int
) -> tuple[Any, int]:
    size = SIZES[like.kind]
    with _numba_on(like.device):
        memory = cuda.device_array(max(prod(shape) * size, 1), np.uint8)
    address = memory.device_ctypes_pointer.value
    steps = tuple(stride // size for stride in strides)
    described = dlpack.Description(address, like.device, shape, steps, like.kind, like.dtype)
    return _Lender(described, memory, stream), address


_Maker = Callable[[tuple[int, ...], tuple[int, ...], DeviceArray, int], tuple[Any, Any]]
_MAKERS: dict[str, _Maker] = {"torch": _new_torch, "cupy": _new_cupy, "jax": _new_jax}
