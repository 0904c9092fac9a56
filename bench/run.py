"""One figure: anchored first, then ours and every peer timed side by side on the same arrays."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from typing import Any

from bench.case import Case, make_case
from bench.checked import Checked, WrongResult, check_anchor, checked
from bench.expected import Expected, expect
from bench.figure import Subject, speed, subject
from bench.peers import Ours, Peer
from bench.suites import Layer
from bench.timing import Sample, interleaved, ratios

SETTLE_SECONDS = 0.03  # of calls that wake a contestant's workers


@dataclass(frozen=True, slots=True)
class Settings:
    """What a run measures, beside its layers."""

    passes: tuple[str, ...] = ("forward", "weight", "input")
    threads: tuple[int, ...] = (1,)
    layout: str = "nchw"
    algorithm: str = "auto"
    budget: float = 1.0
    timed: bool = True


@dataclass(frozen=True, slots=True)
class Row(Subject):
    """One figure, each contestant's part of it by name; times are medians, in seconds.

    A ``spread`` is an interquartile range over its median: that of a contestant's rounds, or that
    of the rounds' ratios. What stands from ``gflops`` on is of ours, and None where nothing was
    timed: see `bench.figure.Speed`.
    """

    errors: dict[str, float]
    first_calls: dict[str, float]
    memory: dict[str, int | None]
    seconds: dict[str, float]
    spread: dict[str, float]
    rounds: dict[str, int]
    ratios: dict[str, float]
    ratio_spread: dict[str, float]
    best_peer: str | None
    gflops: float | None = None
    peak_gflops: float | None = None
    copy_gbytes_per_second: float | None = None
    percent_of_peak: float | None = None
    bound_gflops: float | None = None
    percent_of_bound: float | None = None
    low_reason: str | None = None

    @property
    def ratio(self) -> float | None:
        """Ours beside the fastest peer of the same run: 2 means half its time."""
        return self.ratios[self.best_peer] if self.best_peer else None


@dataclass(frozen=True, slots=True)
class Refusal:
    """A figure that was not taken, because a value was wrong."""

    layer: str
    pass_name: str
    threads: int
    reason: str


@contextmanager
def ready(
    contestants: Sequence[Peer],
    case: Case,
    pass_name: str,
    expected: Expected,
    threads: int,
    weighed: bool = False,
) -> Iterator[dict[str, Checked]]:
    """Check every contestant's values; inside the block their calls use so many threads."""
    with ExitStack() as stack:
        for peer in contestants:
            stack.enter_context(peer.threads(threads))
        yield {peer.name: checked(peer, case, pass_name, expected, weighed) for peer in contestants}


def sampled(
    contestants: Mapping[str, Checked], threads: int, settings: Settings
) -> dict[str, Sample]:
    """Time them together, the first in every round; not where the settings say so."""
    if not settings.timed:
        return {}
    calls = {name: contestant.call for name, contestant in contestants.items()}
    settle = SETTLE_SECONDS if threads > 1 else 0.0
    return interleaved(calls, settings.budget, settle=settle, stays=next(iter(calls)))


def measure(
    case: Case,
    pass_name: str,
    expected: Expected,
    peers: Sequence[Peer],
    threads: int,
    settings: Settings,
) -> Row:
    """One figure: every contestant checked, then timed beside the others."""
    ours = Ours(settings.algorithm)
    contestants = [ours, *(peer for peer in peers if peer.takes(case, pass_name))]
    with ready(contestants, case, pass_name, expected, threads, settings.timed) as found:
        plan = ours.explained(case, pass_name)  # compiles: after the first calls were timed
        for algorithm in dict.fromkeys((settings.algorithm, plan.algorithm)):
            check_anchor(case.layer.dtype, algorithm)
        samples = sampled(found, threads, settings)
    seconds = {name: sample.median for name, sample in samples.items()}
    rivals = [name for name in seconds if name != ours.name]
    beside = {name: Sample(ratios(samples[ours.name], samples[name])) for name in rivals}
    reached = speed(case, pass_name, threads, plan, seconds[ours.name]) if seconds else None
    return Row(
        **asdict(subject(case, pass_name, threads, plan)),
        errors={name: contestant.error for name, contestant in found.items()},
        first_calls={name: contestant.first_call for name, contestant in found.items()},
        memory={name: contestant.memory for name, contestant in found.items()},
        seconds=seconds,
        spread={name: sample.spread for name, sample in samples.items()},
        rounds={name: len(sample.seconds) for name, sample in samples.items()},
        ratios={name: sample.median for name, sample in beside.items()},
        ratio_spread={name: sample.spread for name, sample in beside.items()},
        best_peer=min(rivals, key=seconds.__getitem__, default=None),
        **asdict(reached) if reached else {},
    )


def run(
    layers: Sequence[Layer], peers: Sequence[Peer], settings: Settings
) -> Iterator[Row | Refusal]:
    """Every layer, pass and thread count in turn, each either measured or refused.

    What the settings' algorithm cannot do is left out.
    """
    ours = Ours(settings.algorithm)
    for layer in layers:
        case = make_case(layer, settings.layout)
        for pass_name in settings.passes:
            if not ours.takes(case, pass_name):
                continue
            expected = expect(case, pass_name)
            for threads in settings.threads:
                yield _attempt(case, pass_name, expected, peers, threads, settings)


def _attempt(case: Case, pass_name: str, *rest: Any) -> Row | Refusal:
    try:
        return measure(case, pass_name, *rest)
    except WrongResult as error:
        return Refusal(case.layer.name, pass_name, rest[2], str(error))
