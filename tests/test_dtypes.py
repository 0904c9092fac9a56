"""Halves, integers and complex numbers: every pass as exact as their own arithmetic allows."""

from collections.abc import Callable
from typing import Any

import naive
import numpy as np
import pytest
from arrays import (
    COMPLEX,
    HALVES,
    INTEGERS,
    LAYOUTS,
    Arena,
    Array,
    bfloat16_bits,
    channels_last,
    from_bfloat16_bits,
    integers,
)
from cases import (
    ALGORITHMS,
    EDGES,
    PASSES,
    Case,
    compute,
    grid,
    operands,
    oracle,
    result_shape,
    simple,
    solved,
)
from hypothesis import given, note, settings
from hypothesis import strategies as st
from test_properties import cases

import fastconv
from fastconv.cpu import simd
from fastconv.worked_example import check as check_anchor
from fastconv.worked_example import run

ALL = (*HALVES, *INTEGERS, *COMPLEX)
SOME = ("float16", "bfloat16", "int8", "uint32", "int64", "complex64")  # one of each kind
# A thinned grid and every other edge, each with one pass, dtype, layout and algorithm.
_GEOMETRIES = [row[0] for rank in (1, 2, 3) for row in grid(rank)[::9]] + list(EDGES.values())[::2]


def _met(i: int) -> tuple[str, str, str, str]:
    """The settings of geometry ``i``: passes and algorithms turn with each round of dtypes."""
    number, turn = divmod(i, len(ALL))[::-1]
    which, algorithm = PASSES[(number + turn) % 3], ALGORITHMS[(number + turn // 3) % 2]
    return which, ALL[number], LAYOUTS[(number // 2 + turn) % 2], algorithm


MODEST = [
    pytest.param(case, *_met(i), id="-".join((str(i), *_met(i), str(case))))
    for i, case in enumerate(_GEOMETRIES)
]
# Source and target channels that pairs of bfloat16 take, with all else odd.
PAIRED = (
    simple(2, 6, 20, (9, 7), (3, 3), pad=1, bias=True),
    simple(4, 8, 64, (6, 5), (2, 3), stride=2, groups=2, pad=1, bias=True),
    simple(2, 34, 33, (5, 5), (1, 1), bias=True),
    simple(2, 32, 40, (7, 7), (1, 1), stride=2),
    simple(2, 18, 16, (4, 3, 5), (2, 1, 2), dilation=2, pad=2),
    simple(2, 16, 64, (37,), (4,), stride=3, bias=True),
    # One pixel of several rows at a time.
    simple(2, 64, 48, (14, 13), (3, 3), pad=1),
)


def stored(values: Array, dtype: str) -> Array:
    """Return numbers in a dtype, rounded or wrapped into it; bfloat16 as its bits."""
    if dtype == "bfloat16":
        return bfloat16_bits(values)
    if dtype in INTEGERS:
        return values.astype(np.int64).astype(dtype)
    return values.astype(dtype)


def drawn(case: Case, which: str, dtype: str) -> tuple[tuple[Array, ...], Array]:
    """Return the operands of a pass as numbers of a dtype's kind, and the exact result."""
    real, expected = solved(case, which)
    if dtype not in COMPLEX:
        return real, expected
    rng = np.random.default_rng(3)
    values = tuple(a + 1j * integers(rng, a.shape) for a in real)
    return values, complex_oracle(case, which, *values)


def complex_oracle(case: Case, which: str, a: Array, b: Array, bias: Array | None = None) -> Array:
    """Run a pass by four of real numbers; a gradient conjugates what was convolved."""
    if which != "forward":
        a = a.conj()
    parts = [[oracle(case, which, u, v) for v in (b.real, b.imag)] for u in (a.real, a.imag)]
    result = parts[0][0] - parts[1][1] + 1j * (parts[0][1] + parts[1][0])
    return result if bias is None else result + bias.reshape(-1, *(1,) * case.rank)


def check(case: Case, which: str, dtype: str, layout: str, algorithm: str) -> None:
    """Compare one pass with the oracle, everything it touches lying between guard zones."""
    values, expected = drawn(case, which, dtype)
    arena, kind = Arena(), "uint16" if dtype == "bfloat16" else dtype
    arrays = [arena.place(stored(a, dtype), kind, layout) for a in values]
    out = arena.output(result_shape(case, which), kind, layout)
    with fastconv.options(winograd=False, bfloat16_bits=dtype == "bfloat16"):
        compute(case, which, *arrays, out=out, algorithm=algorithm)
    np.testing.assert_array_equal(out, stored(expected, dtype))
    arena.check()


@pytest.mark.parametrize(("case", "which", "dtype", "layout", "algorithm"), MODEST)
def test_grid(case: Case, which: str, dtype: str, layout: str, algorithm: str) -> None:
    check(case, which, dtype, layout, algorithm)


# Every pass of each case, the layouts in turn; the others for a long run.
_PAIRED_RUNS = [
    pytest.param(
        case,
        layout,
        which,
        id=f"{case}-{layout}-{which}",
        marks=() if (i + j + k) % 2 else pytest.mark.slow,
    )
    for i, case in enumerate(PAIRED)
    for j, layout in enumerate(LAYOUTS)
    for k, which in enumerate(PASSES)
]


@pytest.mark.parametrize(("case", "layout", "which"), _PAIRED_RUNS)
def test_pairs_of_bfloat16(case: Case, layout: str, which: str) -> None:
    check(case, which, "bfloat16", layout, "direct")
    targets = case.c if which == "input_gradient" else case.k
    sources = case.k if which == "input_gradient" else case.c
    paired = case.n if which == "weight_gradient" else sources // case.groups
    if simd.MULTIPLIES_PAIRS and targets // case.groups >= 16 and paired % 2 == 0:
        assert "bits 33" in str(explained(case, which, layout, "direct"))


def explained(case: Case, which: str, layout: str, algorithm: str) -> Any:
    with fastconv.options(bfloat16_bits=True):
        return fastconv.explain(
            case.input_shape, case.weight_shape, *case.how, direction=which, dtype=np.uint16,
            layout="NHWC" if layout == "channels_last" else "NCHW", algorithm=algorithm,
        )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("which", PASSES)
@settings(max_examples=3)
@given(case=cases(), dtype=st.sampled_from(ALL), layout=st.sampled_from(LAYOUTS))
def test_equals_the_oracle(case: Case, dtype: str, layout: str, which: str, algorithm: str) -> None:
    note(str(case))
    check(case, which, dtype, layout, algorithm)


@pytest.mark.parametrize("dtype", SOME)
@pytest.mark.parametrize("view", ["sliced", "reversed", "broadcast"])
def test_strides(view: str, dtype: str) -> None:
    case = simple(3, 4, 18, (5, 6), (2, 3), stride=2, pad=1)
    change: dict[str, Callable[[Array], Array]] = {
        "sliced": lambda a: np.repeat(np.repeat(a, 2, -1), 2, 1)[:, ::2, ..., ::2],
        "reversed": lambda a: np.ascontiguousarray(a[:, ::-1, ..., ::-1])[:, ::-1, ..., ::-1],
        "broadcast": lambda a: np.broadcast_to(a[:, :, :1], a.shape),
    }
    for which in PASSES:
        arrays = [change[view](stored(a, dtype)) for a in operands(case, which)]
        exact = [from_bfloat16_bits(a) if dtype == "bfloat16" else a for a in arrays]
        with fastconv.options(bfloat16_bits=dtype == "bfloat16"):
            result = compute(case, which, *arrays)
        if dtype in COMPLEX:
            expected = complex_oracle(case, which, *(a + 0j for a in exact))
        else:
            expected = oracle(case, which, *(a.astype(np.float64) for a in exact))
        if dtype.startswith("u"):  # of numbers that have wrapped: products do so too
            signed = [a.astype(np.int64) for a in arrays]
            expected = oracle(case, which, *(a.astype(dtype.lstrip("u")) for a in signed))
        np.testing.assert_array_equal(result, stored(expected, dtype))


@pytest.mark.parametrize("algorithm", ["auto", *ALGORITHMS])
@pytest.mark.parametrize("dtype", ["float16", *INTEGERS, *COMPLEX])
def test_the_worked_example(dtype: str, algorithm: str) -> None:
    check_anchor(run(dtype, algorithm))


@pytest.mark.parametrize("dtype", ["float16", "complex64"])
def test_the_worked_example_by_winograd(dtype: str) -> None:
    check_anchor(run(dtype, "winograd"))


def test_the_type_of_ml_dtypes() -> None:
    """What is named bfloat16 and the bits are one; results have the operands' own type."""
    bfloat16 = pytest.importorskip("ml_dtypes").bfloat16
    for algorithm in ("auto", *ALGORITHMS, "winograd"):
        check_anchor(run(bfloat16, algorithm))
    x = np.random.default_rng(0).standard_normal((2, 6, 9, 9)).astype(bfloat16)
    w = np.random.default_rng(1).standard_normal((20, 6, 3, 3)).astype(bfloat16)
    named = fastconv.conv2d(x, w)
    with fastconv.options(bfloat16_bits=True):
        bits = fastconv.conv2d(x.view(np.uint16), w.view(np.uint16))
    assert (named.dtype, bits.dtype) == (bfloat16, np.uint16)
    np.testing.assert_array_equal(named.view(np.uint16), bits)
    assert not np.array_equal(fastconv.conv2d(x.view(np.uint16), w.view(np.uint16)), bits)
    columns = fastconv.unfold(x, 3)
    np.testing.assert_array_equal(columns[0, 0, :7], x[0, 0, 0, :7])
    assert fastconv.fold(columns, (9, 9), 3).dtype == bfloat16


@pytest.mark.parametrize("which", PASSES)
@pytest.mark.parametrize("dtype", ["int64", "uint64", "int32", "uint8", "int8"])
def test_integers_wrap(dtype: str, which: str) -> None:
    """Sums are exact modulo 2**bits, however large the numbers."""
    case = simple(2, 5, 18, (4, 6), (3, 2), pad=1)
    info, rng = np.iinfo(dtype), np.random.default_rng(4)
    shapes = [a.shape for a in operands(case, which)]
    arrays = [rng.integers(info.min, info.max, s, dtype, endpoint=True) for s in shapes]
    exact = [a.astype(object) for a in arrays]
    # By digits of 16 bits: the oracle's float64 holds their products' sums exactly.
    digits = [[(a >> 16 * d) % 2**16 for d in range(4)] for a in exact]
    expected: Any = 0
    for i, u in enumerate(digits[0]):
        for j, v in enumerate(digits[1]):
            product = oracle(case, which, *(part.astype(np.float64) for part in (u, v)))
            expected = expected + product.astype(np.int64).astype(object) * 2 ** (16 * (i + j))
    wrapped = np.asarray(expected % 2**64).astype(np.uint64).astype(dtype)
    for algorithm in ALGORITHMS:
        result = compute(case, which, *arrays, algorithm=algorithm)
        assert result.dtype == dtype
        np.testing.assert_array_equal(result, wrapped)


def half_values(dtype: str) -> Array:
    """Return every number of a half type, as float32; NaN stands for all NaN."""
    bits = np.arange(2**16, dtype=np.uint16)
    return from_bfloat16_bits(bits) if dtype == "bfloat16" else bits.view(dtype).astype(np.float32)


@pytest.mark.parametrize("which", ["forward", "input_gradient"])
@pytest.mark.parametrize("dtype", HALVES)
def test_every_half_passes_unchanged(dtype: str, which: str) -> None:
    """Read, multiplied by one and rounded: subnormal numbers, infinities and NaN too."""
    values = half_values(dtype).reshape(1, 1, 256, 256)
    ones = stored(np.ones((1, 1, 1, 1)), dtype)
    with fastconv.options(bfloat16_bits=True):
        if which == "forward":
            result = fastconv.conv2d(stored(values, dtype), ones)
        else:
            result = fastconv.conv_transpose2d(stored(values, dtype), ones)
    found = from_bfloat16_bits(result) if dtype == "bfloat16" else result
    np.testing.assert_array_equal(found, values)


@pytest.mark.parametrize("step", [1, 7])
@pytest.mark.parametrize("dtype", HALVES)
def test_rounding_to_nearest_even(dtype: str, step: int) -> None:
    """Sums halfway between two numbers, and a little beside, vector by vector and one by one."""
    values = half_values(dtype)
    values = values[np.isfinite(values) & (np.abs(values) > 1e-30)][::37]
    near = np.stack([values, values * np.float32(2.0**-9), values * np.float32(2.0**-11)])
    near = from_bfloat16_bits(bfloat16_bits(near)) if dtype == "bfloat16" else near
    x = stored(near, dtype)[None]
    held = from_bfloat16_bits(x) if dtype == "bfloat16" else x
    exact = held.astype(np.float64).sum(axis=1, keepdims=True).astype(np.float32)
    expected = stored(exact, dtype)[..., ::step]
    with fastconv.options(bfloat16_bits=True), np.errstate(over="ignore"):
        result = fastconv.conv1d(x, stored(np.ones((1, 3, 1)), dtype), stride=step)
    np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize("algorithm", [*ALGORITHMS, "winograd"])
@pytest.mark.parametrize("which", PASSES)
@pytest.mark.parametrize("dtype", HALVES)
def test_reals_are_rounded_once(dtype: str, which: str, algorithm: str) -> None:
    """Half a unit in the last place of the result, and float32's own error beside it."""
    case = simple(4, 64, 48, (14, 13), (3, 3), pad=1)
    rng = np.random.default_rng(1)
    arrays = [stored(rng.standard_normal(a.shape), dtype) for a in operands(case, which)]
    exact = [from_bfloat16_bits(a) if dtype == "bfloat16" else a for a in arrays]
    expected = oracle(case, which, *(a.astype(np.float64) for a in exact))
    with fastconv.options(bfloat16_bits=True):
        result = compute(case, which, *arrays, algorithm=algorithm)
    found = from_bfloat16_bits(result) if dtype == "bfloat16" else result.astype(np.float64)
    unit = 2.0**-8 if dtype == "bfloat16" else 2.0**-11
    beside = 2.0**-19 * np.abs(expected).max()
    assert np.all(np.abs(found - expected) <= unit * np.abs(expected) + beside)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "int32", "complex64"])
def test_threads_do_not_change_a_bit(dtype: str) -> None:
    case = simple(7, 24, 40, (20, 19), (3, 3), pad=1, bias=True)
    for which in PASSES:
        rng = np.random.default_rng(2)
        arrays = [stored(9 * rng.standard_normal(a.shape), dtype) for a in operands(case, which)]
        for algorithm in ("auto", *ALGORITHMS):
            found = set()
            for threads in (1, 2, 5):
                with fastconv.options(threads=threads, bfloat16_bits=True):
                    found.add(compute(case, which, *arrays, algorithm=algorithm).tobytes())
            assert len(found) == 1


@pytest.mark.parametrize("dtype", SOME)
def test_all_other_functions(dtype: str) -> None:
    """Transposed convolutions, all gradients at once, unfold and fold, against float64's."""
    rng = np.random.default_rng(5)
    x, w, dy, wt, dyt = (
        integers(rng, shape)
        for shape in ((2, 4, 5, 6), (6, 4, 3, 2), (2, 6, 3, 5), (4, 6, 3, 2), (2, 6, 7, 7))
    )
    columns = integers(rng, (2, 24, 15))
    one = (1, 1), (0, 0), (1, 1)

    def results(cast: Callable[[Array], Array]) -> list[Array]:
        given = cast(dy), cast(x), cast(w), (6,), *one, False, (0, 0), 1, (True, True, True)
        turned = cast(dyt), cast(x), cast(wt), (6,), *one, True, (0, 0), 1, (True, True, True)
        return [
            fastconv.conv_transpose2d(cast(x), cast(wt), cast(x[0, 0, 0])),
            *(a for a in fastconv.convolution_backward(*given) if a is not None),
            *(a for a in fastconv.convolution_backward(*turned) if a is not None),
            fastconv.unfold(cast(x), (3, 2)),
            fastconv.fold(cast(columns), (5, 6), (3, 2)),
        ]

    expected = results(lambda a: a)
    with fastconv.options(bfloat16_bits=dtype == "bfloat16"):
        found = results(lambda a: stored(a, dtype))
    for mine, exact in zip(found, expected, strict=True):
        np.testing.assert_array_equal(mine, stored(exact, dtype))


def test_complex_passes_are_adjoint() -> None:
    """<dy, conv(x, w)> is <dx, x> and <dw, w> in the inner product of complex numbers."""
    case = simple(2, 4, 6, (7, 6), (3, 2), groups=2, stride=2, pad=1)
    rng = np.random.default_rng(6)
    x, w, dy = (
        integers(rng, shape) + 1j * integers(rng, shape)
        for shape in (case.input_shape, case.weight_shape, case.output_shape)
    )
    y = compute(case, "forward", x, w)
    dw = compute(case, "weight_gradient", x, dy)
    dx = compute(case, "input_gradient", w, dy)
    assert np.vdot(dy, y) == np.vdot(dx, x) == np.vdot(dw, w)
    back = fastconv.convolution_backward(
        dy, x, w, None, (2, 2), (1, 1), (1, 1), False, (0, 0), 2, (True, True, True)
    )
    for mine, expected in zip(back, (dx, dw, dy.sum(axis=(0, 2, 3))), strict=True):
        np.testing.assert_array_equal(mine, expected)


def test_channels_last_stays() -> None:
    for dtype in ALL:
        x, w = stored(np.ones((2, 4, 5, 6)), dtype), stored(np.ones((18, 4, 3, 3)), dtype)
        with fastconv.options(bfloat16_bits=dtype == "bfloat16"):
            result = fastconv.conv2d(channels_last(x), w)
        assert np.moveaxis(result, 1, -1).flags.c_contiguous
        np.testing.assert_array_equal(result, stored(np.full((2, 18, 3, 4), 36), dtype))


@pytest.mark.parametrize("dtype", ["int32", "uint8"])
def test_no_integers_by_winograd(dtype: str) -> None:
    x, w = np.ones((1, 2, 5, 5), dtype), np.ones((3, 2, 3, 3), dtype)
    message = r"'winograd' computes in floating .* must be one of 'auto', 'direct', 'im2col'"
    with pytest.raises(ValueError, match=message):
        fastconv.conv2d(x, w, algorithm="winograd")


@pytest.mark.parametrize("which", PASSES)
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "int32", "complex64"])
def test_every_other_algorithm(dtype: str, which: str) -> None:
    """What neither direct nor im2col computes: channels by themselves, and small problems."""
    able = {"depthwise": dtype in HALVES, "listed": True, "fft": False}
    cases = {
        "depthwise": simple(2, 19, 19, (7, 8), (3, 3), pad=1, groups=19),
        "listed": simple(1, 1, 2, (4, 4), (2, 2)),
        "fft": simple(1, 1, 1, (40, 40), (11, 11)),
    }
    for algorithm, case in cases.items():
        if able[algorithm]:
            check(case, which, dtype, "channels_first", algorithm)
            continue
        names = ".* must be one of 'auto', 'direct', 'im2col'"
        with pytest.raises(ValueError, match=f"algorithm '{algorithm}' .*{names}"):
            check(case, which, dtype, "channels_first", algorithm)


