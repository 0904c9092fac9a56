"""The oracles themselves: numbers known by hand, PyTorch's results, and the arena's own alarms."""

from itertools import combinations
from types import ModuleType

import by_taps
import naive
import numpy as np
import pytest
from arrays import GUARD, LAYOUTS, VIEWS, Arena, is_channels_last
from cases import EDGES, PASSES, Case, grid, operands, oracle, simple
from covering import pairwise


@pytest.mark.parametrize("sums", [naive, by_taps])
def test_known_by_hand(sums: ModuleType) -> None:
    x = np.arange(1.0, 10).reshape(1, 1, 3, 3)
    w = np.array([[[[3.0, 2], [1, 5]]]])
    dy = np.full((1, 1, 2, 2), 4.0)
    how = ((1, 1), ((0, 0), (0, 0)), (1, 1), 1)
    assert sums.forward(x, w, None, *how).tolist() == [[[[36, 47], [69, 80]]]]
    assert sums.weight_gradient(x, dy, (2, 2), *how).tolist() == [[[[48, 64], [96, 112]]]]
    expected = [[[[12, 20, 8], [16, 44, 28], [4, 24, 20]]]]
    assert sums.input_gradient(w, dy, (3, 3), *how).tolist() == expected


CASES = {
    **{name: case for name, case in EDGES.items() if name != "large kernel"},
    "one axis": simple(2, 6, 9, (12,), (4,), groups=3, stride=2, pad=3, dilation=2),
}


_SOME = {str(case): case for rank in (1, 2, 3) for case, *_ in grid(rank)[::9]}


@pytest.mark.parametrize("which", PASSES)
@pytest.mark.parametrize("case", (CASES | _SOME).values(), ids=CASES | _SOME)
def test_sums_by_taps_are_the_definition(case: Case, which: str) -> None:
    a, b, *bias = operands(case, which)
    arguments = {
        "forward": (a, b, bias[0] if bias else None),
        "weight_gradient": (a, b, case.kernel),
        "input_gradient": (a, b, case.input),
    }[which]
    expected = getattr(naive, which)(*arguments, *case.how)
    np.testing.assert_array_equal(getattr(by_taps, which)(*arguments, *case.how), expected)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_pytorch_agrees(case: Case) -> None:
    torch = pytest.importorskip("torch")
    pads = tuple(before for before, _ in case.pads)
    how = {"stride": case.stride, "padding": pads, "dilation": case.dilation}
    x, w, *bias = (torch.from_numpy(a).requires_grad_() for a in operands(case, "forward"))
    _, dy = (torch.from_numpy(a) for a in operands(case, "weight_gradient"))
    conv = getattr(torch.nn.functional, f"conv{case.rank}d")
    y = conv(x, w, *bias, **how, groups=case.groups)
    y.backward(dy)

    x_, w_, *bias_ = operands(case, "forward")
    np.testing.assert_array_equal(oracle(case, "forward", x_, w_, *bias_), y.detach())
    np.testing.assert_array_equal(oracle(case, "weight_gradient", x_, dy.numpy()), w.grad)
    np.testing.assert_array_equal(oracle(case, "input_gradient", w_, dy.numpy()), x.grad)


def test_asymmetric_padding_is_symmetric_padding_of_a_padded_input() -> None:
    case = Case(2, 3, 4, 1, (5, 6), (3, 2), (2, 1), ((1, 3), (4, 0)), (1, 2))
    x, w = operands(case, "forward")
    padded = np.pad(x, ((0, 0), (0, 0), *case.pads))
    bare = naive.forward(padded, w, None, case.stride, ((0, 0), (0, 0)), case.dilation, 1)
    np.testing.assert_array_equal(oracle(case, "forward", x, w), bare)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("where", [0, GUARD - 1, -GUARD, -1])
def test_arena_sees_a_write_outside_an_output(where: int, layout: str) -> None:
    arena = Arena()
    out = arena.output((2, 3, 4, 5), "float32", layout)
    assert np.isnan(out).all()
    assert is_channels_last(out) == (layout == "channels_last")
    out[...] = 1
    arena.check()
    memory = out
    while memory.base is not None:
        memory = memory.base
    memory[where] = 0
    with pytest.raises(AssertionError, match="outside the output"):
        arena.check()


def test_arena_sees_a_write_into_an_input() -> None:
    arena = Arena()
    given = arena.place(np.ones((2, 3)), "float64")
    arena.check()
    given[1, 2] = 5
    with pytest.raises(AssertionError, match="an input"):
        arena.check()


@pytest.mark.parametrize("name", sorted(set(VIEWS) - {"broadcast", "broadcast_image"}))
@pytest.mark.parametrize("shape", [(2, 3, 7), (2, 3, 4, 5), (1, 2, 3, 4, 5)])
def test_views_keep_the_values(name: str, shape: tuple[int, ...]) -> None:
    values = np.random.default_rng(0).standard_normal(shape)
    np.testing.assert_array_equal(VIEWS[name](values), values)


def test_every_pair_meets() -> None:
    factors = {"a": range(4), "b": range(3), "c": "xyz"}

    def allowed(row: dict[str, object]) -> bool:
        return (row["a"], row["b"]) != (0, 0)

    rows = pairwise(factors, allowed)
    assert all(map(allowed, rows))
    for first, second in combinations(factors, 2):
        met = {(row[first], row[second]) for row in rows}
        wanted = {(i, j) for i in factors[first] for j in factors[second]}
        assert wanted - met == ({(0, 0)} if (first, second) == ("a", "b") else set())
    assert len(rows) < 4 * 3 * 3 / 2


def test_passes_have_an_oracle_each() -> None:
    case = simple(1, 2, 3, (4, 5), (2, 2))
    shapes = [oracle(case, which, *operands(case, which)).shape for which in PASSES]
    assert shapes == [case.output_shape, case.weight_shape, case.input_shape]
