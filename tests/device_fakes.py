"""A device without a device: a stream with two clocks, fixed kernel times, a host backend."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace
from typing import Any

import pytest

import fastconv
from bench.gpu import device, jobs, workload

FLUSH_SECONDS = 5e-5
US = 1e-6


class FakeStream:
    """A host and a device with a clock each: the device runs what is queued, in order."""

    def __init__(self) -> None:
        self.host = 0.0
        self.device = 0.0
        self.holds: list[float] = []

    def queue(self, host_seconds: float, device_seconds: float) -> None:
        self.host += host_seconds
        self.device = max(self.device, self.host) + device_seconds

    def now(self) -> float:
        return self.host

    def mark(self) -> float:
        self.queue(US, 0)
        return self.device

    def passed(self, mark: float) -> bool:
        return self.host >= mark

    def seconds(self, start: float, end: float) -> float:
        return end - start

    def flush(self) -> None:
        self.queue(US, FLUSH_SECONDS)

    def hold(self, seconds: float) -> None:
        self.holds.append(seconds)
        self.queue(US, seconds)

    def drain(self) -> None:
        self.host = max(self.host, self.device)


class FakeWorkload:
    def __init__(self, stream: FakeStream, error: Exception | None, peer: bool) -> None:
        self.note = ""
        self.error = error
        self.calls: dict[str, Callable[[], Any]] = {
            workload.OURS: lambda: stream.queue(30 * US, 100 * US)
        }
        if peer:
            self.calls[workload.PEER] = lambda: stream.queue(15 * US, 300 * US)

    def check(self) -> dict[str, float]:
        if self.error:
            raise self.error
        return dict.fromkeys(self.calls, 1e-7)


class FakeDevice:
    """Ours takes 100 us and returns in 30, the peer's 300 and 15; errors by layer and precision."""

    def __init__(self, errors: dict[tuple[str, str], Exception] | None = None) -> None:
        self.stream = FakeStream()
        self.errors = errors or {}
        self.anchor_errors: dict[tuple[str, str], Exception] = {}
        self.peer = True
        self.answers = True

    def describe(self) -> dict[str, Any]:
        return {
            "name": "Fake",
            "multiprocessors": 4,
            "compute_capability": "9.0",
            "memory_gib": 8.0,
            "l2_cache_mib": 50.0,
        }

    def versions(self) -> dict[str, str]:
        return {"fastconv": fastconv.__version__, "driver": "1"}

    def clocks(self) -> dict[str, str]:
        return {"clocks.sm": "1980 MHz"}

    def memory(self) -> int:
        return 2**38

    def algorithms(self) -> tuple[str, ...]:
        return ("auto", "direct", "im2col", "columns")

    def peak(self, precision: Any) -> float:
        return 1e15 if precision.dtype == "float16" else 1e14

    def copy_bandwidth(self) -> float:
        return 4e12

    def check_anchor(self, precision: Any, algorithm: str) -> None:
        error = self.anchor_errors.get((precision.name, algorithm))
        if error:
            raise error

    @contextmanager
    def workload(self, job: jobs.Job, algorithm: str) -> Iterator[FakeWorkload]:
        error = self.errors.get((job.layer.name, job.precision.name))
        yield FakeWorkload(self.stream, error, self.peer)

    def alive(self) -> bool:
        return self.answers


class HostBackend:
    """fastconv's functions on the host's tensors: PyTorch's in float64, rounded, then spoiled."""

    def __init__(self, spoil: Callable[[Any], Any] = lambda result: result) -> None:
        self.torch = pytest.importorskip("torch")
        self.spoil = spoil
        self.conv2d = self._lifted(self.torch.nn.functional.conv2d)
        self.conv2d_weight = self._lifted(self.torch.nn.grad.conv2d_weight)
        self.conv2d_input = self._lifted(self.torch.nn.grad.conv2d_input)

    def options(self, tf32: bool) -> Any:
        return nullcontext(tf32)

    def _lifted(self, function: Callable[..., Any]) -> Callable[..., Any]:
        torch = self.torch

        def call(*arguments: Any, algorithm: str, out: Any = None) -> Any:
            tensors = [a for a in arguments if isinstance(a, torch.Tensor)]
            wide = (a.double() if isinstance(a, torch.Tensor) else a for a in arguments)
            result = self.spoil(function(*wide).to(tensors[0].dtype))
            return result if out is None else out.copy_(result)

        return call


def use_fake_cuda(monkeypatch: pytest.MonkeyPatch, stream: FakeStream) -> Any:
    """Let PyTorch tell of a CUDA device whose clock is the stream's and whose memory the host's."""
    torch = pytest.importorskip("torch")

    class Event:
        def __init__(self, enable_timing: bool) -> None:
            assert enable_timing

        def record(self) -> None:
            self.at = stream.mark()
            stream.device += US  # PyTorch's own work does not move this clock

        def query(self) -> bool:
            return stream.passed(self.at)

        def elapsed_time(self, end: "Event") -> float:
            return 1e3 * (end.at - self.at)

    properties = SimpleNamespace(
        name="Fake",
        multi_processor_count=4,
        major=9,
        minor=0,
        total_memory=2**33,
        L2_cache_size=2**12,
        uuid="1234",
    )
    fakes = {
        "Event": Event,
        "_sleep": lambda cycles: stream.queue(US, cycles / 2e9),
        "synchronize": stream.drain,
        "is_available": lambda: True,
        "current_device": lambda: 0,
        "get_device_properties": lambda index: properties,
        "mem_get_info": lambda: (2**38, 2**38),
        "empty_cache": lambda: None,
    }
    for name, fake in fakes.items():
        monkeypatch.setattr(torch.cuda, name, fake)
    monkeypatch.setitem(sys.modules, device.BACKEND, SimpleNamespace(ALGORITHMS=("direct",)))
    monkeypatch.setattr(device, "PLACE", "cpu")
    monkeypatch.setattr(device, "PEAK_SIZE", 64)
    monkeypatch.setattr(device, "DOUBLE_PEAK_SIZE", 32)
    monkeypatch.setattr(device, "COPY_BYTES", 2**16)
    return torch
