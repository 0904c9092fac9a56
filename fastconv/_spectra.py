"""FFT for the functions with SciPy's signatures: when it pays, and in which dtype it is done.

The transforms are those of the "fft" algorithm, which takes real numbers: a complex image is two
channels, and a complex kernel a 2x2 matrix of real ones.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from math import log2, prod, sqrt
from typing import Any, TypeAlias

import numpy as np

from ._arguments import Pairs
from ._arrays import Array
from .cpu import convolution, fft
from .cpu.operands import Operands
from .geometry import ConvGeometry, forward_geometry

Run: TypeAlias = Callable[[Array, Array], Array]

LEAST_TAPS = 100  #: with fewer, transforms never pay
# What sums over images take beside their estimate, as the FFT does (Zen 4): of one channel, and of
# several, 0.11 to 0.25.
_SINGLE, _MIXED = 0.8, 0.18
_NARROW = ("float16", "bfloat16", "float32", "complex64")


def computed_in(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """What numbers of a dtype are transformed in."""
    if dtype.kind == "c":
        return dtype
    return np.dtype(np.float32 if dtype.name in _NARROW else np.float64)


@functools.lru_cache(maxsize=1024)
def pay(image: tuple[int, ...], kernel: tuple[int, ...], pads: Pairs, dtype: np.dtype[Any]) -> bool:
    """Whether a correlation of arrays of such shapes takes less time by FFT than by sums."""
    if prod(kernel) < LEAST_TAPS:
        return False
    channels = 2 if dtype.kind == "c" else 1
    size = 4 if dtype.name in _NARROW else 8
    g, arrays = _single(image, kernel, pads, channels, size)
    if "fft" not in convolution.candidates("forward", g, arrays, winograd=True):
        return False
    transforms = convolution.estimate("fft", "forward", g, arrays)
    # Of axes before the last three, each place is a convolution over those three.
    lead = len(image) - 3
    places = prod(g.output[: max(lead, 0)])
    if lead > 0:
        channels *= prod(kernel[:lead])
        g, arrays = _single(image[lead:], kernel[lead:], pads[lead:], channels, size)
    name = convolution.choice("forward", g, arrays, winograd=False)
    if name == "listed":  # a few products, which nothing beats
        return False
    sums = places * convolution.estimate(name, "forward", g, arrays)
    factor = 1.0
    if len(image) > 1:
        factor = _SINGLE if channels == 1 else _MIXED
    return transforms < factor * sums


def _single(
    image: tuple[int, ...], kernel: tuple[int, ...], pads: Pairs, channels: int, size: int
) -> tuple[ConvGeometry, Operands]:
    """The convolution of one image of so many channels to as many, in elements of ``size``."""
    shapes = (1, channels, *image), (channels, channels, *kernel)
    g = forward_geometry(*shapes, 1, pads, 1, 1, len(image))
    x, w, y = (_strides(shape, size) for shape in (g.input_shape, g.weight_shape, g.output_shape))
    return g, Operands(8 * size, x, w, y)


def _strides(shape: tuple[int, ...], size: int) -> tuple[int, ...]:
    return tuple(size * prod(shape[axis + 1 :]) for axis in range(len(shape)))


def parts(image: Array) -> Array:
    """A complex image as two channels, real and imaginary."""
    return np.stack((image.real, image.imag))


def mixing(kernel: Array) -> Array:
    """A complex kernel as the real kernels from each channel of `parts` to each."""
    re, im = kernel.real, kernel.imag
    return np.stack((np.stack((re, -im)), np.stack((im, re))))


def joined(channels: Array) -> Array:
    """The complex numbers whose `parts` are given."""
    made = np.empty(channels.shape[1:], np.result_type(channels, np.complex64))
    made.real, made.imag = channels
    return made


class Rounded:
    """Rounds sums to integers of a dtype, which wrap as NumPy's do."""

    def __init__(self, dtype: np.dtype[Any]) -> None:
        self._dtype = dtype

    def __call__(self, sums: Array) -> Array:
        with np.errstate(invalid="ignore"):  # sums past 64 bits, if the caller insists on FFT
            return np.rint(sums).astype(np.int64).astype(self._dtype, copy=False)


class Exact:
    """Sums of products of integers, by FFT where that is sure to round to the exact ones."""

    def __init__(self, fourier: Run, sums: Run, most: float) -> None:
        self._fourier, self._sums, self._most = fourier, sums, most

    def __call__(self, in1: Array, in2: Array) -> Array:
        exact = _largest(in1) * _largest(in2) <= self._most
        return (self._fourier if exact else self._sums)(in1, in2)


def _largest(array: Array) -> int:
    return max(int(array.max()), -int(array.min()))


def most_exact(image: tuple[int, ...], kernel: tuple[int, ...]) -> float:
    """The largest product of two elements for which `fft.BOUND` is below a quarter."""
    size = prod(n + k for n, k in zip(image, kernel, strict=True))
    bound = fft.BOUND * float(np.finfo(np.float64).eps) * log2(size)
    return 0.25 / (bound * sqrt(size * prod(kernel)))
