"""``python -m bench.compare OLD NEW``: fail where ours became slower, measured by its peers."""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from bench.report.changes import Change, Comparison, Shift, compare, mean_shifts
from bench.report.files import Unreadable, read
from bench.report.model import Case

_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("old", type=_FILE)
@click.argument("new", type=_FILE)
@click.option(
    "--fail-below",
    "limit",
    type=click.FloatRange(0, min_open=True),
    default=0.9,
    show_default=True,
    help="The least that a ratio may be of what it was.",
)
def main(old: Path, new: Path, limit: float) -> None:
    r"""Compare two benchmark files by the ratio of a peer's time to ours within each run.

    Files are those of python -m bench, of pytest bench --benchmark-json (or --benchmark-save), and
    of python -m bench.gpu. A case's peer is the fastest in OLD of those timed in both, the same on
    both sides. Absolute times are never compared: a busy machine slows ours and the peer alike.

    \b
    Exit status 0: nothing is below the limit
    Exit status 1: something is, or a value in NEW was wrong
    Exit status 2: a file cannot be read, or the two have no case and peer in common

    A ratio's noise is half of a 95 % interval, from its median's spread and rounds in both runs. A
    case is below only where the upper end of its interval is, and so is a suite's geometric mean,
    which is less noisy and shows a small loss in many cases. Cases in one file only are named, and
    change nothing.
    """
    try:
        found = compare(read(old), read(new))
    except Unreadable as error:
        raise click.UsageError(str(error)) from error
    if not found.changes:
        raise click.UsageError(f"{old} and {new} have no case with a peer in common")
    console = Console(width=None if sys.stdout.isatty() else 140, highlight=False)
    means = mean_shifts(found.changes)
    console.print(_table(found.changes, limit))
    for (suite, pass_name), shift in means.items():
        console.print(f"geometric mean, {suite} {pass_name}: {_text(shift)}, {_word(shift, limit)}")
    for line in (*found.notes, *_left_out(found)):
        console.print(line, markup=False, soft_wrap=True)
    low = [change for change in found.changes if change.shift.below(limit)]
    low_means = [shift for shift in means.values() if shift.below(limit)]
    counts = f"{len(low)} of {len(found.changes)} cases and {len(low_means)} of {len(means)} means"
    console.print(f"below {limit:g}: {counts}")
    sys.exit(1 if low or low_means or found.new.refused else 0)


def _table(changes: Sequence[Change], limit: float) -> Table:
    """The cases, what lost most first."""
    result = Table(box=None, header_style="bold", pad_edge=False, collapse_padding=True)
    for heading in ("case", "peer"):
        result.add_column(heading, no_wrap=True)
    for heading in ("old ratio", "new ratio", "new / old"):
        result.add_column(heading, justify="right", no_wrap=True)
    result.add_column("", no_wrap=True)
    for change in changes:
        old, new = change.ratios
        word = _word(change.shift, limit)
        result.add_row(
            *(str(change.case), change.peer, f"{old.value:.2f}", f"{new.value:.2f}"),
            *(_text(change.shift), f"[bold red]{word}[/]" if word.startswith("below") else word),
        )
    return result


def _text(shift: Shift) -> str:
    return f"{shift.value:.3f} ± {100 * shift.noise:.1f} %"


def _word(shift: Shift, limit: float) -> str:
    return f"below {limit:g}" if shift.below(limit) else shift.verdict


def _left_out(found: Comparison) -> Iterator[str]:
    """What could not be compared, and what the new run refused."""
    yield from _named("only in the old file", found.only_old)
    yield from _named("only in the new file", found.only_new)
    yield from _named("no peer in common", found.unpaired)
    for refused in found.new.refused:
        yield f"wrong in the new run: {refused.what}: {refused.reason}"


def _named(why: str, cases: Sequence[Case]) -> Iterator[str]:
    if cases:
        yield f"{why}: {len(cases)}"
        yield from (f"    {case}" for case in cases)


if __name__ == "__main__":
    main()
