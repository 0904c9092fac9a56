"""What worker processes run in tests of pools: they import it by name."""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache

from storm import CASES, Job, alone, job_of

import fastconv


@lru_cache(1)
def work() -> list[Job]:
    return [
        job_of(CASES["3x3"], "forward", "direct"),
        job_of(CASES["one by one"], "weight_gradient"),
        job_of(CASES["strided"], "input_gradient"),
    ]


@lru_cache(1)
def expected() -> list[bytes]:
    """What each of six pieces of work gives, on this thread alone."""
    with fastconv.options(threads=1):
        return alone(work()) * 2


def one(number: int) -> bytes:
    return alone([work()[number % 3]])[0]


def right() -> bool:
    return [one(number) for number in range(6)] == expected()


def nested(method: str) -> list[bytes]:
    """The same by a process of this process."""
    with ProcessPoolExecutor(2, multiprocessing.get_context(method)) as pool:
        return list(pool.map(one, range(6), timeout=60))


class Filtered:
    """A data set for PyTorch: items all alike, computed by the process that loads them."""

    def __len__(self) -> int:
        return 6

    def __getitem__(self, number: int):
        return work()[0]()
