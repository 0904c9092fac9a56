"""What the types of a call's arguments tell, as a text; and arguments, from that and from words.

The text is made when a user's function is compiled, and read when its machine code first meets
shapes that are new, in this process or a later one. A value's form is

- None, or the text itself behind "=", where the type alone tells the value;
- "int", "uint", "bool" or "float" for a number, which is one word;
- a tuple of forms;
- ("array", dtype, axes, writeable, aligned): words of the shape, then the strides.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator
from functools import lru_cache
from struct import pack, unpack
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numba import types
from numba.core.errors import NumbaError, TypingError
from numba.np.numpy_support import as_dtype

from .. import _sources
from .._arrays import Array

Form: TypeAlias = Any


class Schema(NamedTuple):
    """A kind of pass over ``rank`` axes, the forms of its arguments in order, and its result.

    ``contiguous`` tells whether the result is one by its type; a result that is given has no type
    of its own.
    """

    kind: str
    rank: int
    contiguous: bool
    forms: tuple[tuple[str, Form], ...]

    @property
    def text(self) -> str:
        """The schema as a text, in ASCII."""
        return ascii(tuple(self))


@lru_cache
def read(text: str) -> Schema:
    """The schema that has this text."""
    return Schema(*ast.literal_eval(text))


def key(text: str) -> int:
    """A hash of a schema's text, the same in every process of this version of the package."""
    told = f"{_sources.HASH} {text}"
    number: int = unpack("q", hashlib.sha256(told.encode()).digest()[:8])[0]
    return number


def array_form(kind: Any, name: str) -> Form:
    """The form of an array argument, or of None, from its Numba type or its default."""
    if kind is None or isinstance(kind, types.NoneType | types.Omitted):
        return None
    if not isinstance(kind, types.Array):
        raise TypingError(f"{name} must be an array in nopython code, got {kind}")
    try:
        dtype = as_dtype(kind.dtype)
    except NumbaError:
        dtype = None
    if dtype is None or dtype.names:
        raise TypingError(f"{name} must be an array of numbers in nopython code, got {kind}")
    return ("array", dtype.str, kind.ndim, kind.mutable, kind.aligned)


def value_form(kind: Any, name: str) -> Form:
    """The form of an argument that is no array, from its Numba type or its default."""
    if isinstance(kind, types.Omitted):
        kind = kind.value
    if isinstance(kind, types.StringLiteral):
        kind = kind.literal_value
    if isinstance(kind, str):
        return f"={kind}"
    if kind is None or isinstance(kind, types.NoneType):
        return None
    if isinstance(kind, int):
        return "int"
    if isinstance(kind, types.BaseTuple):
        return tuple(value_form(inner, name) for inner in kind)
    if isinstance(kind, types.Boolean):
        return "bool"
    if isinstance(kind, types.Integer):
        return "int" if kind.signed else "uint"
    if isinstance(kind, types.Float):
        return "float"
    if isinstance(kind, types.UnicodeType):
        raise TypingError(f"{name} must be a literal where it is a string in nopython code")
    raise TypingError(
        f"{name} must be None, a number, a tuple of these or a literal string in nopython code, "
        f"got {kind}"
    )


class _Memory:
    """What NumPy takes for an array's owner."""

    __slots__ = ("__array_interface__",)

    def __init__(self, interface: dict[str, Any]) -> None:
        self.__array_interface__ = interface


def array_at(
    address: int, dtype: str, shape: tuple[int, ...], strides: tuple[int, ...], writeable: bool
) -> Array:
    """The array at an address, for as long as a caller holds it."""
    if 0 in shape:
        nothing = np.empty(shape, dtype)
        nothing.flags.writeable = writeable
        return nothing
    interface = {
        "data": (address, not writeable),
        "shape": shape,
        "strides": strides,
        "typestr": dtype,
        "version": 3,
    }
    return np.asarray(_Memory(interface))


def values(schema: Schema, words: Iterator[int], addresses: Iterator[int]) -> dict[str, Any]:
    """The arguments by their names, in the order of the schema, from their words."""
    return {name: _value(form, words, addresses) for name, form in schema.forms}


def _value(form: Form, words: Iterator[int], addresses: Iterator[int]) -> Any:
    if form is None:
        return None
    if isinstance(form, str):
        return form[1:] if form.startswith("=") else _number(form, next(words))
    if form[:1] == ("array",):
        _, dtype, axes, writeable, _ = form
        shape = tuple(next(words) for _ in range(axes))
        strides = tuple(next(words) for _ in range(axes))
        return array_at(next(addresses), dtype, shape, strides, writeable)
    return tuple(_value(inner, words, addresses) for inner in form)


def _number(form: str, word: int) -> Any:
    if form == "float":
        return unpack("d", pack("q", word))[0]
    if form == "bool":
        return bool(word)
    return word % (1 << 64) if form == "uint" else word
