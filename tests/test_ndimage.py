"""fastconv.ndimage against scipy.ndimage: values, dtypes, edges, and what is refused."""

import numpy as np
import pytest
from arrays import Arena
from hypothesis import assume, given, note, settings
from hypothesis import strategies as st
from scipy_cases import DTYPES, LAYOUTS, guarded, shapes, small

import fastconv
from fastconv import ndimage

scipy_ndimage = pytest.importorskip("scipy.ndimage")

MODES = (
    *("reflect", "constant", "nearest", "mirror", "wrap"),
    *("grid-mirror", "grid-constant", "grid-wrap"),
)
NAMES = ("correlate", "convolve")
INPUTS = (*DTYPES, "bool", "int8", "uint16", "int64", "complex128")


def assert_same(made: np.ndarray, want: np.ndarray) -> None:
    assert (made.dtype, made.shape) == (want.dtype, want.shape)
    np.testing.assert_array_equal(made, want)


def origin_within(draw: st.DrawFn, name: str, k: int) -> int:
    """Draw an origin that keeps the centre inside the kernel."""
    low, high = -(k // 2), (k - 1) // 2
    return draw(
        st.integers(-high, -low) if name == "convolve" and k % 2 else st.integers(low, high)
    )


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=60)
@given(
    sizes=shapes(4),
    dtypes=st.tuples(st.sampled_from(INPUTS), st.sampled_from(DTYPES)),
    mode=st.sampled_from(MODES),
    cval=st.sampled_from((0.0, 2, -3.0)),
    layout=st.sampled_from(sorted(LAYOUTS)),
    data=st.data(),
)
def test_all_axes(
    name: str,
    sizes: tuple,
    dtypes: tuple[str, str],
    mode: str,
    cval: float,
    layout: str,
    data: st.DataObject,
) -> None:
    # Of longer kernels SciPy reads past the image, in mode "reflect".
    assume(all(k <= 4 * n for n, k in zip(*sizes, strict=True)))
    note(f"{sizes} {dtypes} {mode} {cval} {layout}")
    shift = data.draw(st.composite(lambda draw: [origin_within(draw, name, k) for k in sizes[1]])())
    if name == "convolve":  # of an even kernel the other end is open
        shift = [-s - 1 if k % 2 == 0 else s for s, k in zip(shift, sizes[1], strict=True)]
    arena = Arena()
    x = guarded(arena, LAYOUTS[layout](small(sizes[0], dtypes[0])))
    w = guarded(arena, small(sizes[1], dtypes[1], 1))
    how = {"mode": mode, "cval": cval, "origin": shift}
    want = getattr(scipy_ndimage, name)(x, w, **how)
    for _ in range(2):
        assert_same(getattr(ndimage, name)(x, w, **how), want)
    arena.check()


