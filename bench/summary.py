"""A run's figures as a table, and the lines under it: what is slow, and why."""

import statistics
from collections.abc import Iterator, Sequence
from typing import Any

from rich.table import Table

from bench.roofline import ENOUGH, LARGE
from bench.run import Row


def table(rows: Sequence[Row]) -> Table:
    """Ours with its share of the peak and of the roofline, and the fastest peer beside it."""
    result = Table(box=None, header_style="bold", pad_edge=False, collapse_padding=True)
    for heading in ("layer", "pass", "thr.", "algorithm"):
        result.add_column(heading, no_wrap=True)
    for heading in ("ours", "of peak", "of bound", "fastest", "peer", "ratio"):
        result.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        result.add_row(
            row.layer,
            row.pass_name,
            str(row.threads),
            row.algorithm,
            time_text(row.seconds.get("fastconv")),
            number_text(row.percent_of_peak, ".0f", " %"),
            number_text(row.percent_of_bound, ".0f", " %"),
            time_text(row.seconds.get(row.best_peer or "")),
            row.best_peer or "none",
            number_text(row.ratio, ".2f"),
        )
    return result


def geometric_means(rows: Sequence[Row]) -> dict[str, float]:
    """The ratios' geometric mean for each pass and thread count, over rows that have a peer."""
    groups: dict[str, list[float]] = {}
    for row in rows:
        if row.ratio is not None:
            key = f"{row.pass_name}, {row.threads} thread{'s' if row.threads > 1 else ''}"
            groups.setdefault(key, []).append(row.ratio)
    return {key: statistics.geometric_mean(ratios) for key, ratios in groups.items()}


def slower_lines(rows: Sequence[Row]) -> Iterator[str]:
    """Each case in which a peer was faster."""
    slower = [row for row in rows if row.ratio is not None and row.ratio < 1]
    if slower:
        yield f"slower than a peer: {len(slower)} of {len(rows)}"
    for row in sorted(slower, key=lambda row: row.ratio or 0.0):
        yield f"    {_where(row)}: {row.ratio:.2f} x {row.best_peer}"


def low_lines(rows: Sequence[Row]) -> Iterator[str]:
    """Each large layer under the share of the peak that it should reach, with the reason."""
    low = [row for row in rows if row.low_reason]
    if low:
        above = f"of more than {LARGE / 1e6:.0f} MFLOP"
        yield f"under {ENOUGH:.0f} % of the peak, {above}: {len(low)} of {len(rows)}"
    for row in low:
        shares = f"{row.percent_of_peak:.0f} % of the peak, {row.percent_of_bound:.0f} % of"
        yield f"    {_where(row)} ({row.algorithm}): {shares} the bound: {row.low_reason}"


def _where(row: Row) -> str:
    return f"{row.layer} {row.pass_name}, {row.threads} thr."


def machine_lines(machine: dict[str, Any]) -> list[str]:
    """The machine in a few lines, as they stand above a table."""
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    lines = [f"{machine['cpu']}, {machine['cores']} cores, {machine['system']}", versions]
    if machine["environment"]:
        held = " ".join(f"{name}={value}" for name, value in machine["environment"].items())
        lines.append(f"held to {machine['held_to']} by {held}")
    for dtype, peaks in machine["peak_gflops"].items():
        peak = ", ".join(f"{value} GFLOP/s ({count} thr.)" for count, value in peaks.items())
        lines.append(f"measured multiply-add peak, {dtype}: {peak}")
    copies = machine["copy_gbytes_per_second"].items()
    copy = ", ".join(f"{value} GB/s ({count} thr.)" for count, value in copies)
    lines.append(f"measured copy bandwidth (read + write): {copy}")
    return lines


def time_text(seconds: float | None) -> str:
    """Three digits and a unit; empty where nothing was timed."""
    if seconds is None:
        return ""
    for factor, unit in ((1e6, "us"), (1e3, "ms")):
        if seconds * factor < 1000:
            return f"{seconds * factor:.3g} {unit}"
    return f"{seconds:.3g} s"


def number_text(value: float | None, form: str, unit: str = "") -> str:
    """The formatted number; empty where there is none."""
    return "" if value is None else f"{value:{form}}{unit}"
