"""``python -m bench.gpu``: ours beside cuDNN on a CUDA device, checked first, within a budget."""

import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from bench.benchmark_json import RECORDS, header
from bench.case import PASSES
from bench.choices import split_names
from bench.gpu import checks, summary
from bench.gpu.device import NoDevice, find_device
from bench.gpu.entries import entries, refusal
from bench.gpu.jobs import DEFAULT_SUITES, SUITES, Job, select
from bench.gpu.measure import FAILED, TIMED, WRONG, Anchor, Bench, Device, DeviceLost, Record
from bench.gpu.measure import anchors as run_anchors
from bench.gpu.precisions import DEFAULT_PRECISIONS, PRECISIONS
from bench.result_file import ResultFile

RESULTS, SANITIZER_RESULTS = Path("gpu-results.json"), Path("gpu-sanitizer.json")
TEST_SHARE = 0.3  # of the budget, at most
SANITIZER_SECONDS = 45  # for a few small cases, beside the budget: 8 minutes together
MEMORY_SHARE = 4  # a layer's estimate is of ours and a peer's arrays: its checks need as much
LOST = "the device was lost at "
NO_DEVICE = 2


@dataclass(frozen=True, slots=True)
class Settings:
    """What the command line asks for."""

    suites: tuple[str, ...]
    precisions: tuple[str, ...]
    passes: tuple[str, ...]
    layers: str
    algorithm: str
    budget: float
    tests: bool
    smoke: bool


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run came to; ``cut`` was not measured, for the reason given."""

    records: list[Record]
    cut: tuple[Job, ...]
    reason: str
    lost: bool


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--suite",
    "suites",
    callback=split_names(SUITES),
    default=",".join(DEFAULT_SUITES),
    show_default=True,
)
@click.option(
    "--precision",
    "precisions",
    callback=split_names(tuple(PRECISIONS)),
    default=",".join(DEFAULT_PRECISIONS),
    show_default=True,
)
@click.option("--passes", callback=split_names(PASSES), default=",".join(PASSES), show_default=True)
@click.option("--layers", default="", metavar="REGEX", help="Only layers whose name it finds.")
@click.option("--algorithm", default="auto", show_default=True)
@click.option(
    "--budget",
    type=float,
    default=420,
    show_default=True,
    help="Seconds for it all, but for compute-sanitizer.",
)
@click.option(
    "--json",
    "json_path",
    type=click.Path(path_type=Path),
    help=f"Default: {RESULTS}, or {SANITIZER_RESULTS} with --sanitize.",
)
@click.option(
    "--tests/--no-tests",
    default=True,
    help="Run the CUDA tests and a few cases under compute-sanitizer before timing.",
)
@click.option("--smoke", is_flag=True, help="One tiny layer of each suite.")
@click.option("--sanitize", is_flag=True, help="compute-sanitizer over all small cases; no timing.")
def main(json_path: Path | None, sanitize: bool, **options: Any) -> None:
    """Time fastconv beside PyTorch with cuDNN on the same tensors of a CUDA device.

    Every value is checked before anything is timed: the worked example, the CUDA tests, a few cases
    under compute-sanitizer, and each result on the very tensors. A wrong one is not timed, and the
    exit status is 1; without a device it is 2. The results' file is whole after every figure.
    """
    started = time.perf_counter()
    console = Console(width=None if sys.stdout.isatty() else 140, highlight=False)
    try:
        device = find_device()
    except NoDevice as error:
        click.echo(f"{error}; nothing was measured", err=True)
        sys.exit(NO_DEVICE)
    if sanitize:
        path = json_path or SANITIZER_RESULTS
        sys.exit(_sanitize(console, device, path, options["budget"]))
    sys.exit(_bench(console, device, Settings(**options), json_path or RESULTS, started))


def _sanitize(console: Console, device: Device, path: Path, budget: float) -> int:
    """Run both tools; the exit status."""
    file = ResultFile(path, _facts(device), RECORDS)
    found = checks.sanitizers(budget / len(checks.TOOLS))
    file.finish({"checks": [asdict(check) for check in found]})
    _print(console, summary.check_lines(found, ()))
    if all(check.status == checks.NOT_RUN for check in found):
        return NO_DEVICE
    return 0 if all(check.status == checks.PASSED for check in found) else 1


def _bench(console: Console, device: Device, settings: Settings, path: Path, started: float) -> int:
    """Check, measure, report; the exit status."""
    jobs = _jobs(device, settings)
    file = ResultFile(path, _facts(device) | {"settings": asdict(settings)}, RECORDS)
    precisions = [PRECISIONS[name] for name in settings.precisions]
    peaks = {precision.name: device.peak(precision) for precision in precisions}
    copy = device.copy_bandwidth()
    file.note(_bounds(peaks, copy) | {"clocks": device.clocks()})
    _print(console, summary.fact_lines(file.facts))
    tested = _tested(settings)
    beside = max((check.seconds for check in tested[1:]), default=0.0)
    deadline = started + settings.budget + beside
    file.note({"checks": [asdict(check) for check in tested]})
    try:
        anchors = run_anchors(device, precisions, device.algorithms())
    except DeviceLost as lost:
        _print(console, summary.check_lines(tested, ()))
        return _finish(console, Outcome([], jobs, LOST + str(lost), True), file)
    file.note({"worked_example": [asdict(anchor) for anchor in anchors]})
    _print(console, summary.check_lines(tested, anchors))
    bench = Bench(device, settings.algorithm, anchors, peaks, copy)
    outcome = _measure(console, bench, jobs, file, deadline)
    status = _finish(console, outcome, file)
    return max(status, _checks_status(tested, anchors))


def _tested(settings: Settings) -> list[checks.Check]:
    """The CUDA tests, then both of compute-sanitizer's tools at once."""
    if not settings.tests:
        return []
    return [
        checks.cuda_tests(TEST_SHARE * settings.budget),
        *checks.sanitizers(SANITIZER_SECONDS, few=True),
    ]


