"""Values that no argument should be given, by the kind of argument."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from decimal import Decimal
from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import numpy as np


class Theirs(Exception):
    """What an argument's own methods raise: nothing that fastconv may change."""


class Index:
    """An integer by ``__index__`` alone: of each value in turn."""

    def __init__(self, *values: Any) -> None:
        self._values = itertools.cycle(values)

    def __index__(self) -> int:
        value = next(self._values)
        if isinstance(value, type):
            raise value("an index of theirs")
        return value


class Silent:
    """An object that does not even say what it is."""

    def __repr__(self) -> str:
        raise Theirs("no words")


class Pretender:
    """An object that says it is of another class."""

    def __init__(self, kind: type) -> None:
        self._kind = kind

    @property
    def __class__(self) -> type:  # type: ignore[override]
        return self._kind


class LongTuple(tuple):  # type: ignore[type-arg]
    """A tuple that has fewer items than it says, and goes on for ever."""

    def __len__(self) -> int:
        return 2

    def __iter__(self) -> Iterator[Any]:
        return itertools.repeat(1)

    def __getitem__(self, place: Any) -> Any:
        return "spam"


class ShortList(list):  # type: ignore[type-arg]
    """A list that has no items when it is asked for them."""

    def __iter__(self) -> Iterator[Any]:
        return iter(())


class Agreeable(str):
    """A string that is equal to every other."""

    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return 0


class Everything:
    """An object that has every attribute, each of them itself."""

    def __getattr__(self, name: str) -> Any:
        return self


class Unequal:
    """An object that cannot be compared, hashed or asked for its truth."""

    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> Any:
        raise Theirs("not to be compared")

    def __bool__(self) -> bool:
        raise Theirs("neither true nor false")

    def __len__(self) -> int:
        raise Theirs("of no length")


def nested(depth: int) -> list[Any]:
    deep: list[Any] = []
    for _ in range(depth):
        deep = [deep]
    return deep


def recursive() -> list[Any]:
    endless: list[Any] = [1]
    endless.append(endless)
    return endless


def read_only(values: Any) -> Any:
    array = np.array(values)
    array.flags.writeable = False
    return array


Make = Callable[[], Any]

#: that stand for no integer, no size, no name, no flag and no array
NOTHING: dict[str, Make] = {
    "nan": lambda: float("nan"),
    "infinity": lambda: float("inf"),
    "float": lambda: 1.5,
    "complex": lambda: 1j,
    "decimal": lambda: Decimal("NaN"),
    "fraction": lambda: Fraction(1, 2),
    "numpy float": lambda: np.float64(2),
    "numpy nan": lambda: np.float32("nan"),
    "array of a float": lambda: np.array(2.0),
    "datetime": lambda: np.datetime64("2026-01-01"),
    "bytes": lambda: b"\x01\x01",
    "object": object,
    "function": lambda: len,
    "class": lambda: int,
    "ellipsis": lambda: ...,
    "set": lambda: {1},
    "dict": lambda: {"data": 1},
    "generator": lambda: (i for i in (1, 1)),
    "endless": lambda: itertools.repeat(1),
    "range": lambda: range(1, 3),
    "nested": lambda: nested(5000),
    "recursive": recursive,
    "ragged": lambda: [[1, 2], [3]],
    "list of strings": lambda: ["1", "1"],
    "list of nan": lambda: [float("nan")] * 2,
    "silent": Silent,
    "pretended array": lambda: Pretender(np.ndarray),
    "pretended tuple": lambda: Pretender(tuple),
    "pretended string": lambda: Pretender(str),
    "pretended int": lambda: Pretender(int),
    "everything": Everything,
    "unequal": Unequal,
    "namespace": SimpleNamespace,
    "object array": lambda: np.array([None, 1], object),
    "array of strings": lambda: np.array(["a", "b"]),
    "long tuple": lambda: LongTuple(("x",)),
    "huge string": lambda: "x" * 10**5,
}

#: that are integers, or of them, and stand for no size, stride or number of groups
NO_INTEGERS: dict[str, Make] = {
    "negative": lambda: -1,
    "negative 64 bits": lambda: -(2**63),
    "past 64 bits": lambda: 2**63,
    "very long": lambda: 10**5000,
    "very long negative": lambda: -(10**5000),
    "bool": lambda: True,
    "numpy bool": lambda: np.True_,
    "text": lambda: "1",
    "index that is none": lambda: Index("1"),
    "index that is negative": lambda: Index(-3),
    "list of very long": lambda: [10**5000],
    "array of integers": lambda: np.array([1, 1]),
    "array in a list": lambda: [np.array([1, 1])] * 2,
    "none in a tuple": lambda: (None, None),
    "nothing in a list": lambda: [[], []],
    "empty": tuple,
    "short list": lambda: ShortList([None, None, None]),
    "a thousand": lambda: (1,) * 1000,
    "a hundred thousand": lambda: [1] * 10**5,
}

