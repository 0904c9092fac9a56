"""Per-sample weight gradients: each sample's own, in the bits that it has alone."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from arrays import Arena, Array, channels_last
from bordered import MODES, oracle
from cases import Case, operands, simple

import fastconv
from fastconv.cpu.planning import UNITS

WHICH = "per_sample_gradient"
SMALL = Case(3, 4, 6, 2, (7, 5), (3, 2), (2, 1), ((1, 2), (2, 0)), (1, 2))
CASES = {
    "one axis": Case(3, 2, 3, 1, (9,), (3,), (1,), ((2, 1),), (1,)),
    "two axes": SMALL,
    "three axes": simple(2, 2, 3, (3, 4, 5), (2, 2, 2), pad=1),
    "depthwise": simple(3, 19, 19, (6, 5), (3, 3), pad=1, groups=19),
    "one sample": simple(1, 2, 3, (5, 5), (3, 3)),
    "more samples than units": simple(UNITS + 3, 2, 3, (4, 5), (2, 2), pad=1),
}
LARGE = simple(3, 24, 40, (36, 37), (3, 3), pad=1)  # over a million multiply-adds a sample


def gradient(case: Case, x: Array, dy: Array, **keywords: Any) -> Array:
    run: Callable[..., Array] = getattr(fastconv, f"conv{case.rank}d_weight")
    return run(x, case.weight_shape, dy, *case.how, per_sample=True, **keywords)


def alone(case: Case, x: Array, dy: Array, **keywords: Any) -> Array:
    """The same by one call a sample."""
    run: Callable[..., Array] = getattr(fastconv, f"conv{case.rank}d_weight")
    samples = [slice(n, n + 1) for n in range(case.n)]
    each = [run(x[n], case.weight_shape, dy[n], *case.how, **keywords) for n in samples]
    return np.stack(each).reshape(case.n, *case.weight_shape)


@pytest.mark.parametrize("layout", ["channels_first", "channels_last"])
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_against_plain_loops(arena: Arena, case: Case, layout: str) -> None:
    x, dy = operands(case, "weight_gradient")
    expected = oracle(case, WHICH, "zeros", x, dy, None)
    given = [arena.place(array, "float32", layout) for array in (x, dy)]
    out = arena.output(expected.shape, "float32")
    for keywords in ({"out": out}, {}, {}):
        result = gradient(case, *given, algorithm="direct", **keywords)
        np.testing.assert_array_equal(result, expected)
    arena.check()


@pytest.mark.parametrize("dtype", ["float16", "int32", "complex64"])
def test_other_types(dtype: str) -> None:
    x, dy = operands(SMALL, "weight_gradient")
    expected = oracle(SMALL, WHICH, "zeros", x, dy, None).astype(dtype)
    result = gradient(SMALL, x.astype(dtype), dy.astype(dtype))
    np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize("layout", [np.ascontiguousarray, channels_last])
@pytest.mark.parametrize("algorithm", ["auto", "direct"])
@pytest.mark.parametrize("case", [LARGE, SMALL, CASES["depthwise"]], ids=["large", "small", "dw"])
def test_a_sample_has_the_bits_that_it_has_alone(
    case: Case, algorithm: str, layout: Callable[[Array], Array]
) -> None:
    rng = np.random.default_rng(5)
    x, dy = (
        layout(rng.standard_normal(array.shape, dtype=np.float32))
        for array in operands(case, "weight_gradient")
    )
    expected = alone(case, x, dy, algorithm=algorithm)
    for threads in (1, 2, 3):
        with fastconv.options(threads=threads):
            result = gradient(case, x, dy, algorithm=algorithm)
        np.testing.assert_array_equal(result, expected)


def test_by_fft() -> None:
    pytest.importorskip("scipy")
    case = simple(2, 1, 2, (17, 19), (11, 11), pad=5)
    x, dy = (a.astype(np.float32) for a in operands(case, "weight_gradient"))
    result = gradient(case, x, dy, algorithm="fft", padding_mode="circular")
    np.testing.assert_array_equal(
        result, alone(case, x, dy, algorithm="fft", padding_mode="circular")
    )
    expected = oracle(case, WHICH, "circular", x, dy, None)
    np.testing.assert_allclose(result, expected, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("mode", MODES)
def test_with_padding_modes(mode: str) -> None:
    x, dy = (a.astype(np.float32) for a in operands(SMALL, "weight_gradient"))
    for _ in range(2):
        result = gradient(SMALL, x, dy, padding_mode=mode)
        np.testing.assert_array_equal(result, oracle(SMALL, WHICH, mode, x, dy, None))


def test_strided_arrays_and_out() -> None:
    x, dy = (a.astype(np.float32) for a in operands(SMALL, "weight_gradient"))
    expected = oracle(SMALL, WHICH, "zeros", x, dy, None)
    apart = np.full((5, *SMALL.weight_shape), np.nan, np.float32)
    out = apart[::2]
    backwards, repeated = x[::-1].copy()[::-1], np.broadcast_to(dy[:1], dy.shape)
    assert gradient(SMALL, backwards, dy, out=out) is out
    np.testing.assert_array_equal(out, expected)
    assert np.isnan(apart[1::2]).all()
    same = oracle(SMALL, WHICH, "zeros", x, repeated, None)
    np.testing.assert_array_equal(gradient(SMALL, x, repeated), same)


def test_sum_over_samples_is_the_batch_gradient() -> None:
    x, dy = (a.astype(np.float32) for a in operands(SMALL, "weight_gradient"))
    for _ in range(2):  # a known call of the one kind is none of the other
        each = gradient(SMALL, x, dy)
        whole = fastconv.conv2d_weight(x, SMALL.weight_shape, dy, *SMALL.how)
        np.testing.assert_array_equal(each.sum(0), whole)
        np.testing.assert_array_equal(
            fastconv.conv2d_weight(x, SMALL.weight_shape, dy, *SMALL.how, per_sample=0), whole
        )


def test_an_empty_batch() -> None:
    none = np.empty((0, 3, 5, 5), np.float32)
    result = fastconv.conv2d_weight(none[:, :2], (3, 2, 5, 5), none[..., :1, :1], per_sample=True)
    assert result.shape == (0, 3, 2, 5, 5)


def test_refused() -> None:
    x, dy = (a.astype(np.float32) for a in operands(SMALL, "weight_gradient"))
    message = r"per_sample must be True or False, got 'no' \(str\)"
    with pytest.raises(TypeError, match=message):
        fastconv.conv2d_weight(x, SMALL.weight_shape, dy, *SMALL.how, per_sample="no")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"out must have shape \(3, 6, 2, 3, 2\), got \(6, 2"):
        gradient(SMALL, x, dy, out=np.empty(SMALL.weight_shape, np.float32))
    with pytest.raises(ValueError, match="grad_output must have shape"):
        gradient(SMALL, x, dy[:2])
    with pytest.raises(ValueError, match="per_sample must be False unless direction is"):
        fastconv.explain((2, 1, 4, 4), (1, 1, 2, 2), per_sample=True)


def test_explain() -> None:
    how: dict[str, Any] = {"direction": "weight_gradient", "per_sample": True}
    shapes = (UNITS, 4, 9, 9), (6, 4, 3, 3)
    many = fastconv.explain(*shapes, **how)
    assert many.stages[0].name == "samples.each_sample"
    assert many.stages[0].units == UNITS
    whole = fastconv.explain(*shapes, direction="weight_gradient")
    assert many.flops == whole.flops
    assert many.bytes - whole.bytes == (UNITS - 1) * 6 * 4 * 9 * 4
    few = fastconv.explain((3, 24, 36, 37), (40, 24, 3, 3), **how)
    assert all("each_sample" not in stage.name for stage in few.stages)


@pytest.mark.parametrize("groups", [1, 2])
def test_pytorch_agrees(groups: int) -> None:
    torch = pytest.importorskip("torch")
    functional = torch.nn.functional
    case = simple(3, 4, 6, (7, 6), (3, 3), pad=1, stride=2, groups=groups)
    x, dy = operands(case, "weight_gradient")
    w = torch.zeros(case.weight_shape, dtype=torch.float64)

    def loss(weight: Any, image: Any, slope: Any) -> Any:
        y = functional.conv2d(image[None], weight, stride=2, padding=1, groups=groups)
        return (y * slope).sum()

    each = torch.func.vmap(torch.func.grad(loss), (None, 0, 0))
    expected = each(w, torch.from_numpy(x), torch.from_numpy(dy))
    np.testing.assert_array_equal(gradient(case, x, dy), expected.numpy())
