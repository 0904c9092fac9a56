"""What changed from one run to the next: a factor a case, with its interval."""

from collections.abc import Sequence

from bench.report.changes import FASTER, SAME, SLOWER, Change
from bench.report.pictures.canvas import COLOURS, NARROW, Picture, logarithmic, styled
from bench.report.pictures.ratios import MARGIN, ROW, rows
from bench.tables import PASS_NAMES

ROOM = 1.2
SHORT = 16  # letters of a layer's name
_COLOURS = {FASTER: "faster", SLOWER: "slower", SAME: "peer"}
_MARKERS = {FASTER: ">", SLOWER: "<", SAME: "o"}


@styled
def draw(changes: Sequence[Change], width: int) -> Picture:
    """The cases by factor, the largest first."""
    ordered = sorted(changes, key=lambda change: change.shift.value)
    picture = Picture(width, MARGIN + ROW * len(ordered))
    axes = picture.axes
    for row, change in enumerate(ordered):
        shift = change.shift
        colour = COLOURS[_COLOURS[shift.verdict]]
        old, new = change.ratios
        label = (
            f"{change.case}: {shift.verdict}, {old.value:.2f} to {new.value:.2f} times as fast as "
            f"{change.peer}, a factor of {shift.value:.3f} ± {shift.noise:.1%}"
        )
        axes.plot([shift.low, shift.high], [row, row], color=colour, linewidth=1.6)
        axes.plot(
            [shift.value],
            [row],
            marker=_MARKERS[shift.verdict],
            markersize=7,
            color=colour,
            markeredgecolor=COLOURS["panel"],
            gid=picture.label(label),
        )
    values = [change.shift.value for change in changes]
    low, high = min(0.9, *values), max(1.1, *values)
    axes.set_xlim(low / ROOM, high * ROOM)  # an interval may end beyond
    logarithmic(axes, "x")
    axes.axvline(1, color=COLOURS["ink"], linewidth=1.2)
    rows(axes, [_name(change, width) for change in ordered])
    axes.set_xlabel("times as fast as before")
    return picture


def _name(change: Change, width: int) -> str:
    """The layer and pass, in the command line's short words where there is no room for others."""
    layer, pass_name = change.case.layer, change.case.pass_name
    if width > NARROW:
        return f"{layer} {PASS_NAMES[pass_name]}"
    return f"{layer if len(layer) <= SHORT else f'{layer[: SHORT - 1]}…'} {pass_name}"
