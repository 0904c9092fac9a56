"""An activation in the store: relu of what the plain call gives, by every algorithm."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from arrays import DTYPES, LAYOUTS, Arena, Array
from cases import Case, operands, simple

import fastconv
from fastconv.cpu.convolution import ALGORITHMS

FORWARD = [name for name in ALGORITHMS if name != "col2im"]  # which has no activation to apply

CASES = {
    "channels in lanes": simple(2, 20, 37, (9, 11), (3, 3), pad=1, bias=True),
    "pixels in lanes": simple(1, 2, 3, (9, 40), (3, 3), pad=1),
    "grouped and strided": simple(2, 6, 36, (7, 8), (2, 3), groups=2, stride=2, bias=True),
    "depthwise": simple(2, 19, 19, (13, 14), (3, 3), pad=1, groups=19, bias=True),
    "many channels": simple(1, 700, 17, (5, 6), (3, 3), bias=True),
    "one by one": simple(2, 33, 40, (6, 7), (1, 1), bias=True),
    "small": simple(1, 2, 3, (4, 5), (2, 2), bias=True),
    "one axis": simple(3, 4, 18, (50,), (5,), pad=2, bias=True),
    "three axes": simple(1, 3, 17, (4, 5, 6), (2, 3, 2), pad=1, bias=True),
}


def convolve(case: Case, *arrays: Array, **keywords: Any) -> Array:
    function: Callable[..., Array] = getattr(fastconv, f"conv{case.rank}d")
    bias = arrays[2] if case.bias else None
    return function(arrays[0], arrays[1], bias, *case.how, **keywords)


def able(case: Case, algorithm: str, dtype: str) -> bool:
    """Whether an algorithm does not refuse a case."""
    sizes = case.input_shape, case.weight_shape
    try:
        fastconv.explain(*sizes, *case.how, algorithm=algorithm, dtype=dtype)
    except ValueError:
        return False
    return True


@pytest.mark.parametrize(
    ("dtype", "layout"),
    [
        *(("float32", layout) for layout in LAYOUTS),
        *(pytest.param("float64", layout, marks=pytest.mark.slow) for layout in LAYOUTS),
    ],
)
@pytest.mark.parametrize("algorithm", ["auto", *FORWARD])
def test_relu(algorithm: str, dtype: str, layout: str, arena: Arena) -> None:
    met = 0
    for case in CASES.values():
        if not able(case, algorithm, dtype):
            continue
        arrays = [arena.place(values, dtype, layout) for values in operands(case, "forward")]
        plain = convolve(case, *arrays, algorithm=algorithm)
        out = arena.output(case.output_shape, dtype, layout)
        for _ in range(2):
            convolve(case, *arrays, algorithm=algorithm, activation="relu", out=out)
            np.testing.assert_array_equal(out, np.maximum(plain, 0))
            again = convolve(case, *arrays, algorithm=algorithm, activation="relu")
            np.testing.assert_array_equal(again, out)
            np.testing.assert_array_equal(convolve(case, *arrays, algorithm=algorithm), plain)
        assert (plain < 0).any()
        met += 1
    assert met


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("algorithm", ["direct", "im2col", "listed"])
def test_relu_of_what_is_no_number(algorithm: str, dtype: str) -> None:
    x = np.array([np.nan, -np.inf, np.inf, -1, -0.0, 2], dtype).reshape(1, 1, 1, 6)
    w = np.ones((1, 1, 1, 1), dtype)
    plain = fastconv.conv2d(x, w, algorithm=algorithm)
    np.testing.assert_array_equal(plain.ravel(), [np.nan, -np.inf, np.inf, -1, 0, 2])
    y = fastconv.conv2d(x, w, algorithm=algorithm, activation="relu")
    np.testing.assert_array_equal(y.ravel(), [np.nan, 0, np.inf, 0, 0, 2])


@pytest.mark.parametrize(
    ("activation", "error"), [("tanh", ValueError), (True, TypeError), ("", ValueError)]
)
def test_other_activations_are_refused(activation: Any, error: type[Exception]) -> None:
    x, w = np.ones((1, 1, 4, 4)), np.ones((1, 1, 2, 2))
    with pytest.raises(error, match="activation must be one of 'relu'"):
        fastconv.conv2d(x, w, activation=activation)
