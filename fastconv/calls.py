"""Calls seen before: the same shapes, strides, dtypes and arguments need no second check.

Checking a call and finding its plan takes longer than a small convolution, so the outcome is kept
under everything that it depends on.
"""

from typing import Any, TypeAlias

import numpy as np

from . import options
from .cpu.program import Program

Array: TypeAlias = np.ndarray[Any, Any]
Key: TypeAlias = tuple[Any, ...]

_KEPT = 1024
_PLAIN_ARGUMENTS = {(int,) * 5 + (str,), (int,) * 6 + (str,)}


class ReadyCall:
    """A checked call: allocates the result and runs the program on it and two operands."""

    __slots__ = ("_axes", "_bias", "_dtype", "_program", "_shape")

    def __init__(self, program: Program, like: Array, bias: Array | None) -> None:
        self._program, self._dtype, self._bias = program, like.dtype, bias
        # A result whose strides fall out of order has its channels innermost: NHWC in memory.
        order = sorted(range(like.ndim), key=lambda axis: -like.strides[axis])
        plain = like.flags.c_contiguous
        self._shape = like.shape if plain else tuple(like.shape[axis] for axis in order)
        self._axes = None if plain else tuple(order.index(axis) for axis in range(like.ndim))

    def __call__(self, x: Array, w: Array, bias: Array | None = None) -> Array:
        """Return the pass of source ``x`` and weights (or output gradient) ``w``."""
        y = np.empty(self._shape, self._dtype)
        if self._axes is not None:
            y = y.transpose(self._axes)
        if bias is None:
            bias = y if self._bias is None else self._bias
        self._program.run(x, w, y, bias)
        return y


_ready: dict[Key, ReadyCall] = {}


def exact(arguments: tuple[Any, ...]) -> Any:
    """Arguments as part of a key: equal ones need not be the same (1, 1.0 and True).

    Plain ones stand for themselves, others by their text.
    """
    return arguments if tuple(map(type, arguments)) in _PLAIN_ARGUMENTS else repr(arguments)


def key_of(kind: str, a: Any, b: Any, bias: Any, arguments: tuple[Any, ...]) -> Key | None:
    """What a call depends on, or None for one that is not to be kept.

    Shapes, strides and dtypes decide the plan; data never does. Arrays that a check would replace
    (subclasses, unaligned ones, which it copies) make no key: the plan is for the copy's strides.
    """
    if type(a) is not np.ndarray or type(b) is not np.ndarray:
        return None
    if not (a.flags.aligned and b.flags.aligned):
        return None
    settings = options.current()
    # What may change the plan.
    how = settings if settings.autotune else (settings.winograd, settings.bfloat16_bits)
    key = (
        kind, a.shape, a.strides, a.dtype, b.shape, b.strides, b.dtype, exact(arguments), how
    )  # fmt: skip
    if bias is None:
        return key
    if type(bias) is not np.ndarray or not bias.flags.aligned:
        return None
    return (*key, bias.shape, bias.strides, bias.dtype)


def find(
    kind: str, a: Any, b: Any, bias: Any, arguments: tuple[Any, ...], elsewhere: bool
) -> ReadyCall | None:
    """The call kept under these arrays and arguments; none is for a result ``elsewhere``.

    That is, in an ``out`` or on a stream.
    """
    if elsewhere:
        return None
    key = key_of(kind, a, b, bias, arguments)
    return _ready.get(key) if key is not None else None


def keep(key: Key | None, call: ReadyCall) -> None:
    """Keep ``call`` for every later call with the same ``key``."""
    if key is not None:
        if len(_ready) >= _KEPT:
            _ready.clear()
        _ready[key] = call


def forget() -> None:
    """Forget all calls."""
    _ready.clear()
