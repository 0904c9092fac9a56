"""NaN and infinity: in which results they land, by every algorithm, and in which they do not.

The definition: a forward pass and a weight gradient sum over the image with its zeros around it, as
`np.pad` would make it, so that an infinite weight on a zero of the padding is NaN. An input
gradient sums over the outputs that there are.
"""

from collections.abc import Iterator
from itertools import product
from typing import Any

import naive
import numpy as np
import pytest
from arrays import DTYPES, HALVES, LAYOUTS, Arena, Array, channels_last
from cases import EDGES, PASSES, Case, able, compute, operands, simple

import fastconv
from fastconv.cpu.convolution import ALGORITHMS
from fastconv.cpu.winograd_shape import shape_of
from fastconv.geometry import forward_geometry
from fastconv.lowering import lower_forward, lower_input_gradient

SUMS = tuple(name for name in ALGORITHMS if name not in ("winograd", "fft"))

# Cases of other files, whose kernels are compiled anyway, and by which algorithms.
CASES = {
    "groups of 4 channels": (EDGES["groups of 4 channels"], ("direct", "im2col", "col2im")),
    "one by one, padded": (EDGES["one by one kernel, mostly padding"], ("direct", "im2col")),
    "depthwise": (simple(3, 18, 18, (7, 7), (3, 3), groups=18, pad=1), ("depthwise",)),
    "small": (simple(1, 2, 1, (4, 3), (2, 3), pad=2, bias=True), ("listed",)),
}
MORE = {
    "channels in lanes": simple(2, 20, 37, (9, 11), (3, 3), pad=1, bias=True),
    "pixels in lanes": simple(1, 2, 3, (9, 40), (3, 3), pad=1),
    "grouped and strided": simple(2, 6, 9, (13, 19), (3, 2), groups=3, stride=2, pad=2),
    "dilated": simple(1, 4, 17, (9, 11), (3, 3), pad=2, dilation=2),
    "depthwise, larger": simple(2, 19, 19, (13, 14), (3, 3), pad=1, groups=19, bias=True),
    "depthwise, stride 2": simple(2, 33, 33, (15, 15), (3, 3), pad=1, stride=2, groups=33),
    "one by one, strided": simple(2, 20, 17, (7, 7), (1, 1), stride=2, pad=3),
    "one by one, padded more": simple(2, 33, 40, (6, 7), (1, 1), pad=1, bias=True),
    "tiny": simple(1, 2, 3, (4, 5), (2, 2), pad=1, bias=True),
    "padding larger than the kernel": simple(1, 3, 4, (4, 5), (3, 3), pad=4),
    "one axis": simple(3, 4, 18, (50,), (5,), pad=2, bias=True),
    "three axes": simple(1, 3, 17, (4, 5, 6), (2, 3, 2), pad=1, bias=True),
}


def tried() -> Iterator[Any]:
    """Parameters of `test_sums`: a case and an algorithm, most of them for the slow run alone."""
    for name, (case, algorithms) in CASES.items():
        for algorithm in algorithms:
            yield pytest.param(case, algorithm, id=f"{name}-{algorithm}")
    for name, case in MORE.items():
        for algorithm in SUMS:
            yield pytest.param(case, algorithm, id=f"{name}-{algorithm}", marks=pytest.mark.slow)


def defined(case: Case, which: str, *given: Array) -> Array:
    """A pass by plain loops, over the image padded beforehand."""
    first, second, *bias = (values.astype("float64") for values in given)
    stride, pads, dilation, groups = case.how
    none = ((0, 0),) * case.rank
    with np.errstate(invalid="ignore", over="ignore"):
        if which == "input_gradient":
            return naive.input_gradient(first, second, case.input, *case.how)
        x = np.pad(first, ((0, 0), (0, 0), *pads))
        if which == "forward":
            added = bias[0] if bias else None
            return naive.forward(x, second, added, stride, none, dilation, groups)
        return naive.weight_gradient(x, second, case.kernel, stride, none, dilation, groups)


def spoil(values: Array, seed: int) -> Array:
    """Return a copy with a few elements replaced by NaN, +Inf and -Inf."""
    rng, spoilt = np.random.default_rng(seed), values.copy()
    places = rng.choice(values.size, min(3, values.size), replace=False)
    spoilt.reshape(-1)[places] = (np.nan, np.inf, -np.inf)[: len(places)]
    return spoilt


