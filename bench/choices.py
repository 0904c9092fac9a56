"""Command-line values that are lists: ``a,b`` split, each part checked."""

from collections.abc import Callable

import click
from click import Context, Parameter


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
