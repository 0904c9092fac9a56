"""fastconv.signal against scipy.signal: values, dtypes, shapes, and what is refused."""

import tracemalloc
from math import log2

import numpy as np
import pytest
from arrays import Arena
from hypothesis import given, note, settings
from hypothesis import strategies as st
from scipy_cases import DTYPES, LAYOUTS, guarded, shapes, small
from scripts import run_script

import fastconv
from fastconv import signal
from fastconv.cpu import fft

scipy_signal = pytest.importorskip("scipy.signal")

MODES = ("full", "valid", "same")
NAMES = ("correlate", "convolve")
LARGE = 4000, 3000  # sizes for which "auto" takes the FFT


def expected(name: str, a: np.ndarray, b: np.ndarray, mode: str) -> np.ndarray:
    return getattr(scipy_signal, name)(a, b, mode, "direct")


def fits(mode: str, shape1: tuple[int, ...], shape2: tuple[int, ...]) -> bool:
    """Whether mode "valid" has an answer."""
    pairs = list(zip(shape1, shape2, strict=True))
    return mode != "valid" or all(n >= k for n, k in pairs) or all(n <= k for n, k in pairs)


def assert_same(made: np.ndarray, want: np.ndarray) -> None:
    assert (made.dtype, made.shape) == (want.dtype, want.shape)
    np.testing.assert_array_equal(made, want)


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=60)
@given(
    sizes=shapes(5),
    dtypes=st.tuples(st.sampled_from(DTYPES), st.sampled_from(DTYPES)),
    mode=st.sampled_from(MODES),
    layouts=st.tuples(st.sampled_from(sorted(LAYOUTS)), st.sampled_from(sorted(LAYOUTS))),
)
def test_any_rank(
    name: str, sizes: tuple, dtypes: tuple[str, str], mode: str, layouts: tuple[str, str]
) -> None:
    note(f"{sizes} {dtypes} {mode} {layouts}")
    if not fits(mode, *sizes):
        mode = "full"
    arena = Arena()
    a, b = (
        guarded(arena, LAYOUTS[layout](small(shape, dtype)))
        for shape, dtype, layout in zip(sizes, dtypes, layouts, strict=True)
    )
    want = expected(name, a, b, mode)
    for method in ("auto", "direct", "direct"):  # the second time as a known call
        assert_same(getattr(signal, name)(a, b, mode, method), want)
    arena.check()


@pytest.mark.parametrize("name", ["correlate2d", "convolve2d"])
@settings(max_examples=60)
@given(
    sizes=shapes(2).filter(lambda sizes: len(sizes[0]) == 2),
    dtypes=st.tuples(st.sampled_from(DTYPES), st.sampled_from(DTYPES)),
    mode=st.sampled_from(MODES),
    boundary=st.sampled_from(("fill", "wrap", "symm", "pad", "circular", "symmetric")),
    fillvalue=st.sampled_from((0, 0.0, 3, np.int64(2), [1], 2.5)),
    layout=st.sampled_from(sorted(LAYOUTS)),
)
def test_two_axes(
    name: str,
    sizes: tuple,
    dtypes: tuple[str, str],
    mode: str,
    boundary: str,
    fillvalue: object,
    layout: str,
) -> None:
    note(f"{sizes} {dtypes} {mode} {boundary} {fillvalue} {layout}")
    if not fits(mode, *sizes):
        mode = "same"
    arena = Arena()
    a, b = (
        guarded(arena, LAYOUTS[layout](small(shape, dtype)))
        for shape, dtype in zip(sizes, dtypes, strict=True)
    )
    want = getattr(scipy_signal, name)(a, b, mode, boundary, fillvalue)
    for _ in range(2):
        assert_same(getattr(signal, name)(a, b, mode, boundary, fillvalue), want)
    arena.check()


