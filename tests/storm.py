"""Calls of many kinds from many threads: each must give the bits that it gives alone.

Used by tests in this process and in others, which import it by name.
"""

import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import cycle
from typing import Any, TypeAlias

import numpy as np
from arrays import Array, channels_last
from cases import PASSES, Case, compute, operands, simple

import fastconv

Job: TypeAlias = Callable[[], Array]

# Each large enough for more than one unit of work, small enough to be quick.
CASES = {
    "3x3": simple(5, 24, 40, (30, 29), (3, 3), pad=1, bias=True),
    "strided": simple(3, 33, 17, (31, 31), (3, 3), stride=2, pad=1),
    "one by one": simple(4, 60, 90, (17, 17), (1, 1)),
    "depthwise": simple(4, 40, 40, (25, 25), (5, 5), pad=2, groups=40),
    "few channels": simple(2, 3, 8, (60, 60), (7, 7), stride=2, pad=3),
}
SMALL = simple(1, 1, 1, (3, 3), (2, 2))
LARGE_KERNEL = simple(3, 1, 1, (90, 80), (15, 15), pad=7)


def reals(case: Case, which: str, dtype: str = "float32", layout: str = "") -> list[Array]:
    """Return operands whose sums depend on the order of addition."""
    rng = np.random.default_rng(2)
    drawn = [rng.standard_normal(a.shape).astype(dtype) for a in operands(case, which)]
    if layout == "channels_last":
        drawn[:2] = map(channels_last, drawn[:2])
    return drawn


def bits(result: Array) -> bytes:
    return np.ascontiguousarray(result).tobytes()


def job_of(case: Case, which: str, algorithm: str = "auto", dtype: str = "float32") -> Job:
    return partial(compute, case, which, *reals(case, which, dtype), algorithm=algorithm)


def jobs() -> list[Job]:
    """Every kind of kernel and of memory: staged, kept, lent, none; on threads and alone."""
    made = [job_of(case, which, "direct") for case in CASES.values() for which in PASSES]
    made += [job_of(CASES["3x3"], which, "winograd") for which in PASSES]
    made += [job_of(CASES["3x3"], which, "im2col", "float64") for which in PASSES]
    made += [job_of(CASES["depthwise"], which, "depthwise") for which in PASSES]
    made += [job_of(SMALL, which) for which in PASSES]
    made += [job_of(LARGE_KERNEL, which, "fft") for which in PASSES]
    x, w = reals(CASES["one by one"], "forward")
    made.append(partial(fastconv.conv2d, x.astype("f2"), w.astype("f2")))
    dy = reals(CASES["one by one"], "weight_gradient")[1]
    made.append(partial(fastconv.conv2d_weight, x, w.shape, dy, per_sample=True))
    made.append(partial(fastconv.unfold, x, 3))
    return made


def alone(work: Iterable[Job]) -> list[bytes]:
    return [bits(job()) for job in work]


def storm(work: list[Job], expected: list[bytes], seconds: float, threads: int = 16) -> int:
    """Run jobs from threads of both kinds; return how many calls there were, each of them right."""
    end, start = time.monotonic() + seconds, threading.Barrier(threads)
    wrong: list[Any] = []
    done = [0] * threads

    def keep_calling(number: int) -> None:
        start.wait()
        # Threads of one kind of call each, and of all kinds, each from another on.
        order = [number % len(work)] if number % 4 == 0 else range(len(work))
        for i in cycle(order):
            place = (i + 5 * number) % len(work)
            try:
                if bits(work[place]()) != expected[place]:
                    wrong.append(place)
            except BaseException as error:
                wrong.append((place, error))
            done[number] += 1
            if time.monotonic() > end and done[number] >= len(work):
                return

    plain = [threading.Thread(target=keep_calling, args=(i,)) for i in range(threads // 2)]
    for thread in plain:
        thread.start()
    with ThreadPoolExecutor(threads - len(plain)) as pool:
        list(pool.map(keep_calling, range(len(plain), threads)))
    for thread in plain:
        thread.join()
    assert not wrong, wrong
    return sum(done)
