"""Reads argument values: integers, one integer per axis, padding, sizes, names.

Each function returns plain Python integers or raises a TypeError (wrong kind of
value) or a ValueError (wrong value) that names the argument, what it got and what
it needs.
"""

import operator
from collections.abc import Sequence
from typing import SupportsIndex, TypeAlias

INT64_MAX = 2**63 - 1

Ints: TypeAlias = SupportsIndex | Sequence[SupportsIndex]
Pairs: TypeAlias = tuple[tuple[int, int], ...]
Pads: TypeAlias = Ints | Sequence[Sequence[SupportsIndex]]
Padding: TypeAlias = Pads | str


def integer(value: object, name: str, least: int, need: str = "an integer") -> int:
    """Return ``value`` as an int of at least ``least``; NumPy integers count, bools do not."""
    if isinstance(value, bool):
        raise TypeError(f"{name} must be {need}, got {value!r} (bool)")
    try:
        number = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        raise TypeError(f"{name} must be {need}, got {value!r} ({_kind(value)})") from None
    if not least <= number <= INT64_MAX:
        bound = f"at least {least}" if number < least else "below 2**63"
        raise ValueError(f"{name} must be {bound}, got {number}")
    return number


def per_axis(
    value: object, name: str, rank: int, least: int, *, broadcast: bool = True
) -> tuple[int, ...]:
    """Return one int per axis from an integer or a sequence of ``rank`` integers.

    A sequence of one integer stands for all axes if ``broadcast`` is true: PyTorch's
    convolutions allow it, its ``unfold`` and ``fold`` do not.
    """
    need = f"an integer or a tuple of {plural(rank, 'integer')}"
    if not isinstance(value, (tuple, list)):
        return (integer(value, name, least, need),) * rank
    if len(value) != rank and not (broadcast and len(value) == 1):
        raise ValueError(f"{name} must be {need}, got {value!r}")
    numbers = tuple(integer(v, name, least, need) for v in value)
    return numbers if len(numbers) == rank else numbers * rank


def padding_pairs(value: object, rank: int, *, broadcast: bool = True) -> Pairs:
    """Return (before, after) per axis from an integer, ``rank`` integers or ``rank`` pairs."""
    if isinstance(value, str):
        raise TypeError(
            f"padding must be integers or (before, after) pairs, got {value!r}: "
            "only conv1d, conv2d and conv3d take a named padding"
        )
    if not isinstance(value, (tuple, list)) or not any(isinstance(v, (tuple, list)) for v in value):
        return tuple((n, n) for n in per_axis(value, "padding", rank, 0, broadcast=broadcast))
    need = f"{plural(rank, 'pair')} (before, after) of integers"
    if len(value) != rank:
        raise ValueError(f"padding must be {need}, got {value!r}")
    return tuple(_pair(v, need, value) for v in value)


def _pair(value: object, need: str, whole: object) -> tuple[int, int]:
    if not isinstance(value, (tuple, list)):
        raise TypeError(f"padding must be {need}, got {whole!r}")
    if len(value) != 2:
        raise ValueError(f"padding must be {need}, got {whole!r}")
    return integer(value[0], "padding", 0, need), integer(value[1], "padding", 0, need)


def sequence(value: object, name: str, what: str = "integers") -> Sequence[object]:
    """Return ``value`` if it is a tuple or a list."""
    if not isinstance(value, (tuple, list)):
        raise TypeError(f"{name} must be a tuple of {what}, got {value!r} ({_kind(value)})")
    return value


def sizes(value: object, name: str) -> tuple[int, ...]:
    """Return a shape as a tuple of ints."""
    need = "a tuple of integers"
    return tuple(integer(v, name, 0, need) for v in sequence(value, name))


def one_of(value: object, name: str, choices: tuple[str, ...]) -> str:
    """Return ``value`` if it is one of the named choices."""
    if not isinstance(value, str):
        kind = _kind(value)
        raise TypeError(f"{name} must be one of {quoted(choices)}, got {value!r} ({kind})")
    if value not in choices:
        raise ValueError(f"{name} must be one of {quoted(choices)}, got {value!r}")
    return value


def flag(value: object, name: str) -> bool:
    """Return the truth of a bool or an int."""
    if not isinstance(value, int):
        raise TypeError(f"{name} must be True or False, got {value!r} ({_kind(value)})")
    return bool(value)


def quoted(choices: tuple[str, ...]) -> str:
    """Return the choices as they are written in code, separated by commas."""
    return ", ".join(map(repr, choices))


def plural(count: int, noun: str) -> str:
    """Return for example "1 integer" or "2 integers"."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _kind(value: object) -> str:
    return type(value).__name__
