"""What this machine is, and what it can do at most: its multiply-add peak and copy bandwidth."""

import functools
import importlib.metadata
import os
import platform
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

import fastconv
from fastconv.machine import machine_info

CHAINS = 12  # independent accumulators: covers fma latency x issue width, fits 16 registers
ROUNDS = 2_000_000
COPY_BYTES = 256 * 2**20  # far beyond any last-level cache's share
REPEATS = 5
PACKAGES = ("numba", "llvmlite", "numpy", "scipy", "torch")


@intrinsic
def _fma_chains(typingctx: Any, rounds: Any, x: Any, y: Any) -> Any:
    """CHAINS vector accumulators, each taking acc = x * y + acc, ``rounds`` times; their sum."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        element = context.get_value_type(x)
        lanes = machine_info().vector_bits // x.bitwidth
        vector = ir.VectorType(element, lanes)
        count, first, second = args
        a, b = (_splat(builder, vector, value) for value in (first, second))
        kind = ir.FunctionType(vector, [vector] * 3)
        name = f"llvm.fma.v{lanes}f{x.bitwidth}"
        fma = cgutils.get_or_insert_function(builder.module, kind, name)
        before = builder.block
        loop, done = (builder.append_basic_block(name) for name in ("chains", "done"))
        builder.branch(loop)
        builder.position_at_end(loop)
        step = builder.phi(count.type)
        step.add_incoming(ir.Constant(count.type, 0), before)
        accumulators = [builder.phi(vector) for _ in range(CHAINS)]
        for i, phi in enumerate(accumulators):  # different starts: no two chains may be merged
            phi.add_incoming(ir.Constant(vector, [float(i)] * lanes), before)
            phi.add_incoming(builder.call(fma, (a, b, phi)), loop)
        following = builder.add(step, ir.Constant(count.type, 1))
        step.add_incoming(following, loop)
        builder.cbranch(builder.icmp_signed("<", following, count), loop, done)
        builder.position_at_end(done)
        total = functools.reduce(builder.fadd, [phi.incomings[1][0] for phi in accumulators])
        return builder.extract_element(total, ir.Constant(ir.IntType(32), 0))

    return x(types.int64, x, x), codegen


def _splat(builder: Any, vector: Any, value: Any) -> Any:
    zero = ir.Constant(ir.IntType(32), 0)
    one = builder.insert_element(ir.Constant(vector, ir.Undefined), value, zero)
    indices = ir.Constant(ir.VectorType(ir.IntType(32), vector.count), [0] * vector.count)
    return builder.shuffle_vector(one, ir.Constant(vector, ir.Undefined), indices)


@njit(nogil=True)
def _run_chains(rounds: int, x: Any, y: Any) -> Any:
    return _fma_chains(rounds, x, y)


@functools.cache
def fma_peak(dtype: str, threads: int) -> float:
    """The machine's multiply-add peak in GFLOP/s, measured with registers alone.

    Parameters
    ----------
    dtype
        ``"float32"`` or ``"float64"``.
    threads
        How many threads run the measuring kernel at once.

    Returns
    -------
    float
        The best of a few runs: a peak is a bound, and noise only lowers it.
    """
    one = np.dtype(dtype).type(1)
    lanes = machine_info().vector_bits // (8 * np.dtype(dtype).itemsize)
    _run_chains(1, one, one)
    seconds = _best_seconds(lambda _: _run_chains(ROUNDS, one, one), threads)
    return 2e-9 * CHAINS * lanes * ROUNDS * threads / seconds


@functools.cache
def copy_bandwidth(threads: int) -> float:
    """GB/s of a copy far beyond the caches, bytes read and bytes written both counted."""
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


def versions() -> dict[str, str]:
    """Python's version, fastconv's and each installed package's."""
    found = {"python": platform.python_version(), "fastconv": fastconv.__version__}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def blas() -> list[str]:
    """The BLAS libraries loaded now and the kernels they chose, as NumPy's peer will use them."""
    threadpoolctl = importlib.import_module("threadpoolctl")
    return [
        f"{row['internal_api']} {row['version']} {row.get('architecture', '')}".strip()
        for row in threadpoolctl.threadpool_info()
        if row["user_api"] == "blas"
    ]


def describe(dtypes: tuple[str, ...], threads: tuple[int, ...]) -> dict[str, Any]:
    """The machine as a report states it: names, versions, and the two measured bounds."""
    found = machine_info()
    return {
        "cpu": f"{found.processor} ({found.target}, {found.vector_bits}-bit vectors)",
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "versions": versions(),
        "blas": blas(),
        "peak_gflops": {
            dtype: {str(count): round(fma_peak(dtype, count), 1) for count in threads}
            for dtype in dtypes
        },
        "copy_gbytes_per_second": {
            str(count): round(copy_bandwidth(count), 1) for count in threads
        },
    }
