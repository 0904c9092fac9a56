"""``python -m bench``: ours beside each peer, checked first, in one table a suite."""

import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from bench import machine, suites, summary
from bench.case import LAYOUTS
from bench.choices import hold_to, shared_options, split_names, suite_layers
from bench.peers import PEERS, Peer, find_peers
from bench.recorder import Recorder, result_name
from bench.run import Refusal, Row, Settings, run
from fastconv.dispatch import ALGORITHMS


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@shared_options(suite=suites.SHORT_SUITE, budget=1.0)
@click.option("--layout", type=click.Choice(LAYOUTS), default="nchw", show_default=True)
@click.option("--algorithm", type=click.Choice(ALGORITHMS), default="auto", show_default=True)
@click.option("--dtype", type=click.Choice(suites.DTYPES), help="Instead of the layers' own.")
@click.option("--peers", callback=split_names(PEERS), default=",".join(PEERS), show_default=True)
@click.option(
    "--results",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="FOLDER",
    help="Write a file a suite, named for bench.tables; whole suites only.",
)
@click.option("--smoke", is_flag=True, help="Tiny layers, values checked, nothing timed.")
def main(
    names: tuple[str, ...],
    passes: tuple[str, ...],
    threads: tuple[int, ...],
    layers: str,
    batch: int | None,
    budget: float,
    isa_name: str,
    json_path: Path | None,
    layout: str,
    algorithm: str,
    dtype: str | None,
    peers: tuple[str, ...],
    results: Path | None,
    smoke: bool,
) -> None:
    """Time fastconv beside its peers on the same arrays, in the same run.

    Every value is checked before anything is timed: the worked example for the kernel, and
    each contestant's result against float64 on the very arrays. A wrong one is not timed, and
    the exit status is 1. Files grow row by row: a run that is cut keeps what it has.
    """
    chosen = suite_layers(names, layers, batch)
    if json_path and len(chosen) > 1:
        raise click.UsageError("--json takes one suite; --results FOLDER writes a file for each")
    if results and (layers or batch or dtype or algorithm != "auto" or suites.SHORT_SUITE in names):
        raise click.UsageError("--results keeps whole suites, as they are, computed by auto")
    hold_to(isa_name, "bench")
    console = Console(width=None if sys.stdout.isatty() else 120)
    contestants, missing = find_peers(peers)
    for sentence in missing:
        console.print(sentence)
    if smoke:
        sys.exit(_smoke(console, contestants))
    if dtype == "bfloat16" and find_spec("ml_dtypes") is None:
        raise click.UsageError("--dtype bfloat16 needs ml_dtypes, which is not installed")
    if dtype:
        chosen = {
            suite: tuple(replace(layer, dtype=dtype) for layer in rows)
            for suite, rows in chosen.items()
        }
    settings = Settings(passes, threads, layout, algorithm, budget)
    dtypes = tuple(sorted({layer.dtype for rows in chosen.values() for layer in rows}))
    described = machine.describe(dtypes, threads)
    console.print(*summary.machine_lines(described), sep="\n")
    refused = False
    for suite, suites_layers in chosen.items():
        path = results / result_name(suite, layout, described) if results else json_path
        recorder = Recorder(path, suite, described, settings) if path else None
        console.print(f"\n[bold]{suite}[/]")
        rows, refusals = _collect(console, suites_layers, contestants, settings, recorder)
        _print_report(console, suites_layers, rows, refusals)
        refused |= bool(refusals)
    sys.exit(1 if refused else 0)


def _collect(
    console: Console,
    layers: tuple[suites.Layer, ...],
    peers: list[Peer],
    settings: Settings,
    recorder: Recorder | None,
) -> tuple[list[Row], list[Refusal]]:
    rows: list[Row] = []
    refusals: list[Refusal] = []
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    total = len(layers) * len(settings.passes) * len(settings.threads)
    with Progress(*columns, TimeElapsedColumn(), console=console, transient=True) as progress:
        task = progress.add_task("first figure", total=total)
        for outcome in run(layers, peers, settings):
            (rows if isinstance(outcome, Row) else refusals).append(outcome)  # type: ignore[arg-type]
            if recorder:
                recorder.add(outcome)
            progress.update(task, advance=1, description=f"{outcome.layer} {outcome.pass_name}")
    if recorder:
        recorder.finish()
    if left_out := total - len(rows) - len(refusals):
        console.print(f"left out, as {settings.algorithm} cannot do them: {left_out} figures")
    return rows, refusals


def _print_report(
    console: Console,
    layers: tuple[suites.Layer, ...],
    rows: list[Row],
    refusals: list[Refusal],
) -> None:
    console.print(summary.table(rows))
    lines = [f"{layer.name}: {layer.note}" for layer in layers if layer.note]
    for name, mean in summary.geometric_means(rows).items():
        lines.append(f"geometric mean of the ratios, {name}: {mean:.2f}")
    for line in (*lines, *summary.slower_lines(rows), *summary.low_lines(rows)):
        console.print(line, highlight=False)
    _print_refusals(console, refusals)


def _print_refusals(console: Console, refusals: list[Refusal]) -> None:
    for refusal in refusals:
        where = f"{refusal.layer} {refusal.pass_name}, {refusal.threads} thr."
        console.print(f"[bold red]not timed[/]: {where}: {refusal.reason}", highlight=False)


def _smoke(console: Console, peers: list[Peer]) -> int:
    """Check every tiny layer, pass, layout and algorithm; the exit status."""
    checked = 0
    refusals: list[Refusal] = []
    for algorithm in ALGORITHMS:
        for layout in LAYOUTS:
            settings = Settings(layout=layout, algorithm=algorithm, timed=False)
            for outcome in run(suites.smoke_suite(), peers, settings):
                checked += 1
                if isinstance(outcome, Refusal):
                    refusals.append(outcome)
    _print_refusals(console, refusals)
    console.print(f"smoke: {checked - len(refusals)} right, {len(refusals)} wrong, none timed")
    return 1 if refusals else 0


if __name__ == "__main__":
    main()
