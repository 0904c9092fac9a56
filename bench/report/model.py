"""What a benchmark file says, whichever form it was written in."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import hypot, sqrt

from bench.roofline import percent

OURS = "fastconv"
# 95 % of a normal distribution, the error of its median, its interquartile range.
_NOISE = 1.96 * 1.2533 / 1.349
_UNKNOWN_ROUNDS = 5  # what every timing has at least, where a file does not tell


@dataclass(frozen=True, slots=True)
class Timing:
    """One contestant's part of a figure; times in seconds, what was not recorded is None.

    ``spread`` is the interquartile range of the rounds over their median, ``seconds``.
    """

    seconds: float
    spread: float = 0.0
    rounds: int | None = None
    error: float | None = None
    first_call: float | None = None
    memory: int | None = None
    call: float | None = None  # what the host waits, where ``seconds`` are a device's

    @property
    def noise(self) -> float:
        """How far the median may be off, relative to it."""
        return median_noise(self.spread, self.rounds)


@dataclass(frozen=True, slots=True)
class Ratio:
    """A peer's time over ours, and how far it may be off relative to itself."""

    value: float
    noise: float = 0.0


@dataclass(frozen=True, slots=True)
class Case:
    """What was timed: equal in two files where their figures may be compared.

    ``place`` is the kind of device; ``threads`` is None where that is no choice of the caller.
    """

    layer: str
    shape: str
    dtype: str
    pass_name: str
    layout: str
    threads: int | None
    place: str

    def __str__(self) -> str:
        threads = f", {self.threads} thr." if self.threads else ""
        return f"{self.layer} {self.pass_name} ({self.dtype}, {self.layout.upper()}{threads})"


@dataclass(frozen=True, slots=True)
class Figure:
    """One case's times, ours and each peer's, and the machine's bounds for it in GFLOP/s, GB/s."""

    case: Case
    suite: str
    kind: str
    algorithm: str
    flops: int
    nbytes: int
    workspace: int | None
    peak: float
    bandwidth: float
    note: str
    timings: Mapping[str, Timing]
    ratios: Mapping[str, Ratio]

    @property
    def ours(self) -> Timing:
        """Ours, which every figure has."""
        return self.timings[OURS]

    @property
    def best_peer(self) -> str | None:
        """The fastest of the others."""
        return min(self.ratios, key=lambda name: self.timings[name].seconds, default=None)

    @property
    def ratio(self) -> Ratio | None:
        """Ours beside the fastest peer of the same run: 2 means half its time."""
        return self.ratios[self.best_peer] if self.best_peer else None

    @property
    def gflops(self) -> float:
        """The speed of ours."""
        return self.flops / self.ours.seconds / 1e9

    @property
    def percent_of_peak(self) -> float:
        """Of the measured multiply-add peak."""
        return percent(self.gflops, self.peak)

    @property
    def intensity(self) -> float:
        """Flops for each byte that must be moved."""
        return self.flops / self.nbytes

    @property
    def bound(self) -> float:
        """The roofline at this intensity."""
        return min(self.peak, self.intensity * self.bandwidth)


@dataclass(frozen=True, slots=True)
class Refused:
    """A case that was not timed."""

    what: str
    reason: str


@dataclass(frozen=True, slots=True)
class Run:
    """One file."""

    name: str
    date: str
    device: str
    facts: Mapping[str, str]
    versions: Mapping[str, str]
    figures: tuple[Figure, ...]
    refused: tuple[Refused, ...] = ()
    complete: bool = True
    without_ours: int = 0  # cases that have only peers' times
    by_case: Mapping[Case, Figure] = field(init=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "by_case", {figure.case: figure for figure in self.figures})


def median_noise(spread: float, rounds: int | None) -> float:
    """Half of a 95 % interval around a median, relative to it.

    Parameters
    ----------
    spread
        The interquartile range of the rounds over their median.
    rounds
        How many there were; None where that was not recorded.
    """
    return _NOISE * spread / sqrt(rounds or _UNKNOWN_ROUNDS)


def beside(ours: Timing, peer: Timing) -> Ratio:
    """The ratio of two medians that were not taken in the same rounds."""
    return Ratio(peer.seconds / ours.seconds, hypot(ours.noise, peer.noise))
