"""Sizes far beyond those of layers: of arrays, strides in memory, padding, dilation and kernels."""

import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from math import prod
from typing import Any

import numpy as np
import pytest
from arrays import Arena, Array
from cases import PASSES, Case, compute, result_shape, simple, solved
from guard_pages import untouched
from scripts import run_script
from test_dtypes import check as check_dtype
from test_memory import CASES
from test_not_finite import defined, spoilings

import fastconv
from fastconv import lowering, signal
from fastconv.cpu.convolution import ALGORITHMS
from fastconv.geometry import forward_geometry
from fastconv.lowering import lower_forward, lower_input_gradient, trimmed

slow = pytest.mark.slow
BOTH = ("direct", pytest.param("im2col", marks=slow))  # each kernel takes its time to compile
linux = pytest.mark.skipif(sys.platform != "linux", reason="needs memory without a reserve")

VAST = {
    "padding": simple(2, 3, 5, (3, 2), (3, 2), pad=12, bias=True),
    "padding of one axis": Case(1, 3, 4, 1, (4, 5), (2, 3), (1, 1), ((0, 0), (150, 170)), (1, 1)),
    "dilation": Case(2, 4, 6, 2, (2, 3), (3, 3), (1, 1), ((30, 30), (30, 29)), (30, 30)),
    "dilation and stride": Case(1, 2, 3, 1, (3,), (5,), (7,), ((90, 95),), (45,), True),
    "stride": simple(2, 3, 4, (2, 2), (3, 3), stride=9, pad=20),
    "nothing but padding": simple(1, 2, 3, (2, 2), (2, 2), stride=40, pad=25),
    "planes": simple(2, 6, 6, (2, 3), (3, 3), groups=6, pad=20),
    "three axes": simple(1, 2, 3, (1, 2, 1), (2, 1, 3), pad=6, dilation=4),
}
SOON = ("padding", "dilation", "dilation and stride", "nothing but padding")


def ones(*shape: int, dtype: str = "float32") -> Array:
    """An array of any size in the memory of one element."""
    return np.broadcast_to(np.ones((), dtype), shape)


# ------------------------------------------------------------------ vast padding and dilation


