"""Small problems, every product listed ahead: each pass against the oracle, and what is refused."""

import pytest
from arrays import DTYPES, LAYOUTS, Arena
from cases import EDGES, PASSES, Case, compute, result_shape, simple, solved
from numpy.testing import assert_array_equal

import fastconv
from fastconv.cpu.listed import MOST
from fastconv.explain import DIRECTIONS

CASES = {
    "worked example": simple(1, 1, 1, (3, 3), (2, 2)),
    "padding on one side": Case(1, 1, 2, 1, (4, 3), (2, 3), (1, 1), ((0, 2), (3, 0)), (1, 1), True),
    "strided, some pixels unseen": simple(2, 1, 1, (6, 5), (2, 2), stride=3),
    "strided past the image": simple(1, 2, 1, (3, 3), (2, 1), stride=4, pad=2),
    "dilated": simple(1, 1, 2, (5, 6), (2, 3), dilation=2, pad=1, bias=True),
    "grouped": simple(2, 4, 6, (2, 3), (1, 2), groups=2, bias=True),
    "depthwise": simple(1, 5, 5, (3, 3), (2, 2), groups=5, pad=1),
    "one axis": simple(3, 2, 3, (7,), (3,), stride=2, pad=2, bias=True),
    "three axes": simple(1, 2, 1, (2, 2, 3), (2, 1, 2), pad=1),
    **{name: EDGES[name] for name in ("one pixel, one channel", "output that reads padding alone")},
}


@pytest.mark.parametrize("which", PASSES)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_small_problems(case: Case, dtype: str, layout: str, which: str, arena: Arena) -> None:
    given, expected = solved(case, which)
    arrays = [arena.place(values, dtype, layout) for values in given]
    out = arena.output(result_shape(case, which), dtype, layout)
    compute(case, which, *arrays, out=out, algorithm="listed")
    assert_array_equal(out, expected)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_auto_takes_it_up_to_its_limit(direction: str) -> None:
    fitting = (1, 1, 1, MOST), (1, 1, 1, 1)
    plan = fastconv.explain(*fitting, direction=direction)
    assert (plan.algorithm, plan.workspace) == ("listed", 0)
    larger = (1, 1, 1, MOST + 1), (1, 1, 1, 1)
    assert fastconv.explain(*larger, direction=direction).algorithm != "listed"
    with pytest.raises(ValueError, match=f"listed' is for up to {MOST} multiply-adds"):
        fastconv.explain(*larger, direction=direction, algorithm="listed")


def test_results_without_products_count() -> None:
    """A strided 1x1 convolution leaves most of its input gradient zero: the list has it all."""
    sizes = (1, 1, 8, 8 * MOST), (1, 1, 1, 1)
    with pytest.raises(ValueError, match=f"listed' is for up to {MOST} results"):
        fastconv.explain(*sizes, stride=8 * MOST, direction="input_gradient", algorithm="listed")
