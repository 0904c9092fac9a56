"""A picture, what to see in it, and its table: one block for each thing that a report shows."""

from collections.abc import Iterable
from dataclasses import dataclass

from bench.report import tables
from bench.report.changes import FASTER, SLOWER, Comparison
from bench.report.model import Figure, Timing
from bench.report.pictures import ratios, roofline, scatter, shares, shifts
from bench.report.pictures.canvas import NARROW, WIDE, Picture
from bench.report.pictures.scatter import Point
from bench.report.sets import Set
from bench.report.tables import Table
from bench.report.text import bytes_text, number
from bench.summary import time_text
from bench.tables import PASS_NAMES

BROAD, TALL = "broad", "tall"
MANY_LAYERS = 8  # from here on a picture with a row a layer is taller than others
LEAST_BYTES = 4096  # a page: what takes none at all is drawn here on a logarithmic axis


@dataclass(frozen=True, slots=True)
class Drawing:
    """Inline SVG; ``wide`` takes the place of ``narrow`` where the page has room."""

    heading: str
    narrow: str
    wide: str = ""


@dataclass(frozen=True, slots=True)
class Block:
    """Pictures with a heading, a sentence and a table; its shape is a class of the style sheet."""

    slug: str
    title: str
    text: str
    drawings: tuple[Drawing, ...]
    table: Table
    shape: str = ""


def of_set(one: Set, slug: str) -> list[Block]:
    """Every block that the set has figures for."""
    makers = (_roofline, _ratios, _shares, _errors, _calls, _memory)
    return [block for block in (maker(one, slug) for maker in makers) if block]


def of_comparison(found: Comparison, slug: str) -> Block:
    """What changed between two runs."""
    drawings: tuple[Drawing, ...] = ()
    verdicts = [change.shift.verdict for change in found.changes]
    if found.changes:
        narrow, wide = (shifts.draw(found.changes, width) for width in (NARROW, WIDE))
        title = f"Changes from {found.old.name} to {found.new.name}"
        drawings = (_drawing(f"{slug}-shifts", title, narrow, wide),)
    text = (
        f"{verdicts.count(FASTER)} of {len(verdicts)} cases are faster than before, "
        f"{verdicts.count(SLOWER)} slower, the others as before within their noise: a line is the "
        "95 % interval of the medians. Each ratio is to the same peer, timed in the same run as "
        "ours, on both sides."
    )
    return Block(slug, f"{found.old.name} → {found.new.name}", text, drawings, tables.shifts(found))


def _drawing(
    name: str, title: str, narrow: Picture, wide: Picture | None = None, heading: str = ""
) -> Drawing:
    return Drawing(
        heading,
        narrow.svg(f"{name}-narrow", title),
        wide.svg(f"{name}-wide", title) if wide else "",
    )


def _roofline(one: Set, slug: str) -> Block:
    narrow, wide = (roofline.draw(one.figures, width) for width in (NARROW, WIDE))
    text = (
        "A mark is a layer and pass; the roof is what the measured multiply-add peak and copy "
        "bandwidth allow. Winograd's algorithms do fewer multiplications than are counted and may "
        "pass it, and so may what a cache holds."
    )
    drawing = _drawing(f"{slug}-roofline", f"Roofline: {one.title}", narrow, wide)
    return Block(f"{slug}-roofline", "Roofline", text, (drawing,), tables.roofline(one), BROAD)


def _ratios(one: Set, slug: str) -> Block | None:
    if not any(figure.ratio for figure in one.figures):
        return None
    ends = ratios.limits(one.figures)
    drawings = tuple(
        _drawing(
            f"{slug}-ratio-{name}",
            f"Ratios, {PASS_NAMES[name]}: {one.title}",
            ratios.draw(one.of_pass(name), name, ends),
            heading=PASS_NAMES[name],
        )
        for name in one.passes
        if any(figure.ratio for figure in one.of_pass(name))
    )
    text = (
        "The fastest peer's time over ours, on the same arrays in the same run: to the right of "
        "the line at 1 fastconv is faster. A thin line is the 95 % interval of the medians."
    )
    return Block(
        f"{slug}-ratios", "Beside the fastest peer", text, drawings, tables.ratios(one), BROAD
    )


