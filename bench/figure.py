"""What a figure says beside its times, the same from ``python -m bench`` and from ``pytest bench``.

The one writes it in the rows of its file, the other as pytest-benchmark's ``extra_info``.
"""

from dataclasses import dataclass

from bench.case import Case
from bench.roofline import low_reason, percent
from fastconv.cpu import simd
from fastconv.explain import Explanation
from fastconv.roofs import copy_bandwidth, fma_peak


@dataclass(frozen=True, slots=True)
class Subject:
    """What is timed: a layer, one of its passes, and how ours computes it.

    ``nbytes`` are those that must move at least: each operand read once, the result written once.
    ``workspace`` are those that ours takes beside them.
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
    workspace: int
    note: str


@dataclass(frozen=True, slots=True)
class Speed:
    """A median time beside what the machine allows.

    ``bound_gflops`` is the roofline that the bytes that must move, the measured peak and the
    measured bandwidth of a copy make. Operands that lie in a cache may pass it, and Winograd's
    algorithms the peak as well.
    """

    gflops: float
    peak_gflops: float
    copy_gbytes_per_second: float
    percent_of_peak: float
    bound_gflops: float
    percent_of_bound: float
    low_reason: str | None


def subject(case: Case, pass_name: str, threads: int, plan: Explanation) -> Subject:
    """Describe one pass of a case as ``plan`` computes it."""
    layer = case.layer
    return Subject(
        layer=layer.name,
        shape=str(layer),
        kind=layer.kind,
        dtype=layer.dtype,
        pass_name=pass_name,
        layout=case.layout,
        threads=threads,
        algorithm=plan.algorithm,
        count=layer.count,
        flops=layer.geometry.flops,
        nbytes=plan.bytes,
        workspace=plan.workspace,
        note=layer.note,
    )


def speed(case: Case, pass_name: str, threads: int, plan: Explanation, seconds: float) -> Speed:
    """Hold a pass that took so many seconds against the machine's measured bounds."""
    layer = case.layer
    gflops = layer.geometry.flops / seconds / 1e9
    peak, copy = fma_peak(layer.dtype, threads), copy_bandwidth(threads)
    bound = plan.roofline(peak, copy)
    lanes = simd.VECTOR_BITS // (8 * max(case.x.itemsize, 4))  # halves are added up in float32
    return Speed(
        gflops=gflops,
        peak_gflops=peak,
        copy_gbytes_per_second=copy,
        percent_of_peak=percent(gflops, peak),
        bound_gflops=bound,
        percent_of_bound=percent(gflops, bound),
        low_reason=low_reason(layer, pass_name, lanes, gflops, peak, bound),
    )