def spoilings(case: Case, which: str, dtype: str, seeds: int) -> Iterator[tuple[Array, ...]]:
    """The operands of a pass, one of them with elements that are not finite."""
    given = tuple(values.astype(dtype) for values in operands(case, which))
    for position, seed in product(range(len(given)), range(seeds)):
        spoilt = spoil(given[position], seed)
        yield (*given[:position], spoilt, *given[position + 1 :])


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("which", PASSES)
@pytest.mark.parametrize(("case", "algorithm"), list(tried()))
def test_sums(case: Case, which: str, algorithm: str, layout: str, arena: Arena) -> None:
    if not able(case, which, algorithm, layout):
        pytest.skip("refused")
    for given in spoilings(case, which, "float32", seeds=2):
        arrays = [arena.place(values, "float32", layout) for values in given]
        result = compute(case, which, *arrays, algorithm=algorithm)
        np.testing.assert_array_equal(result, defined(case, which, *given))


@pytest.mark.parametrize("algorithm", ["direct", "im2col"])
@pytest.mark.parametrize("which", PASSES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("groups", [1, 3])
def test_both_dtypes(groups: int, dtype: str, which: str, algorithm: str) -> None:
    case = simple(2, 6, 9, (13, 19), (3, 2), stride=2, groups=groups)
    for given in spoilings(case, which, dtype, seeds=2):
        expected = defined(case, which, *given)
        assert np.isnan(expected).any()
        assert np.isfinite(expected).any()
        result = compute(case, which, *given, algorithm=algorithm)
        np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize("which", PASSES)
@pytest.mark.parametrize("dtype", HALVES)
def test_halves(dtype: str, which: str) -> None:
    """In float32, or as pairs of bfloat16, of which one may be the only one that is not finite."""
    if dtype == "bfloat16":
        pytest.importorskip("ml_dtypes")
    for case, layout in (
        (simple(2, 20, 36, (9, 11), (3, 3), pad=1, bias=True), np.asarray),
        (simple(2, 32, 40, (6, 7), (1, 1), pad=1), channels_last),
    ):
        for given in spoilings(case, which, dtype, seeds=3):
            arrays = [layout(a) if a.ndim > 2 else a for a in given]
            result = compute(case, which, *arrays, algorithm="direct")
            expected = defined(case, which, *given).astype(result.dtype)
            np.testing.assert_array_equal(result.astype("f4"), expected.astype("f4"))


@pytest.mark.parametrize("which", PASSES)
def test_complex_products_are_plain_ones(which: str) -> None:
    """(a + bi)(c + di) = (ac - bd) + (ad + bc)i as NumPy's, without C99's search for infinities."""
    case = simple(2, 6, 9, (7, 8), (3, 2), pad=1)
    first, second = operands(case, which)[:2]
    one = spoil(first, 1) + 1j * operands(case, which, seed=5)[0]
    other = second + 1j * operands(case, which, seed=6)[1]

    a, b, c, d = one.real, one.imag, other.real, other.imag
    if which != "forward":
        b = -b  # gradients take the conjugate of what came in

    def sums(f: Array, g: Array) -> Array:
        return defined(case, which, f, g)

    with np.errstate(invalid="ignore"):
        expected = sums(a, c) - sums(b, d), sums(a, d) + sums(b, c)
    result = compute(case, which, one.astype("complex64"), other.astype("complex64"))
    np.testing.assert_array_equal(result.real, expected[0])
    np.testing.assert_array_equal(result.imag, expected[1])


@pytest.mark.parametrize("which", PASSES)
def test_padding_is_padding_beforehand(which: str) -> None:
    """To the last NaN: on an image padded by NumPy, the same without ``padding``."""
    case = MORE["grouped and strided"]
    none = Case(
        case.n, case.c, case.k, case.groups,
        tuple(s + sum(pad) for s, pad in zip(case.input, case.pads, strict=True)),
        case.kernel, case.stride, ((0, 0),) * case.rank, case.dilation,
    )  # fmt: skip
    inner = (..., *(slice(a, a + s) for (a, _), s in zip(case.pads, case.input, strict=True)))
    for given in spoilings(case, which, "float32", seeds=2):
        result = compute(case, which, *given)
        if which == "input_gradient":
            padded = compute(none, which, *given)[inner]
        else:
            x = np.pad(given[0], ((0, 0), (0, 0), *case.pads))
            padded = compute(none, which, x, *given[1:])
        np.testing.assert_array_equal(result, padded)


def test_pytorch_agrees() -> None:
    """But for weights and output gradients on zeros of padding: it multiplies some of those."""
    torch = pytest.importorskip("torch")
    case = simple(2, 6, 9, (8, 9), (3, 3), pad=1)
    functions = {
        "forward": lambda x, w: torch.nn.functional.conv2d(x, w, padding=1),
        "weight_gradient": lambda x, dy: torch.nn.grad.conv2d_weight(
            x, case.weight_shape, dy, padding=1
        ),
        "input_gradient": lambda w, dy: torch.nn.grad.conv2d_input(
            case.input_shape, w, dy, padding=1
        ),
    }
    for which, function in functions.items():
        for given in spoilings(case, which, "float32", seeds=3):
            if which == "input_gradient" or np.isfinite(given[1]).all():
                theirs = function(*map(torch.from_numpy, given)).numpy()
                np.testing.assert_array_equal(compute(case, which, *given), theirs)


@pytest.mark.parametrize("algorithm", SUMS)
def test_relu_leaves_nan_and_hides_minus_infinity(algorithm: str) -> None:
    """Infinite weights all of whose results are 0 in the end, too: their padding is NaN."""
    case = simple(1, 3, 18, (6, 7), (3, 3), pad=1)
    if algorithm == "listed":
        case = simple(1, 1, 2, (3, 3), (3, 3), pad=1)
    if not able(case, "forward", algorithm):
        pytest.skip("refused")
    rng = np.random.default_rng(0)
    x = rng.integers(1, 5, case.input_shape).astype("float32")
    w = rng.integers(-4, 5, case.weight_shape).astype("float32")
    w[1, 0, 0, 0], w[0, 0, 2, 1] = -np.inf, np.inf
    expected = defined(case, "forward", x, w)
    assert np.isnan(expected).any()
    for layout in (np.asarray, channels_last):
        result = fastconv.conv2d(layout(x), w, padding=1, algorithm=algorithm, activation="relu")
        np.testing.assert_array_equal(result, np.maximum(expected, 0))


@pytest.mark.parametrize("algorithm", [*SUMS, "winograd"])
def test_a_bias_reaches_its_own_channel(algorithm: str) -> None:
    case = simple(1, 3, 18, (6, 7), (3, 3), pad=1, bias=True)
    if algorithm in ("depthwise", "listed"):
        case = simple(1, 3, 3, (3, 4), (2, 2), pad=1, groups=3, bias=True)
    if not able(case, "forward", algorithm):
        pytest.skip("refused")
    x, w, bias = (values.astype("float32") for values in operands(case, "forward"))
    bias[:2] = np.nan, -np.inf
    result = fastconv.conv2d(x, w, bias, 1, 1, 1, case.groups, algorithm=algorithm)
    assert np.isnan(result[:, 0]).all()
    assert (result[:, 1] == -np.inf).all()
    assert np.isfinite(result[:, 2:]).all()


def test_other_functions() -> None:
    """Transposed, per sample, and in each padding mode, whose borders are copies of pixels."""
    case = simple(2, 6, 9, (8, 9), (3, 3), pad=1)
    for w, dy in spoilings(case, "input_gradient", "float32", seeds=2):
        expected = defined(case, "input_gradient", w, dy)
        result = fastconv.conv_transpose2d(dy, w, padding=1)
        np.testing.assert_array_equal(result, expected)
    for x, dy in spoilings(case, "weight_gradient", "float32", seeds=2):
        result = fastconv.conv2d_weight(x, case.weight_shape, dy, padding=1, per_sample=True)
        for n in range(case.n):
            one = simple(1, 6, 9, (8, 9), (3, 3), pad=1)
            expected = defined(one, "weight_gradient", x[n : n + 1], dy[n : n + 1])
            np.testing.assert_array_equal(result[n], expected)
    bare = simple(2, 6, 9, (10, 11), (3, 3))
    for mode, name in (("reflect", "reflect"), ("replicate", "edge"), ("circular", "wrap")):
        for x, w in spoilings(case, "forward", "float32", seeds=2):
            padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)), name)
            result = fastconv.conv2d(x, w, padding=1, padding_mode=mode)
            np.testing.assert_array_equal(result, defined(bare, "forward", padded, w))


