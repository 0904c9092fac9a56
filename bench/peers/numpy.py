"""NumPy alone: sliding windows and one matrix product."""

import importlib
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from bench.case import Array, Case
from bench.peers.base import SLOW_LIMIT, Call, Peer
from bench.suites import Layer

COLUMN_LIMIT = 512 * 2**20  # bytes: no column matrix of NumPy's windows beyond this


class BlasPeer(Peer):
    """A peer whose threads are those of NumPy's BLAS and of scipy.fft."""

    @contextmanager
    def threads(self, count: int) -> Iterator[None]:
        threadpoolctl = importlib.import_module("threadpoolctl")
        with threadpoolctl.threadpool_limits(count, user_api="blas"):
            yield


class NumPyWindows(BlasPeer):
    """NumPy's sliding windows and one tensordot, as its users write a convolution."""

    name = "numpy"

    def available(self, layer: Layer, pass_name: str) -> bool:
        P, Q = layer.geometry.output
        columns = layer.N * P * Q * layer.C * layer.R * layer.S * np.dtype(layer.dtype).itemsize
        # A 1x1 layer is one product of matrices, at the speed of BLAS.
        quick = layer.R * layer.S == 1 or layer.geometry.flops <= SLOW_LIMIT
        return layer.groups == 1 and columns <= COLUMN_LIMIT and quick

    def forward(self, case: Case) -> Call:
        x, w, layer = case.x, case.w, case.layer

        def call() -> Array:
            y = np.tensordot(_windows(x, layer), w, axes=((1, 4, 5), (1, 2, 3)))
            return y.transpose(0, 3, 1, 2)

        return call

    def weight_gradient(self, case: Case) -> Call:
        x, dy, layer = case.x, case.dy, case.layer
        axes = ((0, 2, 3), (0, 2, 3))
        return lambda: np.tensordot(dy, _windows(x, layer), axes=axes)

    def input_gradient(self, case: Case) -> Call:
        w, dy, layer = case.w, case.dy, case.layer
        (top, left), (down, across) = layer.padding, layer.dilation
        padded = (layer.C, layer.N, layer.H + 2 * top, layer.W + 2 * left)
        P, Q = layer.geometry.output
        reach = (layer.stride[0] * (P - 1) + 1, layer.stride[1] * (Q - 1) + 1)

        def call() -> Array:
            columns = np.tensordot(w, dy, axes=((0,), (1,)))
            dx = np.zeros(padded, dy.dtype)
            for r in range(layer.R):
                for s in range(layer.S):
                    rows = slice(r * down, r * down + reach[0], layer.stride[0])
                    cols = slice(s * across, s * across + reach[1], layer.stride[1])
                    dx[:, :, rows, cols] += columns[:, r, s]
            inner = dx[:, :, top : top + layer.H, left : left + layer.W]
            return inner.transpose(1, 0, 2, 3)

        return call


def pad(x: Array, layer: Layer) -> Array:
    """The input with the layer's zeros around it."""
    top, left = layer.padding
    if top == left == 0:
        return x
    return np.pad(x, ((0, 0), (0, 0), (top, top), (left, left)))


def _windows(x: Array, layer: Layer) -> Array:
    """The view (N, C, P, Q, R, S) of the padded input."""
    reach = (
        layer.dilation[0] * (layer.R - 1) + 1,
        layer.dilation[1] * (layer.S - 1) + 1,
    )
    windows = sliding_window_view(pad(x, layer), reach, axis=(2, 3))
    down, across = layer.stride
    return windows[:, :, ::down, ::across, :: layer.dilation[0], :: layer.dilation[1]]
