"""Two quantities of each case against each other, ours filled and a peer's hollow."""

from collections.abc import Sequence
from dataclasses import dataclass

from bench.report.pictures.canvas import (
    COLOURS,
    MARKERS,
    NARROW,
    Picture,
    logarithmic,
    span,
    styled,
)
from bench.tables import PASS_NAMES

HEIGHT = 330


@dataclass(frozen=True, slots=True)
class Point:
    """One contestant's two numbers in one case."""

    x: float
    y: float
    pass_name: str
    ours: bool
    label: str


@styled
def draw(
    points: Sequence[Point], x: str, y: str, diagonal: bool = False, y_form: str = "g"
) -> Picture:
    """Both axes logarithmic; the diagonal is where both quantities are equal."""
    picture = Picture(NARROW, HEIGHT)
    axes = picture.axes
    axes.set_xlim(*span(point.x for point in points))
    axes.set_ylim(*span(point.y for point in points))
    logarithmic(axes, "x")
    logarithmic(axes, "y", y_form)
    axes.grid(which="major")
    for point in sorted(points, key=lambda point: point.ours):
        colour = COLOURS[point.pass_name if point.ours else "peer"]
        axes.plot(
            [point.x],
            [point.y],
            marker=MARKERS[point.pass_name],
            markersize=6.5,
            color=colour,
            markerfacecolor=colour if point.ours else "none",
            markeredgecolor=COLOURS["panel"] if point.ours else colour,
            markeredgewidth=0.8 if point.ours else 1.1,
            gid=picture.label(point.label),
        )
    if diagonal:
        ends = span(value for point in points for value in (point.x, point.y))
        axes.plot(ends, ends, color=COLOURS["ink"], linewidth=1.2, zorder=1)
    for name in dict.fromkeys(point.pass_name for point in points if point.ours):
        axes.plot([], [], MARKERS[name], color=COLOURS[name], label=PASS_NAMES[name])
    if any(not point.ours for point in points):
        peer = COLOURS["peer"]
        axes.plot([], [], "o", color=peer, markerfacecolor="none", label="fastest peer")
    picture.figure.legend(
        loc="outside upper left", ncols=2, frameon=False, handletextpad=0.1, columnspacing=1
    )
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    return picture
