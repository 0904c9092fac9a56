"""The same bits from run to run, for any number of threads, from many callers, across a fork."""

import multiprocessing
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from arrays import DTYPES, LAYOUTS, Array, channels_last
from cases import ALGORITHMS, PASSES, Case, compute, operands, simple
from scripts import run_script

import fastconv

# Large enough for more than one unit of work, small enough to be quick.
CASES = {
    "3x3": simple(5, 24, 40, (30, 29), (3, 3), pad=1, bias=True),
    "strided": simple(3, 33, 17, (31, 31), (3, 3), stride=2, pad=1),
    "one by one": simple(4, 60, 90, (17, 17), (1, 1)),
    "depthwise": simple(4, 40, 40, (25, 25), (5, 5), pad=2, groups=40),
    "few channels": simple(2, 3, 8, (60, 60), (7, 7), stride=2, pad=3),
}


def reals(case: Case, which: str, dtype: str, layout: str = LAYOUTS[0]) -> list[Array]:
    """Return operands whose sums depend on the order of addition."""
    rng = np.random.default_rng(2)
    drawn = [rng.standard_normal(a.shape).astype(dtype) for a in operands(case, which)]
    if layout == "channels_last":
        drawn[:2] = map(channels_last, drawn[:2])
    return drawn


def bits(result: Array) -> bytes:
    return np.ascontiguousarray(result).tobytes()


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("which", PASSES)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_threads_do_not_change_a_bit(
    case: Case, dtype: str, layout: str, which: str, algorithm: str
) -> None:
    arrays = reals(case, which, dtype, layout)
    first = bits(compute(case, which, *arrays, algorithm=algorithm))
    assert first == bits(compute(case, which, *arrays, algorithm=algorithm))
    for threads in (1, 2, 3, 7):
        with fastconv.options(threads=threads):
            assert first == bits(compute(case, which, *arrays, algorithm=algorithm))


def _work() -> list[tuple[Case, str, str, list[Array]]]:
    return [
        (case, which, algorithm, reals(case, which, dtype))
        for case in CASES.values()
        for which in PASSES
        for algorithm in ALGORITHMS
        for dtype in DTYPES
    ]


def _run(item: tuple[Case, str, str, list[Array]]) -> bytes:
    case, which, algorithm, arrays = item
    return bits(compute(case, which, *arrays, algorithm=algorithm))


def test_concurrent_callers() -> None:
    work = _work()
    serial = list(map(_run, work))
    with ThreadPoolExecutor(8) as pool:
        for _ in range(3):
            assert list(pool.map(_run, work)) == serial


def test_concurrent_callers_of_a_new_shape() -> None:
    """Eight threads that meet at a shape no plan exists for yet."""
    case = simple(2, 11, 13, (18, 23), (3, 3), pad=1)
    fastconv.clear_cache()
    arrays = reals(case, "forward", "float32")
    with ThreadPoolExecutor(8) as pool:
        results = set(pool.map(_run, [(case, "forward", "direct", arrays)] * 16))
    assert len(results) == 1


def _child(connection: Any) -> None:
    connection.send([_run(item) for item in _work()[:8]])
    connection.close()


@pytest.mark.skipif(sys.platform == "win32", reason="there is no fork on Windows")
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_a_forked_child_gives_the_same() -> None:
    expected = [_run(item) for item in _work()[:8]]
    context = multiprocessing.get_context("fork")
    for _ in range(2):
        ours, theirs = context.Pipe()
        child = context.Process(target=_child, args=(theirs,))
        child.start()
        theirs.close()
        assert ours.poll(120), "the forked child gave no answer"
        assert ours.recv() == expected
        child.join(30)
        assert child.exitcode == 0
        assert [_run(item) for item in _work()[:8]] == expected


FIRST_USE_AFTER_FORK = """
import multiprocessing
import numpy as np
import fastconv

def conv(_=None):
    x = np.ones((4, 24, 30, 30), np.float32)
    w = np.ones((40, 24, 3, 3), np.float32)
    return float(fastconv.conv2d(x, w, padding=1).sum())

if __name__ == "__main__":
    with multiprocessing.get_context("fork").Pool(2) as pool:
        children = pool.map_async(conv, range(4)).get(120)
    print(set(children) == {conv()})
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there is no fork on Windows")
def test_first_use_after_a_fork() -> None:
    assert run_script(FIRST_USE_AFTER_FORK) == "True\n"


# Numba's tbb layer, once started with one worker, hangs the exit of a process that has forked.
FORK_WITH_ONE_THREAD = """
import os
import numpy as np
import fastconv
from fastconv.machine import machine_info

x = np.ones((4, 24, 30, 30), np.float32)
w = np.ones((40, 24, 3, 3), np.float32)
print(machine_info().threading_layer)
alone = fastconv.conv2d(x, w, padding=1)
child = os.fork()
if not child:
    os._exit(0 if np.array_equal(fastconv.conv2d(x, w, padding=1), alone) else 1)
print(os.waitpid(child, 0)[1])
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there is no fork on Windows")
def test_a_process_of_one_thread_that_forked_ends() -> None:
    assert run_script(FORK_WITH_ONE_THREAD, timeout=120, NUMBA_NUM_THREADS="1") == "none\n0\n"
