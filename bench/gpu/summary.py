"""A run on a device as tables: every figure, what was not taken, and the means."""

import statistics
from collections.abc import Iterator, Sequence
from typing import Any

from rich.table import Table

from bench.case import PASSES
from bench.gpu.checks import Check
from bench.gpu.jobs import Job
from bench.gpu.measure import TIMED, Anchor, Record
from bench.gpu.workload import OURS, PEER
from bench.summary import number_text, time_text

Key = tuple[str, str, str]


def fact_lines(facts: dict[str, Any]) -> Iterator[str]:
    """The device and what was measured of it, in a few lines."""
    machine = facts["machine_info"]
    device, versions = machine["device"], machine["fastconv"]["versions"]
    yield (
        f"{device['name']}: {device['multiprocessors']} multiprocessors, compute capability "
        f"{device['compute_capability']}, {device['memory_gib']} GiB, "
        f"{device['l2_cache_mib']} MiB of L2"
    )
    yield ", ".join(f"{name} {version}" for name, version in versions.items())
    if facts.get("clocks"):
        clocks = ", ".join(f"{name} {value}" for name, value in facts["clocks"].items())
        yield f"just after the matrix products: {clocks}"
    if facts.get("peak_tflops"):
        peaks = ", ".join(f"{name} {value:.1f}" for name, value in facts["peak_tflops"].items())
        yield f"measured peak of a matrix product, TFLOP/s: {peaks}"
        yield f"measured copy bandwidth (read + write): {facts['copy_gbytes_per_second']:.0f} GB/s"


def check_lines(checks: Sequence[Check], anchors: Sequence[Anchor]) -> Iterator[str]:
    """How the checks before any timing came out; what failed with its last words."""
    for check in checks:
        yield f"{check.name}: {check.status} ({check.summary})"
        if check.status == "failed":
            yield from (f"    {line}" for line in check.output)
    exact = sum(anchor.status == "exact" for anchor in anchors)
    if anchors:
        yield f"worked example: exact for {exact} of {len(anchors)} precisions and algorithms"
    reasons: dict[str, list[str]] = {}
    for anchor in anchors:
        if anchor.status != "exact":
            where = f"{anchor.precision} {anchor.algorithm}"
            reasons.setdefault(f"{anchor.status}: {anchor.reason}", []).append(where)
    for reason, places in reasons.items():
        yield f"    {', '.join(places)}: {reason}"


def table(records: Sequence[Record]) -> Table:
    """Every timed figure beside PyTorch's, and its share of the measured peak and copy speed."""
    result = Table(box=None, header_style="bold", pad_edge=False, collapse_padding=True)
    for heading in ("layer", "precision", "pass"):
        result.add_column(heading, no_wrap=True)
    for heading in (
        *("kernel", PEER, "ratio", "call", PEER, "TFLOP/s", "of peak", "of copy"),
        "note",
    ):
        result.add_column(heading, justify="right", no_wrap=True)
    for record in records:
        if record.status == TIMED:
            result.add_row(
                *(record.layer, record.precision, record.pass_name),
                time_text(record.kernel_seconds[OURS]),
                time_text(record.kernel_seconds.get(PEER)),
                number_text(record.ratio, ".2f"),
                time_text(record.call_seconds[OURS]),
                time_text(record.call_seconds.get(PEER)),
                number_text(record.tflops, ".3g"),
                number_text(record.percent_of_peak, ".0f", " %"),
                number_text(record.percent_of_copy, ".0f", " %"),
                "" if record.host_ahead else "host late",
            )
    return result


def note_lines(records: Sequence[Record]) -> Iterator[str]:
    """What a reader must know of timed figures: a smaller batch, a peer that failed."""
    notes = dict.fromkeys(f"{record.layer}: {record.note}" for record in records if record.note)
    yield from notes


def untimed_lines(records: Sequence[Record]) -> Iterator[str]:
    """Each job that was not timed, with the reason."""
    for record in records:
        if record.status != TIMED:
            where = f"{record.layer} {record.precision} {record.pass_name}"
            yield f"{record.status}: {where} ({record.shape}): {record.reason}"


def means(records: Sequence[Record]) -> dict[Key, dict[str, float]]:
    """Geometric means for each suite, precision and pass: both ratios and the share of the peak."""
    groups: dict[Key, list[Record]] = {}
    for record in records:
        if record.status == TIMED:
            key = (record.suite, record.precision, record.pass_name)
            groups.setdefault(key, []).append(record)
    return {key: _mean_of(group) for key, group in groups.items()}


def _mean_of(group: Sequence[Record]) -> dict[str, float]:
    found: dict[str, float] = {"layers": len(group)}
    for name in ("ratio", "call_ratio", "percent_of_peak"):
        values = [value for value in (getattr(record, name) for record in group) if value]
        if values:
            found[name] = float(f"{statistics.geometric_mean(values):.4g}")
    return found


def means_table(found: dict[Key, dict[str, float]]) -> Table:
    """A line for each suite and precision: in each pass the ratio, and the share of the peak."""
    result = Table(box=None, header_style="bold", pad_edge=False, title_justify="left")
    result.title = "geometric means: kernel time beside PyTorch's, 2 means half of it (of peak)"
    for heading in ("suite", "precision"):
        result.add_column(heading, no_wrap=True)
    result.add_column("layers", justify="right")
    for name in PASSES:
        result.add_column(name, justify="right", no_wrap=True)
    for suite, precision in dict.fromkeys(key[:2] for key in found):
        cells = [found.get((suite, precision, name), {}) for name in PASSES]
        layers = max(int(cell.get("layers", 0)) for cell in cells)
        result.add_row(suite, precision, str(layers), *(_mean_cell(cell) for cell in cells))
    return result


def _mean_cell(cell: dict[str, float]) -> str:
    ratio = number_text(cell.get("ratio"), ".2f")
    share = number_text(cell.get("percent_of_peak"), ".0f", " %")
    return f"{ratio} ({share})" if share else ratio


def means_json(found: dict[Key, dict[str, float]]) -> list[dict[str, Any]]:
    """The means as records."""
    return [
        {"suite": suite, "precision": precision, "pass_name": pass_name} | values
        for (suite, precision, pass_name), values in found.items()
    ]


def cut_lines(cut: Sequence[Job], reason: str) -> Iterator[str]:
    """What was not measured, suite by suite."""
    if cut:
        yield f"not measured, {reason}: {len(cut)} figures"
    for suite in dict.fromkeys(job.suite for job in cut):
        names = dict.fromkeys(job.layer.name for job in cut if job.suite == suite)
        yield f"    {suite}, {len(names)} layers: {', '.join(names)}"


def cut_json(cut: Sequence[Job]) -> list[dict[str, str]]:
    """What was not measured, as records."""
    return [
        {
            "suite": job.suite,
            "layer": job.layer.name,
            "precision": job.precision.name,
            "pass_name": job.pass_name,
        }
        for job in cut
    ]
