"""The bias gradient: the output gradient summed over images and pixels, in float64.

A first kernel sums a share of the pixels a block, a second one adds up the shares in their order:
the same bits every time, and one rounding to the kind of the result.
"""

from __future__ import annotations

from math import prod
from typing import Any

from numba import cuda, float64

from fastconv.geometry import ConvGeometry

from .indexing import advance, along, block_sums, divisor, split, threads_for
from .planning import Operands, Workspace, ceil_div, three
from .program import Blocks, Step, compiled
from .ptx import KINDS, within

THREADS = 256
_PIXELS = 16  # of a thread, at least, while there are blocks enough
_BLOCKS = 1024  # of the first kernel, about


def bias_gradient(g: ConvGeometry, arrays: Operands, space: Workspace) -> list[Step]:
    """Bias gradient: x is the output gradient, y the gradient of the K biases."""
    pixels = prod(g.output)
    lanes = 32 if arrays.x[1] == 1 and g.K > 1 and pixels > 1 else 1
    threads = threads_for(g.N * pixels * lanes, THREADS)
    slots = threads // lanes
    blocks = ceil_div(g.K, lanes)
    useful = ceil_div(g.N * pixels, slots * _PIXELS)
    shares = max(1, min(useful, ceil_div(_BLOCKS, blocks)))
    sums = space.take(shares * g.K * 8)
    images_on, pixels_on = divmod(slots * shares, pixels)
    _, H, W = three(g.output, 1)
    sizes = {
        "sums": sums,
        "batch": g.N,
        "channels": g.K,
        "images_on": images_on,
        "pixels_on": pixels_on,
        **divisor("shares", shares),
        **divisor("pixels", pixels),
        **divisor("plane", H * W),
        **divisor("row", W),
        "x_n": arrays.x[0],
        "x_c": arrays.x[1],
        **along("x", arrays.x[2:], 0),
    }
    first = compiled(share_sums, arrays.kind, lanes, threads)
    second = compiled(add_shares, arrays.kind)
    rest = {"sums": sums, "shares": shares, "channels": g.K, "y_k": arrays.y[0]}
    return [
        Step(first, (blocks * shares, 1, 1), sizes),
        Step(second, (ceil_div(g.K, THREADS), 1, 1), rest),
    ]


def share_sums(kind: str, lanes: int, threads: int) -> Any:
    """Each block's share of the pixels, summed for ``lanes`` neighbouring channels.

    The threads of a warp read neighbouring pixels, or, with 32 lanes, neighbouring channels.
    """
    load_if, size = KINDS[kind].load_if, KINDS[kind].size
    store = KINDS["f64"].store
    slots = threads // lanes

    def kernel(
        x, w, y, bias, workspace, table,
        sums, batch, channels, images_on, pixels_on,
        shares, shares_magic, shares_shift,
        pixels, pixels_magic, pixels_shift,
        plane, plane_magic, plane_shift, row, row_magic, row_shift,
        x_n, x_c, x_d, x_h, x_w,
    ):  # fmt: skip
        thread = cuda.threadIdx.x
        block, share = split(cuda.blockIdx.x, shares, shares_magic, shares_shift)
        channel = block * lanes + thread % lanes
        start = share * slots + thread // lanes
        n, pixel = split(start, pixels, pixels_magic, pixels_shift)
        total = cuda.local.array(1, float64)
        total[0] = float64(0)
        while n < batch:
            d, rest = split(pixel, plane, plane_magic, plane_shift)
            h, v = split(rest, row, row_magic, row_shift)
            place = n * x_n + channel * x_c + d * x_d + h * x_h + v * x_w
            total[0] += load_if(x + place * size, within(channel, channels))
            n, pixel = advance(n, pixel, images_on, pixels_on, pixels)
        scratch = cuda.shared.array((1, threads), float64)
        block_sums(scratch, total, 1, thread, threads, lanes, cuda.syncthreads)
        if thread < lanes and channel < channels:
            store(workspace + sums + (share * channels + channel) * 8, scratch[0, thread])

    return kernel, Blocks(threads, per_multiprocessor=4)


def add_shares(kind: str) -> Any:
    """The shares of a channel added up, a thread for each channel."""
    load = KINDS["f64"].load
    store, size, compute = KINDS[kind].store, KINDS[kind].size, KINDS[kind].compute

    def kernel(x, w, y, bias, workspace, table, sums, shares, channels, y_k):
        channel = cuda.blockIdx.x * THREADS + cuda.threadIdx.x
        if channel < channels:
            total = float64(0)
            for share in range(shares):
                total += load(workspace + sums + (share * channels + channel) * 8)
            store(y + channel * y_k * size, compute(total))

    return kernel, Blocks(THREADS, per_multiprocessor=4)
