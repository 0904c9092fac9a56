"""Input gradients by columns: every geometry they take, exactly equal to the oracle; refusals."""

from typing import Any

import numpy as np
import pytest
from arrays import DTYPES, LAYOUTS, VIEWS, Arena
from cases import Case, compute, operands, oracle, parameters, result_shape, simple, solved

import fastconv
from fastconv.cpu import simd

WHICH = "input_gradient"

_SETTINGS = {
    "channels": ((1, 5, 1), (1, 33, 1), (3, 16, 1), (3, 17, 1), (6, 8, 2), (2, 3, 1), (4, 4, 4)),
    "input": ((1, 1), (5, 7), (14, 14), (9, 40), (3, 101), (70, 23)),
    "kernel": ((1, 1), (2, 2), (3, 3), (5, 5), (1, 4), (7, 7), (9, 2), (2, 17)),
    "stride": ((1, 1), (2, 2), (1, 3), (3, 5)),
    "dilation": ((1, 1), (2, 3)),
    "pads": (
        *(((0, 0), (0, 0)), ((1, 1), (1, 1)), ((3, 3), (2, 2)), ((0, 2), (5, 0))),
        ((9, 4), (1, 20)),
    ),
    "n": (1, 2, 5),
    "memory": tuple((dtype, layout) for dtype in DTYPES for layout in LAYOUTS),
    "which": (WHICH,),
}


def _case(row: dict[str, Any]) -> Case:
    c, k, groups = row["channels"]
    sizes = (row[name] for name in ("input", "kernel", "stride", "pads", "dilation"))
    return Case(row["n"], c, k, groups, *sizes)


def _allowed(row: dict[str, Any]) -> bool:
    axes = zip(row["input"], row["kernel"], row["dilation"], row["pads"], strict=True)
    return all(s + sum(p) > d * (r - 1) for s, r, d, p in axes)


GRID = parameters(_SETTINGS, _case, _allowed)


def check(case: Case, dtype: str, layout: str, arena: Arena, out_layout: str = "") -> None:
    """Compare an input gradient with the oracle, everything lying between guard zones."""
    given, expected = solved(case, WHICH)
    arrays = [arena.place(values, dtype, layout) for values in given]
    out = arena.output(result_shape(case, WHICH), dtype, out_layout or layout)
    compute(case, WHICH, *arrays, out=out, algorithm="col2im")
    np.testing.assert_array_equal(out, expected)


def _meets(case: Case) -> bool:
    """Whether any pixel lies in a phase of the stride that has a tap."""
    axes = zip(case.input, case.kernel, *case.window[2:], strict=True)
    return all(
        any((pixel + pad[0] - r * d) % s == 0 for pixel in range(size) for r in range(taps))
        for size, taps, s, pad, d in axes
    )


@pytest.mark.parametrize(("case", "dtype", "layout", "which"), GRID)
def test_grid(case: Case, dtype: str, layout: str, which: str, arena: Arena) -> None:
    if not _meets(case):
        with pytest.raises(ValueError, match="needs a kernel that meets the image"):
            check(case, dtype, layout, arena)
        return
    check(case, dtype, layout, arena)


