"""The oracle's sums, a tap at a time: for the many cases that `naive` would take minutes over.

Equal to `naive`, which `test_oracle` holds it to; as there, arrays are in PyTorch's axis order, all
is float64, and a tap that falls outside the input is skipped. A tap meets a run of output pixels
along each axis, and an input pixel ``stride`` further on for each of them, so what it adds to all
results is one product of matrices.
"""

from collections.abc import Iterator
from itertools import product
from math import prod

import numpy as np
from naive import Array, Pads, Sizes, output_size

Slices = tuple[slice, ...]


def taps(
    size: Sizes, kernel: Sizes, stride: Sizes, pads: Pads, dilation: Sizes
) -> Iterator[tuple[Sizes, Slices, Slices]]:
    """Yield each tap that meets the input, from which output pixels, and which input pixels."""
    output = output_size(size, kernel, stride, pads, dilation)
    for t in product(*map(range, kernel)):
        met = []
        for a, (before, _) in enumerate(pads):
            first = t[a] * dilation[a] - before
            met.append([p for p in range(output[a]) if 0 <= p * stride[a] + first < size[a]])
        if all(met):
            outputs = tuple(slice(p[0], p[-1] + 1) for p in met)
            starts = [
                p[0] * s + r * d - before
                for p, s, r, d, (before, _) in zip(met, stride, t, dilation, pads, strict=True)
            ]
            ends = [q + (len(p) - 1) * s for q, p, s in zip(starts, met, stride, strict=True)]
            yield (
                t,
                outputs,
                tuple(slice(q, end + 1, s) for q, end, s in zip(starts, ends, stride, strict=True)),
            )


def forward(
    x: Array,
    w: Array,
    bias: Array | None,
    stride: Sizes,
    pads: Pads,
    dilation: Sizes,
    groups: int,
) -> Array:
    """Return y[n, k, p] = bias[k] + sum over c, t of w[k, c, t] * x[n, c, q(p, t)]."""
    size, kernel = x.shape[2:], w.shape[2:]
    output = output_size(size, kernel, stride, pads, dilation)
    y = np.zeros((x.shape[0], w.shape[0], *output))
    for t, p, q in taps(size, kernel, stride, pads, dilation):
        products = _weights(w, t, groups) @ _columns(x[(..., *q)], groups)
        y[(..., *p)] += products.reshape(y[(..., *p)].shape)
    return y if bias is None else y + bias.astype(np.float64).reshape(-1, *(1,) * len(size))


def weight_gradient(
    x: Array,
    dy: Array,
    kernel: Sizes,
    stride: Sizes,
    pads: Pads,
    dilation: Sizes,
    groups: int,
) -> Array:
    """Return dw[k, c, t] = sum over n, p of dy[n, k, p] * x[n, c, q(p, t)]."""
    dw = np.zeros((dy.shape[1], x.shape[1] // groups, *kernel))
    for t, p, q in taps(x.shape[2:], kernel, stride, pads, dilation):
        images = _columns(x[(..., *q)], groups).swapaxes(-1, -2)
        products = (_columns(dy[(..., *p)], groups) @ images).sum(0)
        dw[(..., *t)] = products.reshape(dw.shape[:2])
    return dw


def input_gradient(
    w: Array,
    dy: Array,
    size: Sizes,
    stride: Sizes,
    pads: Pads,
    dilation: Sizes,
    groups: int,
) -> Array:
    """Return dx[n, c, q] = sum over k and each p, t that reads q of w[k, c, t] * dy[n, k, p]."""
    dx = np.zeros((dy.shape[0], w.shape[1] * groups, *size))
    for t, p, q in taps(size, w.shape[2:], stride, pads, dilation):
        weights = _weights(w, t, groups).swapaxes(-1, -2)
        products = weights @ _columns(dy[(..., *p)], groups)
        dx[(..., *q)] += products.reshape(dx[(..., *q)].shape)
    return dx


def _weights(w: Array, tap: Sizes, groups: int) -> Array:
    """Return the weights of a tap in float64, as (groups, K // groups, C // groups)."""
    return w[(..., *tap)].astype(np.float64).reshape(groups, -1, w.shape[1])


def _columns(a: Array, groups: int) -> Array:
    """Return pixels of `a` in float64, as (N, groups, channels of a group, pixels)."""
    shape = a.shape[0], groups, a.shape[1] // groups, prod(a.shape[2:])
    return a.astype(np.float64).reshape(shape)
