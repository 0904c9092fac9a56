"""``python -m bench.tables``: the README's tables of ratios, from the files in bench/results."""

import json
import statistics
import sys
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from bench.case import PASSES
from bench.isa import NATIVE
from bench.recorder import PARTIAL, RESULTS
from bench.roofline import LARGE
from bench.suites import SUITES

START, END = "<!-- ratios -->", "<!-- /ratios -->"
PASS_NAMES = {"forward": "forward", "weight": "weight gradient", "input": "input gradient"}
SUITE_NAMES = {
    "resnet50": "ResNet-50",
    "deepbench_train": "DeepBench training",
    "mobilenet_v1_dw": "MobileNet v1 depthwise",
    "everyday": "Everyday",
}
_PEERS = {"torch": "PyTorch", "jax": "JAX", "scipy": "SciPy", "onnxruntime": "ONNX Runtime"}

Report = dict[str, Any]
Rows = Sequence[dict[str, Any]]


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--results",
    type=click.Path(path_type=Path, exists=True),
    default=RESULTS,
    show_default="bench/results",
)
@click.option(
    "--write",
    type=click.Path(path_type=Path, exists=True),
    metavar="README",
    help=f"Put the tables between its {START} lines.",
)
@click.option(
    "--check",
    type=click.Path(path_type=Path, exists=True),
    metavar="README",
    help="Exit 1 where what stands there differs.",
)
def main(results: Path, write: Path | None, check: Path | None) -> None:
    """Print a table for each machine and instruction set of the result files."""
    text = tables(read_reports(results))
    if write:
        old = write.read_text(encoding="utf-8")
        write.write_text(replaced(old, text), encoding="utf-8")
    if check:
        old = check.read_text(encoding="utf-8")
        if replaced(old, text) != old:
            sys.exit(f"{check} is not what python -m bench.tables --write {check} makes of it")
    if not (write or check):
        click.echo(text)


def read_reports(folder: Path) -> list[Report]:
    """Every finished run in a folder, suites in their own order."""
    paths = [path for path in folder.glob("*.json") if not path.name.endswith(PARTIAL)]
    reports = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(paths)]
    complete = [report for report in reports if report["complete"]]
    return sorted(complete, key=lambda report: SUITES.index(report["suite"]))


def replaced(readme: str, text: str) -> str:
    """``readme`` with ``text`` between the two marks."""
    before, mark, rest = readme.partition(START)
    _, end, after = rest.partition(END)
    if not (mark and end):
        raise click.UsageError(f"the file needs a line {START} and, after it, a line {END}")
    return f"{before}{START}\n{text}\n{END}{after}"


def tables(reports: Sequence[Report]) -> str:
    """A paragraph and a table for each machine and instruction set, a machine's own one first."""
    groups: dict[tuple[str, str], list[Report]] = {}
    for report in sorted(reports, key=lambda report: bool(_held(report["machine"]))):
        machine = report["machine"]
        groups.setdefault((machine["host"], machine["isa"]), []).append(report)
    return "\n\n".join(_section(group) for group in groups.values())


def _section(reports: Sequence[Report]) -> str:
    threads = sorted({row["threads"] for report in reports for row in report["rows"]})
    headings = [f"{PASS_NAMES[name]}, {count} thr." for name in PASSES for count in threads]
    lines = [
        _row(["layers", "layout", *headings]),
        _row(["---"] * (2 + len(headings))),
    ]
    for report in reports:
        for name, rows in _kinds(report):
            layout = report["settings"]["layout"].upper()
            cells = [
                _cell(row for row in rows if row["pass_name"] == name and row["threads"] == count)
                for name in PASSES
                for count in threads
            ]
            lines.append(_row([name, layout, *cells]))
    return "\n".join([*lines, "", _caption(reports)])