@pytest.mark.parametrize("algorithm", ["auto", *ALGORITHMS, "winograd"])
@pytest.mark.parametrize("dtype", [*HALVES, "int8", "int64", "uint8", "uint64"])
def test_relu(dtype: str, algorithm: str) -> None:
    """The larger of zero and what the plain call gives, rounded or wrapped first."""
    if algorithm == "winograd" and dtype not in HALVES:
        return
    case = simple(2, 20, 37, (9, 11), (3, 3), pad=1, bias=True)
    x, w, bias = (stored(9 * a, dtype) for a in operands(case, "forward"))
    for layout in (np.asarray, channels_last):
        with fastconv.options(bfloat16_bits=dtype == "bfloat16"):
            given = layout(x), w, bias, *case.how
            plain = fastconv.conv2d(*given, algorithm=algorithm)
            found = fastconv.conv2d(*given, algorithm=algorithm, activation="relu")
        if dtype == "bfloat16":
            plain, found = from_bfloat16_bits(plain), from_bfloat16_bits(found)
        assert dtype.startswith("u") or (plain < 0).any()
        np.testing.assert_array_equal(found, np.maximum(plain, 0))


@pytest.mark.parametrize("dtype", HALVES)
def test_relu_of_what_is_no_number(dtype: str) -> None:
    x = stored(np.array([np.nan, -np.inf, np.inf, -1, 2]).reshape(1, 1, 5), dtype)
    with fastconv.options(bfloat16_bits=True):
        y = fastconv.conv1d(x, stored(np.ones((1, 1, 1)), dtype), activation="relu")
    found = from_bfloat16_bits(y) if dtype == "bfloat16" else y
    np.testing.assert_array_equal(found.ravel(), [np.nan, 0, np.inf, 0, 2])


