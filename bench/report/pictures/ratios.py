"""Ours beside the fastest peer: a bar a layer, from the line where both are equal."""

from collections.abc import Sequence

from matplotlib.axes import Axes

from bench.report.model import Figure, Ratio
from bench.report.pictures.canvas import COLOURS, NARROW, Picture, logarithmic, styled

AT_THE_RIGHT = ("axes fraction", "data")
ROW, MARGIN = 17, 56  # heights of a bar's row, and of what stands around all


def limits(figures: Sequence[Figure]) -> tuple[float, float]:
    """What an axis must show, for all the pictures that stand side by side."""
    values = [figure.ratio.value for figure in figures if figure.ratio]
    return min(0.8, min(values) / 1.25), 1.25 * max(1.0, *values)


@styled
def draw(figures: Sequence[Figure], colour: str, ends: tuple[float, float]) -> Picture:
    """Bars sorted by ratio, the largest first; a line through a bar's end is its noise."""
    rated = [(figure, figure.ratio) for figure in figures if figure.ratio]
    rated.sort(key=lambda pair: pair[1].value)
    picture = Picture(NARROW, MARGIN + ROW * len(rated))
    axes = picture.axes
    for row, (figure, ratio) in enumerate(rated):
        _bar(picture, row, figure, ratio, colour)
    axes.set_xlim(ends)
    logarithmic(axes, "x")
    axes.axvline(1, color=COLOURS["ink"], linewidth=1.2)
    rows(axes, [figure.case.layer for figure, _ in rated])
    axes.set_xlabel("times as fast as the fastest peer")
    return picture


def _bar(picture: Picture, row: int, figure: Figure, ratio: Ratio, colour: str) -> None:
    axes = picture.axes
    slower = ratio.value < 1
    left, right = sorted((1.0, ratio.value))
    label = f"{figure.case.layer}: {ratio.value:.2f} x {figure.best_peer}, ± {ratio.noise:.1%}"
    axes.barh(
        [row],
        [right - left],
        left=[left],
        height=0.7,
        color=COLOURS["slower" if slower else colour],
    )
    axes.patches[-1].set_gid(picture.label(label))
    ends = [ratio.value / (1 + ratio.noise), ratio.value * (1 + ratio.noise)]
    axes.plot(ends, [row, row], color=COLOURS["ink"], linewidth=1)
    axes.annotate(
        f"{ratio.value:.2f}", (1.02, row), xycoords=AT_THE_RIGHT, va="center", fontsize=10
    )


def rows(axes: Axes, names: Sequence[str]) -> None:
    """A name a row, and a grid along the other axis only."""
    axes.set_yticks(range(len(names)), names, fontsize=10)
    axes.set_ylim(-0.6, len(names) - 0.4)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x", which="major")
