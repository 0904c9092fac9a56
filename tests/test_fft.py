"""FFT: each pass against direct sums of integers, which are exact; its bound; what it refuses."""

from concurrent.futures import ThreadPoolExecutor
from math import log2, prod

import numpy as np
import pytest
from arrays import DTYPES, LAYOUTS, Arena
from cases import PASSES, Case, compute, operands, result_shape, simple
from scripts import run_script

import fastconv
from fastconv.cpu import fft
from fastconv.explain import DIRECTIONS

CASES = {
    "one channel": simple(1, 1, 1, (90, 77), (21, 12), pad=7, bias=True),
    "many blocks": simple(1, 1, 2, (300, 420), (9, 17), pad=4),
    "channels": simple(2, 3, 5, (30, 41), (8, 3), pad=2, bias=True),
    "groups": simple(2, 6, 4, (25, 18), (5, 5), groups=2, bias=True),
    "padding beyond the kernel": Case(1, 2, 1, 1, (9, 6), (3, 2), (1, 1), ((7, 0), (1, 9)), (1, 1)),
    "kernel as large as the image": simple(2, 2, 3, (17, 13), (17, 13)),
    "one by one": simple(2, 2, 3, (7, 9), (1, 1), bias=True),
    "one axis": simple(3, 2, 2, (1000,), (64,), pad=31, bias=True),
    "three axes": simple(1, 2, 2, (9, 20, 11), (3, 4, 5), pad=1),
}


@pytest.mark.parametrize("which", PASSES)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_against_exact_sums(case: Case, dtype: str, layout: str, which: str, arena: Arena) -> None:
    pytest.importorskip("scipy")
    given = operands(case, which)
    arrays = [arena.place(values, dtype, layout) for values in given]
    out = arena.output(result_shape(case, which), dtype, layout)
    expected = compute(case, which, *given, algorithm="direct")  # float64
    with fastconv.options(threads=1):
        compute(case, which, *arrays, out=out, algorithm="fft")
    error = np.abs(out - expected).max()
    assert error <= 16 * np.finfo(dtype).eps * np.abs(expected).max()
    with fastconv.options(threads=2):
        again = compute(case, which, *arrays, algorithm="fft")
    np.testing.assert_array_equal(again, out)


def test_padding_that_one_tap_never_reads() -> None:
    """The gradient begins before the image."""
    pytest.importorskip("scipy")
    case = Case(2, 2, 2, 1, (13,), (1,), (1,), ((16, 20),), (1,))
    given = operands(case, "weight_gradient")
    expected = compute(case, "weight_gradient", *given, algorithm="direct")
    result = compute(case, "weight_gradient", *given, algorithm="fft")
    np.testing.assert_allclose(result, expected, atol=1e-12)


def test_one_pixel_meets_a_part_of_the_taps() -> None:
    """A strided input gradient of one pixel is one part, without the taps of other phases."""
    pytest.importorskip("scipy")
    case = Case(1, 1, 1, 1, (1,), (4,), (3,), ((3, 3),), (1,))
    given = operands(case, "input_gradient")
    expected = compute(case, "input_gradient", *given, algorithm="direct")
    result = compute(case, "input_gradient", *given, algorithm="fft")
    np.testing.assert_allclose(result, expected, atol=1e-12)


@pytest.mark.parametrize("which", PASSES)
@pytest.mark.parametrize("offset", [0, 100])
def test_rounding_of_reals(offset: float, which: str) -> None:
    """The bound as stated, on numbers with a large mean too: norms of what a result sums."""
    pytest.importorskip("scipy")
    case = simple(1, 2, 2, (200, 150), (31, 20), pad=9)
    rng = np.random.default_rng(3)
    a, b = (offset + rng.standard_normal(values.shape) for values in operands(case, which))
    expected = compute(case, which, a, b, algorithm="direct")
    a32, b32 = a.astype("f4"), b.astype("f4")
    exact = compute(case, which, a32.astype("f8"), b32.astype("f8"), algorithm="direct")
    result = compute(case, which, a32, b32, algorithm="fft")
    norms = np.linalg.norm(a32.astype("f8")) * np.linalg.norm(b32.astype("f8"))
    error = np.abs(result - exact).max()
    assert error <= fft.BOUND * np.finfo("f4").eps * log2(prod(case.input)) * norms
    assert np.abs(compute(case, which, a, b, algorithm="fft") - expected).max() <= 1e-12 * norms


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_refusals(direction: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("scipy")
    sizes = (1, 1, 40, 40), (1, 1, 5, 5)
    how = {"direction": direction, "algorithm": "fft"}
    with pytest.raises(ValueError, match="'fft' needs a stride of 1"):
        fastconv.explain(*sizes, stride=2, **how)
    with pytest.raises(ValueError, match="'fft' needs a dilation of 1"):
        fastconv.explain(*sizes, dilation=2, **how)
    with pytest.raises(ValueError, match="'fft' is for few channels"):
        fastconv.explain((1, 512, 40, 40), (512, 512, 5, 5), **how)
    monkeypatch.setattr(fft, "_missing", lambda: True)
    with pytest.raises(ValueError, match="'fft' needs SciPy, which is not installed"):
        fastconv.explain((1, 1, 41, 40), (1, 1, 5, 5), **how)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_auto_goes_by_the_size_of_the_kernel(direction: str) -> None:
    pytest.importorskip("scipy")

    def chosen(size: int) -> str:
        sizes = (1, 1, 1024, 1024), (1, 1, size, size)
        plan = fastconv.explain(*sizes, padding=size // 2, direction=direction)
        return plan.algorithm

    assert chosen(7) in ("direct", "depthwise")
    assert chosen(41) == "fft"
    with fastconv.options(winograd=False):
        assert chosen(41) != "fft"


def test_relu() -> None:
    pytest.importorskip("scipy")
    x, w = np.arange(-50.0, 50).reshape(1, 1, 10, 10), np.ones((1, 1, 3, 3))
    plain = fastconv.conv2d(x, w, algorithm="fft")
    relu = fastconv.conv2d(x, w, algorithm="fft", activation="relu")
    np.testing.assert_array_equal(relu, np.maximum(plain, 0))


def test_scipy_is_imported_only_for_large_kernels() -> None:
    script = (
        "import sys, numpy as np, fastconv;"
        "x = np.ones((1, 1, 400, 400), 'f4');"
        "fastconv.conv2d(x, np.ones((1, 1, 7, 7), 'f4'));"
        "print('scipy.fft' in sys.modules)"
    )
    assert run_script(script).strip() == "False"


def test_without_another_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the system gives none, the calling thread does it all."""
    rng = np.random.default_rng(2)
    x, w = rng.standard_normal((4, 1, 60, 60)), rng.standard_normal((1, 1, 12, 12))
    expected = fastconv.conv2d(x, w, algorithm="fft")

    def refuse(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(ThreadPoolExecutor, "submit", refuse)
    np.testing.assert_array_equal(fastconv.conv2d(x, w, algorithm="fft"), expected)
