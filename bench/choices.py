"""Command-line values that the benchmarks share: lists, suites, an instruction set."""

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
from click import Context, Parameter

from bench import isa
from bench.case import PASSES
from bench.suites import SHORT_SUITE, SUITES, Layer, read_suite
from fastconv.machine import machine_info

F = TypeVar("F", bound=Callable[..., Any])


def split_names(choices: tuple[str, ...]) -> Callable[[Context, Parameter, str], tuple[str, ...]]:
    """A callback that splits ``a,b`` and refuses a part that is none of ``choices``."""

    def split(ctx: Context, param: Parameter, value: str) -> tuple[str, ...]:
        parts = tuple(part.strip() for part in value.split(","))
        for part in parts:
            if part not in choices:
                raise click.BadParameter(f"{part!r}: needs some of {','.join(choices)}", ctx, param)
        return parts

    return split


def split_counts(ctx: Context, param: Parameter, value: str) -> tuple[int, ...]:
    """A callback that splits ``1,2`` into positive numbers."""
    parts = value.split(",")
    if not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise click.BadParameter(f"{value!r}: needs numbers above 0, as in 1,2", ctx, param)
    return tuple(int(part) for part in parts)


def split_suites(ctx: Context, param: Parameter, value: str) -> tuple[str, ...]:
    """A callback that splits ``resnet50,everyday``, or takes ``all`` for every suite."""
    if value == "all":
        return SUITES
    return split_names((*SUITES, SHORT_SUITE))(ctx, param, value)


def shared_options(*, suite: str, budget: float) -> Callable[[F], F]:
    """A decorator that gives a command the options of every benchmark, with its own defaults."""
    options = (
        click.option(
            "--suite",
            "names",
            callback=split_suites,
            default=suite,
            show_default=True,
            metavar="NAMES",
            help=f"Some of {', '.join(SUITES)}, or all; {SHORT_SUITE}: a few layers of each kind.",
        ),
        click.option(
            "--passes", callback=split_names(PASSES), default=",".join(PASSES), show_default=True
        ),
        click.option("--threads", callback=split_counts, default="1", show_default=True),
        click.option(
            "--layers", default="", metavar="REGEX", help="Only layers whose name it finds."
        ),
        click.option("--batch", type=click.IntRange(1), help="N for every layer, not its own."),
        click.option(
            "--budget", type=float, default=budget, show_default=True, help="Seconds a figure."
        ),
        click.option(
            "--isa",
            "isa_name",
            type=click.Choice(isa.ISAS),
            default=isa.NATIVE,
            show_default=True,
            help="Hold all contestants to it, in a child process.",
        ),
        click.option(
            "--json", "json_path", type=click.Path(path_type=Path), help="Also write a file."
        ),
    )

    def add(command: F) -> F:
        for option in reversed(options):  # help lists them as they stand here
            command = option(command)
        return command

    return add


def suite_layers(
    suites: tuple[str, ...], pattern: str, batch: int | None
) -> dict[str, tuple[Layer, ...]]:
    """The layers of each suite whose names ``pattern`` finds; a usage error where none is left."""
    try:
        search = re.compile(pattern).search
    except re.error as error:
        raise click.UsageError(f"--layers {pattern!r} is no regular expression: {error}") from error
    chosen = {
        name: tuple(layer for layer in read_suite(name, batch) if search(layer.name))
        for name in suites
    }
    if not any(chosen.values()):
        raise click.UsageError(f"--layers {pattern!r} matches no layer of the suite")
    return {name: layers for name, layers in chosen.items() if layers}


def hold_to(isa_name: str, module: str) -> None:
    """Go on in a child process where this one is not held to the instruction set asked for.

    In the child this checks that the kernels' vectors are what was asked for.
    """
    if isa_name == isa.NATIVE:
        return
    if isa.held() != isa_name:
        sys.exit(isa.run_held(isa_name, module, sys.argv[1:]))
    bits = machine_info().vector_bits
    if bits != isa.VECTOR_BITS[isa_name]:
        raise click.ClickException(f"held to {isa_name}, the kernels have {bits}-bit vectors")
