"""Reads argument values: integers, one integer per axis, padding, sizes, names.

Each function returns plain Python integers or raises a TypeError (wrong kind of
value) or a ValueError (wrong value) that names the argument, what it got and what
it needs.
"""

import operator
from collections.abc import Sequence
from typing import SupportsIndex, TypeAlias

import numpy as np

INT64_MAX = 2**63 - 1
_LONG = 200  # characters of a value in a message
_MOST_AXES = 64  # that NumPy's arrays have

Ints: TypeAlias = SupportsIndex | Sequence[SupportsIndex]
Pairs: TypeAlias = tuple[tuple[int, int], ...]
Pads: TypeAlias = Ints | Sequence[Sequence[SupportsIndex]]
Padding: TypeAlias = Pads | str


def integer(value: object, name: str, least: int, need: str = "an integer") -> int:
    """Return ``value`` as an int of at least ``least``; NumPy integers count, bools do not."""
    if type(value) is bool:
        raise TypeError(f"{name} must be {need}, got {value} (bool)")
    try:
        number = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        raise TypeError(f"{name} must be {need}, got {shown(value)} ({_kind(value)})") from None
    if not least <= number <= INT64_MAX:
        bound = f"at least {least}" if number < least else "below 2**63"
        raise ValueError(f"{name} must be {bound}, got {shown(number)}")
    return number


def per_axis(
    value: object, name: str, rank: int, least: int, *, broadcast: bool = True
) -> tuple[int, ...]:
    """Return one int per axis from an integer or a sequence of ``rank`` integers.

    A sequence of one integer stands for all axes if ``broadcast`` is true: PyTorch's
    convolutions allow it, its ``unfold`` and ``fold`` do not.
    """
    need = f"an integer or a tuple of {plural(rank, 'integer')}"
    items = items_of(value)
    if items is None:
        return (integer(value, name, least, need),) * rank
    if len(items) != rank and not (broadcast and len(items) == 1):
        raise ValueError(f"{name} must be {need}, got {shown(items)}")
    numbers = tuple(integer(v, name, least, need) for v in items)
    return numbers if len(numbers) == rank else numbers * rank


def padding_pairs(value: object, rank: int, *, broadcast: bool = True) -> Pairs:
    """Return (before, after) per axis from an integer, ``rank`` integers or ``rank`` pairs."""
    if isinstance(value, str):
        raise TypeError(
            f"padding must be integers or (before, after) pairs, got {shown(value)}: "
            "only conv1d, conv2d and conv3d take a named padding"
        )
    items = items_of(value)
    if items is None or all(items_of(item) is None for item in items):
        whole = value if items is None else items
        return tuple((n, n) for n in per_axis(whole, "padding", rank, 0, broadcast=broadcast))
    need = f"{plural(rank, 'pair')} (before, after) of integers"
    if len(items) != rank:
        raise ValueError(f"padding must be {need}, got {shown(items)}")
    return tuple(_pair(item, need, items) for item in items)


def _pair(value: object, need: str, whole: object) -> tuple[int, int]:
    items = items_of(value)
    if items is None:
        raise TypeError(f"padding must be {need}, got {shown(whole)}")
    if len(items) != 2:
        raise ValueError(f"padding must be {need}, got {shown(whole)}")
    before, after = (integer(item, "padding", 0, need) for item in items)
    return before, after


def items_of(value: object) -> tuple[object, ...] | None:
    """What is in a tuple or a list, read once; None for anything else.

    What a subclass says of itself does not count: its length might not be that of its items.
    """
    kind = type(value)
    if kind is tuple:
        return value  # type: ignore[return-value]
    if kind is list:
        return tuple(value)  # type: ignore[arg-type]
    if issubclass(kind, tuple):
        return tuple(tuple.__iter__(value))  # type: ignore[arg-type]
    return tuple(list.__iter__(value)) if issubclass(kind, list) else None  # type: ignore[arg-type]


def sequence(value: object, name: str, what: str = "integers") -> tuple[object, ...]:
    """Return what is in a tuple or a list."""
    items = items_of(value)
    if items is None:
        raise TypeError(f"{name} must be a tuple of {what}, got {shown(value)} ({_kind(value)})")
    return items


def sizes(value: object, name: str) -> tuple[int, ...]:
    """Return a shape as a tuple of ints."""
    need, items = "a tuple of integers", sequence(value, name)
    if len(items) > _MOST_AXES:
        raise ValueError(f"{name} must be {need}, one an axis, got {len(items)} of them")
    return tuple(integer(item, name, 0, need) for item in items)


def one_of(value: object, name: str, choices: tuple[str, ...]) -> str:
    """Return ``value`` as a plain string, if it is one of the named choices."""
    kind = type(value)
    if not issubclass(kind, str):
        raise TypeError(
            f"{name} must be one of {quoted(choices)}, got {shown(value)} ({_kind(value)})"
        )
    word: str = value if kind is str else str.__str__(value)  # type: ignore[assignment]
    if word not in choices:
        raise ValueError(f"{name} must be one of {quoted(choices)}, got {shown(word)}")
    return word


def flag(value: object, name: str) -> bool:
    """Return the truth of a bool, NumPy's included, or an int."""
    if not issubclass(type(value), (int, np.bool_)):
        raise TypeError(f"{name} must be True or False, got {shown(value)} ({_kind(value)})")
    return bool(value)


def shown(value: object) -> str:
    """A value as a message shows it: as it writes itself, but never more than a line or two."""
    try:
        text = repr(value)
    except Exception:  # too deep, too many digits, or its own
        text = f"<{_kind(value)}>"
    return text if len(text) <= _LONG else f"{text[: _LONG - 3]}..."


def quoted(choices: tuple[str, ...]) -> str:
    """Return the choices as they are written in code, separated by commas."""
    return ", ".join(map(repr, choices))


def plural(count: int, noun: str) -> str:
    """Return for example "1 integer" or "2 integers"."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _kind(value: object) -> str:
    return type(value).__name__
