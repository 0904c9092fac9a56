"""A device's figures in pytest-benchmark's form, an entry a contestant: times from its events."""

from collections.abc import Iterator
from typing import Any

from bench.benchmark_json import entry
from bench.gpu.measure import Record
from bench.gpu.workload import OURS, PEER
from bench.roofline import percent

CLOCK = "device events"


def entries(record: Record) -> Iterator[dict[str, Any]]:
    """Each contestant's rounds with the figure's record; nothing where it was not timed."""
    for contestant, seconds in record.kernel_rounds.items():
        yield entry(
            f"bench/gpu::{record.pass_name}",
            {"layer": record.layer, "precision": record.precision, "contestant": contestant},
            f"{record.layer} {record.pass_name} {record.precision}: {record.shape}",
            _extra_info(record, contestant),
            seconds,
            CLOCK,
        )


def refusal(record: Record) -> dict[str, str]:
    """What was not timed, and why."""
    what = f"{record.layer} {record.precision} {record.pass_name}"
    return {"what": what, "status": record.status, "reason": record.reason}


def _extra_info(record: Record, contestant: str) -> dict[str, Any]:
    """What `bench.figure` says of a figure on the CPU, and what only a device has."""
    ours = contestant == OURS
    gflops = record.flops / record.kernel_seconds[contestant] / 1e9
    slope = record.flops / record.bytes * record.copy_gbytes_per_second
    bound = min(record.peak_gflops, slope)
    return {
        "layer": record.layer,
        "shape": record.shape,
        "kind": record.kind,
        "dtype": record.precision,
        "pass_name": record.pass_name,
        "layout": record.layout,
        "threads": None,
        "algorithm": record.algorithm,
        "count": record.count,
        "flops": record.flops,
        "nbytes": record.bytes,
        "workspace": None,
        "note": record.note,
        "suite": record.suite,
        "contestant": contestant,
        "error": record.errors.get(contestant),
        "first_call": record.first_call if ours else None,
        "memory": None,
        "call": record.call_seconds[contestant],
        "host_ahead": record.host_ahead,
        "ratio": record.ratio if contestant == PEER else None,
        "ratio_spread": record.ratio_spread if contestant == PEER else None,
        "gflops": gflops,
        "peak_gflops": record.peak_gflops,
        "copy_gbytes_per_second": record.copy_gbytes_per_second,
        "percent_of_peak": percent(gflops, record.peak_gflops),
        "bound_gflops": bound,
        "percent_of_bound": percent(gflops, bound),
    }