X = np.arange(1, 31, dtype=np.float32)


def array(*shape: int) -> Any:
    return np.resize(X, shape).astype(np.float32)


def described(values: Any, **changes: Any) -> Any:
    told = {**values.__array_interface__, **changes}
    told = {key: value for key, value in told.items() if value is not KeyError}
    return Owner(values, told)


class Owner:
    """An object with an array interface, and what lies behind it."""

    def __init__(self, values: Any, told: Any) -> None:
        self.values, self.__array_interface__ = values, told


class Changing:
    """An object whose array interface is another each time that it is asked for."""

    def __init__(self, *values: Any) -> None:
        self._values = itertools.cycle(values)

    @property
    def __array_interface__(self) -> Any:
        value = next(self._values)
        if isinstance(value, type):
            raise value("an interface of theirs")
        return value.__array_interface__


def released() -> memoryview:
    view = memoryview(bytearray(8))
    view.release()
    return view


#: made from the array that would be right, and not to be taken for one
NO_ARRAYS: dict[str, Callable[[Any], Any]] = {
    "list": lambda a: a.tolist(),
    "tuple": lambda a: tuple(a.tolist()),
    "scalar": lambda a: a.ravel()[0],
    "masked": np.ma.array,
    "subclass": lambda a: a.view(type("Quantity", (np.ndarray,), {})),
    "objects": lambda a: a.astype(object),
    "texts": lambda a: a.astype("U3"),
    "bytes of text": lambda a: a.astype("S3"),
    "bools": lambda a: a.astype(bool),
    "records": lambda a: np.zeros(a.shape, [("a", "f4"), ("b", "i8")]),
    "voids": lambda a: np.zeros(a.shape, "V4"),
    "times": lambda a: a.astype("i8").astype("M8[s]"),
    "spans": lambda a: a.astype("i8").astype("m8[s]"),
    "long doubles": lambda a: a.astype(np.longdouble),
    "swapped": lambda a: a.astype(a.dtype.newbyteorder()),
    "doubles": lambda a: a.astype(np.float64) if a.dtype == np.float32 else a.astype(np.float32),
    "0-d": lambda a: np.array(1, a.dtype),
    "empty": lambda a: np.zeros(0, a.dtype),
    "too many axes": lambda a: a[(None,) * 6],
    "64 axes": lambda a: a.ravel()[:1].reshape((1,) * 64),
    "flat": lambda a: np.zeros(0, a.dtype) if a.ndim == 1 else a.ravel(),
    "released": lambda a: released(),
    "text buffer": lambda a: "x" * 8,
    "has __array__ alone": lambda a: SimpleNamespace(__array__=lambda *_, **__: a),
    "changing": lambda a: Changing(a.astype("i1"), a, a.astype("f8")),
    "interface in a wrong place": lambda a: {"__array_interface__": a.__array_interface__},
    "interface of nothing": lambda a: Owner(a, None),
    "interface of numbers": lambda a: Owner(a, 5),
    "interface of lists": lambda a: Owner(a, []),
    "interface without keys": lambda a: Owner(a, {}),
    "interface of everything": lambda a: Owner(a, Everything()),
}
NO_ARRAYS["interface: address alone"] = lambda a: described(a, data=(a.ctypes.data,))
NO_ARRAYS["interface: three data"] = lambda a: described(a, data=(a.ctypes.data, False, 1))
for _name, _lie in {
    "null": {"data": (0, False)},
    "null and None": {"data": (None, False)},
    "negative address": {"data": (-4096, False)},
    "address past 64 bits": {"data": (2**64, False)},
    "address as text": {"data": ("0x1000", False)},
    "address as float": {"data": (4096.0, False)},
    "address in a list": {"data": [4096, False]},
    "data as text": {"data": "there"},
    "short buffer": {"data": b"1234"},
    "buffer past its end": {"data": bytearray(8), "offset": 2**40},
    "negative offset": {"data": bytearray(400), "offset": -4},
    "no shape": {"shape": KeyError},
    "negative size": {"shape": (-1, 3)},
    "huge sizes": {"shape": (2**31, 2**31, 2**31)},
    "endless shape": {"shape": itertools.repeat(1)},
    "shape as text": {"shape": "33"},
    "shape as bytes": {"shape": b"\x01\x02\x03\x04"},
    "shape of floats": {"shape": (3.0, 3.0)},
    "shape past 64 bits": {"shape": (2**70,)},
    "65 axes": {"shape": (1,) * 65},
    "no typestr": {"typestr": KeyError},
    "typestr None": {"typestr": None},
    "typestr bytes": {"typestr": b"<f4"},
    "typestr empty": {"typestr": ""},
    "typestr comma": {"typestr": ","},
    "typestr of objects": {"typestr": "|O"},
    "typestr of fields": {"typestr": "f4,f4"},
    "typestr of arrays": {"typestr": "(2,3)f4"},
    "typestr of nothing": {"typestr": "|V0"},
    "typestr of empty text": {"typestr": "|S0"},
    "typestr swapped": {"typestr": ">f4"},
    "strides short": {"strides": (4,) * 9},
    "strides as text": {"strides": "4444"},
    "strides endless": {"strides": itertools.repeat(4)},
    "strides past all memory": {"strides": (2**61,) * 4},
    "strides before all memory": {"strides": (-(2**61),) * 4},
    "version to come": {"version": 99},
    "version as text": {"version": "3"},
    "mask": {"mask": True},
}.items():
    NO_ARRAYS[f"interface: {_name}"] = lambda a, lie=_lie: described(a, **lie)  # type: ignore[misc]


