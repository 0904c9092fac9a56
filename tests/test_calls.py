"""A call seen before gives what the first one gave, and passes nothing that the first refused."""

import sys
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import naive
import numpy as np
import pytest
from arrays import Array

import fastconv
from fastconv import calls
from fastconv.cpu.recall import MOST


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


def test_out_for_no_images() -> None:
    x, w = integers(0, 1, 4, 4), integers(1, 1, 2, 2)
    out = np.empty((0, 1, 3, 3), np.float32)
    assert fastconv.conv2d(x, w, out=out) is out


def test_explain_of_no_images() -> None:
    assert fastconv.explain((0, 3, 8, 8), (4, 3, 3, 3)).flops == 0


def test_a_list_counts_by_what_it_holds_now() -> None:
    x, w, stride = integers(1, 1, 7, 7), integers(1, 1, 3, 3), [1, 1]
    for _ in range(2):
        assert fastconv.conv2d(x, w, stride=stride).shape == (1, 1, 5, 5)
    stride[:] = [2, 2]
    assert fastconv.conv2d(x, w, stride=stride).shape == (1, 1, 3, 3)
    size = [1, 1, 3, 3]
    dy = integers(1, 1, 5, 5)
    for _ in range(2):
        assert fastconv.conv2d_weight(x, size, dy).shape == (1, 1, 3, 3)
    size[2] = 4
    with pytest.raises(ValueError, match="grad_output must have shape"):
        fastconv.conv2d_weight(x, size, dy)


def test_ranks_and_operations_do_not_stand_for_each_other() -> None:
    x, w = integers(1, 2, 6), integers(2, 2, 3)
    for _ in range(2):
        forward, backward = fastconv.conv1d(x, w), fastconv.conv_transpose1d(x, w)
        assert (forward.shape, backward.shape) == ((1, 2, 4), (1, 2, 8))
        with pytest.raises(ValueError, match="weight must be"):
            fastconv.conv2d(x, w)


def test_settings_are_part_of_a_call() -> None:
    x, w = integers(4, 64, 14, 14), integers(64, 64, 3, 3)
    rounded = fastconv.conv2d(x, w, padding=1)
    exact = fastconv.conv2d(x, w, padding=1, algorithm="direct")
    assert not np.array_equal(rounded, exact)  # Winograd's
    with fastconv.options(winograd=False):
        np.testing.assert_array_equal(fastconv.conv2d(x, w, padding=1), exact)
    np.testing.assert_array_equal(fastconv.conv2d(x, w, padding=1), rounded)


def test_more_calls_than_are_remembered() -> None:
    x, w = integers(1, 1, 1, 12), integers(1, 1, 1, 2)
    settings = [
        ((1, stride), ((0, 0), (before, after)))
        for stride in range(1, 8)
        for before in range(13)
        for after in range(13)
    ]
    assert len(settings) > MOST
    for round_ in range(2):
        for stride, padding in settings:
            y = fastconv.conv2d(x, w, stride=stride, padding=padding)
            before, after = padding[1]
            row = np.pad(x[0, 0, 0], (before, after))
            expected = np.convolve(row, w[0, 0, 0, ::-1], "valid")[:: stride[1]]
            np.testing.assert_array_equal(y[0, 0, 0], expected, err_msg=f"{round_} {stride}")


def test_known_calls_are_let_go() -> None:
    x, w, dtype = integers(1, 1, 6, 6), integers(1, 1, 2, 2), np.dtype(np.float32)
    fastconv.conv2d(x, w)
    before = [sys.getrefcount(held) for held in (x, w, dtype, None)][:3]
    results = [fastconv.conv2d(x, w) for _ in range(100)]
    del results
    assert [sys.getrefcount(held) for held in (x, w, dtype)] == before
    settings = (1, 0, 1, 1, "zeros")
    known = weakref.ref(calls.known.find("conv", 1, x, w, None, 2, settings, "auto", None))
    assert known() is not None
    fastconv.clear_cache()
    assert known() is None


def test_calls_beside_clear_cache() -> None:
    """Threads that repeat calls while others forget them always get their own result."""
    kernel = integers(1, 1, 2, 2)
    images = [integers(1, 1, 4 + i, 5) for i in range(6)]
    expected = [naive.forward(x, kernel, None, (1, 1), ((0, 0),) * 2, (1, 1), 1) for x in images]
    stop = threading.Event()

    def repeat(i: int) -> int:
        done = 0
        while not stop.is_set():
            np.testing.assert_array_equal(fastconv.conv2d(images[i], kernel), expected[i])
            done += 1
        return done

    with ThreadPoolExecutor(len(images)) as pool:
        running = [pool.submit(repeat, i) for i in range(len(images))]
        for _ in range(200):
            fastconv.clear_cache()
        stop.set()
        assert all(future.result() > 0 for future in running)
