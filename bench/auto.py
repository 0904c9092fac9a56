"""``python -m bench.auto``: what ``auto`` chooses, timed beside each algorithm that it might have.

A case's score is the best algorithm's time over auto's: 1 where auto chose the fastest.
"""

import dataclasses
import datetime
import json
import os
import statistics
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from bench import machine
from bench.case import LAYOUTS, Case, make_case
from bench.checked import WrongResult, check_anchor
from bench.choices import hold_to, shared_options, split_names, suite_layers
from bench.expected import Expected, expect
from bench.peers import Ours, algorithms
from bench.run import Settings, ready, sampled
from bench.suites import Layer
from bench.summary import machine_lines, time_text
from bench.timing import ratio

AUTO = "auto"


@dataclass(frozen=True, slots=True)
class Choice:
    """One case; times are medians, in seconds.

    ``score`` is that of the chosen algorithm: 1 where no other was faster.
    """

    suite: str
    layer: str
    shape: str
    pass_name: str
    layout: str
    threads: int
    chosen: str
    best: str
    score: float
    seconds: dict[str, float]


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@shared_options(suite="all", budget=0.2)
@click.option(
    "--layout",
    "layouts",
    callback=split_names(LAYOUTS),
    default=",".join(LAYOUTS),
    show_default=True,
)
@click.option("--mean", type=float, default=0.95, show_default=True, help="Least mean score.")
@click.option("--minimum", type=float, default=0.8, show_default=True, help="Least score.")
def main(
    names: tuple[str, ...],
    passes: tuple[str, ...],
    threads: tuple[int, ...],
    layers: str,
    batch: int | None,
    budget: float,
    isa_name: str,
    json_path: Path | None,
    layouts: tuple[str, ...],
    mean: float,
    minimum: float,
) -> None:
    """Time what auto chooses beside every other algorithm that can do each case.

    The exit status is 1 where the geometric mean of the scores is under --mean, one score is
    under --minimum, or a value is wrong.
    """
    chosen = suite_layers(names, layers, batch)
    hold_to(isa_name, "bench.auto")
    console = Console(width=None if sys.stdout.isatty() else 120)
    dtypes = tuple(sorted({layer.dtype for rows in chosen.values() for layer in rows}))
    described = machine.describe(dtypes, threads)
    console.print(*machine_lines(described), sep="\n")
    settings = [Settings(passes, threads, layout, AUTO, budget) for layout in layouts]
    found: list[Choice] = []
    wrong: list[str] = []
    with console.status("first case") as status:
        for outcome in choices(chosen, settings):
            if isinstance(outcome, str):
                wrong.append(outcome)
                continue
            found.append(outcome)
            status.update(f"{outcome.layer} {outcome.pass_name} {outcome.layout}")
            if json_path:
                write(json_path, described, found, wrong)
    console.print(table(found))
    for sentence in wrong:
        console.print(f"[bold red]not timed[/]: {sentence}", highlight=False)
    verdict = summary(found)
    for name, value in verdict.items():
        console.print(f"{name}: {value}", highlight=False)
    good = found and verdict["mean"] >= mean and verdict["minimum"] >= minimum
    sys.exit(0 if good and not wrong else 1)


def choices(
    chosen: dict[str, tuple[Layer, ...]], settings: Sequence[Settings]
) -> Iterator[Choice | str]:
    """Every case in turn: a choice, or the sentence that says which value was wrong."""
    for suite, layers in chosen.items():
        for layer in layers:
            for setting in settings:
                case = make_case(layer, setting.layout)
                for pass_name in setting.passes:
                    expected = expect(case, pass_name)
                    for threads in setting.threads:
                        try:
                            yield judge(suite, case, pass_name, expected, threads, setting)
                        except WrongResult as error:
                            yield str(error)


def judge(
    suite: str, case: Case, pass_name: str, expected: Expected, threads: int, settings: Settings
) -> Choice:
    """Time one case. The chosen algorithm is timed as auto, never twice against itself."""
    layer = case.layer
    chosen = Ours().explained(case, pass_name).algorithm
    others = [name for name in algorithms(case, pass_name) if name != chosen]
    for name in (chosen, *others):
        check_anchor(layer.dtype, name)
    contestants = [Ours(name=AUTO), *(Ours(name, name) for name in others)]
    with ready(contestants, case, pass_name, expected, threads) as found:
        samples = sampled(found, threads, settings)
    speeds = {name: 1 / ratio(samples[AUTO], samples[name]) for name in others}
    best = max(speeds, key=speeds.__getitem__, default=chosen)
    if speeds.get(best, 0.0) <= 1:
        best = chosen
    return Choice(
        suite=suite,
        layer=layer.name,
        shape=str(layer),
        pass_name=pass_name,
        layout=case.layout,
        threads=threads,
        chosen=chosen,
        best=best,
        score=1 / speeds.get(best, 1.0),
        seconds={name: sample.median for name, sample in samples.items()},
    )


def summary(found: Sequence[Choice]) -> dict[str, Any]:
    """How many cases, their mean and least score, and how many chose the fastest."""
    scores = [choice.score for choice in found]
    return {
        "cases": len(scores),
        "mean": round(statistics.geometric_mean(scores), 4) if scores else 0.0,
        "minimum": round(min(scores, default=0.0), 4),
        "fastest chosen": sum(choice.best == choice.chosen for choice in found),
    }


def table(found: Sequence[Choice]) -> Table:
    """Each case's choice, its time and every other algorithm's, the worst choices last."""
    others = sorted({name for choice in found for name in choice.seconds} - {AUTO})
    result = Table(box=None, header_style="bold", pad_edge=False, collapse_padding=True)
    for heading in ("layer", "pass", "layout", "thr.", "chosen"):
        result.add_column(heading, no_wrap=True)
    for heading in (AUTO, *others, "best/auto"):
        result.add_column(heading, justify="right", no_wrap=True)
    for choice in sorted(found, key=lambda choice: -choice.score):
        result.add_row(
            *(choice.layer, choice.pass_name, choice.layout, str(choice.threads), choice.chosen),
            *(time_text(choice.seconds.get(name)) for name in (AUTO, *others)),
            f"{choice.score:.2f}",
        )
    return result


def write(
    path: Path, described: dict[str, Any], found: Sequence[Choice], wrong: Sequence[str]
) -> None:
    """All choices so far, in one file that is whole at any moment."""
    report = {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "machine": described,
        "summary": summary(found),
        "wrong": list(wrong),
        "choices": [dataclasses.asdict(choice) for choice in found],
    }
    beside = path.with_name(path.name + ".part")
    beside.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    os.replace(beside, path)


if __name__ == "__main__":
    main()
