"""The form of ``python -m bench``: a row a figure, every contestant's times in it."""

from typing import Any

from bench.report.model import OURS, Case, Figure, Ratio, Refused, Run, Timing, beside, median_noise
from bench.report.values import positive, text, within

PLACE = "cpu"


def read(name: str, loaded: dict[str, Any]) -> Run:
    """The run that a file of this form holds; `values.Malformed` where it does not."""
    with within("the file"):
        machine = loaded["machine"]
        rows = loaded["rows"]
        facts = _facts(machine)
    figures = []
    for number, row in enumerate(rows, 1):
        with within(f"row {number}"):
            figures.append(_figure(loaded["suite"], machine, row))
    refused = [
        Refused(f"{r['layer']} {r['pass_name']}, {r['threads']} thr.", r["reason"])
        for r in loaded.get("refused", ())
    ]
    return Run(
        name=name,
        date=text(loaded, "date"),
        device=text(machine, "cpu"),
        facts=facts,
        versions=machine["versions"],
        figures=tuple(figures),
        refused=tuple(refused),
        complete=loaded.get("complete", True),
    )


def _facts(machine: dict[str, Any]) -> dict[str, str]:
    facts = {"cores": str(machine["cores"]), "system": text(machine, "system")}
    if machine.get("environment"):
        facts["held to"] = text(machine, "held_to")
    return facts | {"BLAS": ", ".join(machine.get("blas", ()))}


def _figure(suite: str, machine: dict[str, Any], row: dict[str, Any]) -> Figure:
    threads = str(row["threads"])
    peak = row.get("peak_gflops") or machine["peak_gflops"][row["dtype"]][threads]
    copy = row.get("copy_gbytes_per_second") or machine["copy_gbytes_per_second"][threads]
    timings = {contestant: _timing(row, contestant) for contestant in row["seconds"]}
    return Figure(
        case=Case(
            layer=text(row, "layer"),
            shape=text(row, "shape"),
            dtype=text(row, "dtype"),
            pass_name=text(row, "pass_name"),
            layout=text(row, "layout"),
            threads=row["threads"],
            place=PLACE,
        ),
        suite=suite,
        kind=text(row, "kind"),
        algorithm=text(row, "algorithm"),
        flops=int(positive(row, "flops")),
        nbytes=int(positive(row, "nbytes")),
        workspace=row.get("workspace"),
        peak=peak,
        bandwidth=copy,
        note=row["note"],
        timings={OURS: timings.pop(OURS)} | timings,
        ratios={contestant: _ratio(row, timings, contestant) for contestant in row["ratios"]},
    )


def _timing(row: dict[str, Any], contestant: str) -> Timing:
    return Timing(
        seconds=positive(row["seconds"], contestant),
        spread=row["spread"].get(contestant, 0.0),
        rounds=row.get("rounds", {}).get(contestant),
        error=row["errors"].get(contestant),
        first_call=row.get("first_calls", {}).get(contestant),
        memory=row.get("memory", {}).get(contestant),
    )


def _ratio(row: dict[str, Any], timings: dict[str, Timing], contestant: str) -> Ratio:
    """The median of the rounds' ratios; its noise from the times where theirs is not recorded."""
    value = positive(row["ratios"], contestant)
    if contestant in row.get("ratio_spread", {}):
        noise = median_noise(row["ratio_spread"][contestant], row["rounds"][contestant])
    else:
        noise = beside(_timing(row, OURS), timings[contestant]).noise
    return Ratio(value, noise)