def test_several_threads() -> None:
    case = simple(4, 24, 40, (31, 33), (3, 3), pad=1)
    for which in PASSES:
        (*_, last) = spoilings(case, which, "float32", seeds=1)
        (first, *_) = spoilings(case, which, "float32", seeds=1)
        for given in (first, last):
            results = []
            for threads in (1, 2, 3):
                with fastconv.options(threads=threads):
                    results.append(compute(case, which, *given, algorithm="direct"))
            np.testing.assert_array_equal(results[0], defined(case, which, *given))
            assert len({result.tobytes() for result in results}) == 1


# What else a transform may touch: results that share a tile, or a block, with those that sum it.


def tiles_touched(results: Array, step: tuple[int, int]) -> Array:
    """All results of the tiles, by channel and image, that any of these lies in."""
    touched = results.copy()
    for axis, size in ((2, step[0]), (3, step[1])):
        for first in range(0, results.shape[axis], size):
            span = (slice(None),) * axis + (slice(first, first + size),)
            touched[span] = touched[span].any(axis=axis, keepdims=True)
    return touched


def tile(case: Case, which: str) -> tuple[int, int]:
    """How many results a tile of Winograd's has along each axis."""
    g = forward_geometry(case.input_shape, case.weight_shape, *case.how, case.rank)
    lower = lower_input_gradient if which == "input_gradient" else lower_forward
    return shape_of(lower(g)).steps


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(simple(2, 17, 18, (16, 16), (3, 3), pad=1), id="six points"),
        pytest.param(simple(2, 3, 17, (2, 2), (3, 3), pad=1), id="four points"),
        pytest.param(
            simple(3, 20, 20, (9, 9), (3, 3), pad=1), id="five points", marks=pytest.mark.slow
        ),
        pytest.param(simple(2, 3, 18, (11, 16), (2, 2)), id="two taps", marks=pytest.mark.slow),
    ],
)
def test_winograd_spoils_tiles(case: Case) -> None:
    """A pixel, or an output gradient: results of tiles that read it. A weight: its channel."""
    for which in PASSES:
        for position in range(2):
            given = [values.astype("float32") for values in operands(case, which)]
            given[position] = spoil(given[position], 2)
            # All that sums any element, though it be zero, and as if padding were pixels.
            reads = [np.where(np.isfinite(values), 0, np.nan) for values in given]
            reads[1 - position] = np.ones_like(given[1 - position])
            summing = np.isnan(defined(case, which, *reads))
            result = compute(case, which, *given, algorithm="winograd")
            exact = defined(case, which, *given)
            assert not np.isfinite(result[~np.isfinite(exact)]).any()
            if which == "weight_gradient":
                allowed = np.zeros_like(summing) | summing.any(axis=(2, 3), keepdims=True)
            elif (which, position) in (("forward", 1), ("input_gradient", 0)):
                allowed = np.zeros_like(summing) | summing.any(axis=(0, 2, 3), keepdims=True)
            else:
                allowed = tiles_touched(summing, tile(case, which))
            assert np.isfinite(result[~allowed]).all()
            assert not np.isfinite(result[summing]).any()


