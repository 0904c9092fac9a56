"""A run's figures as a table for a person and as JSON for a program."""

import dataclasses
import datetime
import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from bench.run import Refusal, Row


def table(rows: Sequence[Row]) -> Table:
    """Layer, pass, ours, the fastest peer, their ratio and the share of the measured peak."""
    result = Table(box=None, header_style="bold", pad_edge=False, collapse_padding=True)
    for heading in ("layer", "pass", "thr.", "algorithm"):
        result.add_column(heading, no_wrap=True)
    for heading in ("ours", "of peak", "fastest", "peer", "ratio"):
        result.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        result.add_row(
            row.layer,
            row.pass_name,
            str(row.threads),
            row.algorithm,
            time_text(row.seconds.get("fastconv")),
            number_text(row.percent_of_peak, ".0f", " %"),
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


def machine_lines(machine: dict[str, Any]) -> list[str]:
    """The machine in a few lines, as they stand above a table."""
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    lines = [f"{machine['cpu']}, {machine['cores']} cores, {machine['system']}", versions]
    for dtype, peaks in machine["peak_gflops"].items():
        peak = ", ".join(f"{value} GFLOP/s ({count} thr.)" for count, value in peaks.items())
        lines.append(f"measured multiply-add peak, {dtype}: {peak}")
    copies = machine["copy_gbytes_per_second"].items()
    copy = ", ".join(f"{value} GB/s ({count} thr.)" for count, value in copies)
    lines.append(f"measured copy bandwidth (read + write): {copy}")
    return lines


def write_json(
    path: Path,
    machine: dict[str, Any],
    settings: dict[str, Any],
    rows: Sequence[Row],
    refusals: Sequence[Refusal],
) -> None:
    """Everything a later reader needs to judge the figures, in one file."""
    report = {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "machine": machine,
        "settings": settings,
        "geometric_means": geometric_means(rows),
        "rows": [dataclasses.asdict(row) | {"ratio": row.ratio} for row in rows],
        "refused": [dataclasses.asdict(refusal) for refusal in refusals],
    }
    path.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


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
