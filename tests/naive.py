"""The oracle: convolution and its two gradients as their definition reads, in float64.

Every other implementation in this project is compared with this one, or with `by_taps`, which is,
so it is written to be checked by eye and not to be fast. The index set of a convolution (output
pixel, tap, input pixel) is walked by plain Python loops in one place, `index_set`, and each pass
adds up one product for each element of it. Only the sum over channels at a single pixel and tap is
left to NumPy. There is no padded copy, no reordering and no flipped kernel: a tap that falls
outside the input is skipped. It shares no code with the package under test.

Arguments: arrays in PyTorch's axis order, (N, C, *input), (K, C // groups, *kernel) and
(N, K, *output), of one to three spatial axes; `stride` and `dilation` with one integer for each
spatial axis, `pads` with one (before, after) pair for each.
"""

from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

Sizes = tuple[int, ...]
Array = NDArray[Any]
Pads = tuple[tuple[int, int], ...]


def output_size(size: Sizes, kernel: Sizes, stride: Sizes, pads: Pads, dilation: Sizes) -> Sizes:
    """Number of positions, on each axis, at which the dilated kernel lies within the padding."""
    sizes = []
    for h, r, step, (before, after), gap in zip(size, kernel, stride, pads, dilation, strict=True):
        last_start = h + before + after - (gap * (r - 1) + 1)
        sizes.append(len(range(0, last_start + 1, step)))
    return tuple(sizes)


def index_set(
    size: Sizes, kernel: Sizes, stride: Sizes, pads: Pads, dilation: Sizes
) -> Iterator[tuple[Sizes, Sizes, Sizes]]:
    """Yield each (output pixel, tap, input pixel) whose input pixel exists."""
    axes = range(len(size))
    output = output_size(size, kernel, stride, pads, dilation)
    for p in product(*map(range, output)):
        for t in product(*map(range, kernel)):
            q = tuple(p[a] * stride[a] + t[a] * dilation[a] - pads[a][0] for a in axes)
            if all(0 <= q[a] < size[a] for a in axes):
                yield p, t, q


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
    n, k = x.shape[0], w.shape[0]
    size, kernel = x.shape[2:], w.shape[2:]
    output = output_size(size, kernel, stride, pads, dilation)
    x_at, w_at = _by_pixel(x, 1, groups), _by_pixel(w, 0, groups)
    y_at = np.zeros((*output, n, groups, k // groups))
    for p, t, q in index_set(size, kernel, stride, pads, dilation):
        y_at[p] += np.einsum("gkc,ngc->ngk", w_at[t], x_at[q])
    if bias is not None:
        y_at += bias.astype(np.float64).reshape(groups, k // groups)
    return _by_channel(y_at, (n, k, *output))


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
    c, k, size = x.shape[1], dy.shape[1], x.shape[2:]
    x_at, dy_at = _by_pixel(x, 1, groups), _by_pixel(dy, 1, groups)
    dw_at = np.zeros((*kernel, groups, k // groups, c // groups))
    for p, t, q in index_set(size, kernel, stride, pads, dilation):
        dw_at[t] += np.einsum("ngk,ngc->gkc", dy_at[p], x_at[q])
    return _by_channel(dw_at, (k, c // groups, *kernel))


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
    n, c, kernel = dy.shape[0], w.shape[1] * groups, w.shape[2:]
    w_at, dy_at = _by_pixel(w, 0, groups), _by_pixel(dy, 1, groups)
    dx_at = np.zeros((*size, n, groups, c // groups))
    for p, t, q in index_set(size, kernel, stride, pads, dilation):
        dx_at[q] += np.einsum("gkc,ngk->ngc", w_at[t], dy_at[p])
    return _by_channel(dx_at, (n, c, *size))


def _by_pixel(a: Array, axis: int, groups: int) -> Array:
    """Return `a` in float64, `axis` split into (groups, the rest) and the spatial axes first."""
    shape = (*a.shape[:axis], groups, a.shape[axis] // groups, *a.shape[axis + 1 :])
    return np.moveaxis(a.astype(np.float64).reshape(shape), (0, 1, 2), (-3, -2, -1))


def _by_channel(a: Array, shape: Sizes) -> Array:
    """Return `a` with the spatial axes last and the groups joined again: undo `_by_pixel`."""
    return np.moveaxis(a, (-3, -2, -1), (0, 1, 2)).reshape(shape)