@pytest.mark.parametrize("boundary", ["fill", "wrap", "symm"])
@pytest.mark.parametrize("dtype", ["float32", "float64", "int16"])
def test_larger_images(dtype: str, boundary: str) -> None:
    """Past the sizes that one look-up continues, several bands, and two threads."""
    a, b = small((300, 210), dtype), small((6, 5), dtype)
    for name in ("correlate2d", "convolve2d"):
        want = getattr(scipy_signal, name)(a, b, "same", boundary, 1)
        with fastconv.options(threads=1):
            alone = getattr(signal, name)(a, b, "same", boundary, 1)
        assert_same(alone, want)
        assert_same(getattr(signal, name)(a, b, "same", boundary, 1), want)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", ["int8", "uint32", "int64"])
def test_integers_wrap(dtype: str, name: str, mode: str) -> None:
    """As NumPy's do, in sums and by NumPy's own correlation alike."""
    rng = np.random.default_rng(1)
    info = np.iinfo(dtype)
    for sizes in ((50, 7), (3000, 20)):
        a, b = (rng.integers(info.min, info.max, n, dtype, endpoint=True) for n in sizes)
        assert_same(getattr(signal, name)(a, b, mode, "direct"), expected(name, a, b, mode))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", ["bool", "float16"])
def test_types_that_scipy_has_in_one_dimension(dtype: str, name: str) -> None:
    a, b = small((600,), dtype), small((300,), dtype)
    assert_same(getattr(signal, name)(a, b), expected(name, a, b, "full"))
    want = expected(
        name, a.astype("f8")[:20].reshape(4, 5), b.astype("f8")[:4].reshape(2, 2), "same"
    )
    made = getattr(signal, f"{name}2d")(a[:20].reshape(4, 5), b[:4].reshape(2, 2), "full")
    full = expected(
        name, a.astype("f8")[:20].reshape(4, 5), b.astype("f8")[:4].reshape(2, 2), "full"
    )
    assert_same(made, full.astype(dtype))
    assert_same(
        getattr(signal, name)(a[:20].reshape(4, 5), b[:4].reshape(2, 2), "same"), want.astype(dtype)
    )


def test_a_bool_result_does_not_wrap() -> None:
    """256 true products are true."""
    ones = np.ones(256, bool)
    assert signal.correlate(ones, ones).all()
    assert signal.correlate2d(ones.reshape(16, 16), ones.reshape(16, 16)).all()


def test_bfloat16() -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes")
    a, b = small((7, 9), "float32"), small((3, 2), "float32")
    narrow = (x.astype(ml_dtypes.bfloat16) for x in (a, b))
    made = signal.correlate2d(*narrow)
    assert made.dtype == ml_dtypes.bfloat16
    np.testing.assert_array_equal(made.astype("f4"), scipy_signal.correlate2d(a, b))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "sizes", [((70,), (33,)), ((5,), (90,)), ((20, 17), (6, 9)), ((4, 5, 3, 6), (2, 3, 3, 2))]
)
@pytest.mark.parametrize(
    "dtype", ["uint8", "int64", "float16", "float32", "complex64", "complex128"]
)
def test_fft(dtype: str, sizes: tuple, name: str) -> None:
    a, b = (small(shape, dtype) for shape in sizes)
    for mode in MODES:
        made = getattr(signal, name)(a, b, mode, "fft")
        exact = expected(name, a.astype(np.result_type(dtype, "f4")), b, mode)
        assert (made.dtype, made.shape) == (a.dtype, exact.shape)
        if a.dtype.kind in "iu":
            np.testing.assert_array_equal(made, expected(name, a, b, mode))
            continue
        eps = float(np.finfo(dtype if dtype != "float16" else "float16").eps)
        norms = np.linalg.norm(a.astype("c16")) * np.linalg.norm(b.astype("c16"))
        bound = fft.BOUND * 2 * eps * log2(2 * max(a.size, 2)) * norms
        assert np.abs(made - exact).max() <= bound