def _jobs(device: Device, settings: Settings) -> tuple[Job, ...]:
    """The jobs asked for; a usage error where there is none or no such algorithm."""
    known = device.algorithms()
    if settings.algorithm not in known:
        raise click.UsageError(
            f"--algorithm: got {settings.algorithm!r}, needs one of {', '.join(known)}"
        )
    jobs = select(
        settings.suites,
        settings.precisions,
        settings.passes,
        settings.layers,
        device.memory() // MEMORY_SHARE,
        settings.smoke,
    )
    if not jobs:
        raise click.UsageError(f"--layers {settings.layers!r} matches no layer of the suites")
    return jobs


def _bounds(peaks: dict[str, float], copy: float) -> dict[str, Any]:
    return {
        "peak_tflops": {name: round(peak / 1e12, 2) for name, peak in peaks.items()},
        "copy_gbytes_per_second": round(copy / 1e9, 1),
    }


def _facts(device: Device) -> dict[str, Any]:
    return header({"kind": "cuda", **device.describe()}, {"versions": device.versions()})


def _measure(
    console: Console, bench: Bench, jobs: tuple[Job, ...], file: ResultFile, deadline: float
) -> Outcome:
    """Measure job by job, each into the file, until all are done or something ends the run."""
    records: list[Record] = []
    reason, lost = "the budget was spent", False
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), console=console, transient=True) as progress:
        task = progress.add_task("first figure", total=len(jobs))
        try:
            for record in bench.run(jobs, deadline, time.perf_counter):
                records.append(record)
                _write(file, record, records)
                progress.update(task, advance=1, description=f"{record.layer} {record.precision}")
        except DeviceLost as error:
            reason, lost = LOST + str(error), True
        except KeyboardInterrupt:
            reason = "interrupted"
    return Outcome(records, jobs[len(records) :], reason, lost)


def _write(file: ResultFile, record: Record, records: list[Record]) -> None:
    """Into the file: the record's entries, or why it has none."""
    for one in entries(record):
        file.add(one)
    if record.status != TIMED:
        file.note({"refused": [refusal(each) for each in records if each.status != TIMED]})


def _finish(console: Console, outcome: Outcome, file: ResultFile) -> int:
    """Print the tables, the means last, and complete the file; the figures' exit status."""
    found = summary.means(outcome.records)
    console.print(summary.table(outcome.records))
    _print(console, summary.note_lines(outcome.records))
    _print(console, summary.untimed_lines(outcome.records))
    _print(console, summary.cut_lines(outcome.cut, outcome.reason))
    console.print(summary.means_table(found))
    file.finish(
        {
            "geometric_means": summary.means_json(found),
            "cut_reason": outcome.reason if outcome.cut else "",
            "cut": summary.cut_json(outcome.cut),
        }
    )
    console.print(f"written to {file.path}")
    untimed = any(record.status != TIMED for record in outcome.records)
    return 1 if untimed or outcome.lost else 0


def _checks_status(tested: list[checks.Check], anchors: tuple[Anchor, ...]) -> int:
    """1 where a check failed; an algorithm that refuses a precision has not failed."""
    failed = any(check.status == checks.FAILED for check in tested)
    return 1 if failed or any(anchor.status in (WRONG, FAILED) for anchor in anchors) else 0


def _print(console: Console, lines: Any) -> None:
    for line in lines:
        console.print(line, markup=False, soft_wrap=True)


if __name__ == "__main__":
    main()
