"""Large results lie on a cache line, in memory that earlier results have left."""

import gc
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from arrays import Array

import fastconv
from fastconv import _results
from fastconv._pool import Pool

X = np.ones((2, 16, 100, 100), np.float32)
W = np.ones((16, 1, 3, 3), np.float32)


@pytest.fixture(autouse=True)
def nothing_kept():
    _results.forget()
    yield
    _results.forget()


def convolved(x: Array = X) -> Array:
    return fastconv.conv2d(x, W, padding=1, groups=16)


def address(array: Array) -> int:
    return array.ctypes.data


@pytest.mark.parametrize("channels_last", [False, True])
def test_large_results_start_on_a_cache_line(channels_last):
    x = X
    if channels_last:
        x = np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1)
    calls = {
        "forward": lambda: convolved(x),
        "input": lambda: fastconv.conv2d_input(x.shape, W, x, padding=1, groups=16),
    }
    for name, call in calls.items():
        for known in (False, True):
            y = call()
            assert address(y) % 64 == 0, (name, known)
            assert y.strides == x.strides
            assert y.flags.writeable


def test_memory_of_a_result_that_is_gone_serves_the_next():
    y = convolved()
    size, first = y.nbytes, address(y)
    del y
    assert size <= _results.kept_bytes() <= size + 64
    y = convolved()
    assert address(y) == first
    assert _results.kept_bytes() == 0


def test_a_view_keeps_the_memory():
    corner = convolved()[1, 3, :2, :2]
    expected = corner.copy()
    assert _results.kept_bytes() == 0
    others = [convolved(-X) for _ in range(3)]
    assert not any(np.shares_memory(corner, other) for other in others)
    np.testing.assert_array_equal(corner, expected)


def test_results_that_live_at_once_share_nothing():
    results = [convolved(k * X) for k in range(4)]
    for k, y in enumerate(results):
        np.testing.assert_array_equal(y, k * results[1])


def test_clear_cache_frees_the_memory():
    convolved()
    assert _results.kept_bytes() > 0
    fastconv.clear_cache()
    assert _results.kept_bytes() == 0


def test_small_results_are_numpys_own():
    y = fastconv.conv2d(X[:, :, :20, :20], W, groups=16)
    assert y.base is None
    del y
    assert _results.kept_bytes() == 0


def test_threads_never_share_a_living_result():
    def work(k: int) -> bool:
        for _ in range(20):
            y = _results.empty((1 << 18,), np.dtype(np.float32))
            y[...] = k
            if not (y == k).all():
                return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(16)))


def test_a_pool_keeps_what_it_may_and_the_latest():
    pool = Pool(most_bytes=100, most=3)
    blocks = [np.empty(40, np.uint8) for _ in range(4)]
    for block in blocks:
        pool.give_back(block)
    assert pool.kept_bytes() == 80
    assert pool.take(40) is blocks[3]
    assert pool.take(40) is blocks[2]
    pool.give_back(np.empty(101, np.uint8))
    assert pool.kept_bytes() == 0
    for _ in range(5):
        pool.give_back(np.empty(1, np.uint8))
    assert pool.kept_bytes() == 3


def test_a_pool_lends_no_block_far_too_large():
    pool = Pool(most_bytes=1000, most=3, spare=1.5)
    block = np.empty(200, np.uint8)
    pool.give_back(block)
    assert pool.take(100) is not block
    assert pool.take(150) is block


def test_a_finalizer_uses_the_pool_while_its_thread_does():
    """The collector may run anywhere: here within each operation on the blocks that are kept."""

    ended, collecting = 0, False

    class Owner:
        def __init__(self) -> None:
            self.myself = self  # so that only the collector ends it

        def __del__(self) -> None:
            nonlocal ended
            pool.give_back(np.empty(10, np.uint8))
            pool.take(5)
            ended += 1

    def collect() -> None:
        nonlocal collecting
        if not collecting:  # a finalizer that left owners behind would have successors for ever
            collecting = True
            Owner()
            gc.collect()
            collecting = False

    class Collecting(dict[int, Array]):
        def get(self, *arguments: Any) -> Any:
            collect()
            return super().get(*arguments)

        def __setitem__(self, *arguments: Any) -> None:
            super().__setitem__(*arguments)
            collect()

    pool = Pool(most_bytes=1000, most=3)
    pool._kept = Collecting()
    for _ in range(5):
        pool.give_back(np.empty(10, np.uint8))
        assert 0 < pool.kept_bytes() <= 30
    assert pool.take(10).size == 10
    assert pool.kept_bytes() <= 30
    assert ended > 5
