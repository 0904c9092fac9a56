"""The page: runs in, one HTML text out that needs no other file and no network."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from bench.report import blocks, tables
from bench.report.blocks import Block
from bench.report.changes import Comparison, successive
from bench.report.model import Run
from bench.report.sets import Mean, Set, mean, sets

FOLDER = Path(__file__).parent / "templates"


@dataclass(frozen=True, slots=True)
class Section:
    """A set of figures with its blocks."""

    slug: str
    title: str
    name: str
    device: str
    notes: tuple[str, ...]
    blocks: tuple[Block, ...]


@dataclass(frozen=True, slots=True)
class Overview:
    """A run's figures in four numbers."""

    figures: int
    rated: int
    faster: int
    mean: Mean | None


def page(runs: Sequence[Run]) -> str:
    """Render the runs, what changed between them first."""
    environment = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found = [one for run in runs for one in sets(run)]
    comparisons = successive(runs)
    return environment.get_template("page.html.j2").render(
        runs=[(run, _overview(run)) for run in runs],
        means=tables.means(found),
        comparisons=[
            (comparison, blocks.of_comparison(comparison, f"change-{number}"))
            for number, comparison in enumerate(comparisons, 1)
        ],
        sections=[
            Section(
                slug=f"set-{number}",
                title=one.title,
                name=one.run.name,
                device=one.run.device,
                notes=_notes(one),
                blocks=tuple(blocks.of_set(one, f"set-{number}")),
            )
            for number, one in enumerate(found, 1)
        ],
        left_out=_left_out,
        style=Markup((FOLDER / "page.css").read_text(encoding="utf-8")),
        script=Markup((FOLDER / "page.js").read_text(encoding="utf-8")),
    )


def _overview(run: Run) -> Overview:
    rated = [figure.ratio.value for figure in run.figures if figure.ratio]
    faster = sum(ratio > 1 for ratio in rated)
    return Overview(len(run.figures), len(rated), faster, mean(run.figures))


def _notes(one: Set) -> tuple[str, ...]:
    """What a reader must know of single layers, such as a smaller batch."""
    noted = (figure for figure in one.figures if figure.note)
    return tuple(dict.fromkeys(f"{figure.case.layer}: {figure.note}" for figure in noted))


def _left_out(found: Comparison) -> list[tuple[str, list[str]]]:
    """The cases that only one of two runs has, or that no peer links, by why."""
    groups = (
        (f"only in {found.old.name}", found.only_old),
        (f"only in {found.new.name}", found.only_new),
        ("no peer in common", found.unpaired),
    )
    return [(why, [str(case) for case in cases]) for why, cases in groups if cases]
