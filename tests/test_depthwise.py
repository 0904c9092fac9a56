"""Depthwise kernels: every geometry they take, exactly equal to the oracle; what they refuse."""

from typing import Any

import numpy as np
import pytest
from arrays import DTYPES, LAYOUTS, VIEWS, Arena
from cases import PASSES, Case, compute, operands, oracle, parameters, result_shape, simple, solved

import fastconv

# (C, K, groups): depthwise around a vector's lanes, several outputs or inputs a group, one group.
_CHANNELS = (
    *((1, 1, 1), (3, 3, 3), (16, 16, 16), (17, 17, 17), (33, 33, 33), (70, 70, 70)),
    *((4, 8, 4), (6, 3, 3), (1, 5, 1), (5, 1, 1), (2, 6, 2)),
)
_SETTINGS = {
    "channels": _CHANNELS,
    "input": ((1, 1), (5, 7), (7, 7), (14, 14), (9, 40), (3, 101)),
    "kernel": ((1, 1), (2, 2), (3, 3), (5, 5), (1, 4), (7, 7), (9, 2)),
    "stride": ((1, 1), (2, 2), (1, 3), (3, 5)),
    "dilation": ((1, 1), (2, 3)),
    "pads": (
        *(((0, 0), (0, 0)), ((1, 1), (1, 1)), ((3, 3), (2, 2)), ((0, 2), (5, 0))),
        ((9, 4), (1, 20)),
    ),
    "n": (1, 2, 5),
    "bias": (False, True),
    "memory": tuple((dtype, layout) for dtype in DTYPES for layout in LAYOUTS),
    "which": PASSES,
}


def _case(row: dict[str, Any]) -> Case:
    c, k, groups = row["channels"]
    sizes = (row[name] for name in ("input", "kernel", "stride", "pads", "dilation"))
    return Case(row["n"], c, k, groups, *sizes, row["bias"])


def _allowed(row: dict[str, Any]) -> bool:
    """Whether the kernel fits, and one of the passes can be done at all."""
    axes = zip(row["input"], row["kernel"], row["dilation"], row["pads"], strict=True)
    c, k, groups = row["channels"]
    mixed = row["memory"][1] == "channels_last" and not c == k == groups
    return all(s + sum(p) > d * (r - 1) for s, r, d, p in axes) and not mixed


GRID = parameters(_SETTINGS, _case, _allowed)


@pytest.mark.parametrize(("case", "dtype", "layout", "which"), GRID)
def test_grid(case: Case, dtype: str, layout: str, which: str, arena: Arena) -> None:
    if which == "input_gradient" and any(
        s > r or s != 1 != d
        for r, s, d in zip(case.kernel, case.stride, case.dilation, strict=True)
    ):
        pytest.skip("a phase of the stride may meet no tap: refused, tested below")
    given = operands(case, which)
    arrays = [arena.place(values, dtype, layout) for values in given]
    out = arena.output(result_shape(case, which), dtype, layout)
    result = compute(case, which, *arrays, out=out, algorithm="depthwise")
    np.testing.assert_array_equal(result, oracle(case, which, *given))


# Few pixels of many channels, of which vectors of every width have several.
GATHERED = simple(2, 70, 70, (7, 7), (3, 3), groups=70, pad=1, stride=2)


@pytest.mark.parametrize("case", [GATHERED], ids=str)
def test_channels_are_gathered_into_lanes_and_scattered(case: Case, arena: Arena) -> None:
    for which in PASSES:
        test_grid(case, "float32", "channels_first", which, arena)


