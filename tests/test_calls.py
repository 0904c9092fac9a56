"""A call seen before gives what the first one gave, and passes nothing that the first refused."""

from collections.abc import Callable

import naive
import numpy as np
import pytest
from arrays import Array

import fastconv


def integers(*shape: int) -> Array:
    return np.random.default_rng(sum(shape)).integers(-4, 5, shape).astype(np.float32)


def unaligned(values: Array) -> Array:
    record = np.zeros(values.shape, [("tag", "u1"), ("value", values.dtype)])
    record["value"] = values
    return record["value"]


def transposed(values: Array) -> Array:
    return np.ascontiguousarray(values.T).T


LAYOUTS: dict[str, Callable[[Array], Array]] = {
    "plain": np.copy,
    "unaligned": unaligned,
    "fortran": transposed,
    "unaligned fortran": lambda values: unaligned(values.T).T,
    "reversed": lambda values: values[..., ::-1].copy()[..., ::-1],
}


@pytest.fixture(autouse=True)
def _no_call_is_known() -> None:
    fastconv.clear_cache()


@pytest.mark.parametrize("first", LAYOUTS)
@pytest.mark.parametrize("second", LAYOUTS)
def test_layouts_do_not_stand_for_each_other(first: str, second: str) -> None:
    x, w, bias = integers(2, 3, 8, 9), integers(4, 3, 3, 3), integers(4)
    expected = naive.forward(x, w, bias, (1, 1), ((0, 0), (0, 0)), (1, 1), 1)
    for name in (first, second, second):
        place = LAYOUTS[name]
        result = fastconv.conv2d(place(x), place(w), place(bias))
        np.testing.assert_array_equal(result, expected)


def test_shapes_with_and_without_bias_and_batch() -> None:
    x, w, bias = integers(2, 3, 8, 9), integers(4, 3, 3, 3), integers(4)
    for _ in range(2):
        with_bias, without = fastconv.conv2d(x, w, bias), fastconv.conv2d(x, w)
        np.testing.assert_array_equal(
            with_bias - without, np.broadcast_to(bias[:, None, None], without.shape)
        )
        np.testing.assert_array_equal(fastconv.conv2d(x[0], w), without[0])


@pytest.mark.parametrize(
    ("good", "bad"),
    [
        (1, True),
        (1, 1.0),
        (np.int64(1), np.float64(1)),
        (np.int8(1), np.bool_(True)),
        ((1, 1), (1, 1.0)),
        ((1, 1), (True, 1)),
    ],
)
def test_an_equal_argument_is_still_refused(good: object, bad: object) -> None:
    x, w = integers(1, 1, 6, 6), integers(1, 1, 2, 2)
    for _ in range(2):
        fastconv.conv2d(x, w, stride=good)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="stride must be"):
        fastconv.conv2d(x, w, stride=bad)  # type: ignore[arg-type]


def test_a_stride_past_any_address() -> None:
    x, w, dy = integers(1, 3, 5, 5), integers(20, 3, 3, 3), integers(1, 20, 1, 1)
    y = fastconv.conv2d(x, w, stride=2**62)
    np.testing.assert_array_equal(y, fastconv.conv2d(x, w, stride=3))
    dx = fastconv.conv2d_input(x.shape, w, dy, stride=2**62)
    np.testing.assert_array_equal(dx, fastconv.conv2d_input(x.shape, w, dy, stride=3))
    dw = fastconv.conv2d_weight(x, w.shape, dy, stride=2**62)
    np.testing.assert_array_equal(dw, fastconv.conv2d_weight(x, w.shape, dy, stride=3))


def test_a_long_stride_takes_few_steps() -> None:
    """Phases of the stride that no tap meets cost no step of their own."""
    sizes = (1, 1, 300, 300), (1, 1, 3, 3)
    forward = fastconv.explain(*sizes, stride=50)
    gradient = fastconv.explain(*sizes, stride=50, direction="input_gradient")
    assert len(forward.stages) < 20
    assert len(gradient.stages) < 50


def test_out_that_overlaps_itself_is_refused() -> None:
    x, w = integers(1, 1, 4, 4), integers(1, 1, 2, 2)
    out = np.lib.stride_tricks.as_strided(np.zeros(3, np.float32), (1, 1, 3, 3), (0, 0, 0, 4))
    with pytest.raises(ValueError, match="out must have an element of its own"):
        fastconv.conv2d(x, w, out=out)


def test_explain_of_no_images() -> None:
    assert fastconv.explain((0, 3, 8, 8), (4, 3, 3, 3)).flops == 0
