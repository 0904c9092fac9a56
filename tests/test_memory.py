"""Arrays of any strides are read right and left alone; the result's layout follows the input's."""

from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np
import pytest
from arrays import DTYPES, VIEWS, Array, channels_last, is_channels_last
from cases import ALGORITHMS, PASSES, Case, compute, operands, oracle, result_shape, simple, solved

CASES = {
    "plain": simple(2, 18, 20, (9, 11), (3, 3), pad=1),
    "grouped and strided": simple(3, 6, 8, (8, 9), (2, 3), groups=2, stride=2, pad=2),
    "one by one": simple(2, 17, 16, (5, 6), (1, 1)),
    "depthwise": simple(2, 20, 20, (7, 18), (3, 3), pad=1, groups=20),
    "one axis": simple(2, 5, 16, (37,), (4,), stride=2),
    "three axes": simple(2, 4, 6, (3, 5, 7), (2, 2, 3), pad=1),
}
# An output must be writeable and aligned, with an element of its own for each result.
NOT_FOR_OUTPUT = {"broadcast", "broadcast_image", "read_only", "unaligned"}


def _viewed() -> Iterator[Any]:
    """Every case by every view of one operand or both, the dtypes in turn; more for long runs."""
    operands_of = {"first": (0,), "second": (1,), "both": (0, 1)}
    for i, (name, view, viewed) in enumerate(product(CASES, VIEWS, operands_of)):
        for dtype in DTYPES:
            marks = () if dtype == DTYPES[(i + i // 3) % 2] else pytest.mark.slow
            values = CASES[name], view, operands_of[viewed], dtype
            yield pytest.param(*values, id=f"{name}-{view}-{viewed}-{dtype}", marks=marks)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("which", PASSES)
@pytest.mark.parametrize(("case", "view", "viewed", "dtype"), list(_viewed()))
def test_strides(
    case: Case, view: str, viewed: tuple[int, ...], dtype: str, which: str, algorithm: str
) -> None:
    given = [values.astype(dtype) for values in operands(case, which)]
    for position in viewed:
        given[position] = VIEWS[view](given[position])
    before = [values.copy() for values in given]
    result = compute(case, which, *given, algorithm=algorithm)
    np.testing.assert_array_equal(result, oracle(case, which, *before))
    for values, copy in zip(given, before, strict=True):
        np.testing.assert_array_equal(values, copy)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("view", ["sliced", "reversed", "broadcast", "read_only", "unaligned"])
def test_bias_strides(view: str, algorithm: str) -> None:
    case = simple(2, 3, 20, (6, 7), (3, 3), bias=True)
    x, w, bias = operands(case, "forward")
    bias = VIEWS[view](bias)
    result = compute(case, "forward", x, w, bias, algorithm=algorithm)
    np.testing.assert_array_equal(result, oracle(case, "forward", x, w, bias))


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("which", PASSES)
@pytest.mark.parametrize("view", sorted(set(VIEWS) - NOT_FOR_OUTPUT))
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_output_strides(case: Case, view: str, which: str, algorithm: str) -> None:
    given, expected = solved(case, which)
    out = VIEWS[view](np.full(result_shape(case, which), np.nan))
    result = compute(case, which, *given, out=out, algorithm=algorithm)
    assert result is out
    np.testing.assert_array_equal(out, expected)
    memory = out
    while memory.base is not None:
        memory = memory.base
    assert np.count_nonzero(~np.isnan(memory)) == out.size


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("which", ["forward", "input_gradient"])
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_result_is_laid_out_as_the_input(case: Case, which: str, algorithm: str) -> None:
    given, expected = solved(case, which)
    # The gradient that arrives decides for the input gradient, the image for the forward pass.
    decides = 1 if which == "input_gradient" else 0

    plain = compute(case, which, *given, algorithm=algorithm)
    assert plain.flags.c_contiguous

    def run(layout_of: Array) -> Array:
        arrays = [layout_of if i == decides else a for i, a in enumerate(given)]
        return compute(case, which, *arrays, algorithm=algorithm)

    last = run(channels_last(given[decides]))
    assert is_channels_last(last)
    np.testing.assert_array_equal(last, expected)
    np.testing.assert_array_equal(plain, expected)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("which", PASSES)
def test_one_channel_stays_in_c_order(which: str, algorithm: str) -> None:
    """With one channel every layout is the same memory, and C order is the one NumPy gives."""
    case = simple(2, 1, 1, (6, 7), (3, 3))
    given, _ = solved(case, which)
    arrays = [channels_last(values) for values in given]
    assert compute(case, which, *arrays, algorithm=algorithm).flags.c_contiguous
