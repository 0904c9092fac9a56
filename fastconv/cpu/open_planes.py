"""Planes with channels contiguous, read where they lie: nothing is padded, staged or gathered.

The taps of a result that lie outside the image are left out: whole columns of them before its sums,
rows one by one. A unit goes over its pixels in memory's order, all channels of a pixel before the
next one's, so that both arrays stream through the caches.
"""

from __future__ import annotations

from typing import Any

from numba import types
from numba.extending import overload

from fastconv.cpu import simd
from fastconv.cpu.program import reads


def slide_rows_inside(
    tile, x, x_row, x_tap, w, w_row, h, h_row, h_tap, H, R, rho, vectors, taps, move
):
    """`planes.slide_rows` over an image of ``H`` rows, of which the first that is met is ``h``.

    Rows of sums lie ``h_row`` rows apart, taps ``h_tap``.
    """
    raise NotImplementedError("compiled code only")


@overload(slide_rows_inside, prefer_literal=True, inline="always")
def _slide_rows_inside(
    tile, x, x_row, x_tap, w, w_row, h, h_row, h_tap, H, R, rho, vectors, taps, move
):
    if not isinstance(taps, types.IntegerLiteral):
        return None
    T, RHO, V, MOVE = (a.literal_value for a in (taps, rho, vectors, move))
    BEFORE, LAST = RHO - 1, 2 * RHO - 1
    END = BEFORE * MOVE + T

    def in_blocks(tile, x, x_row, x_tap, w, w_row, h, h_row, h_tap, H, R, rho, vectors, taps, move):
        for r in range(0, R, T):
            tile = simd.slide_inside(
                tile, x + r * x_tap, x_row, w + r * w_row, w_row, h + r * h_tap, h_row, H,
                0, END, RHO, V, T, MOVE,
            )  # fmt: skip
        return tile

    def row_by_row(
        tile, x, x_row, x_tap, w, w_row, h, h_row, h_tap, H, R, rho, vectors, taps, move
    ):
        # Rows that not all sums reach yet, rows that all do, rows that not all do any more.
        tile = simd.slide_inside(tile, x, x_row, w, w_row, h, 1, H, 0, BEFORE, RHO, V, RHO, 1)
        for i in range(R - BEFORE):
            tile = simd.slide_inside(
                tile, x + i * x_row, x_row, w + i * w_row, w_row, h + i, 1, H,
                BEFORE, RHO, RHO, V, RHO, 1,
            )  # fmt: skip
        i = R - RHO
        return simd.slide_inside(
            tile, x + i * x_row, x_row, w + i * w_row, w_row, h + i, 1, H,
            RHO, LAST, RHO, V, RHO, 1,
        )  # fmt: skip

    return in_blocks if T else row_by_row


def taps_inside(at, gap, taps, extent):
    """The first of ``taps`` taps, ``gap`` apart from ``at`` on, inside 0 .. extent, and the end."""
    raise NotImplementedError("compiled code only")


@overload(taps_inside, jit_options={"forceinline": True})
def _taps_inside(at, gap, taps, extent):
    def run(at, gap, taps, extent):
        first, last = 0, taps
        if at < 0:
            first = min((-at + gap - 1) // gap, taps)
        if at + (taps - 1) * gap >= extent:
            last = max((extent - at + gap - 1) // gap, first)
        return first, last

    return run


@reads(
    "chunks", "chunk_from", "bands", "band_from", "spans", "span_from", "depths",
    "D", "P", "Q", "x_image", "x_depth", "x_row", "x_pixel", "block_from", "x_D", "x_H", "x_W",
    "d_move", "h_move", "w_move", "d_first", "h_first", "w_first", "d_gap", "h_gap", "w_gap",
    "layers", "R", "S", "weights", "w_block", "bias_from",
    "y_offset", "y_image", "y_depth", "y_row", "y_pixel", "floor", "near",
)  # fmt: skip
def correlate_open(bits: int, lanes: int, rho: int, vectors: int, taps: int, move: int) -> Any:
    """Correlate bands of rows by spans of columns: ``rho`` rows by ``vectors`` vectors at a time.

    ``chunk_from``: blocks of channels of each chunk, a unit's innermost loop but for the taps'.
    Along each axis, result i meets tap t at row ``first + i * move + t * gap`` of the image.
    """
    fields = len(correlate_open.fields)  # type: ignore[attr-defined]
    line = vectors * lanes * bits // 8

    def kernel(args, x, w, y, bias, own, unit, workspace):
        (chunks, chunk_from, bands, band_from, spans, span_from, depths,
         D, P, Q, x_image, x_depth, x_row, x_pixel, block_from, x_D, x_H, x_W,
         d_move, h_move, w_move, d_first, h_first, w_first, d_gap, h_gap, w_gap,
         layers, R, S, weights, w_block, bias_from,
         y_offset, y_image, y_depth, y_row, y_pixel, floor,
         near) = simd.words(args, fields)  # fmt: skip
        chunk, rest = unit % chunks, unit // chunks
        band, rest = rest % bands, rest // bands
        span, rest = rest % spans, rest // spans
        o, n = rest % depths, rest // depths
        first, last = simd.word(chunk_from, chunk), simd.word(chunk_from, chunk + 1)
        top, bottom = simd.word(band_from, band), min(simd.word(band_from, band + 1), P)
        left, right = simd.word(span_from, span), min(simd.word(span_from, span + 1), Q)
        height = bottom - top if o < D else 0
        d = o * d_move + d_first
        first_layer, last_layer = taps_inside(d, d_gap, layers, x_D)
        w_row, h_step = S * line, h_move // move
        for row in range(0, height, rho):
            p = top + min(row, height - rho)
            h = p * h_move + h_first
            x_line = x + n * x_image + d * x_depth + h * x_row
            y_line = y + y_offset + n * y_image + o * y_depth + p * y_row
            for q in range(left, right):
                c = q * w_move + w_first
                low, high = taps_inside(c, w_gap, S, x_W)
                for k in range(first, last):
                    at = simd.word(block_from, k)
                    sums = simd.repeat_rows(
                        workspace + bias_from + k * line, bits, lanes, rho, vectors
                    )
                    for layer in range(first_layer, last_layer):
                        source = x_line + at + c * x_pixel + layer * (d_gap * x_depth)
                        weight = workspace + weights + k * w_block + layer * (R * w_row)
                        for s in range(low, high):
                            sums = slide_rows_inside(
                                sums, source + s * (w_gap * x_pixel), h_step * x_row,
                                h_gap * x_row, weight + s * line, w_row, h, h_step, h_gap, x_H, R,
                                rho, vectors, taps, move,
                            )  # fmt: skip
                    sums = simd.raised(sums, floor)
                    target = y_line + q * y_pixel + at
                    simd.store_lines(sums, target, y_row, rho, vectors, vectors * lanes, near)
        if not near:
            simd.settle()

    return kernel
