"""Geometries drawn by Hypothesis: exact against the oracle, and the three passes adjoint."""

import numpy as np
import pytest
from arrays import DTYPES, LAYOUTS, Arena, Array, channels_last
from cases import ALGORITHMS, PASSES, Case, compute, operands, result_shape, solved
from hypothesis import given, note
from hypothesis import strategies as st

MOST_PIXELS = {1: 60, 2: 21, 3: 7}


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Draw any convolution that has an output, small enough for the oracle."""
    rank = draw(st.sampled_from((1, 2, 2, 2, 3)))
    groups = draw(st.sampled_from((1, 1, 2, 3, 17)))
    most = 40 // groups
    c, k = (groups * draw(st.integers(1, most)) for _ in range(2))
    axes = [_axis(draw, MOST_PIXELS[rank]) for _ in range(rank)]
    size, kernel, stride, pads, dilation = zip(*axes, strict=True)
    n, bias = draw(st.integers(0, 3)), draw(st.booleans())
    return Case(n, c, k, groups, size, kernel, stride, pads, dilation, bias)


def _axis(draw: st.DrawFn, most: int) -> tuple[int, int, int, tuple[int, int], int]:
    """Draw the size, kernel, stride, padding and dilation of one axis."""
    size, kernel = draw(st.integers(1, most)), draw(st.integers(1, 5))
    stride, dilation = draw(st.integers(1, 4)), draw(st.integers(1, 3))
    before, after = draw(st.integers(0, 6)), draw(st.integers(0, 6))
    missing = dilation * (kernel - 1) + 1 - size - before - after
    return size, kernel, stride, (before, after + max(0, missing)), dilation


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("which", PASSES)
@given(case=cases(), dtype=st.sampled_from(DTYPES), layout=st.sampled_from(LAYOUTS))
def test_equals_the_oracle(case: Case, dtype: str, layout: str, which: str, algorithm: str) -> None:
    note(str(case))
    arena = Arena()
    given_arrays, expected = solved(case, which)
    arrays = [arena.place(values, dtype, layout) for values in given_arrays]
    out = arena.output(result_shape(case, which), dtype, layout)
    compute(case, which, *arrays, out=out, algorithm=algorithm)
    np.testing.assert_array_equal(out, expected)
    arena.check()


@pytest.mark.parametrize(
    "algorithm", ["auto", *(pytest.param(name, marks=pytest.mark.slow) for name in ALGORITHMS)]
)
@given(case=cases(), last=st.booleans())
def test_passes_are_adjoint(case: Case, last: bool, algorithm: str) -> None:
    """<conv(x, w), dy>, <x, dx> and <w, dw> are one number, here an exact integer."""
    note(str(case))
    x, w = operands(case, "forward")[:2]
    _, dy = operands(case, "weight_gradient")
    if last:
        x, dy = channels_last(x), channels_last(dy)
    y = compute(case, "forward", x, w, algorithm=algorithm)
    dw = compute(case, "weight_gradient", x, dy, algorithm=algorithm)
    dx = compute(case, "input_gradient", w, dy, algorithm=algorithm)
    assert _inner(y, dy) == _inner(x, dx) == _inner(w, dw)


def _inner(a: Array, b: Array) -> float:
    return float((a * b).sum())