@pytest.mark.parametrize("name", ["correlate1d", "convolve1d"])
@settings(max_examples=60)
@given(
    shape=shapes(4).map(lambda sizes: sizes[0]),
    taps=st.integers(1, 9),
    dtypes=st.tuples(st.sampled_from(INPUTS), st.sampled_from(DTYPES)),
    mode=st.sampled_from(MODES),
    data=st.data(),
)
def test_one_axis(
    name: str,
    shape: tuple,
    taps: int,
    dtypes: tuple[str, str],
    mode: str,
    data: st.DataObject,
) -> None:
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    origin = data.draw(st.integers(-((taps - 1) // 2), (taps - 1) // 2))
    note(f"{shape} {taps} {dtypes} {mode} {axis} {origin}")
    x, w = small(shape, dtypes[0]), small((taps,), dtypes[1], 1)
    how = {"axis": axis, "mode": mode, "cval": 2.0, "origin": origin}
    want = getattr(scipy_ndimage, name)(x, w, **how)
    for _ in range(2):
        assert_same(getattr(ndimage, name)(x, w, **how), want)


@pytest.mark.parametrize("mode", MODES[:5])
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_larger_images(dtype: str, mode: str) -> None:
    """Past the sizes that one look-up continues."""
    x, w = small((220, 301), dtype), small((5, 4), "float64", 1)
    for name in NAMES:
        want = getattr(scipy_ndimage, name)(x, w, mode=mode, cval=3)
        assert_same(getattr(ndimage, name)(x, w, mode=mode, cval=3), want)
    for axis in (0, 1):
        want = scipy_ndimage.correlate1d(x, w[0], axis, mode=mode)
        assert_same(ndimage.correlate1d(x, w[0], axis, mode=mode), want)


@pytest.mark.parametrize("mode", MODES)
def test_kernels_that_reach_round_the_image_often(mode: str) -> None:
    w = np.arange(1.0, 24)
    for n in (1, 2, 3):
        x = np.arange(1.0, n + 1)
        want = scipy_ndimage.correlate1d(x, w, mode=mode, cval=1)
        assert_same(ndimage.correlate1d(x, w, mode=mode, cval=1), want)
        assert_same(ndimage.correlate(x, w, mode=mode, cval=1), want)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("axes", [0, (-1,), (0, 2), (2, 0), (1,), (0, 1, 2), (2, 1, 0)])
def test_axes(axes: object, name: str) -> None:
    x = small((4, 5, 6), "float64")
    count = 1 if isinstance(axes, int) else len(axes)
    w = small((3, 2, 4)[:count], "float64", 1)
    for origin in (0, [-1, 0, 1][:count] if name == "correlate" else 0):
        want = getattr(scipy_ndimage, name)(x, w, origin=origin, axes=axes)
        for _ in range(2):
            assert_same(getattr(ndimage, name)(x, w, origin=origin, axes=axes), want)


@pytest.mark.parametrize("output", ["uint8", np.float32, np.dtype("int16"), "float64", bool])
@pytest.mark.parametrize("dtype", ["uint8", "float32", "float64"])
def test_output_dtypes(dtype: str, output: object) -> None:
    """Fractions are cut off, and what is out of range wraps, as in C."""
    x, w = small((5, 6), dtype), np.array([[0.5, -1.25, 2]])
    assert_same(ndimage.correlate(x, w, output), scipy_ndimage.correlate(x, w, output))
    assert_same(
        ndimage.correlate1d(x, w[0], 0, output), scipy_ndimage.correlate1d(x, w[0], 0, output)
    )


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32", "uint64", "int8"])
def test_integers_wrap(dtype: str) -> None:
    x = small((5, 6), dtype)
    for w in ([[-1.0, -2, 0.5]], [[100.0, 3, 1]]):
        assert_same(ndimage.correlate(x, w), scipy_ndimage.correlate(x, w))


def test_output_arrays() -> None:
    x, w = small((6, 7), "float64"), small((3, 3), "float64", 1)
    want = scipy_ndimage.correlate(x, w)
    for out in (np.full((6, 7), np.nan), np.full((7, 6), np.nan).T, np.zeros((6, 7), "int32")):
        assert ndimage.correlate(x, w, out) is out
        np.testing.assert_array_equal(out, want)
    line = scipy_ndimage.convolve1d(x, w[0])
    assert ndimage.convolve1d(x, w[0], output=x) is x  # in place
    np.testing.assert_array_equal(x, line)


def test_complex_numbers() -> None:
    x, w = small((5, 6), "complex64"), small((2, 3), "complex128", 1)
    for how in ({"cval": 1 + 2j, "mode": "constant"}, {}):
        for name in NAMES:
            want = getattr(scipy_ndimage, name)(x, w, **how)
            assert_same(getattr(ndimage, name)(x, w, **how), want)
    out = np.zeros(x.shape, "complex128")
    assert ndimage.correlate(x.real, w, out) is out
    np.testing.assert_array_equal(out, scipy_ndimage.correlate(x.real, w, "complex128"))
    with pytest.warns(UserWarning, match="output is made complex"):
        made = ndimage.correlate(x, w, np.float32)
    assert made.dtype == np.complex64


def test_the_arithmetic_is_as_wide_as_scipys() -> None:
    """In float64, rounded once, unless both image and weights are float32."""
    rng = np.random.default_rng(0)
    x = (1e6 + rng.standard_normal((40, 50))).astype("f4")
    w = np.array([[1.0, -2.0, 1.0]]) / 3
    made, want = ndimage.correlate(x, w), scipy_ndimage.correlate(x, w)
    assert made.dtype == want.dtype == np.float32
    np.testing.assert_allclose(made, want, rtol=1e-6, atol=1e-9)
    narrow = ndimage.correlate(x, w.astype("f4"))
    assert 1e-3 < np.abs(narrow - want).max() < 0.5


@pytest.mark.parametrize("shape", [(), (0,), (0, 3), (3, 0)])
def test_empty_and_scalar(shape: tuple) -> None:
    x, w = np.ones(shape), np.full((2,) * len(shape), 3.0)
    assert_same(ndimage.correlate(x, w), scipy_ndimage.correlate(x, w))
    assert_same(ndimage.convolve(x, w), scipy_ndimage.convolve(x, w))


def test_known_calls_heed_every_argument() -> None:
    x, w = small((6, 7), "float64"), small((3, 3), "float64", 1)
    for _ in range(2):
        for mode in ("constant", "grid-constant", "wrap"):
            for cval in (0, 0.0, 1, 2):
                for origin in (0, 1, -1, (1, 0), [0, 1]):
                    how = {"mode": mode, "cval": cval, "origin": origin}
                    want = scipy_ndimage.correlate(x, w, **how)
                    np.testing.assert_array_equal(ndimage.correlate(x, w, **how), want)
                    want = scipy_ndimage.convolve(x, w, **how)
                    np.testing.assert_array_equal(ndimage.convolve(x, w, **how), want)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"mode": "edge"}, "mode must be one of"),
        ({"mode": ["wrap", "wrap"]}, "mode must be one of"),
        ({"weights": np.ones(3)}, "weights must have 2 axes"),
        ({"weights": np.ones((0, 3))}, "weights must have no empty axis"),
        ({"origin": 2}, "origin must keep the kernel's centre inside"),
        ({"origin": -2}, "origin must keep the kernel's centre inside"),
        ({"origin": [0, 0, 0]}, "origin must be an integer or a sequence of 2 integers"),
        ({"output": np.zeros((2, 2))}, "output must have shape"),
        ({"output": "float16"}, "output must have a real dtype"),
        ({"output": np.complex64}, "output must have a real dtype"),
        ({"input": np.ones((4, 4), "float16")}, "input must have a bool, integer"),
        ({"input": np.ones((4, 4), object)}, "input must have a bool, integer"),
        ({"weights": np.ones((2, 2), complex), "cval": 1j}, "cval must be real"),
        ({"input": np.ones((4, 4), complex), "output": "float64"}, "output must have"),
        ({"weights": np.ones(3), "axes": (2,)}, "axes must be at least -2 and less than 2, got 2"),
        ({"axes": (0, 0)}, "axes must be different ones"),
    ],
)
def test_refusals(changed: dict, message: str) -> None:
    """With the exception's type as SciPy's."""
    plain = {"input": np.ones((4, 5)), "weights": np.ones((3, 3))}
    raised = []
    for library in (scipy_ndimage, ndimage):
        with pytest.raises((RuntimeError, ValueError)) as error:
            library.correlate(**plain | changed)
        raised.append(error.value)
    ours = raised[1]
    assert isinstance(ours, RuntimeError) == isinstance(raised[0], RuntimeError)
    assert message in str(ours)


def test_refusals_of_lines() -> None:
    x = np.ones((3, 3))
    for weights in ([], [[1.0]]):
        with pytest.raises(RuntimeError, match="weights must"):
            ndimage.correlate1d(x, weights)
    with pytest.raises(np.exceptions.AxisError):
        ndimage.correlate1d(x, [1.0], axis=2)
    with pytest.raises(np.exceptions.AxisError):
        ndimage.correlate1d(3.0, [1.0])
    with pytest.raises(TypeError, match="input must have no mask"):
        ndimage.correlate1d(np.ma.masked_array([1.0, 2.0], [0, 1]), [1.0])


def test_same_bits_for_any_number_of_threads() -> None:
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((700, 500)), rng.standard_normal((7, 7))
    with fastconv.options(threads=1):
        alone = ndimage.correlate(x, w)
    assert ndimage.correlate(x, w).tobytes() == alone.tobytes()
    np.testing.assert_allclose(alone, scipy_ndimage.correlate(x, w), rtol=1e-10, atol=1e-12)
