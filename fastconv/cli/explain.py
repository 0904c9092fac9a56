"""``fastconv explain``: what a call would do, and how fast this machine could do it."""

from typing import Any

import click
from rich.console import Console
from rich.table import Table

from ..borders import MODES
from ..dispatch import ALGORITHMS
from ..explain import DIRECTIONS, LAYOUTS, Explanation
from ..explain import explain as explained
from ..roofs import copy_bandwidth, fma_peak


class Sizes(click.ParamType):  # type: ignore[type-arg]  # older ones take none
    """Numbers joined by commas or x, as in 8,64,56,56 and 3x3."""

    name = "sizes"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[int, ...]:
        """The numbers."""
        parts = str(value).replace("x", ",").split(",")
        if not all(part.strip().isdecimal() for part in parts):
            self.fail(f"{value!r}: needs whole numbers, as in 8,64,56,56", param, ctx)
        try:
            return tuple(int(part) for part in parts)
        except ValueError as error:  # of more digits than Python reads
            self.fail(str(error), param, ctx)


class Padding(Sizes):
    """The same, or "same", or "valid"."""

    name = "sizes|same|valid"

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        """The numbers, or the word."""
        return value if value in ("same", "valid") else super().convert(value, param, ctx)


SIZES, PADDING = Sizes(), Padding()
DTYPES = ("float32", "float64", "float16")


@click.command()
@click.argument("input_shape", type=SIZES)
@click.argument("weight_shape", type=SIZES)
@click.option("--stride", type=SIZES, default="1", show_default=True)
@click.option("--padding", type=PADDING, default="0", show_default=True)
@click.option("--padding-mode", type=click.Choice(MODES), default="zeros", show_default=True)
@click.option("--dilation", type=SIZES, default="1", show_default=True)
@click.option("--groups", type=int, default=1, show_default=True)
@click.option("--per-sample", is_flag=True, help="A weight gradient for each sample.")
@click.option("--dtype", type=click.Choice(DTYPES), default="float32", show_default=True)
@click.option("--layout", type=click.Choice(LAYOUTS), default="NCHW", show_default=True)
@click.option("--algorithm", type=click.Choice(ALGORITHMS), default="auto", show_default=True)
def explain(
    input_shape: tuple[int, ...],
    weight_shape: tuple[int, ...],
    stride: tuple[int, ...],
    padding: tuple[int, ...] | str,
    padding_mode: str,
    dilation: tuple[int, ...],
    groups: int,
    per_sample: bool,
    dtype: str,
    layout: str,
    algorithm: str,
) -> None:
    r"""Say what a convolution would do, in each pass, and what this machine allows it.

    INPUT_SHAPE is N,C,H,W and WEIGHT_SHAPE is K,C/groups,R,S; one and three spatial axes do as
    well. The multiply-add peak and the copy bandwidth are measured on the spot.

    \b
    fastconv explain 8,64,56,56 64,64,3,3 --padding 1
    """
    steps, gaps = map(_one_or_each, (stride, dilation))
    pads = padding if isinstance(padding, str) else _one_or_each(padding)
    try:
        plans = [
            explained(
                input_shape,
                weight_shape,
                steps,
                pads,
                gaps,
                groups,
                padding_mode=padding_mode,
                per_sample=per_sample and direction == "weight_gradient",
                direction=direction,
                dtype=dtype,
                layout=layout,
                algorithm=algorithm,
            )
            for direction in DIRECTIONS
        ]
    except (TypeError, ValueError) as error:
        raise click.UsageError(str(error)) from error
    console = Console(highlight=False, width=100)
    console.print(_geometry(plans[0]))
    console.print(_table(plans, dtype))
    for plan in plans:
        console.print(f"{plan.direction.replace('_', ' ')}:")
        for stage in plan.stages:
            made_for = ", ".join(f"{name} {value}" for name, value in stage.constants.items())
            console.print(f"  {stage.name} ({made_for}), {stage.units} units")


def _one_or_each(sizes: tuple[int, ...]) -> int | tuple[int, ...]:
    """One number for all axes, or one for each."""
    return sizes[0] if len(sizes) == 1 else sizes


def _geometry(plan: Explanation) -> str:
    g = plan.geometry
    return (
        f"{g.input_shape} * {g.weight_shape} -> {g.output_shape}: {plan.flops / 1e9:.3g} GFLOP, "
        f"{plan.bytes / 1e6:.3g} MB to move at least, {plan.intensity:.3g} flops a byte"
    )


def _table(plans: list[Explanation], dtype: str) -> Table:
    """A line a pass: the algorithm, its memory, and the roofline bound."""
    summed_in = "float64" if dtype == "float64" else "float32"
    made = Table()
    headings = ("pass", "algorithm", "thr.", "workspace", "bound", "at the bound", "set by")
    for heading in headings:
        made.add_column(heading, justify="left" if heading in ("pass", "set by") else "right")
    for plan in plans:
        peak, bandwidth = fma_peak(summed_in, plan.threads), copy_bandwidth(plan.threads)
        bound = plan.roofline(peak, bandwidth)
        limit = f"{peak:.0f} GFLOP/s" if bound == peak else f"{bandwidth:.0f} GB/s"
        made.add_row(
            plan.direction.replace("_", " "),
            plan.algorithm,
            str(plan.threads),
            f"{plan.workspace / 1e6:.2f} MB",
            f"{bound:.0f} GFLOP/s",
            _duration(plan.flops / bound * 1e-9 if bound else 0.0),
            limit,
        )
    return made


def _duration(seconds: float) -> str:
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds * 1e9:.3g} ns"
