"""The tables behind the pictures: every number as the file has it, and as a reader wants it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench.report.changes import Comparison
from bench.report.model import OURS, Figure, Timing
from bench.report.sets import FASTEST, Set, mean
from bench.report.text import bytes_text, number
from bench.summary import time_text
from bench.tables import PASS_NAMES


@dataclass(frozen=True, slots=True)
class Cell:
    """What is shown, and what it is sorted by: the number itself; empty ones come last."""

    text: str
    value: float | str = ""

    @property
    def is_number(self) -> bool:
        """Whether it is sorted as one."""
        return not isinstance(self.value, str)


@dataclass(frozen=True, slots=True)
class Table:
    """A heading a column, and the rows."""

    caption: str
    headings: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]

    @property
    def numeric(self) -> tuple[bool, ...]:
        """Whether a column holds numbers, which stand at the right."""
        return tuple(
            any(cell.is_number for cell in column) for column in zip(*self.rows, strict=True)
        )


NONE = Cell("-")


def words(text: str) -> Cell:
    """A text."""
    return Cell(text, text)


def shown(value: float | None, form: Callable[[float], str]) -> Cell:
    """A number in a form of its own, or a dash where there is none."""
    return NONE if value is None else Cell(form(value), value)


def _percent(value: float) -> str:
    return f"{number(value)} %"


def _ratio(value: float) -> str:
    return f"{value:.2f}"


def _noise(value: float) -> str:
    return f"± {100 * value:.1f} %"


def _error(value: float) -> str:
    return f"{value:.2e}"


def _case(figure: Figure) -> tuple[Cell, Cell]:
    return words(figure.case.layer), words(PASS_NAMES[figure.case.pass_name])


def _peer(figure: Figure) -> tuple[Cell, Timing | None]:
    """The fastest peer's name and times."""
    name = figure.best_peer
    return (words(name), figure.timings[name]) if name else (NONE, None)


def means(found: Sequence[Set]) -> Table:
    """The geometric means of each set: beside the fastest peer, then beside each."""
    several = len({one.run.name for one in found}) > 1
    rows = []
    for one in found:
        for peer in (FASTEST, *one.peers):
            cells = [words(one.title), words(peer)]
            for name in PASS_NAMES:
                average = mean(one.of_pass(name), peer)
                if average is None:
                    cells += [NONE, NONE]
                else:
                    least = Cell(f"{average.low:.2f} of {average.count}", average.low)
                    cells += [Cell(f"{average.value:.2f}", average.value), least]
            rows.append((*cells, *((words(one.run.name),) if several else ())))
    headings = [part for name in PASS_NAMES.values() for part in (name, "least")]
    file = ("file",) if several else ()
    caption = "Geometric means of the ratios; above 1, fastconv is the faster one"
    return Table(caption, ("layers", "beside", *headings, *file), tuple(rows))


def roofline(one: Set) -> Table:
    """Intensity, speed and bound."""
    rows = tuple(
        (
            *_case(figure),
            words(figure.case.shape),
            words(figure.algorithm),
            shown(figure.intensity, number),
            shown(figure.gflops, number),
            shown(figure.bound, number),
            shown(100 * figure.gflops / figure.bound, _percent),
        )
        for figure in one.figures
    )
    headings = ("shape", "algorithm", "flops a byte", "GFLOP/s", "roofline", "of the roofline")
    return Table(f"Speed and roofline: {one.title}", ("layer", "pass", *headings), rows)


def ratios(one: Set) -> Table:
    """Times and ratios, the fastest peer first and then every peer's ratio."""
    rows = []
    for figure in one.figures:
        peer, timing = _peer(figure)
        rows.append(
            (
                *_case(figure),
                shown(figure.ours.seconds, time_text),
                peer,
                shown(timing.seconds if timing else None, time_text),
                shown(figure.ratio.value if figure.ratio else None, _ratio),
                shown(figure.ratio.noise if figure.ratio else None, _noise),
                *(
                    shown(figure.ratios[name].value if name in figure.ratios else None, _ratio)
                    for name in one.peers
                ),
            )
        )
    headings = ("layer", "pass", OURS, "fastest peer", "its time", "ratio", "noise")
    beside = (f"beside {name}" for name in one.peers)
    return Table(f"Ratios: {one.title}", (*headings, *beside), tuple(rows))


