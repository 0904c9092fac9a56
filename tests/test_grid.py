"""Every pass over a grid of geometries, between guard zones, exactly equal to the oracle."""

from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np
import pytest
from arrays import DTYPES, LAYOUTS, Arena
from cases import (
    ALGORITHMS,
    EDGES,
    PASSES,
    WITH_AUTO,
    Case,
    compute,
    grid,
    long_grid,
    result_shape,
    simple,
    solved,
)

import fastconv

RANKS = (1, 2, 3)
GRID = [
    *((row, ()) for rank in RANKS for row in grid(rank)),
    *((row, pytest.mark.slow) for rank in RANKS for row in long_grid(rank)),
]
GRID = [pytest.param(*row, id="-".join(map(str, row)), marks=marks) for row, marks in GRID]


def _edges() -> Iterator[Any]:
    """Every edge in all passes, in one dtype and layout each; the others for a long run."""
    numbers = [range(len(values)) for values in (EDGES, DTYPES, LAYOUTS, PASSES)]
    for i, j, k, m in product(*numbers):
        row = list(EDGES)[i], DTYPES[j], LAYOUTS[k], PASSES[m]
        marks = () if (j, k) == divmod((i + m) % 4, 2) else pytest.mark.slow
        yield pytest.param(EDGES[row[0]], *row[1:], id="-".join(row), marks=marks)


def check(case: Case, which: str, dtype: str, layout: str, algorithm: str, arena: Arena) -> None:
    """Compare one pass with the oracle, everything it touches lying between guard zones."""
    given, expected = solved(case, which)
    arrays = [arena.place(values, dtype, layout) for values in given]
    out = arena.output(result_shape(case, which), dtype, layout)
    # Winograd rounds even integers: tests of its own hold it to its bound.
    with fastconv.options(winograd=False):
        result = compute(case, which, *arrays, out=out, algorithm=algorithm)
    assert result is out
    np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize(("case", "dtype", "layout", "which"), GRID)
def test_grid(
    case: Case, dtype: str, layout: str, which: str, algorithm: str, arena: Arena
) -> None:
    check(case, which, dtype, layout, algorithm, arena)


@pytest.mark.parametrize("algorithm", WITH_AUTO)
@pytest.mark.parametrize(("case", "dtype", "layout", "which"), list(_edges()))
def test_edges(
    case: Case, dtype: str, layout: str, which: str, algorithm: str, arena: Arena
) -> None:
    check(case, which, dtype, layout, algorithm, arena)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("which", PASSES)
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_empty_batch(rank: int, which: str, algorithm: str) -> None:
    case = simple(0, 4, 6, (5,) * rank, (3,) * rank, groups=2, pad=1)
    given, expected = solved(case, which)
    result = compute(case, which, *given, algorithm=algorithm)
    assert result.shape == result_shape(case, which)
    np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("size", [(9,), (9, 8), (4, 6, 5)])
def test_one_image_without_a_batch(size: tuple[int, ...], algorithm: str) -> None:
    case = simple(1, 4, 6, size, (2,) * len(size), groups=2, pad=1, bias=True)
    (x, w, bias), expected = solved(case, "forward")
    result = compute(case, "forward", x[0], w, bias, algorithm=algorithm)
    np.testing.assert_array_equal(result, expected[0])