#: that stand for no choice among words
NO_WORDS: dict[str, Make] = {
    "unknown": lambda: "sorcery",
    "empty word": str,
    "zero in a word": lambda: "aut\0",
    "surrogate": lambda: "\udc80",
    "agreeable": lambda: Agreeable("sorcery"),
    "capitals": lambda: "AUTO",
}

_PLAIN = {
    **NOTHING,
    **NO_INTEGERS,
}
_ONLY_NONE = {"number": lambda: 1, "text": lambda: "x", "no number": lambda: -1}

#: those that NumPy makes an array of, or reads as they are
_MADE_ARRAYS = {
    *("list", "tuple", "scalar", "subclass", "bools", "swapped", "doubles", "0-d", "empty", "flat"),
    *("too many axes", "64 axes", "has __array__ alone", "changing", "interface: typestr swapped"),
    *("range", "bytes", "list of nan"),
}
#: those that are numbers, or one in an array
_NUMBERS = {
    *("nan", "infinity", "float", "numpy float", "numpy nan", "array of a float", "negative"),
    *(
        "index that is negative",
        "negative 64 bits",
        "past 64 bits",
        "bool",
        "numpy bool",
        "complex",
    ),
}


def _from_nothing(values: dict[str, Make]) -> dict[str, Callable[[Any], Any]]:
    return {name: lambda _, make=make: make() for name, make in values.items()}  # type: ignore[misc]


def _but(values: dict[str, Callable[[Any], Any]], names: set[str]) -> dict[str, Any]:
    return {name: make for name, make in values.items() if name not in names}


_scalars = _from_nothing(_PLAIN)
_arrays = {**_from_nothing({**NOTHING, **_ONLY_NONE}), **NO_ARRAYS}

#: by kind of argument: what makes values that must be refused, given one that is right
WRONG: dict[str, dict[str, Callable[[Any], Any]]] = {
    "array": _arrays,
    "any dtype": _but(_arrays, {"doubles", "changing"}),
    "array-like": _but(_arrays, _MADE_ARRAYS),
    "output": _but({**_arrays, **_scalars}, {"class", "subclass", "swapped", "doubles", "bools"}),
    "integers": _scalars,
    "sizes": _scalars,
    "any sizes": _but(_scalars, {"empty"}),
    "integer": _scalars,
    "place": _but(_scalars, {"bool", "negative", "index that is negative"}),
    "places": _but(_scalars, {"negative", "index that is negative", "bool", "empty"}),
    "word": {**_scalars, **_from_nothing(NO_WORDS)},
    "flag": _from_nothing(NOTHING),
    "flags": _scalars,
    "number": _but(_scalars, _NUMBERS),
    "dtype": _but(
        {**_scalars, "comma": lambda _: ",", "objects": lambda _: object},
        {"class", "numpy float", "numpy nan", "none in a tuple", "silent"},
    ),
    "none": _scalars,
    # What Dask makes chunks of, and what names a precision by JAX's enumeration.
    "chunks": _but(
        _scalars,
        {
            *("numpy float", "dict", "negative", "past 64 bits", "bool", "text"),
        },
    ),
    "precision": _but(
        _scalars,
        {"numpy float", "array of a float", "bool", "numpy bool", "none in a tuple"},
    ),
}
