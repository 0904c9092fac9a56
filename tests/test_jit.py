"""Inside @njit every function gives what it gives in Python: bits, strides and errors."""

from collections.abc import Callable
from typing import Any

import nopython
import numpy as np
import pytest
from arrays import DTYPES, LAYOUTS, VIEWS, Arena, Array, bfloat16_bits, integers
from cases import PASSES, Case, compute, operands, oracle, result_shape, simple
from numba import njit
from numba.core.errors import TypingError

import fastconv

CASES = {
    1: [
        simple(2, 5, 19, (23,), (4,), pad=2, stride=2),
        simple(3, 6, 9, (17,), (3,), groups=3, dilation=2),
    ],
    2: [
        simple(2, 3, 5, (7, 9), (3, 3), pad=1, bias=True),
        Case(2, 17, 18, 1, (9, 8), (2, 3), (2, 1), ((0, 1), (2, 0)), (1, 2), bias=True),
        simple(2, 8, 12, (9, 9), (3, 3), groups=4, pad=1, stride=2),
        simple(2, 19, 19, (8, 8), (3, 3), groups=19, pad=1),
        simple(1, 4, 4, (1, 1), (1, 1), pad=1),  # an array of one pixel is NHWC and NCHW at once
    ],
    3: [simple(2, 3, 4, (4, 5, 6), (2, 3, 2), pad=1, stride=2)],
}


def ordered(case: Case, which: str, given: tuple[Array, ...]) -> tuple[Any, ...]:
    """The arguments of a pass in the order of its function in `nopython`."""
    if which == "forward":
        return (*given, None)[:3] + case.how
    first, second = given
    if which == "weight_gradient":
        return (first, case.weight_shape, second, *case.how)
    return (case.input_shape, first, second, *case.how)


def assert_same(given: Array, expected: Array) -> None:
    """The same bits, dtype, shape and place of each element."""
    assert given.dtype == expected.dtype
    assert given.shape == expected.shape
    long = [axis for axis, size in enumerate(given.shape) if size > 1]
    assert [given.strides[axis] for axis in long] == [expected.strides[axis] for axis in long]
    assert given.tobytes() == expected.tobytes()


@pytest.mark.parametrize(("dtype", "layout"), list(zip(DTYPES, LAYOUTS, strict=True)))
@pytest.mark.parametrize("which", PASSES)
def test_two_axes(which: str, dtype: str, layout: str, arena: Arena) -> None:
    for case in CASES[2][: None if dtype == "float32" else 3]:
        given = operands(case, which)
        placed = [arena.place(values, dtype, layout) for values in given]
        result = nopython.ALONE[which][1](*ordered(case, which, tuple(placed)))
        np.testing.assert_array_equal(result, oracle(case, which, *given), err_msg=str(case))
        expected = compute(case, which, *placed)
        if case.input == (1, 1):  # see the next but one test
            expected = np.ascontiguousarray(expected)
        assert_same(result, expected)


@pytest.mark.parametrize("rank", [1, 3])
@pytest.mark.parametrize("which", PASSES)
def test_one_and_three_axes(which: str, rank: int, arena: Arena) -> None:
    for case in CASES[rank]:
        given = operands(case, which)
        placed = [arena.place(values, "float32") for values in given]
        result = nopython.ALONE[which][rank - 1](*ordered(case, which, tuple(placed)))
        np.testing.assert_array_equal(result, oracle(case, which, *given), err_msg=str(case))
        assert_same(result, compute(case, which, *placed))


