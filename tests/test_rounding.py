"""What reals do: rounding stays within a stated bound, NaN and Inf go where they should."""

import naive
import numpy as np
import pytest
from arrays import DTYPES, LAYOUTS, Arena, Array
from cases import ALGORITHMS, PASSES, Case, compute, operands, oracle, simple

# |error| <= C * eps * sqrt(number of terms) * the largest |result|.
C = 1.0

LARGE = (
    simple(2, 64, 48, (14, 14), (3, 3), pad=1),
    simple(1, 250, 33, (9, 9), (1, 1)),
    simple(8, 3, 20, (28, 28), (5, 5), stride=2, pad=2),
    simple(4, 32, 32, (17, 15), (3, 3), groups=32, pad=1),
)


def terms(case: Case, which: str) -> int:
    """Return the length of the longest sum in a pass."""
    taps = int(np.prod(case.kernel))
    if which == "forward":
        return case.c // case.groups * taps
    if which == "weight_gradient":
        return case.n * int(np.prod(case.output_shape[2:]))
    return case.k // case.groups * taps


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("which", PASSES)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", LARGE, ids=str)
def test_rounding(
    case: Case, dtype: str, layout: str, which: str, algorithm: str, arena: Arena
) -> None:
    rng = np.random.default_rng(1)
    reals = [rng.standard_normal(values.shape).astype(dtype) for values in operands(case, which)]
    arrays = [arena.place(values, dtype, layout) for values in reals]
    result = compute(case, which, *arrays, algorithm=algorithm)
    expected = oracle(case, which, *reals)
    bound = C * np.finfo(dtype).eps * np.sqrt(terms(case, which)) * np.abs(expected).max()
    assert np.abs(result - expected).max() <= bound


def spoil(values: Array, rng: np.random.Generator) -> Array:
    """Return a copy with a few elements replaced by NaN, +Inf and -Inf."""
    spoilt = values.copy()
    spoilt.reshape(-1)[rng.choice(values.size, 3, replace=False)] = np.nan, np.inf, -np.inf
    return spoilt


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("which", PASSES)
@pytest.mark.parametrize("position", [0, 1])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("groups", [1, 3])
def test_not_a_number_propagates(
    groups: int, dtype: str, position: int, which: str, algorithm: str
) -> None:
    case = simple(2, 6, 9, (13, 19), (3, 2), stride=2, groups=groups)
    given = [values.astype(dtype) for values in operands(case, which)]
    given[position] = spoil(given[position], np.random.default_rng(groups))
    with np.errstate(invalid="ignore"):
        result = compute(case, which, *given, algorithm=algorithm)
        expected = oracle(case, which, *given)
    if (which, position) == ("input_gradient", 0):
        # Near the border a kernel may multiply Inf by a zero of the padding; that is NaN.
        inner = (..., slice(3, -3), slice(3, -3))
        result, expected = result[inner], expected[inner]
    assert np.isnan(expected).any()
    assert np.isfinite(expected).any()
    np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_padded_image_keeps_its_infinities(algorithm: str) -> None:
    case = simple(2, 3, 5, (9, 10), (3, 3), pad=1)
    x, w = operands(case, "forward")
    x[0, 1, 0, 0] = np.inf
    x[1, 2, 8, 9] = np.nan
    with np.errstate(invalid="ignore"):
        result = compute(case, "forward", x, w, algorithm=algorithm)
        expected = naive.forward(x, w, None, *case.how)
    np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("which", PASSES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_subnormal_numbers_are_kept(dtype: str, which: str, algorithm: str) -> None:
    case = simple(1, 1, 1, (3, 3), (2, 2))
    tiny = np.finfo(dtype).smallest_subnormal
    first, second = (values.astype(dtype) for values in operands(case, which))
    result = compute(case, which, first * tiny, second, algorithm=algorithm)
    np.testing.assert_array_equal(result, oracle(case, which, first, second) * tiny)
