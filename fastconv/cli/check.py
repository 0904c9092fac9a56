"""``fastconv check``: whether fastconv computes right on this machine, in under a minute."""

import sys
import time
from math import isnan

import click
from rich.console import Console
from rich.table import Table

from .. import selfcheck


def _number(context: click.Context, parameter: click.Parameter, value: float) -> float:
    """Refuse what is in no range, since nothing is more or less than it: it would never end."""
    if isnan(value):
        raise click.BadParameter("nan is no number of seconds")
    return value


@click.command()
@click.option(
    "--seconds", type=click.FloatRange(0), default=30.0, show_default=True, callback=_number
)
@click.option(
    "--seed",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Of the random convolutions.",
)
def check(seconds: float, seed: int) -> None:
    """Test fastconv on this machine: the worked example, random convolutions, threads, fork, GPU.

    Random convolutions take --seconds, most of it for compiling kernels; the rest takes as long
    again at most. The exit status is 1 where a result is wrong.
    """
    table = Table("check", "cases", "seconds", "outcome")
    console = Console(highlight=False, width=100)
    wrong = False
    with console.status("") as status:
        for name, run in selfcheck.checks(seconds, seed).items():
            status.update(name)
            start = time.perf_counter()
            outcome = run()
            taken = time.perf_counter() - start
            wrong |= not outcome.right
            table.add_row(name, str(outcome.cases), f"{taken:.1f}", outcome.told)
    console.print(table)
    sys.exit(1 if wrong else 0)
