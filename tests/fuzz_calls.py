"""The calls of a fuzz run: arrays placed beside forbidden pages, one call, everything looked at."""

import zlib
from collections.abc import Callable
from functools import cache
from importlib import import_module
from typing import Any

import bordered
import by_taps
import nopython
import numpy as np
from arrays import COMPLEX, INTEGERS, Array, bfloat16_bits
from cases import Case, compute
from fuzz_trials import BFLOAT16, GRADIENTS, FilterTrial, Trial, element_type, shapes
from guard_pages import POISON, Placed
from numba import njit, types
from numba.np.numpy_support import from_dtype
from scipy_cases import small

import fastconv
from fastconv import _results, calls
from fastconv._pool import Bytes, Pool
from fastconv.cpu import convolution

_ROUNDS = ("winograd", "fft")  # algorithms whose results are not exact
_EPS = {"float16": 2.0**-10, "bfloat16": 2.0**-7, "bfloat16_bits": 2.0**-7}


def prepare() -> None:
    """Have all memory that the library hands out be poison, and small calls run on threads."""
    take = Pool.take

    def poisoned(self: Pool, size: int) -> Bytes:
        block = take(self, size)
        block[:] = POISON
        return block

    Pool.take = poisoned  # type: ignore[method-assign]
    _results.LARGE = calls.LARGE = 1  # type: ignore[attr-defined]
    convolution._SERIAL_MULTIPLY_ADDS = 0


def run(trial: Trial) -> str:
    """Run a trial; how it ended."""
    values = _values(trial)
    *given, result = (
        Placed(shape, element_type(trial.dtype), placement)
        for shape, placement in zip(shapes(trial.case, trial.which), trial.placements, strict=True)
    )
    for placed, numbers in zip(given, values, strict=True):
        placed.hold(_stored(numbers, trial.dtype))
    result.remember()
    arrays = [placed.array for placed in given]
    out = result.array if trial.given else None
    made = []
    bits = trial.dtype == "bfloat16_bits"
    try:
        with fastconv.options(winograd=False, bfloat16_bits=bits, threads=trial.threads):
            made.append(_call(trial, arrays, out))
            if out is None:
                made.append(_call(trial, arrays, out))  # as a call that is known
    except ValueError as error:
        if not str(error).startswith(f"algorithm {trial.algorithm!r}"):
            raise
    for i, placed in enumerate(given):
        placed.check_unchanged(f"operand {i}")
    result.check_around("the result") if made else result.check_unchanged("the result")
    if not made:
        return "refused"
    if out is not None and not trial.nopython:
        assert made[0] is out
    expected = _expected(trial, *values)
    for array in [out, *made] if trial.nopython and out is not None else made:
        _compare(trial, array, expected, values)
    return "close" if trial.algorithm in _ROUNDS else "exact"


def _values(trial: Trial) -> list[Array]:
    """Small integers for the operands, those the same that share memory."""
    case, which = trial.case, trial.which
    rng = np.random.default_rng(zlib.crc32(repr(trial).encode()))
    *inputs, _ = shapes(case, which)
    made = []
    for shape, placement in zip(inputs, trial.placements, strict=False):
        drawn = rng.integers(-4, 5, shape).astype(np.float64)
        if trial.dtype in COMPLEX:
            drawn = drawn + 1j * rng.integers(-4, 5, shape)
        made.append(placement.repeated(drawn))
    return made


def _stored(values: Array, dtype: str) -> Array:
    """Numbers in a trial's dtype, rounded or wrapped into it."""
    if dtype == "bfloat16_bits":
        return bfloat16_bits(values)
    if dtype in INTEGERS:
        return values.astype(np.int64).astype(dtype)
    return values.astype(element_type(dtype))


def _call(trial: Trial, arrays: list[Array], out: Array | None) -> Array:
    case, which = trial.case, trial.which
    stride, pads, dilation, groups = case.how
    if which == "unfold":
        return fastconv.unfold(*arrays, case.kernel, dilation, pads, stride)
    if which == "fold":
        return fastconv.fold(*arrays, case.input, case.kernel, dilation, pads, stride)
    if trial.nopython:
        return _compiled_call(trial, arrays, out)
    how: dict[str, Any] = {"algorithm": trial.algorithm, "out": out}
    if which == "transposed":
        w, dy, *bias = arrays
        function: Callable[..., Array] = getattr(fastconv, f"conv_transpose{case.rank}d")
        extra = _output_padding(case)
        return function(dy, w, *(bias or [None]), stride, pads, extra, groups, dilation, **how)
    how["padding_mode"] = trial.mode
    if which == "per_sample_gradient":
        function = getattr(fastconv, f"conv{case.rank}d_weight")
        x, dy = arrays
        return function(x, case.weight_shape, dy, *case.how, per_sample=True, **how)
    if which == "forward":
        how["activation"] = trial.activation
    return compute(case, which, *arrays, **how)


def _compiled_call(trial: Trial, arrays: list[Array], out: Array | None) -> Array:
    """The same call from nopython code, compiled for arrays of any strides alone."""
    case = trial.case
    function = _compiled(trial.which, trial.dtype, out is not None)
    if trial.which == "forward":
        return function(*arrays[:2], *case.how, out)
    size = case.input_shape if trial.which == "input_gradient" else case.weight_shape
    return function(*arrays, size, *case.how, out)


