"""Direct weight gradients whose output gradient is multiplied where it lies, not packed."""

import numpy as np
import pytest
from arrays import Arena, bfloat16_bits, channels_last
from cases import Case, compute, operands, oracle, simple

import fastconv
from fastconv.cpu import simd
from fastconv.cpu.convolution import plan_steps
from fastconv.cpu.operands import Operands
from fastconv.cpu.views import Workspace

SIZES = {"float32": 4, "float64": 8}
GEOMETRIES = {
    "padded": simple(2, 3, 1, (21, 30), (3, 3), pad=1),
    "strided": simple(3, 5, 1, (12, 19), (2, 3), stride=2),
    "one tap": simple(4, 9, 1, (16, 17), (1, 1)),
}


def _vectors(case: Case, count: int, dtype: str) -> Case:
    """The case with so many vectors of output channels."""
    k = count * simd.VECTOR_BITS // (8 * SIZES[dtype])
    return Case(case.n, case.c, k, 1, case.input, case.kernel, *case.how[:3])


def _packs(case: Case, x: np.ndarray, dy: np.ndarray) -> bool:
    """Whether the plan packs the gradient."""
    g = fastconv.explain(case.input_shape, case.weight_shape, *case.how).geometry
    weights = np.empty(case.weight_shape, dy.dtype)
    arrays = Operands(8 * dy.itemsize, x.strides, dy.strides, weights.strides)
    _, steps, _ = plan_steps("weight_gradient", g, arrays, "direct", False, Workspace())
    assert isinstance(steps, list)
    (packer,) = [step.constants["packer"] for step in steps if "packer" in step.constants]
    return packer != 0


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("dtype", SIZES)
@pytest.mark.parametrize("geometry", GEOMETRIES.values(), ids=GEOMETRIES)
def test_gradient_of_whole_vectors(geometry: Case, dtype: str, count: int, arena: Arena) -> None:
    case = _vectors(geometry, count, dtype)
    given = operands(case, "weight_gradient")
    x, dy = (arena.place(values, dtype, "channels_last") for values in given)
    assert not _packs(case, x, dy)
    expected = oracle(case, "weight_gradient", *given)
    for threads in (1, 3):
        out = arena.output(case.weight_shape, dtype)
        with fastconv.options(threads=threads):
            compute(case, "weight_gradient", x, dy, out=out, algorithm="direct")
        np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize("dtype", SIZES)
def test_channels_cut_from_a_pixel_are_packed(dtype: str, arena: Arena) -> None:
    """Pixels are a vector apart, and the last one's vector would be read past its end."""
    whole = _vectors(GEOMETRIES["padded"], 1, dtype)
    case = Case(whole.n, whole.c, whole.k - 3, 1, whole.input, whole.kernel, *whole.how[:3])
    x, dy = operands(whole, "weight_gradient")
    few = arena.place(dy, dtype, "channels_last")[:, 3:]
    x = arena.place(x, dtype, "channels_last")
    assert _packs(case, x, few)
    result = compute(case, "weight_gradient", x, few, algorithm="direct")
    np.testing.assert_array_equal(result, oracle(case, "weight_gradient", x, few))


@pytest.mark.parametrize("view", ["plain", "reversed", "transposed"])
@pytest.mark.parametrize("channels", [(16, 16), (37, 23), (40, 131), (129, 6)], ids=str)
@pytest.mark.parametrize("dtype", SIZES)
def test_few_pixels(dtype: str, channels: tuple[int, int], view: str, arena: Arena) -> None:
    """Of few pixels the sums are the weights: written once, where they belong."""
    case = simple(3, *channels, (5, 6), (1, 1))
    given = operands(case, "weight_gradient")
    x, dy = (arena.place(values, dtype, "channels_last") for values in given)
    expected = oracle(case, "weight_gradient", *given)
    for threads in (1, 3):
        out = arena.output(case.weight_shape, dtype)
        if view == "reversed":
            out = out[::-1, ::-1]
        elif view == "transposed":
            out = arena.output((channels[0], channels[1], 1, 1), dtype).swapaxes(0, 1)
        with fastconv.options(threads=threads):
            compute(case, "weight_gradient", x, dy, out=out, algorithm="direct")
        np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize("pads", [((1, 0), (0, 2)), ((0, 1), (0, 0))], ids=str)
@pytest.mark.parametrize("channels", [(17, 24), (16, 64)], ids=str)
def test_padding_that_one_tap_never_reads(
    channels: tuple[int, int], pads: tuple[tuple[int, int], ...], arena: Arena
) -> None:
    """The gradient is larger than the image, and begins before it."""
    plain = simple(2, *channels, (9, 12), (1, 1))
    case = Case(2, *channels, 1, plain.input, plain.kernel, plain.stride, pads, plain.dilation)
    given = operands(case, "weight_gradient")
    x, dy = (arena.place(values, "float32", "channels_last") for values in given)
    result = compute(case, "weight_gradient", x, dy, algorithm="direct")
    np.testing.assert_array_equal(result, oracle(case, "weight_gradient", *given))


@pytest.mark.parametrize("innermost", [False, True])
def test_few_pixels_of_bfloat16(innermost: bool) -> None:
    """Sums of pairs are float32 where they wait to be rounded, whatever the target's type."""
    rng = np.random.default_rng(4)
    x, dy = (rng.integers(-3, 4, (2, c, 4, 4)).astype(np.float32) for c in (8, 32))
    out = np.empty((8, 1, 1, 32), np.uint16).transpose(3, 0, 1, 2)
    out = out if innermost else np.empty((32, 8, 1, 1), np.uint16)
    bits = [channels_last(bfloat16_bits(values)) for values in (x, dy)]
    with fastconv.options(bfloat16_bits=True):
        fastconv.conv2d_weight(bits[0], out.shape, bits[1], out=out)
    expected = fastconv.conv2d_weight(x, out.shape, dy, algorithm="direct")
    np.testing.assert_array_equal(out, bfloat16_bits(expected))


def test_few_pixels_need_no_second_step() -> None:
    g = fastconv.explain((2, 64, 7, 7), (128, 64, 1, 1)).geometry
    x, dy = (np.empty((2, 7, 7, c), np.float32).transpose(0, 3, 1, 2) for c in (64, 128))
    weights = np.empty(g.weight_shape, np.float32)
    arrays = Operands(32, x.strides, dy.strides, weights.strides)
    _, steps, _ = plan_steps("weight_gradient", g, arrays, "direct", False, Workspace())
    assert isinstance(steps, list)
    assert len(steps) == 1
