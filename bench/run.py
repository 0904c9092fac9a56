"""One figure: anchored first, then ours and every peer timed side by side on the same arrays."""

import functools
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from bench.case import Case, make_case
from bench.expected import Expected, expect
from bench.machine import copy_bandwidth, fma_peak
from bench.peers import Call, Ours, Peer
from bench.reference import tolerance
from bench.roofline import low_reason, percent
from bench.suites import Layer
from bench.timing import Sample, interleaved, ratio
from fastconv import worked_example
from fastconv.cpu import simd


class WrongResult(Exception):
    """A kernel whose values are wrong; it is never timed."""


SETTLE_SECONDS = 0.008  # one contestant's idle workers spin on the next one's cores so long


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
class Row:
    """One layer, pass and thread count; times are medians, in seconds.

    ``nbytes`` are those that must move at least: each operand read once, the result written once.
    ``bound`` is the roofline that they, the measured peak and the measured bandwidth of a copy
    make. Operands that lie in a cache may pass it, and Winograd's algorithms the peak as well.
    """

    layer: str
    shape: str
    kind: str
    dtype: str
    pass_name: str
    layout: str
    threads: int
    algorithm: str
    count: int
    flops: int
    nbytes: int
    errors: dict[str, float]
    seconds: dict[str, float]
    spread: dict[str, float]
    ratios: dict[str, float]
    best_peer: str | None
    gflops: float | None
    percent_of_peak: float | None
    bound_gflops: float | None
    percent_of_bound: float | None
    low_reason: str | None
    note: str

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


@functools.cache
def check_anchor(dtype: str, algorithm: str) -> None:
    """Run the worked example with this kernel; `WrongResult` where a number differs."""
    try:
        worked_example.check(worked_example.run(dtype, algorithm))
    except worked_example.AnchorError as error:
        raise WrongResult(f"algorithm {algorithm!r}: {error}") from error


def checked_error(
    peer: Peer, case: Case, pass_name: str, expected: Expected, call: Call | None = None
) -> float:
    """The peer's error against float64 on the case's arrays; `WrongResult` beyond rounding."""
    result = (call or peer.prepare(case, pass_name))()
    error = expected.error(peer.array(result, case, pass_name))
    bound = tolerance(case.layer, pass_name)
    if error > bound:
        raise WrongResult(
            f"{peer.name}, {case.layer.name} {pass_name}: max|err|/max|ref| is {error:.1e}, "
            f"rounding explains at most {bound:.1e}"
        )
    return error


def sampled(
    contestants: Sequence[Peer],
    case: Case,
    pass_name: str,
    expected: Expected,
    threads: int,
    settings: Settings,
) -> tuple[dict[str, float], dict[str, Sample]]:
    """Check every contestant's values, then time them together; errors, and times if ``timed``.

    The first contestant is timed in every round.
    """
    with ExitStack() as stack:
        for peer in contestants:
            stack.enter_context(peer.threads(threads))
        calls = {peer.name: peer.prepare(case, pass_name) for peer in contestants}
        errors = {
            peer.name: checked_error(peer, case, pass_name, expected, calls[peer.name])
            for peer in contestants
        }
        settle = SETTLE_SECONDS if threads > 1 else 0.0
        if not settings.timed:
            return errors, {}
        stays = contestants[0].name
        return errors, interleaved(calls, settings.budget, settle=settle, stays=stays)


def measure(
    case: Case,
    pass_name: str,
    expected: Expected,
    peers: Sequence[Peer],
    threads: int,
    settings: Settings,
) -> Row:
    """One figure: every contestant checked, then timed beside the others."""
    layer, flops = case.layer, case.layer.geometry.flops
    ours = Ours(settings.algorithm)
    plan = ours.explained(case, pass_name)
    for algorithm in dict.fromkeys((settings.algorithm, plan.algorithm)):
        check_anchor(layer.dtype, algorithm)
    contestants = [ours, *(peer for peer in peers if peer.takes(case, pass_name))]
    errors, samples = sampled(contestants, case, pass_name, expected, threads, settings)
    seconds = {name: sample.median for name, sample in samples.items()}
    rivals = [name for name in seconds if name != ours.name]
    gflops = peak = bound = reason = None
    if seconds:
        gflops = flops / seconds[ours.name] / 1e9
        peak = fma_peak(layer.dtype, threads)
        bound = plan.roofline(peak, copy_bandwidth(threads))
        # Halves are added up in float32.
        lanes = simd.VECTOR_BITS // (8 * max(case.x.itemsize, 4))
        reason = low_reason(layer, pass_name, lanes, gflops, peak, bound)
    return Row(
        layer=layer.name,
        shape=str(layer),
        kind=layer.kind,
        dtype=layer.dtype,
        pass_name=pass_name,
        layout=case.layout,
        threads=threads,
        algorithm=plan.algorithm,
        count=layer.count,
        flops=flops,
        nbytes=plan.bytes,
        errors=errors,
        seconds=seconds,
        spread={name: sample.spread for name, sample in samples.items()},
        ratios={name: ratio(samples[ours.name], samples[name]) for name in rivals},
        best_peer=min(rivals, key=seconds.__getitem__, default=None),
        gflops=gflops,
        percent_of_peak=percent(gflops, peak) if gflops and peak else None,
        bound_gflops=bound,
        percent_of_bound=percent(gflops, bound) if gflops and bound else None,
        low_reason=reason,
        note=layer.note,
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
