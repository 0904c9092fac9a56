"""``python -m bench.signal``: fastconv.signal and fastconv.ndimage beside SciPy's functions.

Each case is one call, checked against SciPy's result and then timed beside each of SciPy's ways to
compute it, on the same arrays. A ratio is to the fastest of them: above 1, fastconv is.
"""

import dataclasses
import datetime
import importlib
import json
import re
import statistics
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import click
import numpy as np
from rich.console import Console
from rich.table import Table

import fastconv
from bench import machine
from bench.case import Array
from bench.checked import WrongResult
from bench.choices import split_names
from bench.peers.base import SLOW_LIMIT
from bench.summary import time_text
from bench.timing import interleaved, ratio
from fastconv import ndimage, signal

OURS = "fastconv"
DTYPES = ("float32", "float64", "uint8", "complex64")
# An image's sizes along each axis, and the kernels' beside each.
LINES = ((16, 100, 1000, 10_000, 100_000, 1_000_000), (2, 10, 100, 1000, 10_000))
IMAGES = ((8, 32, 128, 512, 1024, 2048), (1, 3, 9, 15, 31, 63, 129))
VOLUMES = ((8, 32, 64, 128), (3, 7, 15))
FILTERED = ((32, 256, 1024), (3, 9, 15))  # images whose edges are continued
BOUNDARIES = {"wrap": "wrap", "symm": "reflect"}  # in scipy.signal, in scipy.ndimage

Calls = dict[str, Callable[[], Any]]


@dataclass(frozen=True, slots=True)
class Problem:
    """A function of an image and a kernel; ``edges`` are the boundary's name where there is one."""

    function: str
    image: tuple[int, ...]
    kernel: tuple[int, ...]
    dtype: str
    edges: str = ""

    @property
    def name(self) -> str:
        """As in "correlate 1024x1024 15x15 float32"."""
        sizes = ("x".join(map(str, shape)) for shape in (self.image, self.kernel))
        return " ".join(filter(None, (self.function, *sizes, self.dtype, self.edges)))

    @property
    def products(self) -> int:
        """Multiplications, taken one by one."""
        return prod(self.image) * prod(self.kernel)


@dataclass(frozen=True, slots=True)
class Figure:
    """One problem, timed: medians in seconds, and ratios to ours round by round."""

    name: str
    best_peer: str
    ratio: float
    seconds: dict[str, float]


def problems(dtypes: Sequence[str]) -> Iterator[Problem]:
    """All problems: every rank and function, sizes from a few elements to millions."""
    for dtype in dtypes:
        for rank, (sizes, kernels) in enumerate((LINES, IMAGES, VOLUMES), start=1):
            for size in sizes:
                for taps in kernels:
                    if taps <= size:
                        yield Problem("correlate", (size,) * rank, (taps,) * rank, dtype)
        for size in FILTERED[0]:
            for taps in FILTERED[1]:
                square = (size, size), (taps, taps), dtype
                yield Problem("correlate2d", *square, "fill")
                for edges in BOUNDARIES:
                    yield Problem("correlate2d", *square, edges)
                if np.dtype(dtype).kind != "c":
                    yield Problem("ndimage.correlate", *square, "reflect")
                    yield Problem("ndimage.correlate1d", (size, size), (taps,), dtype, "reflect")


def operands(problem: Problem) -> tuple[Array, Array]:
    """Normal numbers, or small integers."""
    rng = np.random.default_rng([*problem.image, *problem.kernel])
    kind = np.dtype(problem.dtype)
    shapes = problem.image, problem.kernel
    if kind.kind in "iu":
        image, kernel = (rng.integers(0, 3, shape).astype(kind) for shape in shapes)
    else:
        image, kernel = (rng.standard_normal(shape).astype(kind) for shape in shapes)
    return image, kernel


def contestants(problem: Problem) -> Calls:
    """Our call, and SciPy's ways to the same result; its loops only where they end in a second."""
    scipy_signal = importlib.import_module("scipy.signal")
    scipy_ndimage = importlib.import_module("scipy.ndimage")
    a, b = operands(problem)
    name = problem.function.rpartition(".")[2]
    quick = 2 * problem.products <= SLOW_LIMIT / 4
    if problem.function.startswith("ndimage"):
        ours, theirs = (getattr(library, name) for library in (ndimage, scipy_ndimage))
        return {OURS: lambda: ours(a, b), name: lambda: theirs(a, b)}
    if problem.function == "correlate2d":
        given = (a, b, "same", problem.edges)
        calls: Calls = {OURS: lambda: signal.correlate2d(*given)}
        if quick:
            calls[name] = lambda: scipy_signal.correlate2d(*given)
        return calls
    backwards = b[(slice(None, None, -1),) * b.ndim].conj()
    calls = {
        OURS: lambda: signal.correlate(a, b, "same"),
        name: lambda: scipy_signal.correlate(a, b, "same"),
        "fftconvolve": lambda: scipy_signal.fftconvolve(a, backwards, "same"),
        "oaconvolve": lambda: scipy_signal.oaconvolve(a, backwards, "same"),
    }
    if len(problem.image) == 2 and quick and b.shape[0] % 2:  # of an even one, other places
        calls["correlate2d"] = lambda: scipy_signal.correlate2d(a, b, "same")
    return calls