CASES = {
    "a signal": simple(2, 1, 9, (300,), (25,), pad=4, stride=3),
    "a long kernel": simple(2, 1, 9, (4000,), (100,), stride=40),
    "a long kernel, bands of single tiles": simple(1, 2, 9, (4003,), (70,), stride=11, pad=5),
    "long kernels apart, in groups": simple(1, 4, 6, (700,), (33,), groups=2, stride=50, pad=7),
    "a kernel almost as long as the signal": simple(3, 1, 3, (60,), (50,), pad=20),
    "a volume": simple(2, 2, 5, (5, 6, 7), (3, 3, 3), pad=1),
    "a strided volume": simple(1, 2, 6, (9, 6, 11), (3, 2, 4), stride=2, pad=1),
    "strides beyond the image": simple(3, 2, 5, (4, 5), (2, 2), stride=5, pad=2),
    "pixels that no tap meets": simple(2, 3, 5, (11, 12), (1, 2), stride=3),
    "bands": simple(1, 1, 12, (150, 70), (7, 7), pad=3),
    "bands of a stride": simple(1, 3, 8, (100, 61), (7, 7), pad=3, stride=2),
    "bands of a volume": simple(1, 1, 4, (40, 13, 12), (5, 3, 3), pad=1),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_cases(case: Case, layout: str, arena: Arena) -> None:
    check(case, "float32", layout, arena)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("case", [case for name, case in CASES.items() if "bands" in name])
def test_threads_do_not_change_a_bit(case: Case, layout: str, arena: Arena) -> None:
    rng = np.random.default_rng(1)
    reals = [rng.standard_normal(values.shape) for values in operands(case, WHICH)]
    arrays = [arena.place(values, "float32", layout) for values in reals]
    first = compute(case, WHICH, *arrays, algorithm="col2im")
    for threads in (1, 2, 5):
        with fastconv.options(threads=threads):
            again = compute(case, WHICH, *arrays, algorithm="col2im")
        np.testing.assert_array_equal(again, first)
    np.testing.assert_allclose(first, oracle(case, WHICH, *reals), rtol=0, atol=1e-4)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_results_of_another_layout(layout: str, arena: Arena) -> None:
    other = next(name for name in LAYOUTS if name != layout)
    check(simple(2, 3, 17, (10, 21), (3, 3), pad=1, stride=2), "float32", layout, arena, other)


@pytest.mark.parametrize("view", VIEWS)
def test_any_strides(view: str) -> None:
    case = simple(2, 3, 18, (10, 9), (3, 3), pad=1)
    arrays = [VIEWS[view](values.astype("float32")) for values in operands(case, WHICH)]
    result = compute(case, WHICH, *arrays, algorithm="col2im")
    np.testing.assert_array_equal(result, oracle(case, WHICH, *arrays))


@pytest.mark.parametrize("dtype", ["float16", "int16", "int64", "complex64"])
def test_other_types(dtype: str, arena: Arena) -> None:
    check(simple(2, 2, 5, (9, 12), (3, 3), pad=1), dtype, "channels_first", arena)


@pytest.mark.parametrize("size", [(9, 12), (90, 40)])
def test_bias(size: tuple[int, int]) -> None:
    """A transposed convolution is one, with a bias that every pixel gets once, bands' ends too."""
    rng = np.random.default_rng(4)
    x, w = rng.integers(-3, 4, (1, 8, *size)).astype("f4"), rng.integers(-3, 4, (8, 4, 3, 3))
    bias = np.arange(8.0, dtype="f4") - 3
    how = {"groups": 2, "stride": 2, "output_padding": 1}
    expected = fastconv.conv_transpose2d(x, w.astype("f4"), bias, algorithm="direct", **how)
    result = fastconv.conv_transpose2d(x, w.astype("f4"), bias, algorithm="col2im", **how)
    np.testing.assert_array_equal(result, expected)


def test_nan_goes_where_its_products_go(arena: Arena) -> None:
    """Also past columns that fill up a tile, and from row to row."""
    case = simple(2, 3, 17, (11, 9), (3, 3), pad=1, stride=2)
    w, dy = operands(case, WHICH)
    dy[1, 3, 2, [0, -1]] = np.nan
    arrays = [arena.place(values, "float32") for values in (w, dy)]
    result = compute(case, WHICH, *arrays, algorithm="col2im")
    np.testing.assert_array_equal(result, oracle(case, WHICH, w, dy))


@pytest.mark.parametrize("which", ["forward", "weight_gradient"])
def test_other_passes_are_refused(which: str) -> None:
    sizes = (1, 1, 40, 40), (8, 1, 5, 5)
    with pytest.raises(ValueError, match="'col2im' computes input gradients alone"):
        fastconv.explain(*sizes, direction=which, algorithm="col2im")


def test_many_channels_are_refused() -> None:
    sizes = (1, 128, 40, 40), (8, 128, 5, 5)
    with pytest.raises(ValueError, match="'col2im' is for up to 64 input channels a group"):
        fastconv.explain(*sizes, direction=WHICH, algorithm="col2im")


@pytest.mark.skipif(simd.VECTOR_BITS < 256, reason="estimates are fitted to AVX2 and AVX-512")
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_auto_takes_it_for_few_input_channels(layout: str) -> None:
    stem = fastconv.explain((8, 3, 224, 224), (64, 3, 7, 7), 2, 3, direction=WHICH, layout=layout)
    assert stem.algorithm == "col2im"
    inner = fastconv.explain((8, 64, 56, 56), (64, 64, 3, 3), 1, 1, direction=WHICH, layout=layout)
    assert inner.algorithm == "winograd"
