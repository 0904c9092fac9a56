"""The ends of a type's range: subnormal numbers, signed zeros, overflow; the caller's settings."""

import ctypes
import operator
import platform
import re
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from arrays import DTYPES, LAYOUTS, Array, channels_last
from cases import PASSES, able, compute, operands, oracle, simple

import fastconv
from fastconv.cpu import simd
from fastconv.cpu.convolution import ALGORITHMS
from fastconv.cpu.simd import minimal_filters

SUMS = tuple(name for name in ALGORITHMS if name not in ("winograd", "fft"))

SMALL = simple(1, 1, 1, (3, 3), (2, 2))
LARGE = simple(4, 24, 40, (31, 33), (3, 3), pad=1)  # for several threads
PLANES = simple(2, 19, 19, (13, 14), (3, 3), pad=1, groups=19, bias=True)


@pytest.mark.parametrize("algorithm", SUMS)
@pytest.mark.parametrize("which", PASSES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_subnormal_numbers_are_kept(dtype: str, which: str, algorithm: str) -> None:
    tiny = np.finfo(dtype).smallest_subnormal
    first, second = (values.astype(dtype) for values in operands(SMALL, which))
    if not able(SMALL, which, algorithm):
        pytest.skip("refused")
    result = compute(SMALL, which, first * tiny, second, algorithm=algorithm)
    np.testing.assert_array_equal(result, oracle(SMALL, which, first, second) * tiny)


@pytest.mark.parametrize("which", PASSES)
def test_subnormal_numbers_are_kept_on_all_threads(which: str) -> None:
    tiny = np.finfo("float32").smallest_subnormal
    first, second = (values.astype("float32") for values in operands(LARGE, which))
    expected = oracle(LARGE, which, first, second)
    for threads in (1, 2, 3):
        with fastconv.options(threads=threads, winograd=False):
            result = compute(LARGE, which, first * tiny, second)
        np.testing.assert_array_equal(result / tiny, expected)


def floating_point_environment() -> bytes:
    """The calling thread's, as C knows it: rounding, what is trapped, whether zeros are flushed."""
    environment = ctypes.create_string_buffer(64)
    assert ctypes.CDLL(None).fegetenv(environment) == 0
    if platform.machine() != "x86_64":
        return environment.raw
    # Not the flags that tell what has happened: of the last word, MXCSR, they are the lowest six.
    control = int.from_bytes(environment.raw[28:32], "little") & ~0x3F
    return environment.raw[:2] + control.to_bytes(4, "little")


@pytest.mark.skipif(platform.system() != "Linux", reason="looks for fegetenv in the process")
def test_the_callers_settings_are_left_alone() -> None:
    before = floating_point_environment()
    for which in PASSES:
        given = [values.astype("float32") for values in operands(LARGE, which)]
        for algorithm in ("direct", "winograd"):
            compute(LARGE, which, *given, algorithm=algorithm)
            assert floating_point_environment() == before
    tiny = np.float32(1e-40)
    assert tiny * np.float32(0.5) == np.float32(5e-41)


def test_pairs_of_bfloat16_lose_nothing_but_subnormal_numbers() -> None:
    """The processor's instruction takes those for zeros, where there is one."""
    bfloat16 = pytest.importorskip("ml_dtypes").bfloat16
    case = simple(2, 20, 36, (9, 11), (3, 3), pad=1)
    x, w = (values.astype(bfloat16) for values in operands(case, "forward"))
    least = 2.0**-126
    normal = fastconv.conv2d((x.astype("f4") * least).astype(bfloat16), w, padding=1)
    expected = oracle(case, "forward", x.astype("f4"), w.astype("f4"))
    rounded = (expected * least).astype("f4").astype(bfloat16)
    np.testing.assert_array_equal(normal.astype("f4"), rounded.astype("f4"))
    below = fastconv.conv2d((x.astype("f4") * least / 64).astype(bfloat16), w, padding=1)
    terms = case.c * 9
    assert np.abs(below.astype("f8") - expected * least / 64).max() <= terms * least
    if not simd.MULTIPLIES_PAIRS:
        np.testing.assert_allclose(below.astype("f8"), expected * least / 64, rtol=2**-8)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("algorithm", SUMS)
@pytest.mark.parametrize("which", PASSES)
def test_sums_of_zeros_are_plus_zero(which: str, algorithm: str, layout: str) -> None:
    """A sum starts at +0, and stays there whatever zeros are added."""
    for case in (SMALL, PLANES):
        first, second = (values.astype("float32") for values in operands(case, which)[:2])
        given = [np.copysign(0, first).astype("float32"), second]
        if layout == "channels_last":
            given = [channels_last(a) for a in given]
        if able(case, which, algorithm, layout):
            result = compute(case, which, *given, algorithm=algorithm)
            np.testing.assert_array_equal(result, 0)
            assert not np.signbit(result).any()


@pytest.mark.parametrize("algorithm", ["direct", "im2col"])
def test_float16_overflows_where_rounding_says(algorithm: str) -> None:
    """Halfway between the largest number and the next there would be, to even: infinity."""
    w = np.ones((1, 2, 1, 1), "float16")
    for added, expected in ((15.984375, 65504), (16, np.inf), (-15, 65504), (-16, 65472)):
        x = np.tile(np.array([65504, added], "float16").reshape(1, 2, 1, 1), (1, 1, 3, 40))
        y = fastconv.conv2d(x, w, algorithm=algorithm)
        np.testing.assert_array_equal(y, expected)
        np.testing.assert_array_equal(fastconv.conv2d(x, -w, algorithm=algorithm), -expected)


def test_bfloat16_overflows_where_rounding_says() -> None:
    bfloat16 = pytest.importorskip("ml_dtypes").bfloat16
    largest = (2 - 2.0**-7) * 2.0**127
    w = np.ones((40, 2, 1, 1), bfloat16)
    for added, expected in ((2.0**119, np.inf), (2.0**119 - 2.0**111, largest)):
        x = np.array([largest, added], bfloat16).reshape(1, 2, 1, 1)
        y = fastconv.conv2d(np.tile(x, (1, 1, 3, 8)), w)
        np.testing.assert_array_equal(y.astype("float64"), expected)


def test_float16_overflows_at_the_end_alone() -> None:
    """Sums are float32, so that what is too large midway may still come back."""
    x = np.array([60000, 30000, -60000, 0], "float16").reshape(1, 4, 1, 1)
    w = np.ones((36, 4, 1, 1), "float16")
    np.testing.assert_array_equal(fastconv.conv2d(np.tile(x, (1, 1, 3, 8)), w), 30000)


def test_float32_overflows_to_infinity() -> None:
    x = np.full((1, 20, 9, 11), 3e38, "float32")
    w = np.zeros((37, 20, 3, 3), "float32")
    w[0, 3, 1, 1], w[1, 3, 1, 1], w[2, 3, 1, 1] = 1, 2, -2
    y = fastconv.conv2d(x, w, padding=1, algorithm="direct")
    np.testing.assert_array_equal(y[0, :3, 4, 4], np.float32([3e38, np.inf, -np.inf]))
    assert not y[0, 3:].any()


class _Matrices(minimal_filters._Emitter):  # type: ignore[misc]
    """Makes the maps of a minimal filter out of fractions, not of instructions."""

    def __init__(self) -> None:
        self.b = SimpleNamespace(fadd=operator.add, fsub=operator.sub)

    def combine(self, terms: list[tuple[Fraction, Array]]) -> Array:
        return sum((factor * values for factor, values in terms), start=np.array(Fraction(0)))


def growth(points: int, taps: int) -> tuple[Fraction, Fraction]:
    """How much larger a filter's intermediate numbers are than the signal, and than the sums."""

    def units(count: int) -> list[Array]:
        return [np.array([Fraction(i == j) for j in range(count)]) for i in range(count)]

    pairs, maps = minimal_filters._PAIRS[points], _Matrices()
    signal = np.array(minimal_filters._signal(maps, units(points), pairs))
    filters = np.array(minimal_filters._filter(maps, units(taps), pairs, points))
    outputs = np.array(minimal_filters._output(maps, units(points), pairs, points + 1 - taps))
    signals = np.abs(signal).sum(axis=1)
    products = signals * np.abs(filters).max(axis=1)
    totals = np.abs(outputs) @ products
    return signals.max() ** 2, max(totals.max(), products.max()) ** 2


def test_winograd_overflows_earlier() -> None:
    """By no more than the documentation says, in any of its tiles; and from there on it does."""
    growths = [growth(n, taps) for n in minimal_filters.POINTS for taps in range(2, n)]
    of_signals, of_sums = (max(each) for each in zip(*growths, strict=True))
    page = Path(__file__).parent.parent / "docs" / "explanation" / "numbers.md"
    found = re.search(r"up to (\d+) times\s+the inputs and (\d+) times", page.read_text("utf8"))
    assert found is not None
    assert [int(number) for number in found.groups()] == [-(-of_signals // 1), -(-of_sums // 1)]
    most = float(np.finfo("float32").max)
    rng = np.random.default_rng(0)
    for size in ((4, 4), (9, 9), (2, 2)):  # six points an axis, five, four
        signs = rng.choice([-1.0, 1.0], (1, 8, *size)), rng.choice([-1.0, 1.0], (20, 8, 3, 3))
        x = (signs[0] * most / float(of_signals) / 1.001).astype("float32")
        w = (signs[1] / (72 * float(of_sums / of_signals) * 1.001)).astype("float32")
        assert np.isfinite(fastconv.conv2d(x, w, padding=1, algorithm="winograd")).all()
    x = np.full((1, 8, 4, 4), most / 2, "float32") * np.float32([1, -1, 1, -1])
    w = np.full((20, 8, 3, 3), 1e-38, "float32")
    assert np.isfinite(fastconv.conv2d(x, w, padding=1, algorithm="direct")).all()
    assert not np.isfinite(fastconv.conv2d(x, w, padding=1, algorithm="winograd")).all()


def test_integers_wrap() -> None:
    x = np.array([[[2**62, 2**62, 7]]])
    w = np.array([[[2, 2, 1]]])
    assert fastconv.conv1d(x, w).tolist() == [[[7]]]
    small = np.array([[[100, 100, 3]]], np.int8)
    expected = np.int64(403).astype(np.int8)
    np.testing.assert_array_equal(fastconv.conv1d(small, w.astype(np.int8)), [[[expected]]])