@pytest.mark.parametrize("dtype", ["float64", "complex128"])
def test_auto_takes_the_faster_way(dtype: str) -> None:
    a, b = (small((n,), dtype) for n in LARGE)
    exact = expected("correlate", a, b, "same")
    for _ in range(2):
        made = signal.correlate(a, b, "same")
        assert not np.array_equal(made, exact)  # it is the FFT's
        np.testing.assert_allclose(made, exact, atol=1e-8)
        assert_same(signal.correlate(a, b, "same", "direct"), exact)
        with fastconv.options(winograd=False):
            assert_same(signal.correlate(a, b, "same"), exact)


def test_auto_is_exact_for_integers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Through the FFT where it rounds to the exact sums for sure, by sums elsewhere."""
    rng = np.random.default_rng(2)
    transforms = []
    forwards = fft.FourierProgram.forwards

    def counted(program: fft.FourierProgram, *given: object) -> np.ndarray:
        transforms.append(program)
        return forwards(program, *given)

    monkeypatch.setattr(fft.FourierProgram, "forwards", counted)
    for most, transformed in ((1000, True), (2**31 - 1, False)):
        a, b = (rng.integers(-most, most, n) for n in LARGE)
        transforms.clear()
        for _ in range(2):
            assert_same(signal.convolve(a, b), np.convolve(a, b))
        assert bool(transforms) == transformed


def test_without_scipy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fft, "_missing", lambda: True)
    fastconv.clear_cache()
    a, b = small((1500,), "float64"), small((1201,), "float64")  # sizes of no other test
    assert_same(signal.correlate(a, b), np.correlate(a, b, "full"))
    with pytest.raises(ValueError, match="'fft' needs SciPy, which is not installed"):
        signal.correlate(a[1:], b, method="fft")


def test_scipy_is_not_imported() -> None:
    script = (
        "import sys, fastconv;"
        "assert 'fastconv.signal' not in sys.modules and 'fastconv.ndimage' not in sys.modules;"
        "import numpy as np;"
        "from fastconv import ndimage, signal;"
        "signal.correlate(np.ones(300), np.ones(30)); signal.correlate2d([[1.0]], [[2.0]]);"
        "ndimage.correlate(np.ones(9), np.ones(3));"
        "print([name for name in ('fft', 'ndimage', 'signal') if f'scipy.{name}' in sys.modules])"
    )
    assert run_script(script).strip() == "[]"


@pytest.mark.parametrize(
    ("a", "b"),
    [(3, 4), (np.float32(2), 1 + 2j), (np.array(2j), np.array(3j)), (True, 2), (True, True)],
)
def test_scalars(a: object, b: object) -> None:
    for name in NAMES:
        made, want = getattr(signal, name)(a, b), getattr(scipy_signal, name)(a, b)
        assert made == want
        assert type(made) is type(want)


def test_array_likes() -> None:
    np.testing.assert_array_equal(signal.correlate([1, 2, 3], (0, 1, 10)), [10, 21, 32, 3, 0])
    made = signal.convolve2d([[1, 2], [3, 4]], [[1.5]])
    assert type(made) is np.ndarray
    np.testing.assert_array_equal(made, [[1.5, 3], [4.5, 6]])


def test_known_calls_heed_every_argument() -> None:
    a, b = small((6, 7), "float64"), small((2, 2), "float64")
    for _ in range(2):
        for mode in MODES:
            for boundary in ("fill", "wrap"):
                for fillvalue in (0, 1, 2):
                    given = mode, boundary, fillvalue
                    want = scipy_signal.correlate2d(a, b, *given)
                    np.testing.assert_array_equal(signal.correlate2d(a, b, *given), want)
                    want = scipy_signal.convolve2d(a, b, *given)
                    np.testing.assert_array_equal(signal.convolve2d(a, b, *given), want)


@pytest.mark.parametrize(
    ("sizes", "mode"),
    [
        (((0, 4), (2, 2)), "full"),
        (((0, 4), (2, 2)), "same"),
        (((4, 4), (0, 2)), "full"),
        (((4, 4), (2, 0)), "same"),
        (((4, 4), (0, 2)), "valid"),
        (((0, 0), (0, 0)), "valid"),
        (((1, 4), (0, 2)), "full"),
    ],
)
def test_empty_images(sizes: tuple, mode: str) -> None:
    a, b = map(np.ones, sizes)
    for value in (7, 0):
        want = scipy_signal.correlate2d(a, b, mode, "fill", value)
        assert_same(signal.correlate2d(a, b, mode, "fill", value), want)
        assert_same(signal.convolve2d(a, b, mode, "fill", value), want)
    if 0 not in a.shape:  # there SciPy divides by zero
        assert_same(signal.correlate2d(a, b, mode, "wrap"), want * (0 in b.shape))


def test_an_empty_signal_in_mode_same() -> None:
    assert_same(signal.correlate(np.ones(0), np.ones(3), "same"), np.ones(0))
    assert_same(signal.convolve(np.ones((0, 4)), np.ones((3, 2)), "same"), np.ones((0, 4)))


@pytest.mark.parametrize("name", NAMES)
def test_refusals(name: str) -> None:
    call, planar = getattr(signal, name), getattr(signal, f"{name}2d")
    ones, image = np.ones(4), np.ones((4, 4))
    for _ in range(2):
        with pytest.raises(ValueError, match="mode must be one of 'full', 'valid', 'same'"):
            call(ones, ones, "Full")
        with pytest.raises(TypeError, match="mode must be one of"):
            call(ones, ones, 2)
        with pytest.raises(ValueError, match="method must be one of"):
            call(ones, ones, "full", "fast")
        with pytest.raises(ValueError, match="boundary must be one of"):
            planar(image, image, "full", "reflect")
        with pytest.raises(ValueError, match="same number of axes"):
            call(ones, image)
        with pytest.raises(ValueError, match="in2 must be 2-D"):
            planar(image, ones)
        with pytest.raises(ValueError, match="at least as large as the other in every axis"):
            call(np.ones((3, 5)), np.ones((5, 3)), "valid")
        with pytest.raises(ValueError, match="in1 must not be empty"):
            call(ones[:0], ones)
        with pytest.raises(ValueError, match="in2 must not be empty"):
            call(ones, ones[:0], "same")
        with pytest.raises(ValueError, match="must not both be empty"):
            planar(image[:0], image[:0])
        with pytest.raises(ValueError, match="in1 must not be empty for boundary='symm'"):
            planar(image[:0], image, "full", "symm")
        for value in (300, -1, 1j, "a", [1, 2], [], None):
            with pytest.raises(ValueError, match="fillvalue must be"):
                planar(image.astype("u1"), image.astype("u1"), fillvalue=value)


@pytest.mark.parametrize("dtype", ["longdouble", "clongdouble", "object", "datetime64[s]", "U3"])
def test_dtypes_without_kernels(dtype: str) -> None:
    array = np.zeros((3, 3), dtype)
    with pytest.raises(TypeError, match="promote"):
        signal.correlate(array, array)
    with pytest.raises(TypeError, match="promote"):
        signal.correlate2d(array, np.ones((2, 2)))


def test_masks_are_not_lost() -> None:
    masked = np.ma.masked_array([1.0, 2.0, 3.0], [0, 1, 0])
    with pytest.raises(TypeError, match="in1 must have no mask"):
        signal.correlate(masked, [1.0, 2.0])
    with pytest.raises(TypeError, match="in2 must have no mask"):
        signal.correlate2d(np.ones((3, 3)), masked.reshape(1, 3))


def test_results_are_new_arrays() -> None:
    a = np.ones((4, 4))
    for made in (signal.correlate(a, np.ones((1, 1))), signal.correlate2d(a, a, "valid")):
        assert not np.shares_memory(made, a)
        made[...] = 0
        assert a.all()


def test_no_padded_copy_of_zeros() -> None:
    """Beside the result, a large image takes no memory of its size."""
    a, b = np.ones((1000, 1000)), np.ones((5, 5))
    signal.correlate2d(a, b, "same")
    tracemalloc.start()
    try:
        made = signal.correlate2d(a, b, "same")
        assert tracemalloc.get_traced_memory()[1] < made.nbytes * 1.5
    finally:
        tracemalloc.stop()
