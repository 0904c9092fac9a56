"""One job after another: checked, timed, and made into a record, until the budget is spent."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from math import prod
from typing import Any, Protocol

from bench.checked import WrongResult
from bench.gpu import clock
from bench.gpu.clock import Call, Stream
from bench.gpu.jobs import Job
from bench.gpu.precisions import Precision
from bench.gpu.workload import OURS, PEER, first_line
from bench.timing import Sample, ratio, ratios

TIMED, WRONG, FAILED, REFUSED = "timed", "WRONG", "failed", "refused"


class DeviceLost(Exception):
    """The device answers no more: what follows could not be measured."""


class Checked(Protocol):
    """What `measure` needs of a workload."""

    calls: dict[str, Call]
    note: str

    def check(self) -> dict[str, float]:
        """Each contestant's error; `WrongResult` where ours is wrong."""


class Device(Protocol):
    """A device as this benchmark sees it."""

    stream: Stream

    def describe(self) -> dict[str, Any]:
        """What the device is."""

    def versions(self) -> dict[str, str]:
        """What it runs."""

    def clocks(self) -> dict[str, str]:
        """The clocks of this moment and their limits."""

    def memory(self) -> int:
        """Bytes free now."""

    def algorithms(self) -> tuple[str, ...]:
        """The names that fastconv takes here."""

    def peak(self, precision: Precision) -> float:
        """FLOP/s of a large matrix product, at its best."""

    def copy_bandwidth(self) -> float:
        """Bytes a second of a large copy, both those read and those written."""

    def check_anchor(self, precision: Precision, algorithm: str) -> None:
        """Run the worked example; `WrongResult` where a number differs."""

    def workload(self, job: Job, algorithm: str) -> AbstractContextManager[Checked]:
        """The job's calls, ready to run inside the block."""

    def alive(self) -> bool:
        """Whether the device still answers after an error."""


@dataclass(frozen=True, slots=True)
class Record:
    """One job's outcome; times are medians, in seconds, and a ratio of 2 means half their time.

    ``bytes`` are those of the operands and the result: what must be moved at least.
    ``kernel_rounds`` are what the medians of the kernels' times and the ratio are taken from.
    """

    suite: str
    layer: str
    shape: str
    kind: str
    count: int
    precision: str
    pass_name: str
    layout: str
    algorithm: str
    flops: int
    bytes: int
    peak_gflops: float
    copy_gbytes_per_second: float
    status: str
    reason: str = ""
    note: str = ""
    errors: dict[str, float] = field(default_factory=dict)
    first_call: float | None = None  # of ours: compiled or loaded, and waited for
    kernel_rounds: dict[str, tuple[float, ...]] = field(default_factory=dict)
    kernel_seconds: dict[str, float] = field(default_factory=dict)
    call_seconds: dict[str, float] = field(default_factory=dict)
    ratio: float | None = None
    ratio_spread: float | None = None
    call_ratio: float | None = None
    tflops: float | None = None
    percent_of_peak: float | None = None
    percent_of_copy: float | None = None
    host_ahead: bool | None = None


@dataclass(frozen=True, slots=True)
class Anchor:
    """How the worked example came out for one precision and algorithm."""

    precision: str
    algorithm: str
    status: str
    reason: str = ""


def anchors(
    device: Device, precisions: Sequence[Precision], algorithms: Sequence[str]
) -> tuple[Anchor, ...]:
    """Run the worked example for every precision and algorithm; `DeviceLost` where one ends it."""
    return tuple(_anchor(device, p, algorithm) for p in precisions for algorithm in algorithms)


def _anchor(device: Device, precision: Precision, algorithm: str) -> Anchor:
    try:
        device.check_anchor(precision, algorithm)
    except WrongResult as error:
        return Anchor(precision.name, algorithm, WRONG, str(error))
    except ValueError as error:  # how fastconv refuses an algorithm that cannot do it
        return Anchor(precision.name, algorithm, REFUSED, first_line(error))
    except Exception as error:  # a benchmark reports what a kernel raises, whatever it is
        if not device.alive():
            where = f"the worked example, {precision.name} {algorithm}"
            raise DeviceLost(f"{where}: {first_line(error)}") from error
        return Anchor(precision.name, algorithm, FAILED, first_line(error))
    return Anchor(precision.name, algorithm, "exact")


