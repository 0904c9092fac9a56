"""The three passes in float64, a kernel tap at a time: what every timed result is held against.

No column matrix and no padding tricks: each tap is one matrix product between the weights of
that tap and the input pixels it meets, so the reference fits in memory for every layer. (The
tests' oracle is plain loops, which a benchmark's layers are too large for.)
"""

from collections.abc import Iterator

import numpy as np

from bench.case import Array, Case
from bench.suites import Layer


def reference(case: Case, pass_name: str) -> Array:
    """The float64 result of one pass, by tap-wise matrix products."""
    return {"forward": _forward, "weight": _weight, "input": _input}[pass_name](case)


def relative_error(result: Array, expected: Array) -> float:
    """max|err| / max|ref|; infinite where the shape differs or a NaN shows."""
    if result.shape != expected.shape:
        return float("inf")
    if expected.size == 0:
        return 0.0
    # NumPy's arithmetic on halves may round the error.
    wide = result.astype(np.float64, copy=False)
    error = float(np.abs(wide - expected).max()) / (float(np.abs(expected).max()) or 1.0)
    return error if np.isfinite(error) else float("inf")


def tolerance(layer: Layer, pass_name: str) -> float:
    """8 eps sqrt(reduction length): far above rounding, far below any indexing mistake.

    Halves are added up in float32 (PyTorch's float16: not always), so their length counts little.
    """
    halves = {"float16": 2.0**-10, "bfloat16": 2.0**-7}
    if layer.dtype in halves:
        return 8 * halves[layer.dtype]
    return 8 * float(np.finfo(layer.dtype).eps) * max(1.0, layer.reduction(pass_name) ** 0.5)


def _forward(case: Case) -> Array:
    layer = case.layer
    w, x = _grouped_weight(case), _padded(case)
    P, Q = layer.geometry.output
    y = np.zeros((layer.N, layer.groups, layer.K // layer.groups, P * Q))
    for r, s, rows, columns in _taps(layer):
        y += w[:, :, :, r, s] @ _pixels(x, rows, columns)
    return y.reshape(layer.geometry.output_shape)


def _weight(case: Case) -> Array:
    layer = case.layer
    dy, x = _grouped_gradient(case), _padded(case)
    channels = layer.K // layer.groups, layer.C // layer.groups
    dw = np.zeros((layer.groups, *channels, layer.R, layer.S))
    for r, s, rows, columns in _taps(layer):
        products = dy @ _pixels(x, rows, columns).swapaxes(2, 3)
        dw[:, :, :, r, s] = products.sum(axis=0)
    return dw.reshape(layer.geometry.weight_shape)


def _input(case: Case) -> Array:
    layer = case.layer
    w, dy = _grouped_weight(case), _grouped_gradient(case)
    (top, left), (P, Q) = layer.padding, layer.geometry.output
    channels = layer.C // layer.groups
    dx = np.zeros((layer.N, layer.groups, channels, layer.H + 2 * top, layer.W + 2 * left))
    for r, s, rows, columns in _taps(layer):
        products = w[:, :, :, r, s].swapaxes(1, 2) @ dy
        dx[:, :, :, rows, columns] += products.reshape(*products.shape[:3], P, Q)
    inner = dx[:, :, :, top : top + layer.H, left : left + layer.W]
    return inner.reshape(layer.geometry.input_shape)


def _taps(layer: Layer) -> Iterator[tuple[int, int, slice, slice]]:
    """Each tap (r, s) with the rows and columns of the padded input that it meets."""
    P, Q = layer.geometry.output
    for r in range(layer.R):
        for s in range(layer.S):
            top, left = r * layer.dilation[0], s * layer.dilation[1]
            rows = slice(top, top + layer.stride[0] * (P - 1) + 1, layer.stride[0])
            columns = slice(left, left + layer.stride[1] * (Q - 1) + 1, layer.stride[1])
            yield r, s, rows, columns


def _padded(case: Case) -> Array:
    """The input in float64, zeros around it, its channels split by group."""
    layer = case.layer
    (top, left), groups = layer.padding, layer.groups
    x = np.pad(case.x.astype(np.float64), ((0, 0), (0, 0), (top, top), (left, left)))
    return x.reshape(layer.N, groups, layer.C // groups, *x.shape[2:])


def _pixels(x: Array, rows: slice, columns: slice) -> Array:
    tap = x[:, :, :, rows, columns]
    return np.ascontiguousarray(tap).reshape(*tap.shape[:3], -1)


def _grouped_weight(case: Case) -> Array:
    groups = case.layer.groups
    w = case.w.astype(np.float64)
    return w.reshape(groups, w.shape[0] // groups, *w.shape[1:])


def _grouped_gradient(case: Case) -> Array:
    layer = case.layer
    dy = np.ascontiguousarray(case.dy, dtype=np.float64)
    return dy.reshape(layer.N, layer.groups, layer.K // layer.groups, -1)
