"""SciPy: its FFT convolution for one input channel, its direct one for one image and kernel."""

import importlib
from collections.abc import Iterator
from contextlib import contextmanager

from bench.case import Array, Case
from bench.peers.base import SLOW_LIMIT, Call
from bench.peers.numpy import BlasPeer, pad
from bench.suites import Layer


class SciPyFFT(BlasPeer):
    """scipy.signal.oaconvolve, for one input channel, stride 1 and dilation 1."""

    name = "scipy fft"

    def __init__(self) -> None:
        self.signal = importlib.import_module("scipy.signal")
        self.fft = importlib.import_module("scipy.fft")

    @contextmanager
    def threads(self, count: int) -> Iterator[None]:
        with super().threads(count), self.fft.set_workers(count):
            yield

    def available(self, layer: Layer, pass_name: str) -> bool:
        return _plain_filter(layer)

    def _convolve(self, a: Array, b: Array, mode: str) -> Array:
        result: Array = self.signal.oaconvolve(a, b, mode=mode, axes=(2, 3))
        return result

    def forward(self, case: Case) -> Call:
        x, layer = case.x, case.layer
        w = case.w.reshape(1, layer.K, layer.R, layer.S)
        return lambda: self._convolve(pad(x, layer), w[:, :, ::-1, ::-1], "valid")

    def weight_gradient(self, case: Case) -> Call:
        x, dy, layer = case.x, case.dy, case.layer

        def call() -> Array:
            products = self._convolve(pad(x, layer), dy[:, :, ::-1, ::-1], "valid")
            return products.sum(axis=0)[:, None]

        return call

    def input_gradient(self, case: Case) -> Call:
        dy, layer = case.dy, case.layer
        w = case.w.reshape(1, layer.K, layer.R, layer.S)

        def call() -> Array:
            dx = self._convolve(dy, w, "full").sum(axis=1, keepdims=True)
            return _crop(dx, layer)

        return call


class SciPyDirect(BlasPeer):
    """scipy.signal.correlate2d, for a single image, channel and kernel."""

    name = "scipy"

    def __init__(self) -> None:
        self.signal = importlib.import_module("scipy.signal")

    def available(self, layer: Layer, pass_name: str) -> bool:
        return (
            _plain_filter(layer) and layer.N * layer.K == 1 and layer.geometry.flops <= SLOW_LIMIT
        )

    def forward(self, case: Case) -> Call:
        x, w, layer = case.x, case.w[0, 0], case.layer
        correlate = self.signal.correlate2d
        return lambda: correlate(pad(x, layer)[0, 0], w, "valid")[None, None]

    def weight_gradient(self, case: Case) -> Call:
        x, dy, layer = case.x, case.dy[0, 0], case.layer
        correlate = self.signal.correlate2d
        return lambda: correlate(pad(x, layer)[0, 0], dy, "valid")[None, None]

    def input_gradient(self, case: Case) -> Call:
        w, dy, layer = case.w[0, 0], case.dy[0, 0], case.layer
        convolve = self.signal.convolve2d
        return lambda: _crop(convolve(dy, w, "full")[None, None], layer)


def _plain_filter(layer: Layer) -> bool:
    """One input channel, stride 1, dilation 1, padding that the full result covers."""
    ones = (1, 1)
    narrow = layer.padding[0] < layer.R and layer.padding[1] < layer.S
    return layer.C == 1 and layer.stride == layer.dilation == ones and narrow


def _crop(full: Array, layer: Layer) -> Array:
    """The part of a full convolution over the output's gradient that is the input's."""
    top, left = layer.padding
    return full[:, :, top : top + layer.H, left : left + layer.W]
