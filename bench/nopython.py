"""``python -m bench.nopython``: calls inside ``@njit`` beside calls from Python and plain loops.

Every contestant makes all its calls of a sample within one function of its own kind, on one thread.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import click
import numpy as np
from numba import njit
from rich.console import Console
from rich.table import Table

import fastconv
from bench.summary import time_text
from bench.timing import interleaved, ratio

Array = np.ndarray[Any, np.dtype[Any]]


@njit
def compiled(x, w, pad, calls):  # type: ignore[no-untyped-def]
    """Call fastconv in nopython code."""
    total = 0.0
    for _ in range(calls):
        total += fastconv.conv2d(x, w, padding=pad)[0, 0, 0, 0]
    return total


def interpreted(x: Array, w: Array, pad: int, calls: int) -> float:
    """Call fastconv from Python."""
    total = 0.0
    for _ in range(calls):
        total += float(fastconv.conv2d(x, w, padding=pad)[0, 0, 0, 0])
    return total


@njit(fastmath=True)
def loops(x, w, pad, calls):  # type: ignore[no-untyped-def]
    """Convolve by the definition's loops, pixels of a row innermost, where LLVM makes vectors."""
    N, C, H, W = x.shape
    K, _, R, S = w.shape
    P, Q = H + 2 * pad - R + 1, W + 2 * pad - S + 1
    total = 0.0
    for _ in range(calls):
        y = np.zeros((N, K, P, Q), x.dtype)
        for n in range(N):
            for k in range(K):
                for c in range(C):
                    for r in range(R):
                        for s in range(S):
                            tap = w[k, c, r, s]
                            for p in range(max(0, pad - r), min(P, H + pad - r)):
                                for q in range(max(0, pad - s), min(Q, W + pad - s)):
                                    y[n, k, p, q] += tap * x[n, c, p + r - pad, q + s - pad]
        total += y[0, 0, 0, 0]
    return total


CONTESTANTS: dict[str, Callable[..., float]] = {
    "nopython": compiled,
    "Python": interpreted,
    "plain loops": loops,
}


@dataclass(frozen=True, slots=True)
class Problem:
    """A convolution: its name, sizes, padding, and calls in a sample."""

    name: str
    input: tuple[int, ...]
    weight: tuple[int, ...]
    pad: int
    calls: int


PROBLEMS = (
    Problem("worked example", (1, 1, 3, 3), (1, 1, 2, 2), 0, 1000),
    Problem("3x3, 16 channels, 14x14", (1, 16, 14, 14), (16, 16, 3, 3), 1, 20),
    Problem("3x3, 64 channels, 56x56, N = 8", (8, 64, 56, 56), (64, 64, 3, 3), 1, 1),
)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--budget", default=2.0, show_default=True, help="Seconds a problem, at least.")
def main(budget: float) -> None:
    """Time calls inside @njit beside calls from Python and plain loops, on one thread."""
    table = Table("problem", *CONTESTANTS, "to Python", "to plain loops")
    rng = np.random.default_rng(0)
    with fastconv.options(threads=1):
        for problem in PROBLEMS:
            x, w = (
                rng.integers(-4, 5, shape).astype(np.float32)
                for shape in (problem.input, problem.weight)
            )
            given = x, w, problem.pad
            values = [run(*given, 1) for run in CONTESTANTS.values()]
            if not np.allclose(values, values[-1], rtol=1e-4):  # Winograd's algorithm rounds
                raise SystemExit(f"{problem.name}: results differ: {values}")
            calls = {name: partial(run, *given, problem.calls) for name, run in CONTESTANTS.items()}
            samples = interleaved(calls, budget)
            times = [time_text(sample.median / problem.calls) for sample in samples.values()]
            ours, *peers = samples.values()
            ratios = [f"{ratio(ours, peer):.2f}" for peer in peers]
            table.add_row(problem.name, *times, *ratios)
    Console().print(table)


if __name__ == "__main__":
    main()
