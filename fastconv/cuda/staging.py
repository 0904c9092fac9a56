"""What is copied ahead of a product or added up after it: weights, channels last, partial sums."""

from __future__ import annotations

from typing import Any

from numba import cuda, float32, float64, int32, int64

from .planning import ABSENT
from .program import Blocks
from .ptx import KINDS, divide, load_i32, round_tf32

TILE = 32  #: rows and columns of the square that a block turns around
_PITCH = TILE + 1  # an odd pitch spreads a column over the banks
_STRIPES = 8  # rows of threads: each thread moves TILE / _STRIPES elements


def _converted(kind: str, result: str) -> tuple[Any, Any, int, Any]:
    """How an element is read, and written as another kind; "tf32" is a rounded float32."""
    to = KINDS["f32" if result == "tf32" else result]
    return KINDS[kind].load, to.store, to.size, float64 if result == "f64" else float32


def pack_weights(kind: str, result: str, pairs_inner: bool) -> Any:
    """Weights as one matrix a group, filled up with zeros to whole tiles.

    [group][pair][target channel], or [group][target channel][pair] if ``pairs_inner``. The table
    holds each pair's offset in the weights of one target channel, or `ABSENT`.
    """
    load, store, size_out, held_type = _converted(kind, result)
    size, rounded = KINDS[kind].size, result == "tf32"

    def kernel(
        x, w, y, bias, workspace, table,
        pairs, pairs_filled, channels, channels_filled, w_group, w_target,
    ):  # fmt: skip
        square = cuda.shared.array((TILE, _PITCH), held_type)
        lane, stripe = int32(cuda.threadIdx.x) % TILE, int32(cuda.threadIdx.x) // TILE
        first_pair, first_channel = int64(cuda.blockIdx.x) * TILE, int64(cuda.blockIdx.y) * TILE
        group = int64(cuda.blockIdx.z)
        pair = first_pair + lane
        offset = load_i32(table + pair * 4) if pair < pairs else int32(0)
        for i in range(TILE // _STRIPES):
            row = stripe + i * _STRIPES
            channel = first_channel + row
            value = held_type(0)
            if pair < pairs and channel < channels and offset != ABSENT:
                value = load(x + (group * w_group + channel * w_target + offset) * size)
                if rounded:
                    value = round_tf32(value)
            square[row, lane] = value
        cuda.syncthreads()
        for i in range(TILE // _STRIPES):
            row = stripe + i * _STRIPES
            if pairs_inner:
                pair, channel, value = first_pair + lane, first_channel + row, square[row, lane]
                place = channel * pairs_filled + pair
            else:
                pair, channel, value = first_pair + row, first_channel + lane, square[lane, row]
                place = pair * channels_filled + channel
            if pair < pairs_filled and channel < channels_filled:
                store(y + (group * pairs_filled * channels_filled + place) * size_out, value)

    return kernel, Blocks(TILE * _STRIPES, 4)


def pack_blocks(kind: str, result: str, columns: int) -> Any:
    """Weights as the blocks that Hopper's products read: [group][column tile][slice].

    A block holds ``columns`` target channels x 128 bytes of pairs, its chunks of 16 bytes in the
    places of the 128-byte swizzle, zeros where there is no channel or pair. The table holds each
    pair's offset in the weights of one target channel, or `ABSENT`.
    """
    load, store, size_out, held_type = _converted(kind, result)
    size, rounded = KINDS[kind].size, result == "tf32"
    in_slice, in_chunk = 128 // size_out, 16 // size_out

    def kernel(
        x, w, y, bias, workspace, table,
        pairs, slices, channels, tiles, w_group, w_target,
    ):  # fmt: skip
        lane, stripe = int32(cuda.threadIdx.x) % TILE, int32(cuda.threadIdx.x) // TILE
        pair = int32(int64(cuda.blockIdx.x) * TILE + lane)
        first_channel = int64(cuda.blockIdx.y) * TILE
        group = int64(cuda.blockIdx.z)
        offset = load_i32(table + pair * 4) if pair < pairs else int32(ABSENT)
        chunk = pair % in_slice // in_chunk
        for i in range(TILE // _STRIPES):
            channel = int32(first_channel + stripe + i * _STRIPES)
            value = held_type(0)
            if channel < channels and offset != ABSENT:
                value = load(x + (group * w_group + channel * w_target + offset) * size)
                if rounded:
                    value = round_tf32(value)
            row = channel % columns
            block = (group * tiles + channel // columns) * slices + pair // in_slice
            place = row * in_slice + (chunk ^ row % 8) * in_chunk + pair % in_chunk
            if pair < slices * in_slice and channel < tiles * columns:
                store(y + (block * columns * in_slice + place) * size_out, value)

    return kernel, Blocks(TILE * _STRIPES, 4)


def channels_last(kind: str, result: str) -> Any:
    """A copy with the channels innermost, each group's filled up with zeros: [n][pixel][g][c]."""
    load, store, size_out, held_type = _converted(kind, result)
    size, rounded = KINDS[kind].size, result == "tf32"

    def kernel(
        x, w, y, bias, workspace, table,
        pixels, channels, filled, all_filled, filled_magic, filled_shift,
        image, image_magic, image_shift, plane, plane_magic, plane_shift, W, W_magic, W_shift,
        x_n, x_c, x_d, x_h, x_w,
    ):  # fmt: skip
        square = cuda.shared.array((TILE, _PITCH), held_type)
        lane, stripe = int32(cuda.threadIdx.x) % TILE, int32(cuda.threadIdx.x) // TILE
        first_pixel, first_channel = int64(cuda.blockIdx.x) * TILE, int64(cuda.blockIdx.y) * TILE
        pixel = int32(first_pixel + lane)
        n = divide(pixel, image_magic, image_shift)
        rest = int32(pixel - n * image)
        d = divide(rest, plane_magic, plane_shift)
        rest = int32(rest - d * plane)
        h = divide(rest, W_magic, W_shift)
        base = n * x_n + d * x_d + h * x_h + (rest - h * W) * x_w
        for i in range(TILE // _STRIPES):
            row = stripe + i * _STRIPES
            channel = int32(first_channel + row)
            group = divide(channel, filled_magic, filled_shift)
            within_group = channel - group * filled
            value = held_type(0)
            if pixel < pixels and channel < all_filled and within_group < channels:
                value = load(x + (base + (group * channels + within_group) * x_c) * size)
                if rounded:
                    value = round_tf32(value)
            square[row, lane] = value
        cuda.syncthreads()
        for i in range(TILE // _STRIPES):
            row = stripe + i * _STRIPES
            to_pixel, channel = first_pixel + row, first_channel + lane
            if to_pixel < pixels and channel < all_filled:
                store(y + (to_pixel * all_filled + channel) * size_out, square[lane, row])

    return kernel, Blocks(TILE * _STRIPES, 4)


def add_splits(kind: str) -> Any:
    """The weight gradient from its partial sums, [split][row][pair], added in their order.

    The table holds each pair's offset in one row of the target.
    """
    wide = KINDS["f64" if kind == "f64" else "f32"]
    load, step, compute = wide.load, wide.size, wide.compute
    store, size = KINDS[kind].store, KINDS[kind].size

    def kernel(x, w, y, bias, workspace, table, sums, splits, rows, pairs, y_row):
        pair = int64(cuda.blockIdx.y) * cuda.blockDim.x + cuda.threadIdx.x
        row = int64(cuda.blockIdx.x)
        if pair < pairs:
            total = compute(0)
            for split in range(splits):
                total += load(workspace + sums + ((split * rows + row) * pairs + pair) * step)
            offset = load_i32(table + pair * 4)
            if offset != ABSENT:
                store(y + (row * y_row + offset) * size, total)

    return kernel, Blocks(256, 4)
