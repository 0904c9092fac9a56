"""pytest-benchmark's own form: a benchmark a contestant, the figure's record in its extra_info."""

from typing import Any

from bench.report.model import OURS, Case, Figure, Ratio, Refused, Run, Timing, beside, median_noise
from bench.report.values import Malformed, positive, text, within

Entry = tuple[dict[str, Any], Timing]  # an extra_info, and the times that came with it


def read(name: str, loaded: dict[str, Any]) -> Run:
    """The run that a file of this form holds; `values.Malformed` where it does not."""
    with within("machine_info"):
        machine = loaded["machine_info"]
        place = text(_device(machine), "kind")
        facts = machine["fastconv"]
    entries: dict[Case, dict[str, Entry]] = {}
    for number, benchmark in enumerate(loaded["benchmarks"], 1):
        with within(f"benchmark {number}"):
            info = benchmark["extra_info"]
            if "contestant" not in info or "flops" not in info:
                raise Malformed("its extra_info is not that of fastconv's benchmarks")
            contestants = entries.setdefault(_case(info, place), {})
            contestants[text(info, "contestant")] = (info, _timing(benchmark["stats"], info))
    figures = []
    for case, contestants in entries.items():
        with within(str(case)):
            if OURS in contestants:
                figures.append(_figure(case, contestants))
    return Run(
        name=name,
        date=text(loaded, "datetime"),
        device=facts.get("cpu") or machine["device"]["name"],
        facts=_facts(machine),
        versions=facts["versions"],
        figures=tuple(figures),
        refused=tuple(Refused(r["what"], r["reason"]) for r in loaded.get("refused", ())),
        complete=loaded.get("complete", True),
        without_ours=len(entries) - len(figures),
    )


def _device(machine: dict[str, Any]) -> dict[str, Any]:
    device = machine.get("device")
    if not isinstance(device, dict) or "fastconv" not in machine:
        raise Malformed("written by no benchmark of fastconv's, or by one before this report")
    return device


def _facts(machine: dict[str, Any]) -> dict[str, str]:
    """What the device tells of itself, and the host's few words."""
    said = {**machine["device"], **machine["fastconv"]}
    told = {name.replace("_", " "): value for name, value in said.items()}
    wanted = {
        name: str(value)
        for name, value in told.items()
        if name not in ("kind", "name", "cpu", "versions", "environment", "host", "isa")
    }
    if wanted.get("held to") == "native":
        del wanted["held to"]
    return wanted


def _case(info: dict[str, Any], place: str) -> Case:
    return Case(
        layer=text(info, "layer"),
        shape=text(info, "shape"),
        dtype=text(info, "dtype"),
        pass_name=text(info, "pass_name"),
        layout=text(info, "layout"),
        threads=info["threads"],
        place=place,
    )


def _timing(stats: dict[str, Any], info: dict[str, Any]) -> Timing:
    seconds = positive(stats, "median")
    return Timing(
        seconds=seconds,
        spread=stats["iqr"] / seconds,
        rounds=stats["rounds"],
        error=info.get("error"),
        first_call=info.get("first_call"),
        memory=info.get("memory"),
        call=info.get("call"),
    )


def _figure(case: Case, contestants: dict[str, Entry]) -> Figure:
    info, ours = contestants[OURS]
    timings = {name: timing for name, (_, timing) in contestants.items()}
    return Figure(
        case=case,
        suite=text(info, "suite"),
        kind=text(info, "kind"),
        algorithm=text(info, "algorithm"),
        flops=int(positive(info, "flops")),
        nbytes=int(positive(info, "nbytes")),
        workspace=info.get("workspace"),
        peak=positive(info, "peak_gflops"),
        bandwidth=positive(info, "copy_gbytes_per_second"),
        note=info["note"],
        timings={OURS: ours} | timings,
        ratios={
            name: _ratio(ours, timing, of_peer)
            for name, (of_peer, timing) in contestants.items()
            if name != OURS
        },
    )


def _ratio(ours: Timing, peer: Timing, info: dict[str, Any]) -> Ratio:
    """As recorded, where both were timed in the same rounds; else of the medians."""
    if info.get("ratio"):
        return Ratio(info["ratio"], median_noise(info["ratio_spread"], peer.rounds))
    return beside(ours, peer)
