"""Which stream a call on device arrays runs on, and what waits for what.

The device is host memory and its kernels are the oracle; see fake_device.py.
"""

import types
from collections import deque
from typing import Any

import numpy as np
import pytest
from fake_device import SETTINGS, Device, Plain, device, operands, plain

import fastconv

__all__ = ["device"]  # a fixture


class Stream:
    """A stream object of some library."""

    def __init__(self, **attributes: Any) -> None:
        self.__dict__.update(attributes)


class CoreStream:
    """A stream of cuda.core."""

    def __cuda_stream__(self) -> tuple[int, int]:
        return 0, 9


@pytest.mark.parametrize(
    "stream",
    [
        9,
        np.int64(9),
        Stream(cuda_stream=9),
        Stream(ptr=9),
        Stream(handle=9),
        Stream(handle=types.SimpleNamespace(value=9)),
        CoreStream(),
    ],
)
def test_stream_forms(device: Device, stream: Any) -> None:
    x, w, _ = operands()
    fastconv.conv2d(*plain(x, w), stream=stream, **SETTINGS)
    assert [run.stream for run in device.runs] == [9]
    assert not device.waits


@pytest.mark.parametrize(
    ("stream", "error"), [("9", TypeError), (True, TypeError), (9.0, TypeError), (-1, ValueError)]
)
def test_stream_refusals(device: Device, stream: Any, error: type[Exception]) -> None:
    x, w, _ = operands()
    with pytest.raises(error, match="stream must be an integer handle, or a stream of PyTorch"):
        fastconv.conv2d(*plain(x, w), stream=stream, **SETTINGS)


def test_a_stream_for_host_arrays_is_refused() -> None:
    x, w, _ = operands()
    y = fastconv.conv2d(x, w, **SETTINGS)
    message = "stream must be None for NumPy arrays, .* got 9"
    calls: list[Any] = [
        lambda: fastconv.conv2d(x, w, stream=9, **SETTINGS),
        lambda: fastconv.conv_transpose2d(x[:, :2], w[:2], stream=9),
        lambda: fastconv.conv2d_weight(x, w.shape, y, stream=9, **SETTINGS),
        lambda: fastconv.conv2d_input(x.shape, w, y, stream=9, **SETTINGS),
        lambda: fastconv.unfold(x, 2, stream=9),
        lambda: fastconv.fold(fastconv.unfold(x, 2), (6, 5), 2, stream=9),
    ]
    for call in calls:
        with pytest.raises(TypeError, match=message):
            call()


_CAPTURED = 907  # the driver's answer for an event that went into a graph


class Driver:
    """A stand-in for the driver's bindings that writes down what is asked of it."""

    CUevent_flags = types.SimpleNamespace(CU_EVENT_DISABLE_TIMING=2)
    CUresult = types.SimpleNamespace(CUDA_SUCCESS=0, CUDA_ERROR_NOT_READY=600)
    CUstreamCaptureMode = types.SimpleNamespace(CU_STREAM_CAPTURE_MODE_RELAXED="relaxed")

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []
        self.events, self.passed = 0, 0
        self.captured: set[int] = set()
        self.mode = "strict"

    def __getattr__(self, name: str) -> Any:
        def ask(*arguments: Any) -> tuple[int, ...]:
            self.asked.append((name, *arguments))
            if name == "cuEventCreate":
                self.events += 1
                return 0, self.events
            if name == "cuThreadExchangeStreamCaptureMode":
                before, self.mode = self.mode, arguments[0]
                return 0, before
            if name == "cuEventQuery":
                assert self.mode == "relaxed", "a capture under way elsewhere would break off"
                return (_CAPTURED if arguments[0] in self.captured else self._asked(*arguments),)
            return (0,)

        return ask

    def _asked(self, event: int) -> int:
        return 600 if event > self.passed else 0


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Driver:
    pytest.importorskip("numba_cuda")
    from fastconv.cuda import driver, streams

    fake = Driver()
    monkeypatch.setattr(driver, "cu", fake)
    monkeypatch.setattr(streams, "cu", fake)
    return fake


def test_streams_wait_by_events(driver: Driver) -> None:
    from fastconv.cuda import streams

    streams.wait(5, 6)
    assert driver.asked == [
        ("cuEventCreate", 2),
        ("cuEventRecord", 1, 6),
        ("cuStreamWaitEvent", 5, 1, 0),
        ("cuEventDestroy", 1),
    ]


def test_lent_memory_is_held_until_the_stream_has_come_past(
    driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fastconv.cuda import streams

    monkeypatch.setattr(streams, "_held", deque())
    for passed, lease in ((0, "a"), (0, "b"), (1, "c"), (3, "d")):
        driver.passed = passed
        streams.hold(lease, 5)
        held = [lease for _, lease in streams._held]
        assert held == {"a": ["a"], "b": ["a", "b"], "c": ["b", "c"], "d": ["d"]}[lease]
    assert [call for call in driver.asked if call[0] == "cuEventDestroy"] == [
        ("cuEventDestroy", event) for event in (1, 2, 3)
    ]


def test_memory_lent_to_a_cuda_graph_is_kept(
    driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fastconv.cuda import streams

    monkeypatch.setattr(streams, "_held", deque())
    driver.passed, driver.captured = 9, {1}
    for lease in ("a", "b"):
        streams.hold(lease, 5)
    assert [lease for _, lease in streams._held] == ["a", "b"]
    assert driver.mode == "strict"


def test_the_first_named_stream_waits_for_the_others(device: Device) -> None:
    x, w, b = operands()
    named = Plain(x), Plain(w, stream=5), Plain(b, stream=6)
    fastconv.conv2d(*named, **SETTINGS)
    assert device.runs[-1].stream == 5
    assert device.waits == [(5, 6), (6, 5)]
    device.waits.clear()
    fastconv.conv2d(*named, stream=8, **SETTINGS)
    assert device.runs[-1].stream == 8
    assert device.waits == [(8, 5), (8, 6)]
    device.waits.clear()
    out = Plain(np.empty((2, 6, 3, 3), np.float32), stream=7)
    fastconv.conv2d(*named[:2], out=out, **SETTINGS)
    assert device.waits == [(5, 7), (7, 5)]
    device.waits.clear()
    fastconv.conv2d(Plain(x, stream=1), Plain(w), **SETTINGS)
    fastconv.conv2d(Plain(x), Plain(w), **SETTINGS)
    assert [run.stream for run in device.runs[-2:]] == [1, 0]
    assert not device.waits
