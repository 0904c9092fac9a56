"""Streams: which one a call runs on, and the order between streams, kept by the device alone."""

from __future__ import annotations

import operator
import threading
from collections import deque
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from .._arguments import shown
from . import driver
from .ptx.instruction import SIMULATED

if not SIMULATED:
    from cuda.bindings import driver as cu

    _ORDINAL = cu.CUpointer_attribute.CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL

LEGACY = 1  # what the array interfaces call the default stream, whose handle is 0 too
_NEED = "an integer handle, or a stream of PyTorch, CuPy, Numba or cuda.core"


def missing_device() -> str:
    """What keeps device arrays from being used on this machine; empty if nothing does."""
    if SIMULATED:
        return ""
    try:
        (status,) = cu.cuInit(0)
    except RuntimeError:  # the bindings look for the driver when it is first called
        return "no driver was found"
    return "" if status == cu.CUresult.CUDA_SUCCESS else f"the driver says {status.name}"


def handle_of(stream: Any) -> int | None:
    """The handle of what the caller gave as ``stream``; None for None."""
    if stream is None:
        return None
    if type(stream) is int:
        return _checked_handle(stream)
    try:
        handle = _told_handle(stream)
    except Exception as error:  # whatever is in the place of a handle
        got = f"{shown(stream)} ({type(stream).__name__})"
        raise TypeError(f"stream must be {_NEED}, got {got}") from error
    return _checked_handle(handle)


def _told_handle(stream: Any) -> int:
    """The handle that an object tells, in the way of its library."""
    if hasattr(stream, "__cuda_stream__"):
        # A pair of the protocol's version and the handle; some libraries have it as a property.
        pair = stream.__cuda_stream__
        return _number((pair() if callable(pair) else pair)[1])
    for name in ("cuda_stream", "ptr", "handle"):
        if hasattr(stream, name):
            return _number(getattr(stream, name))
    if SIMULATED and type(stream).__module__.startswith("numba."):
        return 0
    if type(stream) in (bool, np.bool_):
        raise TypeError("a bool is no handle")
    return operator.index(stream)


def _number(handle: Any) -> int:
    """An integer from an integer, a ctypes pointer or a binding's handle."""
    value = getattr(handle, "value", handle)
    if type(value) in (str, bytes, float):  # of which int would make a number
        raise TypeError(f"a {type(value).__name__} is no handle")
    return 0 if value is None else int(value)


def _checked_handle(handle: int) -> int:
    if not 0 <= handle < 2**64:
        raise ValueError(f"stream must be {_NEED}, got {shown(handle)}")
    return handle


class Order(NamedTuple):
    """The stream a call runs on, and those that must wait for it or that it must wait for."""

    handle: int
    others: tuple[int, ...]
    shared: bool  #: whether the others wait for it in the end: nobody named its stream in the call

    def before(self) -> None:
        """Let the call's stream wait for what the others have been given so far."""
        for other in self.others:
            wait(self.handle, other)

    def after(self) -> None:
        """Let the others wait for the call."""
        if self.shared:
            for other in self.others:
                wait(other, self.handle)


def order(given: int | None, named: Sequence[int | None]) -> Order:
    """The order between the stream the caller gave, if any, and those that arrays name."""
    handle = given
    others: tuple[int, ...] = ()
    for stream in named:
        if stream is None:
            continue
        if handle is None:
            handle = stream
        elif stream != handle and stream not in others and not _both_legacy(stream, handle):
            others = (*others, stream)
    return Order(handle or 0, others, given is None)


def _both_legacy(a: int, b: int) -> bool:
    return a in (0, LEGACY) and b in (0, LEGACY)


def wait(waiting: int, stream: int) -> None:
    """Let one stream wait for what another was given so far; the host goes on at once."""
    if SIMULATED:
        return
    event = _recorded(stream)
    driver.checked(cu.cuStreamWaitEvent(waiting, event, 0))
    # The driver frees an event once the device has come past it.
    driver.checked(cu.cuEventDestroy(event))


def _recorded(stream: int) -> Any:
    event = driver.checked(cu.cuEventCreate(cu.CUevent_flags.CU_EVENT_DISABLE_TIMING))
    driver.checked(cu.cuEventRecord(event, stream))
    return event


_held: deque[tuple[Any, object]] = deque()
_lock = threading.Lock()


def hold(leases: object, stream: int) -> None:
    """Keep objects alive until the stream has come to this point.

    A library that lent its memory by DLPack does not know of our stream, and could use the memory
    again as soon as the loan ends.
    """
    if SIMULATED:
        return
    with _lock:
        while _held and _passed(_held[0][0]):
            event, _ = _held.popleft()
            driver.checked(cu.cuEventDestroy(event))
        _held.append((_recorded(stream), leases))


def _passed(event: Any) -> bool:
    """Whether the device has come past an event; never for one that went into a CUDA graph."""
    # Asked strictly, the driver would break off a capture that is under way elsewhere.
    relaxed = cu.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_RELAXED
    strict = driver.checked(cu.cuThreadExchangeStreamCaptureMode(relaxed))
    (status,) = cu.cuEventQuery(event)
    driver.checked(cu.cuThreadExchangeStreamCaptureMode(strict))
    return bool(status == cu.CUresult.CUDA_SUCCESS)


def device_of(address: int) -> int:
    """The device whose memory an address is in; the current one for no address."""
    if SIMULATED or not address:
        return driver.device()
    status, ordinal = cu.cuPointerGetAttribute(_ORDINAL, address)
    if status:  # there must be a context
        driver.device()
        ordinal = driver.checked(cu.cuPointerGetAttribute(_ORDINAL, address))
    return int(ordinal)
