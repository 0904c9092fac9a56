"""Figures that belong side by side in one picture, and their means."""

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bench.case import PASSES
from bench.report.model import OURS, Figure, Run
from bench.tables import SUITE_NAMES

FASTEST = "the fastest"  # of the peers, whichever that is in each case


@dataclass(frozen=True, slots=True)
class Set:
    """A suite as one run timed it, with one layout and number of threads."""

    run: Run
    title: str
    figures: tuple[Figure, ...]

    def of_pass(self, name: str) -> list[Figure]:
        """The figures of one pass."""
        return [figure for figure in self.figures if figure.case.pass_name == name]

    @property
    def passes(self) -> list[str]:
        """Those that were timed, in the usual order."""
        return [name for name in PASSES if self.of_pass(name)]

    @property
    def peers(self) -> list[str]:
        """All peers, those timed most often first."""
        names = [name for figure in self.figures for name in figure.ratios]
        return sorted(set(names), key=lambda name: (-names.count(name), name))


@dataclass(frozen=True, slots=True)
class Mean:
    """The geometric mean of ours beside one peer in one pass; ``low`` is the least ratio."""

    value: float
    low: float
    count: int


def sets(run: Run) -> list[Set]:
    """The run's figures by suite, layout and threads; by dtype where one layer has several."""
    groups: dict[tuple[str, ...], list[Figure]] = {}
    for figure in run.figures:
        case = figure.case
        threads = f"{case.threads} thread{'s' if case.threads != 1 else ''}" if case.threads else ""
        suite = SUITE_NAMES.get(figure.suite, figure.suite)
        groups.setdefault((suite, case.layout.upper(), threads), []).append(figure)
    found = []
    for words, figures in groups.items():
        for dtype, part in _parts(figures):
            title = ", ".join(filter(None, (*words, dtype)))
            found.append(Set(run, title, tuple(part)))
    return found


def _parts(figures: Sequence[Figure]) -> Iterable[tuple[str, list[Figure]]]:
    """The figures whole, or by dtype where that tells some apart; with the dtype if it is one."""
    dtypes = dict.fromkeys(figure.case.dtype for figure in figures)
    places = {(figure.case.layer, figure.case.pass_name) for figure in figures}
    if len(places) == len(figures):
        return [("".join(dtypes) if len(dtypes) == 1 else "", list(figures))]
    return [(d, [figure for figure in figures if figure.case.dtype == d]) for d in dtypes]


def mean(figures: Iterable[Figure], peer: str = FASTEST) -> Mean | None:
    """The mean beside a peer over the figures that have it; None where none has."""
    if peer == FASTEST:
        ratios = [figure.ratio.value for figure in figures if figure.ratio]
    else:
        ratios = [figure.ratios[peer].value for figure in figures if peer in figure.ratios]
    if not ratios:
        return None
    return Mean(statistics.geometric_mean(ratios), min(ratios), len(ratios))


def contestants(figure: Figure) -> list[str]:
    """Ours and then the peers, the fastest first."""
    peers = [name for name in figure.timings if name != OURS]
    return [OURS, *sorted(peers, key=lambda name: figure.timings[name].seconds)]