@pytest.mark.parametrize("which", PASSES)
def test_fft_spoils_blocks(which: str) -> None:
    """At most results of the same image and group, or of the same channel for a weight."""
    pytest.importorskip("scipy")
    case = simple(2, 4, 4, (25, 18), (5, 5), groups=2)
    for position in range(2):
        given = [values.astype("float32") for values in operands(case, which)]
        given[position][0, 1, 2, 3] = np.inf
        for threads in (2, 1):  # neither of which gives a warning
            with fastconv.options(threads=threads):
                result = compute(case, which, *given, algorithm="fft")
        exact = defined(case, which, *given)
        assert not np.isfinite(result[~np.isfinite(exact)]).any()
        allowed = np.zeros(result.shape, bool)
        if which == "weight_gradient" and position == 0:
            allowed[:2, 1] = True  # image channel 1, for both results of its group
        elif which == "weight_gradient":
            allowed[1] = True
        elif which == "forward":
            allowed[(0, slice(0, 2)) if position == 0 else (slice(None), 0)] = True
        else:
            allowed[(0, slice(0, 2)) if position == 1 else (slice(None), 1)] = True
        assert np.isfinite(result[~allowed]).all()


def test_scipys_functions_agree_with_scipy() -> None:
    """Zeros beyond the image count there, too."""
    signal = pytest.importorskip("scipy.signal")
    ndimage = pytest.importorskip("scipy.ndimage")
    from fastconv import ndimage as our_ndimage
    from fastconv import signal as our_signal

    rng = np.random.default_rng(0)
    image, kernel = (
        rng.integers(1, 5, (9, 11)).astype(float),
        rng.integers(1, 5, (3, 4)).astype(float),
    )
    for spoilt, position in product((image, kernel), range(3)):
        x, w = (spoil(a, position) if a is spoilt else a for a in (image, kernel))
        with np.errstate(invalid="ignore"):
            for mode in ("full", "same", "valid"):
                theirs = signal.correlate2d(x, w, mode)
                np.testing.assert_array_equal(our_signal.correlate2d(x, w, mode), theirs)
                theirs = signal.correlate(x, w, mode, method="direct")
                ours = our_signal.correlate(x, w, mode, method="direct")
                np.testing.assert_array_equal(ours, theirs)
            for mode in ("constant", "reflect", "nearest", "wrap"):
                theirs = ndimage.correlate(x, w, mode=mode)
                np.testing.assert_array_equal(our_ndimage.correlate(x, w, mode=mode), theirs)