OTHER_RANKS = {
    "a signal": simple(2, 18, 18, (200,), (9,), groups=18, pad=4),
    "a strided signal": simple(1, 3, 6, (75,), (25,), groups=3, stride=4),
    "a volume": simple(2, 17, 17, (5, 6, 7), (3, 3, 3), groups=17, pad=1),
    "a strided volume": simple(1, 5, 5, (7, 6, 9), (3, 2, 4), groups=5, stride=2, pad=1),
    "a dilated volume": simple(1, 5, 5, (9, 6, 9), (3, 2, 2), groups=5, dilation=2),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("which", PASSES)
@pytest.mark.parametrize("case", OTHER_RANKS.values(), ids=OTHER_RANKS)
def test_signals_and_volumes(case: Case, which: str, layout: str, arena: Arena) -> None:
    if layout == "channels_last" and case.c != case.k:
        pytest.skip("refused, tested below")
    given, exact = solved(case, which)
    arrays = [arena.place(values, "float32", layout) for values in given]
    out = arena.output(result_shape(case, which), "float32", layout)
    compute(case, which, *arrays, out=out, algorithm="depthwise")
    np.testing.assert_array_equal(out, exact)


BANDS = {
    "one image in bands": simple(1, 1, 1, (70, 700), (5, 5), pad=2),
    "tall kernels": simple(1, 1, 1, (34, 44), (31, 31), pad=15),
    "bands of a few rows": simple(1, 20, 20, (90, 400), (3, 3), groups=20, pad=1, stride=2),
    "many planes": simple(16, 130, 130, (7, 7), (3, 3), groups=130, pad=1),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("which", PASSES)
@pytest.mark.parametrize("case", BANDS.values(), ids=BANDS)
def test_threads_do_not_change_a_bit(case: Case, which: str, layout: str, arena: Arena) -> None:
    given, exact = solved(case, which)
    arrays = [arena.place(values, "float32", layout) for values in given]
    for threads in (1, 2, 5):
        with fastconv.options(threads=threads):
            result = compute(case, which, *arrays, algorithm="depthwise")
        np.testing.assert_array_equal(result, exact)


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("which", PASSES)
def test_any_strides(which: str, view: str) -> None:
    case = simple(2, 18, 18, (10, 9), (3, 3), groups=18, pad=1)
    arrays = [VIEWS[view](values.astype("float32")) for values in operands(case, which)]
    result = compute(case, which, *arrays, algorithm="depthwise")
    np.testing.assert_array_equal(result, oracle(case, which, *arrays))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("which", PASSES)
def test_results_of_another_layout(which: str, layout: str, arena: Arena) -> None:
    case = simple(2, 18, 18, (10, 21), (3, 3), groups=18, pad=1, stride=2)
    given, exact = solved(case, which)
    arrays = [arena.place(values, "float32", layout) for values in given]
    other = next(name for name in LAYOUTS if name != layout)
    out = arena.output(result_shape(case, which), "float32", other)
    compute(case, which, *arrays, out=out, algorithm="depthwise")
    np.testing.assert_array_equal(out, exact)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("size", [(7, 7), (30, 33)])
@pytest.mark.parametrize("which", PASSES)
def test_nan_goes_where_its_products_go(
    which: str, size: tuple[int, int], layout: str, arena: Arena
) -> None:
    """Neither to neighbours in a row, nor to other planes of a vector."""
    case = simple(3, 18, 18, size, (3, 3), groups=18, pad=1)
    first, second = operands(case, which)
    spoilt = (second if which == "input_gradient" else first).astype("float32")
    spoilt[1, 3, 2, [0, size[1] - 1]] = np.nan
    given = (first, spoilt) if which == "input_gradient" else (spoilt, second)
    arrays = [arena.place(values, "float32", layout) for values in given]
    result = compute(case, which, *arrays, algorithm="depthwise")
    np.testing.assert_array_equal(result, oracle(case, which, *given))


@pytest.mark.parametrize("which", PASSES)
def test_pixels_that_crowd_the_cache(which: str) -> None:
    """Channels last, 4096 bytes from pixel to pixel: staged where others are read in place."""
    case = simple(2, 70, 70, (9, 8), (3, 3), groups=70, pad=1)
    given = operands(case, which)
    arrays = [values.astype("float32") for values in given]
    for i, values in enumerate(arrays):
        if values.shape[1] == 70:
            spread = np.full((2, *values.shape[2:], 1024), np.nan, "float32")
            arrays[i] = np.moveaxis(spread, -1, 1)[:, :70]
            arrays[i][...] = values
    result = compute(case, which, *arrays, algorithm="depthwise")
    np.testing.assert_array_equal(result, oracle(case, which, *given))


REFUSED = {
    "channels that mix": (simple(1, 4, 4, (9, 9), (3, 3)), "channels_first", "one input or one"),
    "grouped, channels last": (
        simple(1, 2, 4, (9, 9), (3, 3), groups=2),
        "channels_last",
        "one input and one output channel",
    ),
}


@pytest.mark.parametrize("which", PASSES)
@pytest.mark.parametrize(("case", "layout", "reason"), REFUSED.values(), ids=REFUSED)
def test_refused(case: Case, layout: str, reason: str, which: str, arena: Arena) -> None:
    arrays = [arena.place(values, "float32", layout) for values in operands(case, which)]
    with pytest.raises(ValueError, match=f"'depthwise' needs {reason}.*'auto', 'direct', 'im2col'"):
        compute(case, which, *arrays, algorithm="depthwise")


def test_a_stride_beyond_the_kernel_is_refused_to_the_input_gradient() -> None:
    case = simple(1, 4, 4, (9, 9), (2, 2), groups=4, stride=3)
    given = operands(case, "input_gradient")
    with pytest.raises(ValueError, match="'depthwise' needs a kernel as long as its stride"):
        compute(case, "input_gradient", *given, algorithm="depthwise")


@pytest.mark.parametrize("which", PASSES)
def test_auto_takes_it_for_depthwise_layers(which: str) -> None:
    shapes = (8, 96, 56, 56), (96, 1, 7, 7)
    plan = fastconv.explain(*shapes, padding=3, groups=96, direction=which)
    assert plan.algorithm == "depthwise"
