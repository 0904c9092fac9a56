"""How far results are off: within each algorithm's bound, on reals that are hard to add up.

The exact sums are made without rounding: see `exact`. The bounds are those that the page "Numbers"
of the documentation states, with what is measured here beside them; that table is checked, too.
"""

import re
from collections.abc import Iterator
from math import log2, prod
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from arrays import DTYPES, HALVES, LAYOUTS, Arena
from cases import PASSES, Case, able, compute, simple
from exact import drawn, exact
from magnitudes import magnitude
from reals import DRAWS

import fastconv
from fastconv.cpu import fft, winograd

PAGE = Path(__file__).parent.parent / "docs" / "explanation" / "numbers.md"

LARGE = (
    simple(2, 64, 48, (14, 14), (3, 3), pad=1),
    simple(1, 250, 33, (9, 9), (1, 1)),
    simple(8, 3, 20, (28, 28), (5, 5), stride=2, pad=2),
    simple(4, 32, 32, (17, 15), (3, 3), groups=32, pad=1),
)
LONG = simple(2, 3, 17, (200, 220), (3, 3))  # of which weight gradients are long sums
SMALL = (simple(1, 5, 2, (5, 5), (3, 3), pad=1), simple(1, 1, 1, (3, 3), (2, 2)))


class Row(NamedTuple):
    """An algorithm in the table: the factor of its bound, what it multiplies, and what is tried."""

    algorithm: str
    factor: str
    cases: tuple[Case, ...]


ROWS = {
    "direct": Row("direct", "n / 2", (*LARGE, LONG)),
    "im2col": Row("im2col", "n / 2", (*LARGE, LONG)),
    "col2im": Row("col2im", "n / 2", LARGE),
    "depthwise": Row("depthwise", "n / 2", LARGE),
    "listed": Row("listed", "n / 2", SMALL),
    "winograd, 4 points": Row(
        "winograd", str(winograd.BOUND), (simple(2, 40, 33, (2, 2), (3, 3), pad=1),)
    ),
    "winograd, 5 points": Row(
        "winograd", str(winograd.BOUND), (simple(3, 72, 40, (9, 9), (3, 3), pad=1),)
    ),
    "winograd, 6 points": Row("winograd", str(winograd.BOUND), LARGE[:1]),
    "fft": Row("fft", str(fft.BOUND), (simple(1, 2, 2, (60, 50), (15, 12), pad=5),)),
}


def gamma(terms: int, eps: float) -> float:
    """How far a sum of so many terms may be off, of what their sizes add up to, in any order."""
    return terms * eps / 2 / (1 - terms * eps / 2)


def multiples(row: Row, which: str, dtype: str = "float32") -> Iterator[tuple[float, float]]:
    """Each error as a multiple of eps times what the bound multiplies, and the bound's factor."""
    eps = float(np.finfo(dtype).eps)
    for case in row.cases:
        if not able(case, which, row.algorithm) or (case is LONG and which != "weight_gradient"):
            continue
        for draw in DRAWS if case is not LONG else ("normal", "all equal"):
            given = drawn(case, which, draw, dtype)
            result = compute(case, which, *given, algorithm=row.algorithm)
            for each in exact(case, which, draw, dtype):
                error = each.error(result) / eps
                if row.algorithm == "fft":
                    norms = prod(float(np.linalg.norm(a.astype("float64"))) for a in given)
                    yield error / (log2(prod(case.input)) * norms), fft.BOUND
                elif row.algorithm == "winograd":
                    yield error / magnitude(case, which, given), winograd.BOUND
                elif each.size:
                    yield error / each.size, gamma(each.terms, eps) / eps


@pytest.mark.parametrize("which", PASSES)
@pytest.mark.parametrize("name", ROWS)
def test_the_table(name: str, which: str) -> None:
    """Bounds hold, and the documentation's table has them and what is measured."""
    row = ROWS[name]
    if row.algorithm == "fft":
        pytest.importorskip("scipy")
    found = list(multiples(row, which))
    line = next(re.finditer(rf"^\| {re.escape(name)} \|(.*)\|$", PAGE.read_text("utf8"), re.M))
    factor, *measured = (cell.strip() for cell in line[1].split("|"))
    assert factor == row.factor
    stated = measured[PASSES.index(which)]
    if not found:
        assert stated == ""
        return
    assert all(multiple <= bound for multiple, bound in found)
    worst = max(multiple for multiple, _ in found)
    # Another processor's tiles add in another order.
    assert float(stated) / 4 <= worst <= 2 * float(stated), f"measured {worst:.2g}"


def test_one_bound_in_all_places() -> None:
    docstring = fastconv.options.__doc__
    assert docstring is not None
    assert f"errs by up to {winograd.BOUND} eps" in docstring
    page = (PAGE.parent / "winograd.md").read_text("utf8")
    assert rf"{winograd.BOUND}\, \varepsilon\," in page
    assert f"at most {fft.BOUND} eps times the logarithm" in page


@pytest.mark.parametrize("algorithm", ["direct", "im2col"])
@pytest.mark.parametrize("which", PASSES)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", LARGE, ids=str)
def test_plain_sums(
    case: Case, dtype: str, layout: str, which: str, algorithm: str, arena: Arena
) -> None:
    eps = float(np.finfo(dtype).eps)
    for draw in ("normal", "wide range", "all equal"):
        given = drawn(case, which, draw, dtype)
        arrays = [arena.place(values, dtype, layout) for values in given]
        result = compute(case, which, *arrays, algorithm=algorithm)
        for each in exact(case, which, draw, dtype):
            assert each.error(result) <= gamma(each.terms, eps) * each.size


@pytest.mark.parametrize("which", PASSES)
@pytest.mark.parametrize("dtype", HALVES)
def test_halves_are_rounded_once(dtype: str, which: str) -> None:
    """Sums of float32, of which at most subnormal numbers are lost in pairs of bfloat16."""
    kind = np.dtype(dtype if dtype == "float16" else pytest.importorskip("ml_dtypes").bfloat16)
    unit, eps = {"float16": 2.0**-11, "bfloat16": 2.0**-8}[dtype], 2.0**-23
    spacing = {"float16": 2.0**-24, "bfloat16": 2.0**-133}[dtype]
    for case in LARGE[::3]:
        for draw in ("normal", "ReLU-like", "all equal", "alternating"):
            given = drawn(case, which, draw, kind)
            result = compute(case, which, *given, algorithm="direct")
            for each in exact(case, which, draw, kind):
                sums = gamma(each.terms, eps) * each.size + each.terms * 2.0**-126
                bound = unit * (abs(each.value) + sums) + sums + spacing
                assert each.error(result.astype("float64")) <= bound


@pytest.mark.slow
@pytest.mark.parametrize("which", PASSES)
@pytest.mark.parametrize("algorithm", ["winograd", "fft"])
def test_transforms_in_float64(algorithm: str, which: str) -> None:
    row = ROWS["winograd, 6 points" if algorithm == "winograd" else algorithm]
    if algorithm == "fft":
        pytest.importorskip("scipy")
    assert all(multiple <= bound for multiple, bound in multiples(row, which, "float64"))
