"""What became faster or slower from one run to another, told by ratios within each run.

An absolute time says as much of the machine's day as of the code. What is compared is the ratio to
a peer that was timed beside it, on the same arrays in the same run, and always to the same peer.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from bench.report.model import Case, Figure, Ratio, Run

FASTER, SLOWER, SAME = "faster", "slower", "as before"


@dataclass(frozen=True, slots=True)
class Shift:
    """A factor with its noise: 1.1 is a tenth faster. The interval around it holds 95 %."""

    value: float
    noise: float

    @property
    def low(self) -> float:
        """The lower end of the interval."""
        return self.value * math.exp(-self.noise)

    @property
    def high(self) -> float:
        """The upper end."""
        return self.value * math.exp(self.noise)

    @property
    def verdict(self) -> str:
        """Which way it went, where that is beyond the noise."""
        if self.low > 1:
            return FASTER
        return SLOWER if self.high < 1 else SAME

    def below(self, limit: float) -> bool:
        """Whether it is under the limit even at the upper end."""
        return self.high < limit


@dataclass(frozen=True, slots=True)
class Change:
    """One case in both runs, beside the same peer."""

    old: Figure
    new: Figure
    peer: str

    @property
    def case(self) -> Case:
        """What was timed."""
        return self.new.case

    @property
    def ratios(self) -> tuple[Ratio, Ratio]:
        """The old run's and the new one's."""
        return self.old.ratios[self.peer], self.new.ratios[self.peer]

    @property
    def shift(self) -> Shift:
        """How many times as fast ours became, measured by the peer."""
        old, new = self.ratios
        return Shift(new.value / old.value, math.hypot(old.noise, new.noise))


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two runs; ``unpaired`` cases are in both, but with no peer in common."""

    old: Run
    new: Run
    changes: tuple[Change, ...]
    only_old: tuple[Case, ...]
    only_new: tuple[Case, ...]
    unpaired: tuple[Case, ...]

    @property
    def notes(self) -> list[str]:
        """What else differs, so that a change of a ratio may not be ours."""
        found = []
        if self.old.device != self.new.device:
            found.append(f"different machines: {self.old.device}; {self.new.device}")
        peers = {change.peer.split()[0] for change in self.changes}
        for name in sorted(peers):
            before, after = self.old.versions.get(name), self.new.versions.get(name)
            if before != after:
                found.append(f"{name} is {before} in the old run and {after} in the new one")
        return found


def compare(old: Run, new: Run) -> Comparison:
    """Pair the cases of two runs, each with the fastest of the peers that both timed."""
    changes, unpaired = [], []
    for case, figure in new.by_case.items():
        before = old.by_case.get(case)
        if before is None:
            continue
        common = [name for name in before.ratios if name in figure.ratios]
        if common:
            peer = min(common, key=lambda name: before.timings[name].seconds)
            changes.append(Change(before, figure, peer))
        else:
            unpaired.append(case)
    return Comparison(
        old,
        new,
        tuple(sorted(changes, key=lambda change: change.shift.value)),
        tuple(case for case in old.by_case if case not in new.by_case),
        tuple(case for case in new.by_case if case not in old.by_case),
        tuple(unpaired),
    )


def mean_shifts(changes: Sequence[Change]) -> dict[tuple[str, str], Shift]:
    """The shifts' geometric mean for each suite and pass; the more, the less noise."""
    groups: dict[tuple[str, str], list[Shift]] = {}
    for change in changes:
        key = (change.new.suite, change.case.pass_name)
        groups.setdefault(key, []).append(change.shift)
    return {key: _mean(group) for key, group in groups.items()}


def _mean(shifts: Sequence[Shift]) -> Shift:
    logs = math.fsum(math.log(shift.value) for shift in shifts)
    noise = math.hypot(*(shift.noise for shift in shifts))
    return Shift(math.exp(logs / len(shifts)), noise / len(shifts))


def successive(runs: Sequence[Run]) -> list[Comparison]:
    """Each run beside the last one before it that timed some of the same cases."""
    found = []
    for position, run in enumerate(runs):
        for earlier in reversed(runs[:position]):
            if earlier.by_case.keys() & run.by_case.keys():
                found.append(compare(earlier, run))
                break
    return found
