"""The CUDA device as PyTorch shows it: the only module here that needs one to run."""

import importlib
import importlib.metadata
import shutil
import subprocess
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from bench import machine
from bench.gpu import anchor
from bench.gpu.clock import Stream
from bench.gpu.jobs import Job
from bench.gpu.precisions import Precision
from bench.gpu.workload import LayerTensors, Workload, arithmetic, first_line
from bench.suites import Layer

PLACE = "cuda"
BACKEND = "fastconv.cuda.convolution"
PACKAGES = ("numba", "numba-cuda", "cuda-bindings", "llvmlite", "numpy", "torch")
PEAK_SIZE = 8192
DOUBLE_PEAK_SIZE = 4096  # most devices have few float64 units
COPY_BYTES = 2**30
BEST_OF = 8
CALIBRATION_CYCLES = 20_000_000
CALIBRATION_WARMUPS = 5
LEAST_CACHE = 32 * 2**20  # where the driver does not tell the cache's size
CLOCKS = ("clocks.sm", "clocks.max.sm", "clocks.mem", "clocks.max.mem", "power.limit")


class NoDevice(Exception):
    """There is no device to measure on; says in one line what is missing."""


def find_device() -> "CudaDevice":
    """The current CUDA device; `NoDevice` where there is none or no PyTorch that sees it."""
    needs = "bench.gpu needs a CUDA device and a PyTorch built for CUDA"
    try:
        torch = importlib.import_module("torch")
    except ImportError:
        raise NoDevice(f"{needs}: PyTorch is not installed") from None
    with warnings.catch_warnings(action="ignore"):  # an old driver is told of as a warning
        available = torch.cuda.is_available()
    if not available:
        raise NoDevice(f"{needs}: PyTorch {torch.__version__} sees none")
    try:
        backend = importlib.import_module(BACKEND)
    except ImportError as error:
        raise NoDevice(f"bench.gpu needs fastconv's CUDA backend: {first_line(error)}") from None
    return CudaDevice(torch, tuple(backend.ALGORITHMS))


class CudaStream:
    """PyTorch's current stream, with a cache flush and a wait of known length."""

    def __init__(self, torch: Any, cache_bytes: int) -> None:
        self._torch = torch
        self._event = torch.cuda.Event
        self._buffer = torch.empty(2 * cache_bytes, dtype=torch.int8, device=PLACE)
        self._cycles_per_second = self._calibrated()

    def _calibrated(self) -> float:
        for _ in range(CALIBRATION_WARMUPS):  # an idle device's clock is a fraction of a busy one's
            self.hold_cycles(CALIBRATION_CYCLES)
        start = self.mark()
        self.hold_cycles(CALIBRATION_CYCLES)
        end = self.mark()
        self.drain()
        return CALIBRATION_CYCLES / self.seconds(start, end)

    def hold_cycles(self, cycles: int) -> None:
        self._torch.cuda._sleep(cycles)

    def hold(self, seconds: float) -> None:
        self.hold_cycles(int(seconds * self._cycles_per_second))

    def now(self) -> float:
        return time.perf_counter()

    def mark(self) -> Any:
        event = self._event(enable_timing=True)
        event.record()
        return event

    def passed(self, mark: Any) -> bool:
        return bool(mark.query())

    def seconds(self, start: Any, end: Any) -> float:
        return 1e-3 * float(start.elapsed_time(end))

    def flush(self) -> None:
        self._buffer.zero_()

    def drain(self) -> None:
        self._torch.cuda.synchronize()


class CudaDevice:
    """The device that PyTorch has as its current one."""

    def __init__(self, torch: Any, algorithms: tuple[str, ...]) -> None:
        self._torch = torch
        self._algorithms = tuple(dict.fromkeys(("auto", *algorithms)))
        self._properties = torch.cuda.get_device_properties(torch.cuda.current_device())
        self._cache = getattr(self._properties, "L2_cache_size", 0) or LEAST_CACHE
        self._tensors: LayerTensors | None = None
        self.stream: Stream = CudaStream(torch, self._cache)

    def describe(self) -> dict[str, Any]:
        found = self._properties
        return {
            "name": found.name,
            "multiprocessors": found.multi_processor_count,
            "compute_capability": f"{found.major}.{found.minor}",
            "memory_gib": round(found.total_memory / 2**30, 1),
            "l2_cache_mib": round(self._cache / 2**20, 1),
        }

    def versions(self) -> dict[str, str]:
        cudnn = self._torch.backends.cudnn.version()
        return machine.versions(PACKAGES) | {
            "driver": self._ask("driver_version").get("driver_version", "unknown"),
            "cuda runtime of torch": str(self._torch.version.cuda),
            "cudnn": str(cudnn),
        }

    def clocks(self) -> dict[str, str]:
        return self._ask(*CLOCKS)

    def _ask(self, *names: str) -> dict[str, str]:
        """What nvidia-smi answers about this device; nothing where it is absent or fails."""
        program = shutil.which("nvidia-smi")
        if program is None:
            return {}
        command = [program, f"--query-gpu={','.join(names)}", "--format=csv,noheader"]
        if hasattr(self._properties, "uuid"):
            command.append(f"--id=GPU-{self._properties.uuid}")
        try:
            answer = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
        except (OSError, subprocess.SubprocessError):
            return {}
        values = (value.strip() for value in answer.stdout.strip().split(","))
        return dict(zip(names, values, strict=False))

    def memory(self) -> int:
        return int(self._torch.cuda.mem_get_info()[0])

    def algorithms(self) -> tuple[str, ...]:
        return self._algorithms

    def peak(self, precision: Precision) -> float:
        size = DOUBLE_PEAK_SIZE if precision.dtype == "float64" else PEAK_SIZE
        dtype = getattr(self._torch, precision.dtype)
        a, b = (self._torch.randn(size, size, device=PLACE).to(dtype) for _ in range(2))
        product = self._torch.empty_like(a)
        with arithmetic(self._torch, precision):
            return 2 * size**3 / self._best(lambda: self._torch.matmul(a, b, out=product))

    def copy_bandwidth(self) -> float:
        source = self._torch.ones(COPY_BYTES, dtype=self._torch.int8, device=PLACE)
        target = self._torch.empty_like(source)
        return 2 * COPY_BYTES / self._best(lambda: target.copy_(source))

    def _best(self, call: Callable[[], Any]) -> float:
        """The shortest of several runs, in seconds."""
        for _ in range(3):
            call()
        marks = [(self.stream.mark(), call(), self.stream.mark()) for _ in range(BEST_OF)]
        self.stream.drain()
        return min(self.stream.seconds(start, end) for start, _, end in marks)

    def check_anchor(self, precision: Precision, algorithm: str) -> None:
        anchor.check_anchor(precision, algorithm, PLACE)

    @contextmanager
    def workload(self, job: Job, algorithm: str) -> Iterator[Workload]:
        tensors = self._of(job.layer)
        try:
            with arithmetic(self._torch, job.precision):
                yield Workload(tensors, job.precision, job.pass_name, algorithm)
        except self._torch.OutOfMemoryError:
            self._tensors = None  # the next layer starts with all of the memory
            self._torch.cuda.empty_cache()
            raise

    def _of(self, layer: Layer) -> LayerTensors:
        if self._tensors is None or self._tensors.layer != layer:
            self._tensors = None  # so that two layers' tensors are never held at once
            self._tensors = LayerTensors(layer, PLACE)
        return self._tensors

    def alive(self) -> bool:
        try:
            self._torch.cuda.synchronize()
        except RuntimeError:
            return False
        return True
