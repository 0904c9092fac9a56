"""``python -m bench.gpu.prepare``: compile a benchmark's kernels ahead, on a machine without a GPU.

A cold run spends minutes of the GPU's time on compiling. The PTX made here lies where Numba keeps
its kernels (NUMBA_CACHE_DIR, or beside the modules) and serves the same sources and versions.
"""

import multiprocessing
import os
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from importlib import import_module
from typing import Any, TypeAlias

import click

from bench.case import PASSES
from bench.choices import split_names
from bench.gpu.jobs import DEFAULT_SUITES, SUITES, Job, select
from bench.gpu.precisions import DEFAULT_PRECISIONS, PRECISIONS

# A kernel by its module, its factory and the factory's constants.
Named: TypeAlias = tuple[str, str, tuple[Any, ...]]

_KINDS = {"float32": "f32", "float64": "f64", "float16": "f16", "bfloat16": "bf16"}


def kernels_of(jobs: Iterable[Job], capability: tuple[int, int]) -> tuple[Named, ...]:
    """Every kernel that the jobs' plans take on a device of this capability."""
    found: dict[Named, None] = {}
    for job in jobs:
        for step in _plan(job, capability).program.steps:
            module, _, factory = step.kernel.name.partition(".")
            constants = tuple(value for _, value in step.kernel.constants)
            found[module, factory, constants] = None
    return tuple(found)


def _plan(job: Job, capability: tuple[int, int]) -> Any:
    backend = import_module("fastconv.cuda.convolution")
    g, last = job.layer.geometry, job.precision.layout == "nhwc"
    x, w, y = (_steps(shape, last) for shape in (g.input_shape, g.weight_shape, g.output_shape))
    # A weight gradient is written in C order, whatever the layout of the images.
    dw = _steps(g.weight_shape, False)
    pass_name, taken = {
        "forward": ("forward", (x, w, y)),
        "weight": ("weight_gradient", (x, y, dw)),
        "input": ("input_gradient", (y, w, x)),
    }[job.pass_name]
    kind = _KINDS[job.precision.dtype]
    arrays = backend.Operands(kind, *taken, capability, job.precision.tf32)
    return backend.make_plan(pass_name, g, arrays, "auto")


def _steps(shape: tuple[int, ...], channels_last: bool) -> tuple[int, ...]:
    """Element strides of a contiguous array."""
    order = [0, *range(2, len(shape)), 1] if channels_last else list(range(len(shape)))
    steps, step = [0] * len(shape), 1
    for axis in reversed(order):
        steps[axis], step = step, step * shape[axis]
    return tuple(steps)


def compile_one(named: Named, capability: tuple[int, int]) -> None:
    """Compile a kernel to PTX, or find it on disk."""
    module, factory, constants = named
    program = import_module("fastconv.cuda.program")
    made = getattr(import_module(f"fastconv.cuda.{module}"), factory)
    program.compiled(made, *constants).assembly(capability)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--suite",
    "suites",
    callback=split_names(SUITES),
    default=",".join(DEFAULT_SUITES),
    show_default=True,
)
@click.option(
    "--precision",
    "precisions",
    callback=split_names(tuple(PRECISIONS)),
    default=",".join(DEFAULT_PRECISIONS),
    show_default=True,
)
@click.option("--capability", default="9.0", show_default=True, help="Of the GPU to come.")
@click.option("--smoke", is_flag=True, help="One tiny layer of each suite.")
def main(
    suites: tuple[str, ...], precisions: tuple[str, ...], capability: str, smoke: bool
) -> None:
    """Compile the kernels that ``python -m bench.gpu`` will launch."""
    major, _, minor = capability.partition(".")
    target = int(major), int(minor or 0)
    named = kernels_of(select(suites, precisions, PASSES, smoke=smoke), target)
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(os.cpu_count(), mp_context=spawn) as pool:
        for done in [pool.submit(compile_one, one, target) for one in named]:
            done.result()
    click.echo(f"{len(named)} kernels are on disk for compute capability {capability}")


if __name__ == "__main__":
    main()