@pytest.fixture
def _small_is_vast(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Padded copies need not be large to be left out."""
    monkeypatch.setattr(lowering, "_VAST", 0)
    fastconv.clear_cache()
    yield
    fastconv.clear_cache()


@pytest.mark.usefixtures("_small_is_vast")
@pytest.mark.parametrize("algorithm", BOTH)
@pytest.mark.parametrize("which", PASSES)
@pytest.mark.parametrize("name", [n if n in SOON else pytest.param(n, marks=slow) for n in VAST])
def test_vast_padding(name: str, which: str, algorithm: str, arena: Arena) -> None:
    case = VAST[name]
    given, expected = solved(case, which)
    layout = "channels_last" if case.bias else "channels_first"
    arrays = [arena.place(values, "float32", layout) for values in given]
    out = arena.output(result_shape(case, which), "float32", layout)
    compute(case, which, *arrays, out=out, algorithm=algorithm)
    np.testing.assert_array_equal(out, expected)


@pytest.mark.usefixtures("_small_is_vast")
@pytest.mark.parametrize("algorithm", ["direct", "im2col"])
@pytest.mark.parametrize("which", PASSES)
@pytest.mark.parametrize("case", VAST.values(), ids=VAST)
def test_vast_padding_beside_infinity(case: Case, which: str, algorithm: str) -> None:
    for given in spoilings(case, which, "float32", seeds=1):
        result = compute(case, which, *given, algorithm=algorithm)
        np.testing.assert_array_equal(result, defined(case, which, *given))


@pytest.mark.usefixtures("_small_is_vast")
@pytest.mark.parametrize("case", VAST.values(), ids=VAST)
def test_vast_padding_is_not_copied(case: Case) -> None:
    g = forward_geometry(case.input_shape, case.weight_shape, *case.how, case.rank)
    for low in (lower_forward(g), lower_input_gradient(g)):
        if prod(low.padded) >= 64 * prod(low.source):
            left = trimmed(low)
            assert left is not low
            assert prod(left.padded) <= 9 * prod(low.source)
        else:
            assert trimmed(low) is low


@pytest.mark.usefixtures("_small_is_vast")
@slow
@pytest.mark.parametrize("dtype", ["bfloat16", "int8", "complex64"])
def test_vast_padding_of_other_types(dtype: str) -> None:
    for which in PASSES:
        check_dtype(VAST["dilation"], which, dtype, "channels_first", "direct")


@pytest.mark.parametrize("algorithm", BOTH)
def test_taps_that_meet_the_image_one_by_one(algorithm: str) -> None:
    """Of a kernel as far apart as its stride is long, each output has one tap in the image."""
    case = Case(2, 2, 3, 1, (4, 3), (3, 3), (30, 30), ((60, 62), (61, 61)), (30, 30), True)
    far = 10**5
    how = ((far, far), ((2 * far, 2 * far + 2), (2 * far + 1, 2 * far + 1)), (far, far))
    for which in PASSES:
        given, expected = solved(case, which)
        wide = replace(case, stride=how[0], pads=how[1], dilation=how[2])
        arrays = [values.astype("f4") for values in given]
        result = compute(wide, which, *arrays, algorithm=algorithm)
        np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize("algorithm", [*BOTH, "auto"])
@pytest.mark.parametrize("far", [10**5, 10**8])
def test_padding_and_dilation_far_beyond_the_image(far: int, algorithm: str) -> None:
    """One tap of nine meets the image: that is all that is computed."""
    x, w = np.arange(2 * 2 * 6 * 5, dtype="f4").reshape(2, 2, 6, 5), np.ones((3, 2, 3, 3), "f4")
    w[:, :, 1, 1] = [[1, 2], [3, 4], [5, 6]]
    how = (1, far, far)
    y = fastconv.conv2d(x, w, None, *how, algorithm=algorithm)
    np.testing.assert_array_equal(y, np.einsum("kc,nchw->nkhw", w[:, :, 1, 1], x))
    dw = fastconv.conv2d_weight(x, w.shape, y, *how, algorithm=algorithm)
    expected = np.zeros_like(w)
    expected[:, :, 1, 1] = np.einsum("nkhw,nchw->kc", y, x)
    np.testing.assert_array_equal(dw, expected)
    dx = fastconv.conv2d_input(x.shape, w, y, *how, algorithm=algorithm)
    np.testing.assert_array_equal(dx, np.einsum("kc,nkhw->nchw", w[:, :, 1, 1], y))


@pytest.mark.parametrize("which", PASSES)
def test_columns_of_large_kernels_are_cut(which: str) -> None:
    """No thread gathers more of a kernel of 99x101 than stays in its cache."""
    shapes = (1, 2, 103, 106), (5, 2, 99, 101)
    with fastconv.options(threads=1):
        told = fastconv.explain(*shapes, direction=which, algorithm="im2col")
    arrays = 4 * (prod(shapes[0]) + 2 * prod(shapes[1]))
    assert told.workspace < 8 * arrays


@pytest.mark.parametrize("layout", ["channels_first", pytest.param("channels_last", marks=slow)])
@pytest.mark.parametrize("which", PASSES)
def test_large_kernels(which: str, layout: str, arena: Arena) -> None:
    case = simple(1, 2, 5, (46, 47), (41, 43), pad=1)
    given, expected = solved(case, which)
    arrays = [arena.place(values, "float32", layout) for values in given]
    out = arena.output(result_shape(case, which), "float32", layout)
    compute(case, which, *arrays, out=out, algorithm="im2col")
    np.testing.assert_array_equal(out, expected)


# ---------------------------------------------------------- more than 32 bits of anything


def far_apart(values: Array, axis: int) -> Array:
    """A copy whose elements lie more than 2**32 bytes apart along an axis, in order otherwise."""
    others = [n for i, n in enumerate(values.shape) if i != axis]
    strides = np.cumprod([values.itemsize, *reversed(others)])[:-1][::-1].tolist()
    step = (1 << 32) + 4096 + values.itemsize
    strides.insert(axis, step)
    memory = untouched((values.shape[axis] - 1) * step + values.itemsize * prod(others))
    view = np.ndarray(values.shape, values.dtype, memory, 0, strides)
    view[...] = values
    return view


@linux
@pytest.mark.parametrize(
    "algorithm", [a if a == "direct" else pytest.param(a, marks=slow) for a in ALGORITHMS]
)
@pytest.mark.parametrize("which", PASSES)
@pytest.mark.parametrize(
    "name", ["one by one", *(pytest.param(n, marks=slow) for n in ("plain", "depthwise"))]
)
def test_strides_past_32_bits(name: str, which: str, algorithm: str) -> None:
    case = CASES[name]
    given, expected = solved(case, which)
    for axis in range(4):
        arrays = [far_apart(values.astype("f4"), axis) for values in given]
        out = far_apart(np.full(expected.shape, np.nan, "f4"), axis)
        try:
            compute(case, which, *arrays, out=out, algorithm=algorithm)
        except ValueError as refused:
            assert str(refused).startswith("algorithm")  # noqa: PT017 - most refuse nothing
            return
        rounding = 1e-3 if algorithm in ("winograd", "fft") else 0
        np.testing.assert_allclose(out, expected, rtol=0, atol=rounding)


@linux
@pytest.mark.parametrize("algorithm", BOTH)
@pytest.mark.parametrize("channels", [1, 17])
def test_images_past_31_bits(channels: int, algorithm: str) -> None:
    """A signal of more than 2**31 elements, of which the kernel sees some."""
    step = (1 << 23) - 1
    x = untouched(4 * ((1 << 31) + 11)).view("f4")[np.newaxis, np.newaxis]
    w = np.arange(1, 1 + 3 * channels, dtype="f4").reshape(channels, 1, 3)
    count = (x.size - 3) // step + 1
    places = np.arange(count)[:, np.newaxis] * step + np.arange(3)
    x[0, 0, places] = seen = np.arange(3 * count, dtype="f4").reshape(count, 3) % 7
    y = fastconv.conv1d(x, w, None, step, algorithm=algorithm)
    np.testing.assert_array_equal(y[0], w[:, 0] @ seen.T)
    dy = y % 5
    dw = fastconv.conv1d_weight(x, w.shape, dy, step, algorithm=algorithm)
    np.testing.assert_array_equal(dw[:, 0], dy[0] @ seen)


@linux
@slow
@pytest.mark.parametrize("algorithm", ["direct", "im2col", "col2im"])
def test_results_past_31_bits(algorithm: str) -> None:
    """Needs 9 GB. All of a gradient of more than 2**31 elements is written."""
    step, taps = (1 << 26) - 1, np.array([1, 2, 3], "f4")
    length = (1 << 31) + 11
    dy = np.arange(1, (length - 3) // step + 2, dtype="f4")
    out = np.empty((1, 1, length), "f4")
    out[..., ::1021] = np.nan
    w = taps[np.newaxis, np.newaxis]
    fastconv.conv1d_input(
        out.shape, w, dy[np.newaxis, np.newaxis], step, out=out, algorithm=algorithm
    )
    places = np.arange(len(dy))[:, np.newaxis] * step + np.arange(3)
    np.testing.assert_array_equal(out[0, 0, places], dy[:, np.newaxis] * taps)
    assert np.count_nonzero(out) == places.size


# ------------------------------------------------------------------ more than 64 bits of anything

HUGE: dict[str, Callable[[], Any]] = {
    "padding": lambda: fastconv.conv1d(ones(1, 1, 5), ones(1, 1, 3), padding=10**18),
    "padding and stride": lambda: fastconv.conv1d(
        ones(1, 1, 5), ones(1, 1, 3), stride=10**18, padding=10**18
    ),
    "padding of 64 bits": lambda: fastconv.conv1d(ones(1, 1, 5), ones(1, 1, 3), padding=2**63),
    "products": lambda: fastconv.conv1d(ones(2**30, 2**20, 1), ones(2**20, 2**20, 1)),
    "products of taps": lambda: fastconv.conv1d(ones(1, 1, 2**50), ones(1, 1, 2**49)),
    "samples": lambda: fastconv.conv1d_weight(
        ones(2**30, 2**16, 1), (2**16, 2**16, 1), ones(2**30, 2**16, 1), per_sample=True
    ),
    "weight": lambda: fastconv.conv1d_weight(
        ones(1, 2**31, 1), (2**30, 2**31, 1), ones(1, 2**30, 1)
    ),
    "input": lambda: fastconv.conv1d_input((1, 1, 2**61), ones(1, 1, 1), ones(1, 1, 1), 2**61),
    "transposed": lambda: fastconv.conv_transpose1d(ones(1, 1, 3), ones(1, 1, 1), stride=2**62),
    "transposed, dilated": lambda: fastconv.conv_transpose1d(
        ones(1, 1, 3), ones(1, 1, 2), dilation=2**62
    ),
    "unfold": lambda: fastconv.unfold(ones(1, 1, 4, 4), 2, padding=2**40, stride=2**39),
    "unfolded kernel": lambda: fastconv.unfold(ones(1, 1, 2**31, 4), (2**31 - 4, 1)),
    "fold": lambda: fastconv.fold(ones(1, 4, 1), 2**40, 2, stride=2**40),
    "explain": lambda: fastconv.explain((1, 1, 5), (1, 1, 3), padding=10**18),
}


@pytest.mark.parametrize("name", HUGE)
def test_sizes_past_64_bits(name: str) -> None:
    with pytest.raises(ValueError, match=r"(less than|below) 2\*\*6[03]"):
        HUGE[name]()


def test_kernels_reach_past_any_image() -> None:
    with pytest.raises(ValueError, match="kernel_size must fit"):
        fastconv.unfold(ones(1, 1, 4, 4), 2, dilation=2**62)
    with pytest.raises(ValueError, match="weight must fit"):
        fastconv.conv1d(ones(1, 1, 5), ones(1, 1, 3), dilation=2**62)


BEYOND_MEMORY: dict[str, Callable[[], Any]] = {
    "output": lambda: fastconv.conv1d(ones(1, 1, 5), ones(1, 1, 3), padding=10**16),
    "input": lambda: fastconv.conv1d_input(
        (1, 1, 2**50), ones(1, 1, 1), ones(1, 1, 4), stride=2**48
    ),
    "transposed": lambda: fastconv.conv_transpose1d(ones(1, 1, 3), ones(1, 1, 1), stride=2**50),
    "taps": lambda: fastconv.conv1d(ones(1, 1, 2**50), ones(1, 1, 2**50)),
    "samples": lambda: fastconv.conv1d_weight(
        ones(2**20, 2**16, 1), (2**16, 2**16, 1), ones(2**20, 2**16, 1), per_sample=True
    ),
    "workspace": lambda: fastconv.conv2d_weight(
        ones(1, 2**16, 2**17, 2**17), (1, 2**16, 3, 3), ones(1, 1, 2**17, 2**17), padding=1
    ),
    "unfold": lambda: fastconv.unfold(ones(1, 1, 2**24, 2**24), 2),
    "fold": lambda: fastconv.fold(ones(1, 4, 1), 2**24, 2, stride=2**24),
    "spectra": lambda: signal.correlate(ones(2**45), ones(2**40), method="fft"),
}


@pytest.mark.parametrize("name", BEYOND_MEMORY)
def test_memory_that_no_machine_has(name: str) -> None:
    with pytest.raises(MemoryError):
        BEYOND_MEMORY[name]()


# ------------------------------------------------------------------------- memory that runs out

STARVED = """
import resource
import numba
import numpy as np
import fastconv
from fastconv import _results, ndimage
from fastconv.cpu import threads, workspaces
from pathlib import Path

def limit(room):
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    most = resource.RLIM_INFINITY if room is None else used + room
    resource.setrlimit(resource.RLIMIT_AS, (most, resource.RLIM_INFINITY))

rng = np.random.default_rng(1)
x = rng.integers(-4, 5, (8, 16, 130, 130)).astype("f4")
w = rng.integers(-4, 5, (16, 16, 3, 3)).astype("f4")
y = fastconv.conv2d(x, w, padding=1)

@numba.njit
def compiled(x, w):
    return fastconv.conv2d(x, w, None, 1, 1)

calls = {
    f"{which} {algorithm}": (function, {"padding": 1, "algorithm": algorithm}, arguments)
    for algorithm in ("direct", "im2col", "winograd", "fft")
    for which, function, arguments in (
        ("forward", fastconv.conv2d, (x, w)),
        ("weight", fastconv.conv2d_weight, (x, w.shape, y)),
        ("input", fastconv.conv2d_input, (x.shape, w, y)),
    )
}
half = x.astype("f2"), w.astype("f2")
# A call of many rows and hardly any memory but its plan's tables.
tall = np.broadcast_to(np.float32(1), (300_000, 3, 1, 5)), np.ones((2, 3, 1, 3), "f4")
calls |= {
    "converted": (fastconv.conv2d, {"padding": 1, "algorithm": "direct"}, half),
    "borders": (fastconv.conv2d, {"padding": 1, "padding_mode": "reflect"}, (x, w)),
    "samples": (fastconv.conv2d_weight, {"padding": 1, "per_sample": True}, (x, w.shape, y)),
    "tables": (fastconv.conv2d, {}, tall),
    "unfold": (fastconv.unfold, {"padding": 1}, (x, 3)),
    "filter": (ndimage.correlate, {}, (x[0], w[0, :3])),
    "nopython": (compiled, {}, (x, w)),
}
for name, (call, how, arguments) in calls.items():
    def function(*arguments, **how):
        # Where memory is this short, Python's own start of a thread may wait for ever.
        with fastconv.options(threads=1 if "fft" in name else None):
            return call(*arguments, **how)

    expected = function(*arguments, **how)
    starved = fed = 0
    for known in (False, True):
        room = 1 << 16
        while room < 1 << 31:
            fastconv.clear_cache()
            if known:
                function(*arguments, **how)
                workspaces.forget()
                _results.forget()
            result = None
            limit(room)
            try:
                result = function(*arguments, **how)
                fed += 1
            except MemoryError:
                starved += 1
            finally:
                limit(None)
            again = function(*arguments, **how)
            for made in (again, result):
                assert made is None or np.array_equal(made, expected), (name, room)
            assert threads.enter()
            threads.leave()
            if result is not None:
                break
            room *= 4
    print(name, starved, fed, flush=True)
"""


@linux
@slow
def test_memory_runs_out() -> None:
    """Wherever in a call that is: a MemoryError, and the next call is right."""
    # Freed memory goes back to the system at once, so that every larger array is asked for anew.
    printed = run_script(STARVED, timeout=1200, MALLOC_MMAP_THRESHOLD_="65536")
    told = [line.rsplit(maxsplit=2) for line in printed.splitlines()]
    assert len(told) == 19
    for name, starved, fed in told:
        assert int(starved) >= 2, name
        assert int(fed) == 2, name
