"""``python -m bench.gpu.launch``: what a call on device arrays costs the host. Needs no GPU.

The CUDA driver is one whose kernels do nothing (null_driver.c), but the bindings that call it and
Numba's device arrays are the real ones: the time of a call is all that stands before the driver's
own work. Needs a C compiler.
"""

import ctypes
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np
from rich.console import Console
from rich.table import Table

from bench import machine
from bench.timing import Sample, interleaved

SOURCE = Path(__file__).with_name("null_driver.c")
LIBRARY = "libcuda.so.1"  # what the bindings ask the loader for
LIMIT = 30.0  # microseconds of a call's launch path
X, W, Y = (2, 64, 8, 8), (64, 64, 3, 3), (2, 64, 8, 8)
DTYPES = ("float32", "float16")
PACKAGES = ("numba", "numba-cuda", "cuda-bindings", "numpy")


class NoCompiler(Exception):
    """The driver cannot be built; says in one line what is missing."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One pass' launches and times of the host: medians and fastest rounds, in microseconds.

    ``call`` writes to an ``out``; ``launch`` is the part of it that starts a plan's kernels.
    """

    pass_name: str
    dtype: str
    launches: int
    call: float
    fastest_call: float
    launch: float
    fastest_launch: float


def install(folder: Path) -> ctypes.CDLL:
    """Build the driver that does nothing and load it ahead of any other into this process."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        raise NoCompiler("bench.gpu.launch needs a C compiler: cc is not on the PATH")
    library = folder / LIBRARY
    options = ["-O1", "-shared", "-fPIC", f"-Wl,-soname,{LIBRARY}"]
    subprocess.run([compiler, *options, str(SOURCE), "-o", str(library)], check=True)
    os.environ["NUMBA_CUDA_DRIVER"] = str(library)
    return ctypes.CDLL(str(library), ctypes.RTLD_GLOBAL)


def launched(driver: ctypes.CDLL) -> int:
    """How many kernels have been launched."""
    return ctypes.c_longlong.in_dll(driver, "null_launches").value


def measure(driver: ctypes.CDLL, seconds: float = 1.0) -> list[Figure]:
    """Time all passes on Numba's device arrays for so many seconds each."""
    return [
        _figure(driver, name, dtype, seconds)
        for dtype in DTYPES
        for name in ("forward", "weight_gradient", "input_gradient")
    ]


def _figure(driver: ctypes.CDLL, name: str, dtype: str, seconds: float) -> Figure:
    from fastconv.cuda import call as calls

    call = _call(name, dtype)
    known = set(calls._known)
    call()
    (key,) = set(calls._known) - known
    (job,) = calls._known[key]
    before = launched(driver)
    call()
    launches = launched(driver) - before
    launch = partial(job.program.run, 1 << 20, 1 << 30, 1 << 40, 0, 0, 0)
    samples = interleaved({"call": call, "launch": launch}, seconds)
    return Figure(
        name, dtype, launches, *_times(samples["call"]), *_times(samples["launch"])
    )  # fmt: skip


def _times(sample: Sample) -> tuple[float, float]:
    return round(1e6 * sample.median, 2), round(1e6 * min(sample.seconds), 2)


def _call(name: str, dtype: str) -> Callable[[], Any]:
    import fastconv

    numba_cuda: Any = __import__("numba.cuda", fromlist=["cuda"])
    x, w, y = (numba_cuda.to_device(np.zeros(shape, dtype)) for shape in (X, W, Y))
    if name == "forward":
        return partial(fastconv.conv2d, x, w, padding=1, out=y)
    if name == "weight_gradient":
        return partial(fastconv.conv2d_weight, x, W, y, padding=1, out=w)
    return partial(fastconv.conv2d_input, X, w, y, padding=1, out=x)


def table(figures: list[Figure]) -> Table:
    """The figures, a line for each."""
    result = Table(box=None, header_style="bold", pad_edge=False, title_justify="left")
    result.title = f"host time, us: median (fastest); a call's launch path may take {LIMIT:.0f}"
    for heading in ("pass", "dtype"):
        result.add_column(heading, no_wrap=True)
    for heading in ("launches", "call", "of which launching"):
        result.add_column(heading, justify="right", no_wrap=True)
    for f in figures:
        result.add_row(
            f.pass_name,
            f.dtype,
            str(f.launches),
            f"{f.call:.1f} ({f.fastest_call:.1f})",
            f"{f.launch:.1f} ({f.fastest_launch:.1f})",
        )
    return result


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--seconds", type=float, default=1.0, show_default=True, help="For each figure.")
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Write figures here.")
def main(seconds: float, json_path: Path | None) -> None:
    """Time what stands before the CUDA driver's own work, on a driver that does nothing.

    The exit status is 1 where a call's median is above its limit, 2 without a C compiler.
    """
    with tempfile.TemporaryDirectory() as folder:
        try:
            driver = install(Path(folder))
        except NoCompiler as error:
            click.echo(str(error), err=True)
            sys.exit(2)
        figures = measure(driver, seconds)
    Console(highlight=False).print(table(figures))
    if json_path:
        facts = {"versions": machine.versions(PACKAGES), "limit": LIMIT}
        lines = [asdict(figure) for figure in figures]
        json_path.write_text(json.dumps(facts | {"figures": lines}, indent=1) + "\n")
    sys.exit(1 if any(figure.call > LIMIT for figure in figures) else 0)


if __name__ == "__main__":
    main()