@cache
def _compiled(which: str, dtype: str, given: bool) -> Any:
    array = types.Array(from_dtype(np.dtype(dtype)), 4, "A")
    pair, pairs = types.UniTuple(types.int64, 2), types.UniTuple(types.UniTuple(types.int64, 2), 2)
    size = () if which == "forward" else (types.UniTuple(types.int64, 4),)
    how = (pair, pairs, pair, types.int64)
    function = njit(nopython.INTO[which].py_func)
    function.compile((array, array, *size, *how, array if given else types.none))
    function.disable_compile()  # so that others are taken for such arrays
    return function


def _output_padding(case: Case) -> tuple[int, ...]:
    """What of the image no kernel reaches: a transposed convolution's output_padding."""
    return tuple(
        (n + sum(pad) - gap * (taps - 1) - 1) % step
        for n, taps, step, pad, gap in zip(*case.window, strict=True)
    )


def _expected(trial: Trial, *values: Array) -> Array:
    """The exact result, before it is rounded or wrapped."""
    case, which, (a, *others) = trial.case, trial.which, values
    conjugates = which in ("weight_gradient", "per_sample_gradient", "input_gradient")
    if case.n == 0 and which != "weight_gradient":
        return np.zeros(shapes(case, which)[-1])
    if which in ("unfold", "fold"):
        return _columns(case, which, a)
    b, bias = others[0], others[1] if len(others) > 1 else None
    kind = "input_gradient" if which == "transposed" else which

    def real(a: Array, b: Array) -> Array:
        return bordered.oracle(case, kind, trial.mode, a, b, None)

    if trial.dtype in COMPLEX:
        if conjugates:
            a = a.conj()
        result = (
            real(a.real, b.real)
            - real(a.imag, b.imag)
            + 1j * (real(a.real, b.imag) + real(a.imag, b.real))
        )
    else:
        result = real(a, b)
    if bias is not None:
        result = result + bias.reshape(-1, *(1,) * case.rank)
    return result


def _columns(case: Case, which: str, a: Array) -> Array:
    """Unfold as a convolution whose kernels have one tap each, and fold as its input gradient."""
    taps = int(np.prod(case.kernel))
    kernels = np.tile(np.eye(taps).reshape(taps, 1, *case.kernel), (case.c, 1, 1, 1))
    how = (case.stride, case.pads, case.dilation, case.c)
    shape = (case.n, case.c * taps, *case.output_shape[2:])

    def real(a: Array) -> Array:
        if which == "unfold":
            return by_taps.forward(a, kernels, None, *how).reshape(case.n, case.c * taps, -1)
        return by_taps.input_gradient(kernels, a.reshape(shape), case.input, *how)

    return real(a.real) + 1j * real(a.imag) if np.iscomplexobj(a) else real(a)


def _compare(trial: Trial, made: Array, expected: Array, values: list[Array]) -> None:
    """Compare a result: exactly, or where the algorithm rounds, to a bound."""
    dtype = trial.dtype
    want = _stored(expected, dtype)
    if trial.activation == "relu" and not dtype.startswith("uint"):
        want = (
            np.where(want.view(np.int16) < 0, 0, want)
            if dtype == "bfloat16_bits"
            else (np.maximum(want, np.zeros((), want.dtype)))
        )
    assert made.shape == want.shape, (made.shape, want.shape)
    assert made.dtype == want.dtype
    if trial.algorithm not in _ROUNDS:
        np.testing.assert_array_equal(made, want)
        return
    products = _products(trial)
    eps = np.finfo(np.float64 if dtype in ("float64", "complex128") else np.float32).eps
    bound = 30 * eps * 32 * products
    for part in ("real", "imag") if dtype in COMPLEX else ("real",):
        a, b = (np.asarray(getattr(_widened(v, dtype), part)) for v in (made, want))
        np.testing.assert_allclose(a, b, rtol=_EPS.get(dtype, 0.0), atol=bound)


def _widened(array: Array, dtype: str) -> Array:
    if dtype == "bfloat16_bits":
        return (array.astype(np.uint32) << 16).view(np.float32)
    return array.astype(np.float32) if dtype in ("float16", *BFLOAT16) else array


def _products(trial: Trial) -> int:
    """How many products one result adds up, at most."""
    case = trial.case
    pixels, taps = (int(np.prod(sizes)) for sizes in (case.output_shape[2:], case.kernel))
    if trial.which in GRADIENTS:
        return case.n * pixels
    return taps * max(case.c, case.k) // case.groups


def run_filter(trial: FilterTrial) -> str:
    """Run a function with SciPy's signature, and SciPy's own."""
    module, name = trial.name.split(".")
    ours, theirs = (
        getattr(import_module(f"{package}.{module}"), name) for package in ("fastconv", "scipy")
    )
    given = []
    for shape, dtype, placement in zip(trial.shapes, trial.dtypes, trial.placements, strict=True):
        placed = Placed(shape, dtype, placement)
        placed.hold(placement.repeated(small(shape, dtype)))
        given.append(placed)
    want = theirs(*(np.array(placed.array) for placed in given), **dict(trial.how))
    for _ in range(2):  # the second time as a known call
        made = ours(*(placed.array for placed in given), **dict(trial.how))
        assert made.dtype == want.dtype
        np.testing.assert_array_equal(made, want)
    for i, placed in enumerate(given):
        placed.check_unchanged(f"operand {i}")
    return "exact"
