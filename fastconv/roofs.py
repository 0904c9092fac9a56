"""What this machine can do at most: its multiply-add peak and its copy bandwidth, measured."""

import functools
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from ._arguments import integer
from ._arrays import checked_dtype
from .cpu import simd
from .cpu.always import njit
from .cpu.planning import column_tile

VECTORS = 2  # of a tile's rows
ROUNDS = 1_000_000
COPY_BYTES = 256 * 2**20  # far beyond any last-level cache's share
REPEATS = 5


def _tile_loop(bits: int, lanes: int, m: int) -> Any:
    """A function (rounds, operands, result) that runs the kernels' own tile on operands in L1."""
    size, count = bits // 8, m * VECTORS

    @njit(nogil=True)
    def run(rounds: int, operands: int, result: int) -> None:
        sums = simd.zeros(bits, lanes, count)
        for i in range(rounds):
            # Moving on keeps the loads in the loop, as they are in a convolution.
            offset = (i & 7) * 64
            sums = simd.outer(
                sums, (operands,), offset, size, size, m, (operands,), offset, VECTORS
            )
        simd.store_tile(sums, result)

    return run


def fma_peak(dtype: DTypeLike, threads: int) -> float:
    """The machine's multiply-add peak in GFLOP/s: the kernels' own tile, its operands in L1.

    Parameters
    ----------
    dtype
        float64, or any other that is added up in float32.
    threads
        How many threads run the measuring kernel at once.

    Returns
    -------
    float
        The best of a few runs, in the process's first call: a peak is a bound, and noise only
        lowers it.
    """
    double = checked_dtype(dtype) == np.float64
    return _fma_peak("float64" if double else "float32", integer(threads, "threads", 1))


@functools.cache
def _fma_peak(dtype: str, threads: int) -> float:
    kind = np.dtype(dtype)
    bits = 8 * kind.itemsize
    lanes = simd.VECTOR_BITS // bits
    m = column_tile(VECTORS * lanes, lanes).m
    run = _tile_loop(bits, lanes, m)
    operands, results = np.zeros(4096, kind), np.zeros((threads, 4096), kind)
    run(1, operands.ctypes.data, results.ctypes.data)
    places = [row.ctypes.data for row in results]
    seconds = _best_seconds(
        lambda worker: run(ROUNDS, operands.ctypes.data, places[worker]), threads
    )
    return 2e-9 * m * VECTORS * lanes * ROUNDS * threads / seconds


def copy_bandwidth(threads: int) -> float:
    """GB/s of a copy far beyond the caches, bytes read and bytes written both counted."""
    return _copy_bandwidth(integer(threads, "threads", 1))


@functools.cache
def _copy_bandwidth(threads: int) -> float:
    source = np.ones(COPY_BYTES // 8)
    target = np.zeros_like(source)
    cuts = np.linspace(0, source.size, threads + 1).astype(int)

    def copy(worker: int) -> None:
        part = slice(cuts[worker], cuts[worker + 1])
        np.copyto(target[part], source[part])

    return 2e-9 * source.nbytes / _best_seconds(copy, threads)


def _best_seconds(work: Callable[[int], Any], threads: int) -> float:
    """The shortest of a few runs of ``work(worker)`` on all threads, started together."""
    barrier = threading.Barrier(threads)

    def timed(worker: int) -> tuple[float, float]:
        barrier.wait()
        start = time.perf_counter()
        work(worker)
        return start, time.perf_counter()

    best = float("inf")
    with ThreadPoolExecutor(threads) as pool:
        for _ in range(REPEATS):
            starts, ends = zip(*pool.map(timed, range(threads)), strict=True)
            best = min(best, max(ends) - min(starts))
    return best
