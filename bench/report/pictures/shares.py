"""The share of the measured peak that each layer reaches, a mark a pass."""

from collections.abc import Sequence

from bench.report.model import Figure
from bench.report.pictures.canvas import COLOURS, MARKERS, NARROW, Picture, styled
from bench.report.pictures.ratios import MARGIN, ROW, rows
from bench.report.text import number
from bench.tables import PASS_NAMES

LEGEND = 24


@styled
def draw(figures: Sequence[Figure]) -> Picture:
    """Layers in their suite's order, from the top."""
    layers = list(dict.fromkeys(figure.case.layer for figure in figures))[::-1]
    picture = Picture(NARROW, MARGIN + LEGEND + ROW * len(layers))
    axes = picture.axes
    for name, marker in MARKERS.items():
        some = [figure for figure in figures if figure.case.pass_name == name]
        for figure in some:
            label = (
                f"{figure.case.layer} {PASS_NAMES[name]}: {number(figure.percent_of_peak)} % of "
                f"{number(figure.peak)} GFLOP/s by {figure.algorithm}"
            )
            axes.plot(
                [figure.percent_of_peak],
                [layers.index(figure.case.layer)],
                marker=marker,
                markersize=7,
                color=COLOURS[name],
                markeredgecolor=COLOURS["panel"],
                markeredgewidth=0.8,
                gid=picture.label(label),
            )
        if some:
            axes.plot([], [], marker, color=COLOURS[name], label=PASS_NAMES[name])
    most = max(100, *(figure.percent_of_peak for figure in figures))
    axes.set_xlim(-0.03 * most, 1.05 * most)
    axes.axvline(100, color=COLOURS["ink"], linewidth=1.2)
    rows(axes, layers)
    axes.set_xlabel("percent of the measured peak")
    picture.figure.legend(
        loc="outside upper left", ncols=3, frameon=False, handletextpad=0.1, columnspacing=1
    )
    return picture
