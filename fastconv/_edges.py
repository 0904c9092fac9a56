"""Arrays continued past their edges: filled, repeated, reflected or wrapped round."""

from __future__ import annotations

from math import prod
from typing import Any, TypeAlias

import numpy as np

from ._arguments import Pairs
from ._arrays import Array
from ._results import empty

# One look-up of all elements beats a copy and two look-ups an axis on arrays as small as these;
# and its table takes eight bytes an element for as long as the call is known.
_TABLE = 4096

_Indices: TypeAlias = np.ndarray[Any, np.dtype[np.intp]]
_Places: TypeAlias = tuple[Any, ...]  # slices, and indices along one axis


def source(places: _Indices, size: int, mode: str) -> _Indices:
    """Which of ``size`` elements continues an axis at each of the places, inside it or not.

    "nearest" is aaa|abcd|ddd, "wrap" bcd|abcd|abc, "reflect" cba|abcd|dcb and "mirror"
    dcb|abcd|cba.
    """
    if mode == "nearest":
        return places.clip(0, size - 1)
    if mode == "wrap":
        return places % size
    if mode == "mirror":
        period = max(2 * size - 2, 1)
        return size - 1 - abs(size - 1 - places % period)
    turned = places % (2 * size)
    return np.minimum(turned, 2 * size - 1 - turned)


class Edges:
    """Continues arrays of one shape by so many elements before and after on each axis.

    ``mode`` is "constant", for elements of one value, or a mode of `source`. What comes out has the
    dtype.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        pads: Pairs,
        dtype: np.dtype[Any],
        mode: str = "constant",
        value: Any = 0,
    ) -> None:
        self._dtype, self._value = dtype, value
        self._inner = tuple(slice(b, b + n) for n, (b, _) in zip(shape, pads, strict=True))
        self._shape = tuple(b + n + a for n, (b, a) in zip(shape, pads, strict=True))
        self._table: _Indices | None = None
        #: what is filled, and with what, if not with the value
        self._slabs: list[tuple[_Places, _Places | None]] = []
        if mode != "constant" and prod(self._shape) <= _TABLE:
            axes = (
                source(np.arange(-b, n + a), n, mode) for n, (b, a) in zip(shape, pads, strict=True)
            )
            self._table = np.ravel_multi_index(np.ix_(*axes), shape)
            return
        for axis, (size, (before, after)) in enumerate(zip(shape, pads, strict=True)):
            # What earlier axes have continued is continued along with the array.
            outer = tuple(slice(0, full) for full in self._shape[:axis])
            inner = self._inner[axis + 1 :]
            for start, count in ((-before, before), (size, after)):
                if count:
                    target = slice(before + start, before + start + count)
                    read = None
                    if mode != "constant":
                        taken = source(np.arange(start, start + count), size, mode) + before
                        read = (*outer, taken, *inner)
                    self._slabs.append(((*outer, target, *inner), read))

    def __call__(self, x: Array) -> Array:
        """A new array: ``x`` and what continues it."""
        if self._table is not None:
            return x.reshape(-1).take(self._table).astype(self._dtype, copy=False)
        made = empty(self._shape, self._dtype)
        made[self._inner] = x
        for target, read in self._slabs:
            made[target] = self._value if read is None else made[read]
        return made
