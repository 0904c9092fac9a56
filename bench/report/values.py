"""Values taken from a file's JSON, each checked as it is taken."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from bench.case import PASSES


class Malformed(Exception):
    """Something in a file is not what its form says; the message tells where."""


@contextmanager
def within(where: str) -> Iterator[None]:
    """Name the place in the file in whatever is found wrong inside the block."""
    try:
        yield
    except Malformed as error:
        raise Malformed(f"{where}: {error}") from error
    except KeyError as error:
        raise Malformed(f"{where}: {error.args[0]!r} is missing") from error
    except (AttributeError, TypeError, ValueError) as error:
        raise Malformed(f"{where}: {error}") from error


def positive(record: dict[str, Any], name: str) -> float:
    """A finite number above 0."""
    value = record[name]
    if not _is_number(value) or value <= 0:
        raise Malformed(f"{name!r} is {value!r}, needs a finite number above 0")
    return value


def number(record: dict[str, Any], name: str) -> float | None:
    """A finite number that is not negative; None where there is none."""
    value = record.get(name)
    if value is None:
        return None
    if not _is_number(value) or value < 0:
        raise Malformed(f"{name!r} is {value!r}, needs a finite number, not negative")
    return value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def whole(record: dict[str, Any], name: str) -> int | None:
    """The same, as a count."""
    value = number(record, name)
    return None if value is None else int(value)


def text(record: dict[str, Any], name: str) -> str:
    """A string."""
    value = record[name]
    if not isinstance(value, str):
        raise Malformed(f"{name!r} is {value!r}, needs a text")
    return value


def pass_name(record: dict[str, Any]) -> str:
    """One of the three passes."""
    value = text(record, "pass_name")
    if value not in PASSES:
        raise Malformed(f"'pass_name' is {value!r}, needs one of {', '.join(PASSES)}")
    return value


def mapping(record: dict[str, Any], name: str) -> dict[str, Any]:
    """An object."""
    value = record[name]
    if not isinstance(value, dict):
        raise Malformed(f"{name!r} is {value!r}, needs an object")
    return value
