"""One figure: anchored first, then ours and every peer timed side by side on the same arrays."""

import functools
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np

from bench.case import Array, Case, make_case
from bench.machine import fma_peak
from bench.peers import Ours, Peer
from bench.reference import reference, relative_error, tolerance
from bench.suites import Layer
from bench.timing import interleaved, ratio
from fastconv import worked_example


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
    """One layer, pass and thread count; times are medians, in seconds."""

    layer: str
    shape: str
    dtype: str
    pass_name: str
    layout: str
    threads: int
    algorithm: str
    count: int
    flops: int
    errors: dict[str, float]
    seconds: dict[str, float]
    spread: dict[str, float]
    ratios: dict[str, float]
    best_peer: str | None
    gflops: float | None
    percent_of_peak: float | None
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


def checked_error(peer: Peer, case: Case, pass_name: str, expected: Array) -> float:
    """The peer's error against float64 on the case's arrays; `WrongResult` beyond rounding."""
    result = peer.prepare(case, pass_name)()
    # NumPy's arithmetic on halves would round the error, and PyTorch's bfloat16 is no NumPy type.
    values = result.astype(np.float64) if hasattr(result, "base") else result.double().numpy()
    error = relative_error(values, expected)
    bound = tolerance(case.layer, pass_name)
    if error > bound:
        raise WrongResult(
            f"{peer.name}, {case.layer.name} {pass_name}: max|err|/max|ref| is {error:.1e}, "
            f"rounding explains at most {bound:.1e}"
        )
    return error


def measure(
    case: Case,
    pass_name: str,
    expected: Array,
    peers: Sequence[Peer],
    threads: int,
    settings: Settings,
) -> Row:
    """Check every contestant's values, then time them together (or not, if not ``timed``)."""
    layer, flops = case.layer, case.layer.geometry.flops
    ours = Ours(settings.algorithm)
    check_anchor(layer.dtype, settings.algorithm)
    able = (peer for peer in peers if layer.dtype in peer.dtypes)
    contestants = [ours, *(peer for peer in able if peer.available(layer, pass_name))]
    with ExitStack() as stack:
        for peer in contestants:
            stack.enter_context(peer.threads(threads))
        errors = {p.name: checked_error(p, case, pass_name, expected) for p in contestants}
        calls = {p.name: p.prepare(case, pass_name) for p in contestants}
        settle = SETTLE_SECONDS if threads > 1 else 0.0
        samples = interleaved(calls, settings.budget, settle=settle) if settings.timed else {}
        algorithm = ours.chosen(case, pass_name)
    seconds = {name: sample.median for name, sample in samples.items()}
    rivals = [name for name in seconds if name != ours.name]
    gflops = flops / seconds[ours.name] / 1e9 if seconds else None
    return Row(
        layer=layer.name,
        shape=str(layer),
        dtype=layer.dtype,
        pass_name=pass_name,
        layout=case.layout,
        threads=threads,
        algorithm=algorithm,
        count=layer.count,
        flops=flops,
        errors=errors,
        seconds=seconds,
        spread={name: sample.spread for name, sample in samples.items()},
        ratios={name: ratio(samples[ours.name], samples[name]) for name in rivals},
        best_peer=min(rivals, key=seconds.__getitem__, default=None),
        gflops=gflops,
        percent_of_peak=gflops and 100 * gflops / fma_peak(layer.dtype, threads),
        note=layer.note,
    )


def run(
    layers: Sequence[Layer], peers: Sequence[Peer], settings: Settings
) -> Iterator[Row | Refusal]:
    """Every layer, pass and thread count in turn, each either measured or refused."""
    for layer in layers:
        case = make_case(layer, settings.layout)
        for pass_name in settings.passes:
            expected = reference(case, pass_name)
            for threads in settings.threads:
                yield _attempt(case, pass_name, expected, peers, threads, settings)


def _attempt(case: Case, pass_name: str, *rest: Any) -> Row | Refusal:
    try:
        return measure(case, pass_name, *rest)
    except WrongResult as error:
        return Refusal(case.layer.name, pass_name, rest[2], str(error))