def test_an_array_of_one_pixel_gives_bits_of_python_in_its_own_order() -> None:
    """Its strides are those of channels last; its type in nopython code says C order."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((3, 40, 1, 1), np.float32)
    w = rng.standard_normal((50, 40, 3, 3), np.float32)
    how = (1, 1), ((2, 2), (2, 2)), (1, 1), 1
    result, expected = nopython.forward2(x, w, None, *how), fastconv.conv2d(x, w, None, *how)
    assert result.flags.c_contiguous
    assert not expected.flags.c_contiguous
    assert result.tobytes() == expected.tobytes()


@pytest.mark.parametrize("view", VIEWS)
def test_arrays_of_any_strides(view: str) -> None:
    case = simple(2, 3, 5, (7, 9), (3, 3), pad=1)
    x, w = (a.astype(np.float32) for a in operands(case, "forward"))
    x = VIEWS[view](x)
    bias = np.arange(10, dtype=np.float32)[::-2]
    result = nopython.forward2(x, w, bias, *case.how)
    assert_same(result, fastconv.conv2d(x, w, bias, *case.how))


def test_random_numbers_have_the_same_bits_and_winograd_is_used() -> None:
    rng = np.random.default_rng(1)
    x = rng.standard_normal((2, 64, 14, 14), np.float32)
    w = rng.standard_normal((64, 64, 3, 3), np.float32)
    how = (1, 1), ((1, 1), (1, 1)), (1, 1), 1
    expected = fastconv.conv2d(x, w, padding=1)
    direct = fastconv.conv2d(x, w, padding=1, algorithm="direct")
    assert expected.tobytes() != direct.tobytes()
    result = nopython.forward2(x, w, None, *how)
    assert_same(result, expected)
    with fastconv.options(winograd=False):
        assert_same(nopython.forward2(x, w, None, *how), direct)
        with fastconv.options(winograd=True):
            assert_same(nopython.forward2(x, w, None, *how), expected)
    assert_same(nopython.forward2(x, w, None, *how), expected)


@pytest.mark.parametrize("dtype", ["int8", "uint64", "complex64"])
def test_other_dtypes(dtype: str) -> None:
    rng = np.random.default_rng(2)
    x, w = integers(rng, (1, 4, 6, 6), dtype), integers(rng, (5, 4, 3, 3), dtype)
    how = (1, 1), ((1, 1), (1, 1)), (1, 1), 1
    assert_same(nopython.forward2(x, w, None, *how), fastconv.conv2d(x, w, padding=1))


def test_bfloat16_bits() -> None:
    rng = np.random.default_rng(3)
    x, w = (bfloat16_bits(integers(rng, shape)) for shape in ((1, 4, 6, 6), (5, 4, 3, 3)))
    how = (1, 1), ((1, 1), (1, 1)), (1, 1), 1
    with fastconv.options(bfloat16_bits=True):
        assert_same(nopython.forward2(x, w, None, *how), fastconv.conv2d(x, w, padding=1))
    assert_same(nopython.forward2(x, w, None, *how), fastconv.conv2d(x, w, padding=1))


def test_no_images() -> None:
    w = np.ones((5, 3, 3, 3), np.float32)
    none = np.ones((0, 3, 6, 7), np.float32)
    how = (1, 1), ((1, 1), (1, 1)), (1, 1), 1
    assert nopython.forward2(none, w, None, *how).shape == (0, 5, 6, 7)
    dw = nopython.weight2(none, w.shape, np.ones((0, 5, 6, 7), np.float32), *how)
    np.testing.assert_array_equal(dw, np.zeros_like(w))


def test_transposed() -> None:
    rng = np.random.default_rng(4)
    x, w, bias = (integers(rng, shape) for shape in ((2, 6, 5, 4), (6, 3, 3, 2), (6,)))
    how = (2, 3), (1, 0), (1, 2), 2, (1, 1)
    expected = fastconv.conv_transpose2d(x, w, bias, *how)
    assert_same(nopython.transposed2(x, w, bias, *how), expected)


@njit
def one_image(x, w):
    return fastconv.conv2d(x, w, padding="same", activation="relu", algorithm="im2col")


def test_one_image_and_names() -> None:
    rng = np.random.default_rng(5)
    x, w = integers(rng, (3, 8, 9), "float32"), integers(rng, (4, 3, 3, 2), "float32")
    expected = fastconv.conv2d(x, w, padding="same", activation="relu", algorithm="im2col")
    assert_same(one_image(x, w), expected)


@njit
def into(x, w, y):
    return fastconv.conv2d(x, w, out=y)


@njit
def into_nothing(x, w):
    return fastconv.conv2d(x, w, out=None)


def test_out() -> None:
    rng = np.random.default_rng(6)
    x, w = integers(rng, (2, 3, 6, 7), "float32"), integers(rng, (4, 3, 3, 3), "float32")
    expected = fastconv.conv2d(x, w)
    strided = np.full((2, 4, 4, 10), np.nan, np.float32)[..., ::2]
    for y in (np.full_like(expected, np.nan), strided):
        for _ in range(2):  # the second finds the plan
            returned = into(x, w, y)
            assert returned.ctypes.data == y.ctypes.data
            np.testing.assert_array_equal(y, expected)
            y[...] = np.nan
    np.testing.assert_array_equal(into_nothing(x, w), expected)


def test_out_within_an_operand_is_refused_whenever_it_is() -> None:
    memory = np.zeros(1000, np.float32)
    x, w = memory[:36].reshape(1, 1, 6, 6), np.ones((1, 1, 3, 3), np.float32)
    apart, within = (memory[i : i + 16].reshape(1, 1, 4, 4) for i in (36, 35))
    for _ in range(2):
        into(x, w, apart)
        for call in (into, lambda x, w, y: fastconv.conv2d(x, w, out=y)):
            with pytest.raises(ValueError, match="out must not share memory with input"):
                call(x, w, within)


def test_out_between_the_elements_of_an_operand() -> None:
    memory = np.arange(72, dtype=np.float32)
    pairs = memory.reshape(1, 1, 6, 6, 2)
    x, y = pairs[..., 0], pairs[:, :, :4, :4, 1]
    w = np.ones((1, 1, 3, 3), np.float32)
    expected = fastconv.conv2d(x, w)
    for _ in range(2):
        np.testing.assert_array_equal(into(x, w, y), expected)


@njit
def refused(x, w, bias, stride, padding, dilation, groups, out, stream):
    return fastconv.conv2d(x, w, bias, stride, padding, dilation, groups, out=out, stream=stream)


F32 = np.ones((1, 2, 5, 5), np.float32)
PLAIN: dict[str, Any] = {
    "x": F32,
    "w": np.ones((4, 2, 3, 3), np.float32),
    "bias": None,
    "stride": 1,
    "padding": 0,
    "dilation": 1,
    "groups": 1,
    "out": None,
    "stream": None,
}
READ_ONLY = np.ones((1, 4, 3, 3), np.float32)
READ_ONLY.flags.writeable = False
WRONG: list[dict[str, Any]] = [
    {"stride": 0},
    {"stride": -(2**40)},
    {"stride": True},
    {"stride": 1.5},
    {"stride": (1, 2, 3)},
    {"stride": (1, 1.0)},
    {"dilation": np.uint64(2**64 - 1)},
    {"padding": ((1, 2), (3, 4), (5, 6))},
    {"padding": None},
    {"groups": 3},
    {"w": np.ones((4, 3, 3, 3), np.float32)},
    {"w": np.ones((4, 2, 9, 9), np.float32)},
    {"w": np.ones((4, 2, 3), np.float32)},
    {"w": np.ones((4, 2, 3, 3))},
    {"x": np.ones((1, 2, 5, 5), bool)},
    {"x": np.ones((2, 0, 5, 5), np.float32)},
    {"bias": np.ones(3, np.float32)},
    {"bias": np.ones((4, 1), np.float32)},
    {"out": np.ones((1, 4, 3, 4), np.float32)},
    {"out": READ_ONLY},
    {"stream": 5},
]


@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: "-".join(wrong))
def test_errors_are_those_of_python(wrong: dict[str, Any]) -> None:
    given = PLAIN | wrong
    with pytest.raises((TypeError, ValueError)) as expected:
        refused.py_func(*given.values())
    with pytest.raises(expected.type) as raised:
        refused(*given.values())
    assert str(raised.value) == str(expected.value)


def test_errors_of_sizes_and_algorithms() -> None:
    x, dy = np.ones((1, 1, 9, 9), np.float32), np.ones((1, 1, 3, 3), np.float32)
    how = (1, 1), (0, 0), (1, 1), 1
    with pytest.raises(ValueError, match=r"grad_output must have shape \(1, 1, 8, 8\)"):
        nopython.weight2(x, (1, 1, 2, 2), dy, *how)
    with pytest.raises(ValueError, match="input_size must have no empty axis but N"):
        nopython.input2((1, 0, 5, 5), dy, dy, *how)

    @njit
    def winograd(x, w):
        return fastconv.conv2d(x, w, stride=2, dilation=2, algorithm="winograd")

    with pytest.raises(ValueError, match="algorithm 'winograd' needs stride 1 or dilation 1"):
        winograd(x, dy)


def test_nopython_code_may_catch_an_error() -> None:
    @njit
    def caught(x, w):
        try:
            y = fastconv.conv2d(x, w)
        except Exception:
            y = x
        return y

    x = np.ones((1, 1, 3, 3), np.float32)
    assert caught(x, np.ones((1, 1, 4, 4), np.float32)).shape == x.shape
    assert caught(x, np.ones((1, 1, 2, 2), np.float32)).shape == (1, 1, 2, 2)


UNTYPED: dict[str, tuple[Callable[..., Any], str]] = {
    "no array": (lambda x: fastconv.conv2d(x, 1), "weight must be an array in nopython code"),
    "a list": (
        lambda x: fastconv.conv2d(x, x, stride=[1, 1]),
        "stride must be None, a number, a tuple of these or a literal string",
    ),
    "a string that is no literal": (
        lambda x: fastconv.conv2d(x, x, algorithm=str(x.shape[0])),
        "algorithm must be a literal where it is a string",
    ),
    "by position": (
        lambda x: fastconv.conv2d(x, x, None, 1, 0, 1, 1, "relu"),
        "too many positional arguments",
    ),
}


@pytest.mark.parametrize("name", UNTYPED)
def test_what_numba_cannot_type_is_an_error_when_compiled(name: str) -> None:
    function, message = UNTYPED[name]
    with pytest.raises(TypingError, match=message):
        njit(function)(F32)


@pytest.mark.parametrize("which", PASSES)
def test_within_prange(which: str, arena: Arena) -> None:
    case = simple(7, 5, 18, (9, 10), (3, 3), pad=1, stride=2)
    given = operands(case, which)
    first, second = (arena.place(values, "float32") for values in given)
    shape, how = result_shape(case, which), (2, 1, 1, 1)  # tuples are not passed into a prange
    if which == "forward":
        result = arena.output(shape, "float32")
        nopython.each_forward(first, second, *how, result)
        expected = oracle(case, which, *given)
    elif which == "input_gradient":
        result = arena.output(shape, "float32")
        nopython.each_input(first, second, *how, result)
        expected = oracle(case, which, *given)
    else:
        each = arena.output((case.n, *shape), "float32")
        nopython.each_weight(first, second, *how, each)
        result, expected = each.sum(axis=0), oracle(case, which, *given)
    np.testing.assert_array_equal(result, expected)