def _shares(one: Set, slug: str) -> Block:
    layers = {figure.case.layer for figure in one.figures}
    shape = TALL if len(layers) > MANY_LAYERS else ""
    text = "GFLOP/s over the measured multiply-add peak, all that a call does included."
    drawing = _drawing(f"{slug}-peak", f"Share of the peak: {one.title}", shares.draw(one.figures))
    return Block(f"{slug}-peak", "Share of the peak", text, (drawing,), tables.shares(one), shape)


def _errors(one: Set, slug: str) -> Block | None:
    points = [
        Point(
            figure.flops / timing.seconds / 1e9,
            timing.error,
            figure.case.pass_name,
            ours,
            f"{_where(figure)}: {name}, error {timing.error:.1e} at "
            f"{number(figure.flops / timing.seconds / 1e9)} GFLOP/s",
        )
        for figure, name, timing, ours in _pairs(one)
        if timing.error
    ]
    if not points:
        return None
    text = "Largest error over largest value, against float64 on the arrays that are timed."
    picture = scatter.draw(points, "GFLOP/s", "error against float64", y_form=".0e")
    drawing = _drawing(f"{slug}-errors", f"Error and speed: {one.title}", picture)
    return Block(f"{slug}-errors", "Error beside speed", text, (drawing,), tables.errors(one))


def _calls(one: Set, slug: str) -> Block | None:
    points = [
        Point(
            1e3 * timing.seconds,
            1e3 * timing.first_call,
            figure.case.pass_name,
            ours,
            f"{_where(figure)}: {name}, first {time_text(timing.first_call)}, "
            f"then {time_text(timing.seconds)}",
        )
        for figure, name, timing, ours in _pairs(one)
        if timing.first_call
    ]
    if not points:
        return None
    text = (
        "The first call of a shape in the process makes its plan and compiles its kernels, or "
        "loads them from Numba's cache; on the line it costs no more than a warm call."
    )
    picture = scatter.draw(points, "warm call, ms", "first call, ms", diagonal=True)
    drawing = _drawing(f"{slug}-calls", f"First and warm calls: {one.title}", picture)
    return Block(f"{slug}-calls", "First and warm calls", text, (drawing,), tables.calls(one))


def _memory(one: Set, slug: str) -> Block | None:
    points = [
        Point(
            figure.nbytes / 2**20,
            max(timing.memory, LEAST_BYTES) / 2**20,
            figure.case.pass_name,
            ours,
            f"{_where(figure)}: {name}, {bytes_text(timing.memory)} beside operands and result "
            f"of {bytes_text(figure.nbytes)}",
        )
        for figure, name, timing, ours in _pairs(one)
        if timing.memory is not None
    ]
    if not points:
        return None
    text = (
        "What a call adds to the process's resident memory at its peak, its result included, "
        "nothing kept from earlier calls; on the line as much as operands and result together."
    )
    picture = scatter.draw(points, "operands and result, MiB", "memory of a call, MiB", True)
    drawing = _drawing(f"{slug}-memory", f"Memory: {one.title}", picture)
    return Block(f"{slug}-memory", "Memory", text, (drawing,), tables.memory(one))


def _pairs(one: Set) -> Iterable[tuple[Figure, str, Timing, bool]]:
    """Ours and the fastest peer of each figure."""
    for figure in one.figures:
        yield figure, "fastconv", figure.ours, True
        if figure.best_peer:
            yield figure, figure.best_peer, figure.timings[figure.best_peer], False


def _where(figure: Figure) -> str:
    return f"{figure.case.layer} {PASS_NAMES[figure.case.pass_name]}"
