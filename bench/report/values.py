"""Values taken from a file's JSON, each checked as it is taken."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


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
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Malformed(f"{name!r} is {value!r}, needs a number")
    if not (math.isfinite(value) and value > 0):
        raise Malformed(f"{name!r} is {value!r}, needs a finite number above 0")
    return value


def text(record: dict[str, Any], name: str) -> str:
    """A string."""
    value = record[name]
    if not isinstance(value, str):
        raise Malformed(f"{name!r} is {value!r}, needs a text")
    return value
