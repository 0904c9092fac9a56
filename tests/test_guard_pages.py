"""Nothing is read or written outside an array: the tests' cases beside memory that kills.

The cases run in a process of their own, as those of a fuzz run do, whose arrays these are.
"""

import sys

import numpy as np
import pytest
from cases import ALGORITHMS, EDGES, PASSES, Case, grid
from fuzz_trials import Trial, shapes
from fuzz_worker import Worker
from numpy.lib.stride_tricks import as_strided

if sys.platform == "win32":
    pytest.skip("there is no mprotect on Windows", allow_module_level=True)

from fuzz_calls import run
from guard_pages import Placed, Placement

CASES = [row for rank in (1, 2, 3) for row in grid(rank)[::3]]
CASES += [(case, "float32", "channels_first", which) for case in EDGES.values() for which in PASSES]


def placement(rank: int, layout: str, edge: str) -> Placement:
    """An array without gaps."""
    first = tuple(range(rank))
    last = (0, *range(2, rank), 1) if rank > 2 else first
    return Placement(last if layout == "channels_last" else first, (1,) * rank, edge)


@pytest.mark.parametrize("edge", ["end", "start"])
def test_cases(edge: str) -> None:
    with Worker() as worker:
        for case, dtype, layout, which in CASES:
            for algorithm in ALGORITHMS:
                worker.run(run, _trial(case, which, dtype, layout, algorithm, edge))
        assert worker.counts == {"exact": len(CASES) * len(ALGORITHMS)}


def _trial(case: Case, which: str, dtype: str, layout: str, algorithm: str, edge: str) -> Trial:
    places = tuple(placement(len(shape), layout, edge) for shape in shapes(case, which))
    return Trial(case, which, dtype, algorithm, places)


@pytest.mark.parametrize("edge", ["end", "start"])
def test_the_page_kills(edge: str) -> None:
    with Worker() as worker:
        with pytest.raises(AssertionError, match="status -"):
            worker.run(touch, edge)
        worker.run(stay, edge)
        assert worker.counts == {"exact": 1}


def touch(edge: str) -> str:
    """Read one element past an array."""
    array = Placed((5,), "f8", Placement((0,), (1,), edge)).array
    outside = as_strided(array, (6,)) if edge == "end" else as_strided(array, (2,), (-8,))
    return str(outside.sum())


def stay(edge: str) -> str:
    """Read an array's own elements."""
    array = Placed((5,), "f8", Placement((0,), (-1,), edge)).array
    return "exact" if np.isnan(array.sum()) else "failed"


def test_what_is_written_outside_is_seen() -> None:
    placed = Placed((3, 4), "f4", Placement((1, 0), (2, -3), "start", 4))
    placed.hold(np.arange(12).reshape(3, 4))
    placed.check_unchanged("it")
    placed.array[1, 2] = 5
    with pytest.raises(AssertionError, match="it was written to"):
        placed.check_unchanged("it")
    placed.check_around("it")
    as_strided(placed.array, (2,), (4,))[1] = 0
    with pytest.raises(AssertionError, match="written outside of it"):
        placed.check_around("it")