def check(problem: Problem, calls: Mapping[str, Callable[[], Any]]) -> None:
    """Hold our result against the first peer's; a WrongResult where they differ."""
    made, *others = (call() for call in list(calls.values())[:2])
    if not others:
        return
    want = others[0]
    if made.dtype != want.dtype or made.shape != want.shape:
        raise WrongResult(f"{problem.name}: {made.dtype} {made.shape}, not {want.dtype}")
    wide = np.complex128 if made.dtype.kind == "c" else np.float64
    error = np.abs(made.astype(wide) - want.astype(wide)).max(initial=0.0)
    scale = float(np.abs(want.astype(wide)).max(initial=0.0)) or 1.0
    allowed = 0.0 if made.dtype.kind in "iu" else 1e3 * float(np.finfo(made.dtype).eps)
    if not error <= allowed * scale:
        raise WrongResult(f"{problem.name}: off by {error / scale:.1e} of the largest result")


def measure(problem: Problem, budget: float) -> Figure | None:
    """Check a problem and time it; None where SciPy would take too long."""
    calls = contestants(problem)
    check(problem, calls)
    if len(calls) < 2:
        return None
    samples = interleaved(calls, budget, stays=OURS)
    seconds = {name: sample.median for name, sample in samples.items()}
    best = min((name for name in seconds if name != OURS), key=seconds.__getitem__)
    return Figure(problem.name, best, ratio(samples[OURS], samples[best]), seconds)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--cases", default="", metavar="REGEX", help="Only cases whose name it finds.")
@click.option(
    "--dtypes", callback=split_names(DTYPES), default="float32,float64", show_default=True
)
@click.option("--threads", type=click.IntRange(1), default=1, show_default=True)
@click.option("--budget", type=float, default=0.2, show_default=True, help="Seconds a case.")
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Also write a file.")
def main(
    cases: str, dtypes: tuple[str, ...], threads: int, budget: float, json_path: Path | None
) -> None:
    """Time fastconv.signal and fastconv.ndimage beside SciPy's functions, on one thread.

    The exit status is 1 where a value is wrong.
    """
    search = re.compile(cases).search
    chosen = [problem for problem in problems(dtypes) if search(problem.name)]
    if not chosen:
        raise click.UsageError(f"--cases {cases!r} matches no case")
    console = Console(width=None if sys.stdout.isatty() else 120)
    described = machine.identity()
    console.print(described["cpu"], highlight=False)
    figures: list[Figure] = []
    wrong: list[str] = []
    with console.status("first case") as status, fastconv.options(threads=threads):
        for problem in chosen:
            status.update(problem.name)
            try:
                figure = measure(problem, budget)
            except WrongResult as error:
                wrong.append(str(error))
                continue
            if figure:
                figures.append(figure)
    console.print(table(figures))
    for line in (*summary(figures), *(f"wrong: {sentence}" for sentence in wrong)):
        console.print(line, highlight=False)
    if json_path:
        report = {
            "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "machine": described,
            "threads": threads,
            "figures": [dataclasses.asdict(figure) for figure in figures],
        }
        json_path.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    sys.exit(1 if wrong else 0)


def table(figures: Sequence[Figure]) -> Table:
    """Each case's time and the fastest peer's beside it."""
    result = Table(box=None, header_style="bold", pad_edge=False, collapse_padding=True)
    result.add_column("case", no_wrap=True)
    for heading in ("ours", "fastest", "peer", "ratio"):
        result.add_column(heading, justify="right", no_wrap=True)
    for figure in figures:
        ours, fastest = figure.seconds[OURS], figure.seconds[figure.best_peer]
        times = time_text(ours), time_text(fastest)
        result.add_row(figure.name, *times, figure.best_peer, f"{figure.ratio:.2f}")
    return result


def summary(figures: Sequence[Figure]) -> Iterator[str]:
    """The geometric mean for each function, and what is slower than a peer, the slowest first."""
    groups: dict[str, list[float]] = {}
    for figure in figures:
        groups.setdefault(figure.name.partition(" ")[0], []).append(figure.ratio)
    for name, ratios in groups.items():
        mean, least = statistics.geometric_mean(ratios), min(ratios)
        means = f"geometric mean of {len(ratios)}, {least:.2f} at least"
        yield f"{name}: {mean:.1f} x SciPy's fastest ({means})"
    slower = sorted((f for f in figures if f.ratio < 1), key=lambda figure: figure.ratio)
    if slower:
        yield f"slower than a peer: {len(slower)} of {len(figures)}"
    for figure in slower:
        fastest = figure.seconds[figure.best_peer]
        yield f"    {figure.name}: {figure.ratio:.2f} x {figure.best_peer}, {time_text(fastest)}"


if __name__ == "__main__":
    main()
