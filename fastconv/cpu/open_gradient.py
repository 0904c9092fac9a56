"""Weight gradients of planes with channels contiguous, both arrays read where they lie.

The sums of a block of taps stay in registers along a run of columns of some rows. A unit goes over
the arrays in memory's order, all its channels run by run.
"""

from __future__ import annotations

from typing import Any

from numba import types
from numba.extending import overload

from fastconv.cpu import simd
from fastconv.cpu.program import reads


def slide_along(
    sums, x, x_row, x_column, x_step, dy, dy_row, dy_step, h, h_row, H, c, c_column, c_step, W,
    count, x_later, dy_later, rho, R, S, move,
):  # fmt: skip
    """Sum over ``count`` columns of ``rho`` rows of the gradient, steps apart in both arrays.

    What lies ``x_later`` and ``dy_later`` on is asked for meanwhile, if that is not 0.
    """
    raise NotImplementedError("compiled code only")


@overload(slide_along, prefer_literal=True, jit_options={"forceinline": True})
def _slide_along(
    sums, x, x_row, x_column, x_step, dy, dy_row, dy_step, h, h_row, H, c, c_column, c_step, W,
    count, x_later, dy_later, rho, R, S, move,
):  # fmt: skip
    if not isinstance(R, types.IntegerLiteral):
        return None
    RHO, DOWN, ACROSS, MOVE = (a.literal_value for a in (rho, R, S, move))

    def run(
        sums, x, x_row, x_column, x_step, dy, dy_row, dy_step, h, h_row, H, c, c_column, c_step, W,
        count, x_later, dy_later, rho, R, S, move,
    ):  # fmt: skip
        for i in range(count):
            if dy_later:
                for j in range(RHO):
                    simd.prefetch_line(dy + dy_later + i * dy_step + j * dy_row)
                for j in range(RHO + DOWN - 1):
                    simd.prefetch_line(x + x_later + i * x_step + j * x_row)
            sums = simd.slide_gradient_inside(
                sums, x + i * x_step, x_row, x_column, dy + i * dy_step, dy_row,
                h, h_row, H, c + i * c_step, c_column, W, RHO, DOWN, ACROSS, MOVE,
            )  # fmt: skip
        return sums

    return run


@reads(
    "units", "splits", "places", "depths", "bands", "band_from", "chunk_from", "Q", "run",
    "x_image", "x_depth", "x_row", "x_pixel", "block_from", "x_D", "x_H", "x_W",
    "d_move", "h_move", "w_move", "d_first", "h_first", "w_first", "d_gap", "h_gap", "w_gap",
    "layers", "row_blocks", "row_taps", "column_blocks", "column_taps",
    "dy_staged", "dy_offset", "dy_image", "dy_depth", "dy_row", "dy_pixel",
    "partial", "plane_sums", "split_sums",
)  # fmt: skip
def correlate_gradient_open(
    bits: int, lanes: int, rho: int, R: int, S: int, move: int, ahead: int
) -> Any:
    """Sum ``R`` x ``S`` taps at a time, over ``rho`` rows and a ``run`` of columns at a time.

    A unit is a chunk of vectors of channels by a split of the bands of rows in all images. Along
    each axis, tap t meets column i of the gradient at ``first + i * move + t * gap`` of the image.
    ``ahead`` 1: what the next run reads is asked for while this one is multiplied.
    """
    fields = len(correlate_gradient_open.fields)  # type: ignore[attr-defined]
    count = R * S
    block = count * lanes * bits // 8

    def kernel(args, x, w, y, bias, workspace, slot, slots):
        (units, splits, places, depths, bands, band_from, chunk_from, Q, run,
         x_image, x_depth, x_row, x_pixel, block_from, x_D, x_H, x_W,
         d_move, h_move, w_move, d_first, h_first, w_first, d_gap, h_gap, w_gap,
         layers, row_blocks, row_taps, column_blocks, column_taps,
         dy_staged, dy_offset, dy_image, dy_depth, dy_row, dy_pixel,
         partial, plane_sums, split_sums) = simd.words(args, fields)  # fmt: skip
        gradient = (workspace if dy_staged else w) + dy_offset
        h_step, tap_down, tap_across = h_move // move, h_gap * x_row, w_gap * x_pixel
        for unit in range(slot * units // slots, (slot + 1) * units // slots):
            chunk, split = unit // splits, unit % splits
            first, last = simd.word(chunk_from, chunk), simd.word(chunk_from, chunk + 1)
            base = workspace + partial + split * split_sums
            simd.clear_bytes(base + first * plane_sums, (last - first) * plane_sums)
            for place in range(split * places // splits, (split + 1) * places // splits):
                band, rest = place % bands, place // bands
                o, n = rest % depths, rest // depths
                p, bottom = simd.word(band_from, band), simd.word(band_from, band + 1)
                d = o * d_move + d_first
                while p < bottom:
                    rows = rho if bottom - p >= rho else 1
                    for q in range(0, Q, run):
                        columns = min(run, Q - q)
                        x_run = x + n * x_image + d * x_depth + (p * h_move + h_first) * x_row
                        x_run += (q * w_move + w_first) * x_pixel
                        dy_run = gradient + n * dy_image + o * dy_depth + p * dy_row + q * dy_pixel
                        # The next run is beside this one, or begins the rows below.
                        right, down = (run, 0) if q + run < Q else (-q, rows)
                        x_later = down * h_move * x_row + right * w_move * x_pixel
                        dy_later = down * dy_row + right * dy_pixel
                        for k in range(first, last):
                            totals = base + k * plane_sums
                            at = simd.word(block_from, k)
                            for layer in range(layers):
                                inside = 0 <= d + layer * d_gap < x_D
                                for i in range(row_blocks):
                                    r = simd.word(row_taps, i)
                                    h = p * h_move + h_first + r * h_gap
                                    for j in range(column_blocks if inside else 0):
                                        s = simd.word(column_taps, j)
                                        c = q * w_move + w_first + s * w_gap
                                        x_at = x_run + at + layer * (d_gap * x_depth)
                                        x_at += r * tap_down + s * tap_across
                                        number = (layer * row_blocks + i) * column_blocks + j
                                        to = totals + number * block
                                        sums = simd.load_tile(to, bits, lanes, count)
                                        asked = dy_later if ahead and number == 0 else 0
                                        if rows == rho:
                                            sums = slide_along(
                                                sums, x_at, h_step * x_row, tap_across,
                                                w_move * x_pixel, dy_run + at, dy_row, dy_pixel,
                                                h, h_step, x_H, c, w_gap, w_move, x_W, columns,
                                                x_later, asked, rho, R, S, move,
                                            )  # fmt: skip
                                        else:
                                            sums = slide_along(
                                                sums, x_at, h_step * x_row, tap_across,
                                                w_move * x_pixel, dy_run + at, dy_row, dy_pixel,
                                                h, h_step, x_H, c, w_gap, w_move, x_W, columns,
                                                x_later, asked, 1, R, S, move,
                                            )  # fmt: skip
                                        simd.store_tile(sums, to)
                    p += rows

    return kernel
