"""Targets woven of sums and fill: strided input gradients, and transposed convolution's bias."""

import numpy as np
import pytest
from arrays import DTYPES, Arena
from cases import Case, compute, operands, oracle, result_shape, simple

import fastconv
from fastconv.cpu.convolution import plan_steps
from fastconv.cpu.operands import Operands
from fastconv.cpu.views import Workspace
from fastconv.geometry import forward_geometry

# Rows around the widths of a vector and of a panel, that end with a sum and with fill; planes that
# start with fill; images so small that many meet in a panel; strides along some axes alone.
CASES = {
    "short rows": simple(13, 19, 37, (7, 5), (1, 1), stride=2),
    "rows of 28 sums": simple(2, 20, 33, (55, 56), (1, 1), stride=2),
    "rows longer than a panel": simple(1, 9, 18, (4, 131), (1, 1), stride=2),
    "padded": Case(3, 17, 20, 1, (11, 18), (1, 1), (2, 2), ((1, 1), (1, 0)), (1, 1)),
    "rows apart, pixels not": Case(2, 17, 20, 1, (9, 35), (1, 1), (3, 1), ((0, 0), (0, 0)), (1, 1)),
    "two taps down": Case(2, 17, 20, 1, (9, 34), (2, 1), (1, 2), ((1, 0), (0, 0)), (1, 1)),
    "one axis": simple(5, 24, 16, (77,), (1,), stride=2),
    "three axes": simple(2, 9, 17, (5, 6, 7), (1, 1, 1), stride=2, pad=1),
    "one pixel": simple(4, 18, 16, (2, 2), (1, 1), stride=2),
    "many channels": simple(2, 300, 700, (6, 7), (1, 1), stride=2),
}
# Left to fill and scatter: pixels further apart, and groups.
OTHERS = {
    "stride 3": simple(2, 17, 20, (10, 40), (1, 1), stride=3),
    "groups": simple(2, 34, 40, (10, 40), (1, 1), stride=2, groups=2),
}


def _apart(case: Case, dtype: str) -> list[int]:
    """How far apart the kernels of im2col put sums, of those that weave."""
    g = forward_geometry(case.input_shape, case.weight_shape, *case.how, case.rank)
    x, w, y = (
        np.empty(shape, dtype).strides
        for shape in (case.output_shape, case.weight_shape, case.input_shape)
    )
    arrays = Operands(8 * np.dtype(dtype).itemsize, x, w, y)
    _, steps, _ = plan_steps("input_gradient", g, arrays, "im2col", False, Workspace())
    assert isinstance(steps, list)
    made = (dict(step.kernel.constants) for step in steps)
    return [constants["apart"] for constants in made if constants.get("apart")]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", [*CASES.values(), *OTHERS.values()], ids=[*CASES, *OTHERS])
def test_input_gradient(case: Case, dtype: str, arena: Arena) -> None:
    given = operands(case, "input_gradient")
    expected = oracle(case, "input_gradient", *given)
    arrays = [arena.place(values, dtype) for values in given]
    for count in (1, 3):
        out = arena.output(result_shape(case, "input_gradient"), dtype)
        with fastconv.options(threads=count):
            compute(case, "input_gradient", *arrays, out=out, algorithm="im2col")
        np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize("dtype", DTYPES)
def test_what_is_woven(dtype: str) -> None:
    for case in CASES.values():
        alone = case.output_shape[-1] == 1
        assert _apart(case, dtype) == [1 if alone else case.stride[-1]]
    for case in OTHERS.values():
        assert not _apart(case, dtype)


def test_fill_is_the_bias(arena: Arena) -> None:
    case = simple(3, 21, 18, (8, 33), (1, 1), stride=2)
    w, dy = operands(case, "input_gradient")
    bias = np.arange(1.0, case.c + 1)
    expected = oracle(case, "input_gradient", w, dy) + bias[:, None, None]
    given = [arena.place(values, "float32") for values in (dy, w, bias)]
    out = arena.output(case.input_shape, "float32")
    rest = tuple((n - 1) % s for n, s in zip(case.input, case.stride, strict=True))
    fastconv.conv_transpose2d(*given, stride=2, output_padding=rest, out=out, algorithm="im2col")
    np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize("step", [1, 2])
def test_a_target_of_other_strides_is_filled_and_scattered_to(step: int) -> None:
    case = simple(2, 17, 20, (9, 10), (1, 1), stride=2)
    w, dy = (values.astype("float32") for values in operands(case, "input_gradient"))
    larger = np.full((*case.input_shape[:-1], 3 * case.input[-1]), np.nan, "float32")
    out = larger[..., : step * case.input[-1] : step]
    compute(case, "input_gradient", w, dy, out=out, algorithm="im2col")
    np.testing.assert_array_equal(out, oracle(case, "input_gradient", w, dy))
    assert np.isnan(larger[..., step * case.input[-1] :]).all()


def test_auto_weaves() -> None:
    plan = fastconv.explain(
        (8, 256, 56, 56), (128, 256, 1, 1), stride=2, direction="input_gradient"
    )
    assert plan.algorithm == "im2col"
