"""``python -m bench.in_jax``: convolutions in compiled JAX programs, by fastconv and by XLA.

Each case is one program: a convolution, or its gradients with respect to both operands. It is timed
with fastconv called by XLA's foreign function interface, by JAX's callbacks, and with XLA's own
convolution, on the same arrays in turn. Needs ``pip install 'fastconv[bench,jax]'``.
"""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
from rich.console import Console
from rich.table import Table

from bench import machine
from bench.case import LAYOUTS
from bench.summary import time_text
from bench.timing import interleaved, ratio

#: name: N, C, H (and W), K, R (and S); "same" padding, stride 1
CASES = {
    "tiny": (1, 1, 3, 1, 2),
    "small": (1, 8, 16, 8, 3),
    "image": (1, 16, 64, 16, 3),
    "resnet50_3": (8, 64, 56, 64, 1),
    "resnet50_4": (8, 64, 56, 64, 3),
    "resnet50_8": (8, 128, 28, 128, 3),
    "resnet50_13": (8, 256, 14, 256, 3),
    "resnet50_18": (8, 512, 7, 512, 3),
}
PASSES = ("forward", "gradients")
ROUTES = ("handler", "callback", "xla")
_AXES = {"nchw": ("NCHW", "OIHW", "NCHW"), "nhwc": ("NHWC", "HWIO", "NHWC")}


@dataclass(frozen=True, slots=True)
class Figure:
    """One program: median seconds of each route, and XLA's time over each of ours."""

    case: str
    pass_name: str
    layout: str
    seconds: dict[str, float]
    ratios: dict[str, float]


def measure(name: str, pass_name: str, layout: str, budget: float) -> Figure:
    """Time a case; a result that is not XLA's to rounding is an error."""
    calls = dict(zip(ROUTES, _programs(CASES[name], pass_name, layout), strict=True))
    import jax

    for route in ROUTES[:2]:
        pairs = zip(jax.tree.leaves(calls[route]()), jax.tree.leaves(calls["xla"]()), strict=True)
        for ours, theirs in pairs:
            scale = float(abs(theirs).max())
            np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-4 * scale, err_msg=name)
    samples = interleaved(calls, budget)
    seconds = {route: sample.median for route, sample in samples.items()}
    ratios = {route: ratio(samples[route], samples["xla"]) for route in ROUTES[:2]}
    return Figure(name, pass_name, layout, seconds, ratios)


def _programs(sizes: tuple[int, ...], pass_name: str, layout: str) -> list[Callable[[], Any]]:
    import jax

    import fastconv.jax
    from fastconv.jax import primitive

    N, C, H, K, R = sizes
    shapes = ((N, C, H, H), (K, C, R, R)) if layout == "nchw" else ((N, H, H, C), (R, R, C, K))
    rng = np.random.default_rng(0)
    x, w = (jax.numpy.asarray(rng.standard_normal(shape), "float32") for shape in shapes)
    programs = []
    for route in ROUTES:
        {"handler": primitive.lower_by_handler, "callback": primitive.lower_by_callback}.get(
            route, primitive.lower
        )()
        conv = jax.lax if route == "xla" else fastconv.jax
        programs.append(_compiled(conv.conv_general_dilated, pass_name, _AXES[layout], x, w))
    primitive.lower()
    return programs


def _compiled(conv: Any, pass_name: str, axes: Any, x: Any, w: Any) -> Callable[[], Any]:
    import jax

    def forward(x: Any, w: Any) -> Any:
        return conv(x, w, (1, 1), "SAME", dimension_numbers=axes)

    def gradients(x: Any, w: Any, dy: Any) -> Any:
        return jax.vjp(forward, x, w)[1](dy)

    operands = (x, w) if pass_name == "forward" else (x, w, jax.numpy.ones_like(forward(x, w)))
    function = forward if pass_name == "forward" else gradients
    ready = jax.jit(function).lower(*operands).compile()
    return lambda: jax.block_until_ready(ready(*operands))


def table(figures: list[Figure]) -> Table:
    """The figures, a line for each."""
    result = Table(box=None, header_style="bold", pad_edge=False, title_justify="left")
    for heading in ("case", "pass", "layout"):
        result.add_column(heading, no_wrap=True)
    for heading in (*ROUTES, "XLA / handler", "XLA / callback"):
        result.add_column(heading, justify="right", no_wrap=True)
    for f in figures:
        times = (time_text(f.seconds[route]) for route in ROUTES)
        result.add_row(
            *(f.case, f.pass_name, f.layout, *times, *(f"{r:.2f}" for r in f.ratios.values()))
        )
    return result


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--case", "cases", multiple=True, type=click.Choice(list(CASES)), help="All, unasked."
)
@click.option("--layout", type=click.Choice(LAYOUTS), default="nchw", show_default=True)
@click.option("--budget", default=0.5, show_default=True, help="Seconds for each program.")
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Write figures here.")
def main(cases: tuple[str, ...], layout: str, budget: float, json_path: Path | None) -> None:
    """Time convolutions in JAX programs by fastconv and by XLA.

    XLA makes as many threads as the process may use cores: hold it to one with taskset.
    """
    figures = [
        measure(name, pass_name, layout, budget) for name in cases or CASES for pass_name in PASSES
    ]
    Console(highlight=False).print(table(figures))
    if json_path:
        rows = [asdict(figure) for figure in figures]
        json_path.write_text(json.dumps(machine.identity() | {"figures": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