def test_calls_with_and_without_bits_are_told_apart() -> None:
    """A uint16 array is known as integers and as bfloat16, one after the other."""
    x = stored(np.full((1, 1, 5), 2.0), "bfloat16")
    w = stored(np.full((1, 1, 1), 3.0), "bfloat16")
    for _ in range(3):
        np.testing.assert_array_equal(fastconv.conv1d(x, w), x * w)
        with fastconv.options(bfloat16_bits=True):
            np.testing.assert_array_equal(from_bfloat16_bits(fastconv.conv1d(x, w)), [[[6.0] * 5]])


@pytest.mark.parametrize("dtype", ["?", "O", "g", "G", "M8[s]", "S2", "V2"])
def test_no_numbers_of_these(dtype: str) -> None:
    w = np.ones((1, 1, 1))
    if np.dtype(dtype).name in ("float64", "complex128"):
        pytest.skip("long double is double here")
    with pytest.raises(TypeError, match=r"input must have .* an integer or a complex one, got"):
        fastconv.conv1d(np.empty((1, 1, 3), dtype), w)


def test_the_oracle_of_bfloat16() -> None:
    values = np.array([1, 1 + 2**-8, 1 + 3 * 2**-8, 1 + 2**-7, -(2.0**-133), np.inf, np.nan])
    held = from_bfloat16_bits(bfloat16_bits(values))
    np.testing.assert_array_equal(
        held, np.float32([1, 1, 1 + 2**-6, 1 + 2**-7, -(2.0**-133), np.inf, np.nan])
    )
    assert naive.output_size((3,), (1,), (1,), ((0, 0),), (1,)) == (3,)
