"""Two times of a call on a device: what its kernels take, and what its caller waits.

A kernel's time is taken by two events around the call while the device is held busy, so that the
host has queued all of it before the first kernel starts and no gap between launches is counted.
A call's time is the host's own: from the call to its return, with nothing queued before it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from bench.timing import Sample, no_garbage_collection

WARMUPS = 3
ROUNDS = 11
SHORT_ROUNDS = 31  # where a round is shorter than SHORT_SECONDS
SHORT_SECONDS = 2e-3
HOLD_FACTOR = 2.0  # the device waits so much longer than the host was seen to queue a run
LONGEST_HOLD = 0.5
ATTEMPTS = 4

Call = Callable[[], Any]


class Stream(Protocol):
    """A device's queue of work and the two clocks beside it."""

    def now(self) -> float:
        """The host's clock, in seconds."""

    def mark(self) -> Any:
        """Queue an event."""

    def passed(self, mark: Any) -> bool:
        """Whether the device has come to the event."""

    def seconds(self, start: Any, end: Any) -> float:
        """Device time between two events that have both passed."""

    def flush(self) -> None:
        """Queue a write of more than the last-level cache holds."""

    def hold(self, seconds: float) -> None:
        """Queue a wait."""

    def drain(self) -> None:
        """Wait on the host until the queue is empty."""


@dataclass(frozen=True, slots=True)
class Times:
    """What was taken of several calls side by side; ``host_ahead``: no kernel waited for it."""

    kernel: dict[str, Sample]
    call: dict[str, Sample]
    host_ahead: bool


def measure(stream: Stream, calls: Mapping[str, Call]) -> Times:
    """Take both times of every call, the calls in turn, the cache flushed before each kernel."""
    with no_garbage_collection(collect=False):  # a collection takes longer than a short case
        for call in calls.values():
            for _ in range(WARMUPS):
                call()
        stream.drain()
        host, device = _one_round(stream, calls)
        rounds = SHORT_ROUNDS if device < SHORT_SECONDS else ROUNDS
        kernel, host_ahead = _kernel_samples(stream, calls, rounds, HOLD_FACTOR * rounds * host)
        return Times(kernel, _call_samples(stream, calls, rounds), host_ahead)


def _one_round(stream: Stream, calls: Mapping[str, Call]) -> tuple[float, float]:
    """Seconds that the host queues one round, and that the device runs it."""
    begin, start = stream.now(), stream.mark()
    _queue_round(stream, calls, tuple(calls))
    end = stream.mark()
    host = stream.now() - begin
    stream.drain()
    return host, stream.seconds(start, end)


def _queue_round(
    stream: Stream, calls: Mapping[str, Call], order: tuple[str, ...]
) -> dict[str, tuple[Any, Any]]:
    """Queue each call once between two events, the flush before them."""
    marks = {}
    for name in order:
        stream.flush()
        start = stream.mark()
        calls[name]()
        marks[name] = (start, stream.mark())
    return marks


def _kernel_samples(
    stream: Stream, calls: Mapping[str, Call], rounds: int, hold: float
) -> tuple[dict[str, Sample], bool]:
    """Device seconds of each call, a run queued whole behind a wait; longer until it suffices."""
    order = tuple(calls)
    for attempt in range(ATTEMPTS):
        stream.hold(min(hold * 2**attempt, LONGEST_HOLD))
        held = stream.mark()
        marks = [_queue_round(stream, calls, order[:: 1 if i % 2 else -1]) for i in range(rounds)]
        host_ahead = not stream.passed(held)
        stream.drain()
        if host_ahead:
            break
    samples = {name: Sample(tuple(stream.seconds(*m[name]) for m in marks)) for name in calls}
    return samples, host_ahead


def _call_samples(stream: Stream, calls: Mapping[str, Call], rounds: int) -> dict[str, Sample]:
    """Host seconds of each call, which waits for nothing: the queue is empty before it."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            stream.drain()
            start = stream.now()
            call()
            times[name].append(stream.now() - start)
    stream.drain()
    return {name: Sample(tuple(seconds)) for name, seconds in times.items()}
