"""The roofline: how fast each case runs, beside what the machine allows at its intensity."""

import math
from collections.abc import Sequence

from matplotlib.axes import Axes

from bench.report.model import Figure
from bench.report.pictures.canvas import (
    COLOURS,
    MARKERS,
    NARROW,
    Picture,
    logarithmic,
    span,
    styled,
)
from bench.report.text import count_text, number
from bench.tables import PASS_NAMES


@styled
def draw(figures: Sequence[Figure], width: int) -> Picture:
    """Speed over intensity, both logarithmic; a roof for each measured pair of bounds."""
    picture = Picture(width, 320 if width <= NARROW else 430)
    axes = picture.axes
    axes.grid(which="major")
    roofs = _roofs(figures)
    ridges = [peak / bandwidth for peak, bandwidth, _ in roofs]
    lowest, highest = span((*ridges, *(figure.intensity for figure in figures)), 1.8)
    axes.set_xlim(lowest, highest)
    speeds = (*(figure.gflops for figure in figures), *(peak for peak, *_ in roofs))
    axes.set_ylim(*span(speeds, 1.6))
    logarithmic(axes, "x")
    logarithmic(axes, "y")
    for peak, bandwidth, dtypes in roofs:
        ridge = peak / bandwidth
        roof = [lowest, ridge, highest], [lowest * bandwidth, peak, peak]
        axes.plot(*roof, color=COLOURS["ink"], linewidth=1.6, zorder=2.5)
        _name(axes, f"{count_text(1e9 * peak)}FLOP/s, {dtypes}", ridge, peak, figures)
    slope = f"slope: {number(max(figure.bandwidth for figure in figures))} GB/s"
    axes.set_title(slope, fontsize=11, color=COLOURS["muted"], loc="left")
    for name, marker in MARKERS.items():
        some = [figure for figure in figures if figure.case.pass_name == name]
        for figure in some:
            axes.plot(
                [figure.intensity],
                [figure.gflops],
                marker=marker,
                markersize=7,
                color=COLOURS[name],
                markeredgecolor=COLOURS["panel"],
                markeredgewidth=0.8,
                zorder=3,
                gid=picture.label(_label(figure)),
            )
        if some:
            axes.plot([], [], marker, color=COLOURS[name], label=PASS_NAMES[name])
    axes.legend(loc="lower right", frameon=False)
    axes.set_xlabel("intensity, flops a byte that must move")
    axes.set_ylabel("GFLOP/s")
    return picture


def _name(axes: Axes, text: str, ridge: float, peak: float, figures: Sequence[Figure]) -> None:
    """Write beside a roof where the fewest marks are: at its right end, its middle or its ridge."""
    right = axes.get_xlim()[1]
    places = {"right": right, "center": math.sqrt(ridge * right), "left": ridge}
    reach = (right / ridge) ** 0.4  # of the text, to either side of where it stands

    def marks(alignment: str) -> int:
        x = places[alignment]
        near = [f for f in figures if x / reach < f.intensity < x * reach]
        return sum(0.9 < figure.gflops / peak < 1.8 for figure in near)

    alignment = min(places, key=marks)
    axes.annotate(
        text,
        (places[alignment], peak),
        xytext=(0, 3),
        textcoords="offset points",
        ha=alignment,
        color=COLOURS["muted"],
        bbox={"facecolor": COLOURS["panel"], "edgecolor": "none", "alpha": 0.8, "pad": 0},
        zorder=2,
    )


def _roofs(figures: Sequence[Figure]) -> list[tuple[float, float, str]]:
    """Each measured peak with its bandwidth and the dtypes that it holds for."""
    roofs: dict[tuple[float, float], dict[str, None]] = {}
    for figure in figures:
        roofs.setdefault((figure.peak, figure.bandwidth), {})[figure.case.dtype] = None
    return [(*bounds, ", ".join(dtypes)) for bounds, dtypes in roofs.items()]


def _label(figure: Figure) -> str:
    return (
        f"{figure.case.layer} {PASS_NAMES[figure.case.pass_name]} ({figure.case.shape}): "
        f"{number(figure.gflops)} GFLOP/s, {number(figure.percent_of_peak)} % of the peak, "
        f"{count_text(figure.flops)}FLOP by {figure.algorithm}"
    )
