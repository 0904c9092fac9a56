"""pytest-benchmark's own form: a benchmark a contestant, the figure's record in its extra_info."""

from typing import Any

from bench.report.model import OURS, Case, Figure, Ratio, Refused, Run, Timing, beside, median_noise
from bench.report.values import Malformed, mapping, number, pass_name, positive, text, whole, within

LATE = "the host was late: kernels may have waited for it"

Entry = tuple[dict[str, Any], Timing]  # an extra_info, and the times that came with it


def read(name: str, loaded: dict[str, Any]) -> Run:
    """The run that a file of this form holds; `values.Malformed` where it does not."""
    with within("machine_info"):
        machine = mapping(loaded, "machine_info")
        device, facts = _device(machine), machine["fastconv"]
        place, versions = text(device, "kind"), mapping(facts, "versions")
        called = text(facts, "cpu") if "cpu" in facts else text(device, "name")
    with within("the file"):
        date = text(loaded, "datetime")
        refused = [Refused(text(r, "what"), text(r, "reason")) for r in loaded.get("refused", ())]
    entries: dict[Case, dict[str, Entry]] = {}
    for position, benchmark in enumerate(loaded["benchmarks"], 1):
        with within(f"benchmark {position}"):
            info = mapping(benchmark, "extra_info")
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
        date=date,
        device=called,
        facts=_facts(machine),
        versions=versions,
        figures=tuple(figures),
        refused=tuple(refused),
        complete=bool(loaded.get("complete", True)),
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
        pass_name=pass_name(info),
        layout=text(info, "layout"),
        threads=whole(info, "threads"),
        place=place,
    )


def _timing(stats: dict[str, Any], info: dict[str, Any]) -> Timing:
    seconds = positive(stats, "median")
    return Timing(
        seconds=seconds,
        spread=(number(stats, "iqr") or 0.0) / seconds,
        rounds=whole(stats, "rounds"),
        error=number(info, "error"),
        first_call=number(info, "first_call"),
        memory=whole(info, "memory"),
        call=number(info, "call"),
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
        workspace=whole(info, "workspace"),
        peak=positive(info, "peak_gflops"),
        bandwidth=positive(info, "copy_gbytes_per_second"),
        note=_note(info),
        timings={OURS: ours} | timings,
        ratios={
            name: _ratio(ours, timing, of_peer)
            for name, (of_peer, timing) in contestants.items()
            if name != OURS
        },
    )


def _ratio(ours: Timing, peer: Timing, info: dict[str, Any]) -> Ratio:
    """As recorded, where both were timed in the same rounds; else of the medians."""
    if info.get("ratio") is None:
        return beside(ours, peer)
    spread = number(info, "ratio_spread") or 0.0
    return Ratio(positive(info, "ratio"), median_noise(spread, peer.rounds))


def _note(info: dict[str, Any]) -> str:
    """The figure's own, and whether a device's time may hold waits for its host."""
    late = LATE if info.get("host_ahead") is False else ""
    return "; ".join(filter(None, (text(info, "note"), late)))
