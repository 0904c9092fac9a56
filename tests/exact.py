"""Sums of products without rounding, for a few results of a pass."""

from collections.abc import Callable, Iterator
from functools import lru_cache
from math import fsum
from typing import NamedTuple

import numpy as np
from arrays import Array
from cases import Case, operands, result_shape
from reals import DRAWS

_SPLIT = 2.0**27 + 1  # Veltkamp's: it cuts a float64 into two halves of 26 bits
_FEW = 12  # results of a pass

Index = tuple[int, ...]
Meeting = tuple[int, int, int]  # (output, tap, input) along an axis


class Sum(NamedTuple):
    """One result as it would be without rounding: ``value + rest``."""

    index: Index
    value: float
    rest: float
    size: float  #: the sum of the products' absolute values
    terms: int

    def error(self, result: Array) -> float:
        """How far an array's element is from it."""
        return abs(float(result[self.index]) - self.value - self.rest)


@lru_cache(maxsize=256)
def drawn(case: Case, which: str, draw: str, dtype: str) -> tuple[Array, Array]:
    """The two operands of a pass, of such reals."""
    rng = np.random.default_rng(3)
    first, second = operands(case, which)[:2]
    return tuple(DRAWS[draw](rng, a.shape).astype(dtype) for a in (first, second))  # type: ignore[return-value]


@lru_cache(maxsize=256)
def exact(case: Case, which: str, draw: str, dtype: str) -> tuple[Sum, ...]:
    """Some results of `drawn` operands: the first, the last, and others at random."""
    given = [a.astype("float64") for a in drawn(case, which, draw, dtype)]
    return tuple(_added(i, *_factors(case, which, i, *given)) for i in _some(case, which))


def _added(index: Index, first: Array, second: Array) -> Sum:
    product = first * second
    (a, b), (c, d) = _halves(first), _halves(second)
    lost = ((a * c - product) + a * d + b * c) + b * d  # Dekker: what rounding took
    value = fsum([*product, *lost])
    rest = fsum([*product, *lost, -value])
    return Sum(index, value, rest, float(np.abs(product).sum()), len(product))


def _halves(values: Array) -> tuple[Array, Array]:
    high = values * _SPLIT - (values * _SPLIT - values)
    return high, values - high


def _some(case: Case, which: str) -> Iterator[Index]:
    rng, shape = np.random.default_rng(7), result_shape(case, which)
    yield (0,) * len(shape)
    yield tuple(extent - 1 for extent in shape)
    for _ in range(_FEW - 2):
        yield tuple(int(rng.integers(extent)) for extent in shape)


def _factors(
    case: Case, which: str, index: Index, first: Array, second: Array
) -> tuple[Array, Array]:
    """The factors of all products with pixels that there are, that a result sums."""
    sources, targets = case.c // case.groups, case.k // case.groups
    i, j, *place = index
    if which == "forward":
        group = j // targets
        _, t, q = _met(case, place, lambda met: met[0])
        a, b = first[i, group * sources : (group + 1) * sources], second[j]
        return a[:, *q].ravel(), b[:, *t].ravel()
    if which == "weight_gradient":
        p, _, q = _met(case, place, lambda met: met[1])
        a, b = first[:, i // targets * sources + j], second[:, i]
        return a[:, *q].ravel(), b[:, *p].ravel()
    group, channel = divmod(j, sources)
    p, t, _ = _met(case, place, lambda met: met[2])
    outputs = slice(group * targets, (group + 1) * targets)
    return first[outputs, channel][:, *t].ravel(), second[i, outputs][:, *p].ravel()


def _met(
    case: Case, place: list[int], number: Callable[[Meeting], int]
) -> tuple[tuple[Array, ...], ...]:
    """Indices of all outputs, taps and inputs that meet, and of which one is at ``place``."""
    axes = []
    for axis, at in enumerate(place):
        meetings = [
            (p, t, p * case.stride[axis] + t * case.dilation[axis] - case.pads[axis][0])
            for p in range(case.output_shape[2 + axis])
            for t in range(case.kernel[axis])
        ]
        inside = [met for met in meetings if 0 <= met[2] < case.input[axis] and number(met) == at]
        axes.append(np.array(inside, int).reshape(-1, 3).T)
    return tuple(np.ix_(*(axis[i] for axis in axes)) for i in range(3))