class Bench:
    """Measures jobs on one device with one algorithm."""

    def __init__(
        self,
        device: Device,
        algorithm: str,
        anchored: Sequence[Anchor],
        peaks: Mapping[str, float],
        copy_bandwidth: float,
    ) -> None:
        self._device = device
        self._algorithm = algorithm
        self._peaks = peaks
        self._copy_bandwidth = copy_bandwidth
        self._unanchored = {
            anchor.precision: anchor
            for anchor in anchored
            if anchor.algorithm == algorithm and anchor.status != "exact"
        }

    def run(
        self, jobs: Sequence[Job], deadline: float, now: Callable[[], float]
    ) -> Iterator[Record]:
        """Measure the jobs in turn while ``now()`` is before the deadline."""
        for job in jobs:
            if now() >= deadline:
                return
            yield self.attempt(job)

    def attempt(self, job: Job) -> Record:
        """Measure the job, or record why it was not; `DeviceLost` where nothing more can be."""
        anchor = self._unanchored.get(job.precision.name)
        if anchor:
            reason = f"the worked example: {anchor.reason}"
            return self._record(job, status=anchor.status, reason=reason)
        try:
            with self._device.workload(job, self._algorithm) as workload:
                return self._measured(job, workload)
        except WrongResult as error:
            return self._record(job, status=WRONG, reason=str(error))
        except Exception as error:  # recorded, so that one job's failure leaves the others
            if not self._device.alive():
                raise DeviceLost(f"{_where(job)}: {first_line(error)}") from error
            status = REFUSED if isinstance(error, ValueError) else FAILED
            return self._record(job, status=status, reason=first_line(error))

    def _measured(self, job: Job, workload: Checked) -> Record:
        first_call = self._first_call(workload.calls[OURS])
        errors = workload.check()
        times = clock.measure(self._device.stream, workload.calls)
        kernel, call = times.kernel, times.call
        beside = Sample(ratios(kernel[OURS], kernel[PEER])) if PEER in kernel else None
        flops = job.layer.geometry.flops / kernel[OURS].median
        moved = _bytes(job) / kernel[OURS].median
        return self._record(
            job,
            status=TIMED,
            note="; ".join(filter(None, (job.layer.note, workload.note))),
            errors=errors,
            first_call=first_call,
            kernel_rounds={name: sample.seconds for name, sample in kernel.items()},
            kernel_seconds={name: sample.median for name, sample in kernel.items()},
            call_seconds={name: sample.median for name, sample in call.items()},
            ratio=beside.median if beside else None,
            ratio_spread=beside.spread if beside else None,
            call_ratio=ratio(call[OURS], call[PEER]) if beside else None,
            tflops=flops / 1e12,
            percent_of_peak=100 * flops / self._peaks[job.precision.name],
            percent_of_copy=100 * moved / self._copy_bandwidth,
            host_ahead=times.host_ahead,
        )

    def _first_call(self, call: Call) -> float:
        """Seconds until the first result is there."""
        stream = self._device.stream
        stream.drain()
        start = stream.now()
        call()
        stream.drain()
        return stream.now() - start

    def _record(self, job: Job, **rest: Any) -> Record:
        return Record(
            suite=job.suite,
            layer=job.layer.name,
            shape=str(job.layer),
            kind=job.layer.kind,
            count=job.layer.count,
            precision=job.precision.name,
            pass_name=job.pass_name,
            layout=job.precision.layout,
            algorithm=self._algorithm,
            flops=job.layer.geometry.flops,
            bytes=_bytes(job),
            peak_gflops=self._peaks[job.precision.name] / 1e9,
            copy_gbytes_per_second=self._copy_bandwidth / 1e9,
            **rest,
        )


def _bytes(job: Job) -> int:
    g = job.layer.geometry
    return job.precision.itemsize * sum(
        prod(shape) for shape in (g.input_shape, g.weight_shape, g.output_shape)
    )


def _where(job: Job) -> str:
    return f"{job.layer.name} {job.precision.name} {job.pass_name}"
