"""Ours and the peers it is timed beside, each as one class with the same three passes.

A pass takes a `Case` and returns a callable of no arguments that computes the result on the
case's own arrays. What a peer's user would do once (wrapping arrays as tensors, laying out
weights) is done before that callable is made; what each call needs (padding, flipping, the
output's allocation) is done inside it.
"""

import importlib
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

import fastconv
from bench.case import Array, Case
from bench.suites import DTYPES, Layer

Call = Callable[[], Any]
COLUMN_LIMIT = 512 * 2**20  # bytes: no column matrix of NumPy's windows beyond this
SLOW_LIMIT = 2_000_000_000  # flops: scipy's correlate2d takes about a second for them


class Peer(ABC):
    """Three passes, each made ready by the method of its name."""

    name: str
    dtypes: tuple[str, ...] = ("float32", "float64")

    def prepare(self, case: Case, pass_name: str) -> Call:
        """The callable to time for one of ``forward``, ``weight``, ``input``."""
        makers = {
            "forward": self.forward,
            "weight": self.weight_gradient,
            "input": self.input_gradient,
        }
        return makers[pass_name](case)

    def available(self, layer: Layer, pass_name: str) -> bool:
        """Whether this peer can run the pass within a sane time and memory."""
        return True

    @abstractmethod
    def threads(self, count: int) -> AbstractContextManager[Any]:
        """A context in which this peer's calls use ``count`` threads."""

    @abstractmethod
    def forward(self, case: Case) -> Call: ...

    @abstractmethod
    def weight_gradient(self, case: Case) -> Call: ...

    @abstractmethod
    def input_gradient(self, case: Case) -> Call: ...


class Ours(Peer):
    """fastconv's public functions with one algorithm."""

    dtypes = DTYPES

    def __init__(self, algorithm: str = "auto") -> None:
        self.name = "fastconv"
        self.algorithm = algorithm

    def chosen(self, case: Case, pass_name: str) -> str:
        """The algorithm that runs: the one asked for, or what ``auto`` chooses."""
        g = case.layer.geometry
        plan = fastconv.explain(
            g.input_shape,
            g.weight_shape,
            g.stride,
            tuple(zip(g.pad_before, g.pad_after, strict=True)),
            g.dilation,
            g.groups,
            direction="forward" if pass_name == "forward" else f"{pass_name}_gradient",
            dtype=case.x.dtype,
            layout=case.layout.upper(),
            algorithm=self.algorithm,
        )
        return plan.algorithm

    def threads(self, count: int) -> AbstractContextManager[Any]:
        return fastconv.options(threads=count)

    def forward(self, case: Case) -> Call:
        x, w, rest = case.x, case.w, conv_arguments(case.layer)
        algorithm = self.algorithm
        return lambda: fastconv.conv2d(x, w, None, *rest, algorithm=algorithm)

    def weight_gradient(self, case: Case) -> Call:
        x, dy, rest = case.x, case.dy, conv_arguments(case.layer)
        size, algorithm = case.layer.geometry.weight_shape, self.algorithm
        return lambda: fastconv.conv2d_weight(x, size, dy, *rest, algorithm=algorithm)

    def input_gradient(self, case: Case) -> Call:
        w, dy, rest = case.w, case.dy, conv_arguments(case.layer)
        size, algorithm = case.layer.geometry.input_shape, self.algorithm
        return lambda: fastconv.conv2d_input(size, w, dy, *rest, algorithm=algorithm)


class Torch(Peer):
    """PyTorch; channels_last tensors where the case's arrays are NHWC in memory."""

    name = "torch"
    dtypes = DTYPES

    def __init__(self) -> None:
        self.torch = importlib.import_module("torch")

    @contextmanager
    def threads(self, count: int) -> Iterator[None]:
        before = self.torch.get_num_threads()
        self.torch.set_num_threads(count)
        try:
            yield
        finally:
            self.torch.set_num_threads(before)

    def _tensor(self, array: Array) -> Any:
        if array.dtype.name == "bfloat16":  # a type that torch.from_numpy does not know
            return self.torch.from_numpy(array.view(np.uint16)).view(self.torch.bfloat16)
        return self.torch.from_numpy(array)

    def _tensors(self, case: Case) -> tuple[Any, Any, Any]:
        x, w, dy = map(self._tensor, (case.x, case.w, case.dy))
        if case.layout == "nhwc":
            w = w.to(memory_format=self.torch.channels_last)
        return x, w, dy

    def forward(self, case: Case) -> Call:
        x, w, _ = self._tensors(case)
        conv2d, rest = self.torch.nn.functional.conv2d, conv_arguments(case.layer)
        return lambda: conv2d(x, w, None, *rest)

    def _backward(self, case: Case, which: int) -> Call:
        x, w, dy = self._tensors(case)
        stride, padding, dilation, groups = conv_arguments(case.layer)
        backward = self.torch.ops.aten.convolution_backward
        mask = [which == 0, which == 1, False]
        rest = (None, stride, padding, dilation, False, (0, 0), groups, mask)
        return lambda: backward(dy, x, w, *rest)[which]

    def weight_gradient(self, case: Case) -> Call:
        return self._backward(case, 1)

    def input_gradient(self, case: Case) -> Call:
        return self._backward(case, 0)


