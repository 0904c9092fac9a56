"""Winograd: every geometry it takes, against the oracle within its bound; what it refuses."""

from typing import Any

import numpy as np
import pytest
from arrays import DTYPES, LAYOUTS, VIEWS, Arena, Array
from cases import PASSES, Case, compute, operands, oracle, parameters, result_shape, simple
from magnitudes import magnitude
from reals import DRAWS

import fastconv
from fastconv.cpu.winograd import BOUND
from fastconv.cpu.winograd_shape import shape_of
from fastconv.geometry import forward_geometry
from fastconv.lowering import lower_forward

_CHANNELS = (
    *((1, 1, 1), (3, 15, 1), (15, 16, 1), (17, 24, 1), (31, 33, 1), (33, 3, 1), (70, 17, 1)),
    *((130, 40, 1), (20, 66, 1), (6, 4, 2), (34, 30, 2), (45, 48, 3)),
)
_INPUTS = (
    (1, 1),
    (2, 2),
    (3, 8),
    (4, 4),
    (5, 33),
    (7, 7),
    (13, 17),
    (18, 3),
    (28, 21),
)
_PADS = (
    *(((0, 0), (0, 0)), ((1, 1), (1, 1)), ((2, 2), (3, 3)), ((0, 1), (2, 0)), ((4, 1), (0, 7))),
    ((9, 9), (1, 0)),
)
_SETTINGS = {
    "channels": _CHANNELS,
    "input": _INPUTS,
    "pads": _PADS,
    "n": (1, 2, 5),
    "bias": (False, True),
    "memory": tuple((dtype, layout) for dtype in DTYPES for layout in LAYOUTS),
    "which": PASSES,
}


# Beside 3x3 kernels: of every number of taps an axis, with strides that make phases of them, and
# with dilation that makes many images of one.
_OTHERS = {
    "channels": ((1, 1, 1), (3, 40, 1), (17, 24, 1), (33, 3, 1), (70, 17, 1), (45, 48, 1)),
    "input": ((9, 11), (13, 16), (16, 5), (21, 34), (6, 300)),
    "kernel": ((5, 5), (1, 3), (2, 4), (7, 7), (5, 10)),
    "stride": ((1, 1), (2, 2), (1, 2), (3, 1)),
    "dilation": ((1, 1), (2, 2), (1, 5), (12, 3)),
    "pads": (((0, 0), (0, 0)), ((1, 1), (1, 1)), ((3, 2), (0, 4)), ((12, 12), (3, 3))),
    "n": (1, 2),
    "bias": (False, True),
    "memory": _SETTINGS["memory"],
    "which": PASSES,
}


def _case(row: dict[str, Any]) -> Case:
    c, k, groups = row["channels"]
    kernel, stride = row.get("kernel", (3, 3)), row.get("stride", (1, 1))
    dilation = row.get("dilation", (1, 1))
    sizes = row["n"], c, k, groups, row["input"], kernel, stride, row["pads"], dilation
    return Case(*sizes, row["bias"])