def _kinds(report: Report) -> Iterator[tuple[str, Rows]]:
    """The suite's rows, whole and then by kind where it has several."""
    rows, suite = report["rows"], SUITE_NAMES[report["suite"]]
    yield f"**{suite}**, all {_layers(rows)}", rows
    kinds = dict.fromkeys(row["kind"] for row in rows)
    if len(kinds) > 1:
        for kind in kinds:
            of_kind = [row for row in rows if row["kind"] == kind]
            yield f"{kind} ({_layers(of_kind)})", of_kind


def _layers(rows: Rows) -> int:
    return len({row["layer"] for row in rows})


def _cell(rows: Iterable[dict[str, Any]]) -> str:
    """The geometric mean of the ratios, and the lowest in brackets where there are several."""
    ratios = [row["ratio"] for row in rows if row["ratio"] is not None]
    if not ratios:
        return ""
    mean = f"{statistics.geometric_mean(ratios):.2f}"
    return mean if len(ratios) == 1 else f"{mean} ({min(ratios):.2f})"


def _caption(reports: Sequence[Report]) -> str:
    """The machine, the versions and the dates, as the files have them."""
    machine, rows = reports[0]["machine"], [row for report in reports for row in report["rows"]]
    rated = [row for row in rows if row["ratio"] is not None]
    slower = sum(row["ratio"] < 1 for row in rated)
    beside: dict[str, int] = {}
    for row in rated:
        name = row["best_peer"].split()[0]
        beside[name] = beside.get(name, 0) + 1
    peers = ", ".join(
        f"{_PEERS.get(name, name)} {_versions(reports, name)} ({count})"
        for name, count in sorted(beside.items(), key=lambda item: -item[1])
    )
    dates = sorted({report["date"][:10] for report in reports})
    text = (
        f"{machine['cpu']}, {machine['cores']} cores{_held(machine)}, "
        f"Numba {_versions(reports, 'numba')}, "
        f"{' and '.join(dict.fromkeys((dates[0], dates[-1])))}. Geometric means over the layers, "
        f"the lowest ratio in brackets; {_algorithms(reports)}. The fastest peer, and in how many "
        f"cases it was: {peers}. Of {len(rated)} cases {slower} are under 1.00."
        f"{_share_of_peak(rows)}{_room(rows)}"
    )
    return textwrap.fill(text, 100, break_long_words=False, break_on_hyphens=False)


def _held(machine: dict[str, Any]) -> str:
    return "" if machine["held_to"] == NATIVE else f", ours and the peers held to {machine['isa']}"


def _share_of_peak(rows: Rows) -> str:
    """How near the multiply-add peak the direct algorithm's large layers run."""
    shares = [
        row["percent_of_peak"]
        for row in rows
        if row["algorithm"] == "direct" and row["flops"] > LARGE and row["percent_of_peak"]
    ]
    if not shares:
        return ""
    middle = statistics.median(shares)
    return (
        f" On layers of more than {LARGE / 1e6:.0f} MFLOP `direct` reaches {middle:.0f} % of the "
        f"measured multiply-add peak (median of {len(shares)}), all that a call does included."
    )


def _room(rows: Rows) -> str:
    """What ratio the machine's bound leaves on 1x1 layers, where no algorithm saves products."""
    rated = [row for row in rows if row["kind"] == "1x1" and row["ratio"]]
    if not rated or not all(row["percent_of_bound"] for row in rated):
        return ""
    most = statistics.geometric_mean(row["ratio"] * 100 / row["percent_of_bound"] for row in rated)
    ours = statistics.geometric_mean(row["ratio"] for row in rated)
    return (
        f" On 1x1 layers, where no algorithm saves products, the machine's bound is {most:.2f} "
        f"times the fastest peer, and fastconv {ours:.2f} times."
    )


def _versions(reports: Sequence[Report], package: str) -> str:
    found = (report["machine"]["versions"].get(package, "") for report in reports)
    return " / ".join(dict.fromkeys(version.split("+")[0] for version in found if version))


def _algorithms(reports: Sequence[Report]) -> str:
    names = dict.fromkeys(report["settings"]["algorithm"] for report in reports)
    return " and ".join(f'`algorithm="{name}"`' for name in names)


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
