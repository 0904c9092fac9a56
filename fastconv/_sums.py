"""Correlations of one image and one kernel of given shapes, by whichever runs them fastest.

The image may go on by zeros on either side of each axis.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import prod
from typing import Literal, TypeAlias

import numpy as np

from . import calls, host
from ._arguments import Pairs
from ._arrays import Array
from ._dtypes import NAMES
from ._edges import Edges
from ._results import empty
from .cpu.elements import Arrays
from .geometry import forward_geometry

Run: TypeAlias = Callable[[Array, Array], Array]
_Mode: TypeAlias = Literal["full", "same", "valid"]

_RANKS = 3  # of the kernels that there are

# numpy.correlate compiles nothing and costs 0.6 us a call, a program of staged planes 3 to 5. It is
# the faster one (Zen 4) for few products, and where its code for two or three taps meets an array
# that the kernels would convert or whose doubles they would copy.
_FEW = 8192
_SHORT, _LONG = 3, 1 << 17
_NUMPYS = ("float32", "float64", *(name for name in NAMES if "int" in name))


def products(image: Array, kernel: Array, pads: Pairs, length: tuple[int, ...]) -> Run:
    """The correlation of arrays like these by sums of products; its result has such a shape."""
    rank = kernel.ndim
    if kernel.size == 1 and not any(map(any, pads)):
        return np.multiply
    mode = _numpys(image, kernel, pads[0]) if rank == 1 else None
    if mode is not None:
        return partial(np.correlate, mode=mode)
    if rank <= _RANKS:
        return planned(image, kernel, pads, rank, "auto")
    return _Leading(image, kernel, pads, length)


def _numpys(image: Array, kernel: Array, pads: tuple[int, int]) -> _Mode | None:
    """The mode of NumPy's own correlation, where that is the faster one."""
    n, k, dtype = image.size, kernel.size, image.dtype
    short = k <= _SHORT and (dtype == np.float64 or (dtype.kind in "iu" and n > _LONG))
    few = n * k <= _FEW or short
    if not few or n < k or dtype.name not in _NUMPYS:
        return None
    modes: dict[tuple[int, int], _Mode] = {
        (k // 2, (k - 1) // 2): "same",
        (k - 1, k - 1): "full",
        (0, 0): "valid",
    }
    return modes.get(pads)


def planned(image: Array, kernel: Array, pads: Pairs, rank: int, algorithm: str) -> Run:
    """The correlation of arrays like these: of single channels, if their rank says so."""
    x, w = image[(None,) * (rank + 2 - image.ndim)], kernel[(None,) * (rank + 2 - kernel.ndim)]
    g = forward_geometry(x.shape, w.shape, 1, pads, 1, 1, rank)
    # Without the axes that this adds: programs know them by their strides alone.
    like = np.empty(g.output if g.K == 1 else g.output_shape[1:], x.dtype)
    strides = like[(None,) * (rank + 2 - like.ndim)].strides
    arrays = Arrays(x.dtype.name, x.strides, w.strides, strides)
    program = host.plan("forward", g, arrays, algorithm, False).program
    return calls.ReadyCall(program, like, np.zeros(g.K, x.dtype))


class _Leading:
    """Correlations over more axes than kernels are made for.

    At each place on the leading axes, the planes of the kernel that meet there are the channels of
    one convolution over the last three.
    """

    def __init__(self, image: Array, kernel: Array, pads: Pairs, length: tuple[int, ...]) -> None:
        self._lead = lead = kernel.ndim - _RANKS
        self._length, self._dtype = length, image.dtype
        self._spans = kernel.shape[:lead]
        outer = (*pads[:lead], *((0, 0),) * _RANKS)
        self._widened = Edges(image.shape, outer, image.dtype) if any(map(any, outer)) else None
        image, weights = self._operands(image, kernel)
        planes = self._planes(image, (0,) * lead)
        self._sums = planned(planes, weights, pads[lead:], _RANKS, "auto")

    def __call__(self, image: Array, kernel: Array) -> Array:
        image, weights = self._operands(image, kernel)
        result = empty(self._length, self._dtype)
        for place in np.ndindex(self._length[: self._lead]):
            result[place] = self._sums(self._planes(image, place), weights)
        return result

    def _operands(self, image: Array, kernel: Array) -> tuple[Array, Array]:
        """The image as wide as it is read on the leading axes, and the kernel as channels."""
        if self._widened is not None:
            image = self._widened(image)
        return image, kernel.reshape(1, prod(self._spans), *kernel.shape[self._lead :])

    def _planes(self, image: Array, place: tuple[int, ...]) -> Array:
        """What the kernel meets of the image at a place, as channels."""
        met = tuple(slice(p, p + k) for p, k in zip(place, self._spans, strict=True))
        return image[met].reshape(1, prod(self._spans), *image.shape[self._lead :])