def _allowed(row: dict[str, Any]) -> bool:
    case = _case(row)
    if not all(case.output_shape[2:]) or (max(case.stride) > 1 and max(case.dilation) > 1):
        return False
    # With a stride, phases that start apart may reach over one tap more than each has; a stride is
    # none where there is one output.
    taps = [-(-r // s) for r, s in zip(case.kernel, case.stride, strict=True)]
    lone = any(n == 1 and s > 1 for n, s in zip(case.output_shape[2:], case.stride, strict=True))
    shorter = any(r < s for r, s in zip(case.kernel, case.stride, strict=True))
    most = 5 if max(case.stride) == 1 else 4
    return 1 < max(taps) <= most and not lone and not shorter


# Channels fill the lanes of vectors, pixels make tiles: neither knows of the other.
_APART = tuple(("channels", other) for other in ("dilation", "input", "kernel", "pads", "stride"))
GRID = [
    row
    for settings in (_SETTINGS, _OTHERS)
    # A seed whose rows take few kernels.
    for row in parameters(settings, _case, _allowed, _APART, seed=3)
]


def bound(case: Case, which: str, given: tuple[Array, ...], dtype: str) -> float:
    """The most that a result may be off."""
    return BOUND * float(np.finfo(dtype).eps) * magnitude(case, which, given)


ONE_AXIS = {
    "3 taps": simple(2, 17, 20, (33,), (3,), pad=1, bias=True),
    "5 taps, stride 2": simple(2, 20, 18, (301,), (5,), pad=4, stride=2),
    "2 taps, dilation 7": simple(1, 20, 33, (1000,), (2,), dilation=7),
    "grouped": simple(2, 24, 20, (50,), (4,), groups=2),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("which", PASSES)
@pytest.mark.parametrize("case", ONE_AXIS.values(), ids=ONE_AXIS)
def test_one_axis(case: Case, which: str, layout: str, arena: Arena) -> None:
    test_grid(case, "float32", layout, which, arena)


@pytest.mark.parametrize(("case", "dtype", "layout", "which"), GRID)
def test_grid(case: Case, dtype: str, layout: str, which: str, arena: Arena) -> None:
    given = operands(case, which)
    arrays = [arena.place(values, dtype, layout) for values in given]
    out = arena.output(result_shape(case, which), dtype, layout)
    result = compute(case, which, *arrays, out=out, algorithm="winograd")
    assert np.abs(result - oracle(case, which, *given)).max() <= bound(case, which, given, dtype)


LARGE = {
    "maps images ahead": simple(3, 200, 160, (9, 10), (3, 3), pad=1),
    "maps weights ahead": simple(2, 64, 96, (37, 50), (3, 3), pad=1, bias=True),
    "many chunks": simple(9, 70, 40, (20, 11), (3, 3), pad=1),
    "stem": simple(2, 3, 64, (45, 51), (7, 7), stride=2, pad=3),
    "5x5": simple(2, 48, 40, (14, 15), (5, 5), pad=2),
    "5x5, stride 2": simple(3, 40, 34, (33, 22), (5, 5), stride=2, pad=1),
    "dilated": simple(2, 33, 40, (25, 26), (3, 3), pad=6, dilation=6),
    "five points": simple(3, 72, 40, (9, 9), (3, 3), pad=1),
}


# The oracle computes in float64, so its own rounding shows beside float64's on the harder draws.
_DRAWN = [*(("float32", draw) for draw in DRAWS), ("float64", "normal")]


@pytest.mark.parametrize(("dtype", "draw"), _DRAWN)
@pytest.mark.parametrize("which", PASSES)
@pytest.mark.parametrize("case", LARGE.values(), ids=LARGE)
def test_rounding(case: Case, dtype: str, which: str, draw: str) -> None:
    rng = np.random.default_rng(3)
    given = tuple(DRAWS[draw](rng, a.shape).astype(dtype) for a in operands(case, which))
    result = compute(case, which, *given, algorithm="winograd")
    exact = oracle(case, which, *given)
    assert np.abs(result - exact).max() <= bound(case, which, given, dtype)


# (targets along each axis, points along each axis of the tiles that take fewest products)
_TILES = (((4, 8), (6, 6)), ((3, 9), (5, 5)), ((2, 6), (4, 5)), ((7, 14), (6, 6)), ((5, 1), (5, 4)))


@pytest.mark.parametrize(("size", "points"), _TILES)
def test_tiles_take_the_fewest_products(size: tuple[int, int], points: tuple[int, int]) -> None:
    case = simple(1, 2, 2, size, (3, 3), pad=1)
    g = forward_geometry(case.input_shape, case.weight_shape, *case.how, case.rank)
    assert shape_of(lower_forward(g)).points == points


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("which", PASSES)
def test_any_strides(which: str, view: str) -> None:
    case = simple(2, 18, 35, (10, 9), (3, 3), pad=1)
    arrays = [VIEWS[view](values.astype("float32")) for values in operands(case, which)]
    result = compute(case, which, *arrays, algorithm="winograd")
    exact = oracle(case, which, *arrays)
    assert np.abs(result - exact).max() <= bound(case, which, tuple(arrays), "float32")


@pytest.mark.parametrize("which", PASSES)
@pytest.mark.parametrize("case", LARGE.values(), ids=LARGE)
def test_threads_do_not_change_a_bit(case: Case, which: str) -> None:
    rng = np.random.default_rng(4)
    given = [DRAWS["normal"](rng, a.shape).astype("float32") for a in operands(case, which)]
    results = []
    for threads in (1, 2, 5):
        with fastconv.options(threads=threads):
            results.append(compute(case, which, *given, algorithm="winograd").tobytes())
    assert len(set(results)) == 1


REFUSED = {
    "stride and dilation": simple(1, 2, 3, (9, 9), (3, 3), stride=2, dilation=2),
    "stride of a grouped layer": simple(1, 2, 4, (9, 9), (3, 3), stride=2, groups=2),
    "stride beyond the kernel": simple(1, 2, 3, (9, 9), (2, 3), stride=3),
    "kernel": simple(1, 2, 3, (9, 9), (3, 6)),
    "one tap": simple(1, 2, 3, (9, 9), (1, 1)),
    "three axes": simple(1, 2, 3, (9, 9, 9), (3, 3, 3)),
}


@pytest.mark.parametrize("which", PASSES)
@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED)
def test_refusals_name_what_is_possible(case: Case, which: str) -> None:
    given = [values.astype("float32") for values in operands(case, which)]
    with pytest.raises(ValueError, match=r"'winograd' needs .*'auto', 'direct', 'im2col'"):
        compute(case, which, *given, algorithm="winograd")


@pytest.mark.parametrize("which", PASSES)
def test_auto_takes_it_for_large_layers_unless_forbidden(which: str) -> None:
    case = simple(2, 64, 64, (28, 28), (3, 3), pad=1)
    given = [values.astype("float32") for values in operands(case, which)]
    shapes = case.input_shape, case.weight_shape
    plan = fastconv.explain(*shapes, padding=1, direction=which)
    assert plan.algorithm == "winograd"
    first = compute(case, which, *given)
    with fastconv.options(winograd=False):
        assert fastconv.explain(*shapes, padding=1, direction=which).algorithm == "direct"
        np.testing.assert_array_equal(compute(case, which, *given), oracle(case, which, *given))
    np.testing.assert_array_equal(compute(case, which, *given), first)