def shares(one: Set) -> Table:
    """The share of the peak."""
    rows = tuple(
        (
            *_case(figure),
            words(figure.algorithm),
            shown(figure.gflops, number),
            shown(figure.peak, number),
            shown(figure.percent_of_peak, _percent),
        )
        for figure in one.figures
    )
    headings = ("layer", "pass", "algorithm", "GFLOP/s", "peak", "of the peak")
    return Table(f"Share of the peak: {one.title}", headings, rows)


def errors(one: Set) -> Table:
    """Errors against float64."""
    rows = []
    for figure in one.figures:
        peer, timing = _peer(figure)
        rows.append(
            (
                *_case(figure),
                words(figure.algorithm),
                shown(figure.gflops, number),
                shown(figure.ours.error, _error),
                peer,
                shown(timing.error if timing else None, _error),
            )
        )
    headings = ("layer", "pass", "algorithm", "GFLOP/s", "error", "fastest peer", "its error")
    return Table(f"Largest error over largest value: {one.title}", headings, tuple(rows))


def calls(one: Set) -> Table:
    """First and warm calls with their spread, and the host's wait where it was taken."""
    host = any(figure.ours.call is not None for figure in one.figures)
    rows = []
    for figure in one.figures:
        peer, timing = _peer(figure)
        ours = figure.ours
        rows.append(
            (
                *_case(figure),
                shown(ours.first_call, time_text),
                shown(ours.seconds, time_text),
                shown(100 * ours.spread, _percent),
                shown(ours.rounds, str),
                *((shown(ours.call, time_text),) if host else ()),
                peer,
                shown(timing.first_call if timing else None, time_text),
                shown(timing.seconds if timing else None, time_text),
            )
        )
    headings = ("layer", "pass", "first call", "warm, median", "spread", "rounds")
    waits = ("host waits",) if host else ()
    beside = ("fastest peer", "its first call", "its warm call")
    return Table(f"First and warm calls: {one.title}", (*headings, *waits, *beside), tuple(rows))


def memory(one: Set) -> Table:
    """Memory of a call, measured and planned."""
    rows = []
    for figure in one.figures:
        peer, timing = _peer(figure)
        rows.append(
            (
                *_case(figure),
                shown(figure.nbytes, bytes_text),
                shown(figure.workspace, bytes_text),
                shown(figure.ours.memory, bytes_text),
                peer,
                shown(timing.memory if timing else None, bytes_text),
            )
        )
    headings = ("layer", "pass", "arrays", "planned workspace", "measured", "fastest peer", "its")
    return Table(f"Memory of a call: {one.title}", headings, tuple(rows))


def shifts(found: Comparison) -> Table:
    """What changed, with both medians and their spread."""
    rows = []
    for change in found.changes:
        old, new = change.ratios
        before, after = change.old.ours, change.new.ours
        rows.append(
            (
                words(change.case.layer),
                words(PASS_NAMES[change.case.pass_name]),
                words(change.peer),
                shown(old.value, _ratio),
                shown(new.value, _ratio),
                Cell(f"{change.shift.value:.3f}", change.shift.value),
                shown(change.shift.noise, _noise),
                words(change.shift.verdict),
                shown(before.seconds, time_text),
                shown(100 * before.spread, _percent),
                shown(after.seconds, time_text),
                shown(100 * after.spread, _percent),
            )
        )
    headings = (
        *("layer", "pass", "peer", "old ratio", "new ratio", "new / old", "noise", "verdict"),
        *("old median", "its spread", "new median", "its spread"),
    )
    caption = f"From {found.old.name} to {found.new.name}"
    return Table(caption, headings, tuple(rows))
