"""Timing several callables side by side, so that each figure has its peer in the same minute."""

import gc
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

MIN_ROUNDS = 5
FEW_ROUNDS = 3  # are enough where each takes longer than the budget
BEATEN = 3.0  # times as long as the fastest: such a contestant's long calls are timed twice
MAX_ROUNDS = 1000
LONG_SECONDS = 0.02  # a call of this length is warm after one
REST_SECONDS = 0.005  # in which threads are watched
IDLE = 0.1  # of a core's time is what resting threads burn at most
LONGEST_REST = 0.5  # OpenBLAS's workers spin for 0.1 s after a product
SAMPLE_SECONDS = 2e-4  # a call shorter than this is repeated within one sample


@dataclass(frozen=True, slots=True)
class Sample:
    """Seconds a call, one entry a round; or what else was found in each."""

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        """The middle of the rounds: robust against a stray interruption."""
        return statistics.median(self.seconds)

    @property
    def spread(self) -> float:
        """The interquartile range over the median."""
        if len(self.seconds) < 2:
            return 0.0
        low, _, high = statistics.quantiles(self.seconds, n=4, method="inclusive")
        return (high - low) / self.median


def ratio(ours: Sample, peer: Sample) -> float:
    """How many times as fast ours is: the median of the rounds' own ratios.

    Both times of one round were taken within moments of each other, so a clock that drifts or a
    neighbour that wakes up over the run cancels within the round, which a ratio of the two
    medians would not give. A beaten peer has fewer rounds, the first ones.
    """
    return statistics.median(ratios(ours, peer))


def ratios(ours: Sample, peer: Sample) -> tuple[float, ...]:
    """How many times as fast ours is, in each round that both ran."""
    return tuple(p / o for o, p in zip(ours.seconds, peer.seconds, strict=False))


def interleaved(
    calls: Mapping[str, Callable[[], Any]],
    budget: float = 1.0,
    min_rounds: int = MIN_ROUNDS,
    settle: float = 0.0,
    stays: str | None = None,
) -> dict[str, Sample]:
    """Run each call once a round until ``budget`` seconds have passed, and no fewer rounds.

    Every call is warm before the first round. The order turns round from one round to the next,
    so that none always finds the cache as the same neighbour left it. With ``settle``, each sample
    comes after a rest in which all threads fall idle, and after so many seconds of calls that are
    not timed: one contestant's workers spin for a while after a call and would keep a core from the
    next, whose own workers must first wake. Where two rounds of long calls pass the budget, a third
    is enough, and those far behind the fastest sit it out: of all but the one that ``stays``.
    """
    names = list(calls)
    times: dict[str, list[float]] = {name: [] for name in names}
    with no_garbage_collection():
        numbers = {name: _repetitions(calls[name]) for name in names}
        end = time.perf_counter() + budget
        for done in range(MAX_ROUNDS):
            if done == 2 and time.perf_counter() >= end:
                beaten = _beaten({name: min(times[name]) for name in names if name != stays})
                names = [name for name in names if name not in beaten]
                long = any(min(times[name]) > LONG_SECONDS for name in names)
                min_rounds = min(min_rounds, FEW_ROUNDS) if long else min_rounds
            if done >= min_rounds and time.perf_counter() >= end:
                break
            for name in names if done % 2 else reversed(names):
                if settle:
                    _rest_and_warm(calls[name], settle)
                times[name].append(_seconds(calls[name], numbers[name]))
    return {name: Sample(tuple(seconds)) for name, seconds in times.items()}


def _beaten(seconds: Mapping[str, float]) -> list[str]:
    """The contestants whose calls are long, and far longer than the fastest one's."""
    limit = max(LONG_SECONDS, BEATEN * min(seconds.values(), default=0.0))
    return [name for name, took in seconds.items() if took > limit]


def _rest_and_warm(call: Callable[[], Any], seconds: float) -> None:
    rest()
    end = time.perf_counter() + seconds
    call()
    while time.perf_counter() < end:
        call()


def rest(longest: float = LONGEST_REST) -> bool:
    """Sleep until this process's threads are idle; whether they were before ``longest`` seconds."""
    end = time.perf_counter() + longest
    while time.perf_counter() < end:
        burnt = time.process_time()
        time.sleep(REST_SECONDS)
        if time.process_time() - burnt < IDLE * REST_SECONDS:
            return True
    return False


def _repetitions(call: Callable[[], Any]) -> int:
    """How many calls make one sample long enough for the clock; warms the call up, too."""
    once = _seconds(call, 1)
    if once < LONG_SECONDS:
        once = min(once, _seconds(call, 1), _seconds(call, 1))
    return max(1, round(SAMPLE_SECONDS / max(once, 1e-9)))


def _seconds(call: Callable[[], Any], number: int) -> float:
    start = time.perf_counter()
    for _ in range(number):
        call()
    return (time.perf_counter() - start) / number


@contextmanager
def no_garbage_collection(collect: bool = True) -> Iterator[None]:
    """Keep the collector out of the times taken inside the block; by default it runs before."""
    was_enabled = gc.isenabled()
    if collect:
        gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
