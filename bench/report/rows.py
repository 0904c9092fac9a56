"""The form of ``python -m bench``: a row a figure, every contestant's times in it."""

from typing import Any

from bench.report.model import OURS, Case, Figure, Ratio, Refused, Run, Timing, beside, median_noise
from bench.report.values import Malformed, mapping, number, pass_name, positive, text, whole, within

PLACE = "cpu"


def read(name: str, loaded: dict[str, Any]) -> Run:
    """The run that a file of this form holds; `values.Malformed` where it does not."""
    with within("the file"):
        suite, date = text(loaded, "suite"), text(loaded, "date")
        machine = mapping(loaded, "machine")
        versions, facts = mapping(machine, "versions"), _facts(machine)
        refused = [
            Refused(f"{r['layer']} {r['pass_name']}, {r['threads']} thr.", text(r, "reason"))
            for r in loaded.get("refused", ())
        ]
        device = text(machine, "cpu")
    figures = []
    for position, row in enumerate(loaded["rows"], 1):
        with within(f"row {position}"):
            figures.append(_figure(suite, machine, row))
    return Run(
        name=name,
        date=date,
        device=device,
        facts=facts,
        versions=versions,
        figures=tuple(figures),
        refused=tuple(refused),
        complete=bool(loaded.get("complete", True)),
    )


def _facts(machine: dict[str, Any]) -> dict[str, str]:
    facts = {"cores": str(machine["cores"]), "system": text(machine, "system")}
    if machine.get("environment"):
        facts["held to"] = text(machine, "held_to")
    return facts | {"BLAS": ", ".join(machine.get("blas", ()))}


def _figure(suite: str, machine: dict[str, Any], row: dict[str, Any]) -> Figure:
    seconds = mapping(row, "seconds")
    timings = {contestant: _timing(row, contestant) for contestant in (OURS, *seconds)}
    return Figure(
        case=Case(
            layer=text(row, "layer"),
            shape=text(row, "shape"),
            dtype=text(row, "dtype"),
            pass_name=pass_name(row),
            layout=text(row, "layout"),
            threads=int(positive(row, "threads")),
            place=PLACE,
        ),
        suite=suite,
        kind=text(row, "kind"),
        algorithm=text(row, "algorithm"),
        flops=int(positive(row, "flops")),
        nbytes=int(positive(row, "nbytes")),
        workspace=whole(row, "workspace"),
        peak=_bound(row, "peak_gflops", machine["peak_gflops"].get(row["dtype"], {})),
        bandwidth=_bound(row, "copy_gbytes_per_second", machine["copy_gbytes_per_second"]),
        note=text(row, "note"),
        timings=timings,
        ratios={peer: _ratio(row, timings, peer) for peer in mapping(row, "ratios")},
    )


def _bound(row: dict[str, Any], name: str, by_threads: dict[str, Any]) -> float:
    """As the row has it, or as it was rounded for the whole run."""
    if name in row:
        return positive(row, name)
    threads = str(row["threads"])
    if threads not in by_threads:
        raise Malformed(f"{name!r} is missing")
    return positive(by_threads, threads)


def _timing(row: dict[str, Any], contestant: str) -> Timing:
    return Timing(
        seconds=positive(row["seconds"], contestant),
        spread=number(row["spread"], contestant) or 0.0,
        rounds=whole(row.get("rounds", {}), contestant),
        error=number(row["errors"], contestant),
        first_call=number(row.get("first_calls", {}), contestant),
        memory=whole(row.get("memory", {}), contestant),
    )


def _ratio(row: dict[str, Any], timings: dict[str, Timing], peer: str) -> Ratio:
    """The median of the rounds' ratios; its noise from the times where theirs is not recorded."""
    value, timing = positive(row["ratios"], peer), timings[peer]
    spread = number(row.get("ratio_spread", {}), peer)
    if spread is None:
        return Ratio(value, beside(timings[OURS], timing).noise)
    return Ratio(value, median_noise(spread, timing.rounds))