class _BlasPeer(Peer):
    """A peer whose threads are those of NumPy's BLAS and of scipy.fft."""

    @contextmanager
    def threads(self, count: int) -> Iterator[None]:
        threadpoolctl = importlib.import_module("threadpoolctl")
        with threadpoolctl.threadpool_limits(count, user_api="blas"):
            yield


class NumPyWindows(_BlasPeer):
    """NumPy's sliding windows and one tensordot, as its users write a convolution."""

    name = "numpy"

    def available(self, layer: Layer, pass_name: str) -> bool:
        P, Q = layer.geometry.output
        columns = layer.N * P * Q * layer.C * layer.R * layer.S * np.dtype(layer.dtype).itemsize
        return layer.groups == 1 and columns <= COLUMN_LIMIT

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


class SciPyFFT(_BlasPeer):
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
        return lambda: self._convolve(_pad(x, layer), w[:, :, ::-1, ::-1], "valid")

    def weight_gradient(self, case: Case) -> Call:
        x, dy, layer = case.x, case.dy, case.layer

        def call() -> Array:
            products = self._convolve(_pad(x, layer), dy[:, :, ::-1, ::-1], "valid")
            return products.sum(axis=0)[:, None]

        return call

    def input_gradient(self, case: Case) -> Call:
        dy, layer = case.dy, case.layer
        w = case.w.reshape(1, layer.K, layer.R, layer.S)

        def call() -> Array:
            dx = self._convolve(dy, w, "full").sum(axis=1, keepdims=True)
            return _crop(dx, layer)

        return call


class SciPyDirect(_BlasPeer):
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
        return lambda: correlate(_pad(x, layer)[0, 0], w, "valid")[None, None]

    def weight_gradient(self, case: Case) -> Call:
        x, dy, layer = case.x, case.dy[0, 0], case.layer
        correlate = self.signal.correlate2d
        return lambda: correlate(_pad(x, layer)[0, 0], dy, "valid")[None, None]

    def input_gradient(self, case: Case) -> Call:
        w, dy, layer = case.w[0, 0], case.dy[0, 0], case.layer
        convolve = self.signal.convolve2d
        return lambda: _crop(convolve(dy, w, "full")[None, None], layer)


_MAKERS: dict[str, tuple[type[Peer], ...]] = {
    "torch": (Torch,),
    "scipy": (SciPyFFT, SciPyDirect),
    "numpy": (NumPyWindows,),
}
PEERS = tuple(_MAKERS)


def find_peers(names: tuple[str, ...]) -> tuple[list[Peer], list[str]]:
    """The installed peers among ``names``, and a sentence for each that is not installed."""
    peers: list[Peer] = []
    missing: list[str] = []
    for name in names:
        try:
            with warnings.catch_warnings(action="ignore"):
                peers += [maker() for maker in _MAKERS[name]]
        except ImportError:
            missing.append(f"{name} is not installed: no figures beside it")
    return peers, missing


def conv_arguments(
    layer: Layer,
) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int], int]:
    """Stride, padding, dilation and groups, in the order of every conv2d's signature."""
    return layer.stride, layer.padding, layer.dilation, layer.groups


def _plain_filter(layer: Layer) -> bool:
    """One input channel, stride 1, dilation 1, padding that the full result covers."""
    ones = (1, 1)
    narrow = layer.padding[0] < layer.R and layer.padding[1] < layer.S
    return layer.C == 1 and layer.stride == layer.dilation == ones and narrow


def _pad(x: Array, layer: Layer) -> Array:
    top, left = layer.padding
    if top == left == 0:
        return x
    return np.pad(x, ((0, 0), (0, 0), (top, top), (left, left)))


def _crop(full: Array, layer: Layer) -> Array:
    """The part of a full convolution over the output's gradient that is the input's."""
    top, left = layer.padding
    return full[:, :, top : top + layer.H, left : left + layer.W]


def _windows(x: Array, layer: Layer) -> Array:
    """The view (N, C, P, Q, R, S) of the padded input."""
    reach = (
        layer.dilation[0] * (layer.R - 1) + 1,
        layer.dilation[1] * (layer.S - 1) + 1,
    )
    windows = sliding_window_view(_pad(x, layer), reach, axis=(2, 3))
    down, across = layer.stride
    return windows[:, :, ::down, ::across, :: layer.dilation[0], :: layer.dilation[1]]
