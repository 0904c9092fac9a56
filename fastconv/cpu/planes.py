"""Planes: one input channel to one output channel, tap by tap, in a register tile of several rows.

Lanes are pixels side by side, and a tap is a scalar, or channels, and a tap is a vector. Either way
a tile is ``rho`` rows of one column of vectors, and each vector of the image, once loaded, serves
every row that a tap carries it to. The source is staged by `plane_staging`, whose way of calling
holds here, too.
"""

from __future__ import annotations

from typing import Any

from numba import types
from numba.extending import overload

from fastconv.cpu import simd, tile
from fastconv.cpu.plane_staging import PLACES, find_place, next_place
from fastconv.cpu.program import reads


def slide_rows(tile, x, x_row, x_tap, w, w_row, R, rho, vectors, taps, move, broadcast):
    """Sum over the ``R`` taps of a kernel's column, ``x_tap`` bytes apart in the image.

    ``taps`` of them at a time, for a dilation of 1 if there are several; or, with ``taps`` 0, for a
    stride of 1 too, one image row at a time, each reaching ``rho`` rows of sums.
    """
    raise NotImplementedError("compiled code only")


@overload(slide_rows, prefer_literal=True, inline="always")
def _slide_rows(tile, x, x_row, x_tap, w, w_row, R, rho, vectors, taps, move, broadcast):
    if not isinstance(taps, types.IntegerLiteral):
        return None
    T, RHO, V = taps.literal_value, rho.literal_value, vectors.literal_value
    MOVE, SCALAR = move.literal_value, broadcast.literal_value
    BEFORE, LAST = RHO - 1, 2 * RHO - 1
    END = BEFORE * MOVE + T

    def in_blocks(tile, x, x_row, x_tap, w, w_row, R, rho, vectors, taps, move, broadcast):
        for r in range(0, R, T):
            tile = simd.slide(
                tile, x + r * x_tap, x_row, w + r * w_row, w_row,
                0, END, RHO, V, T, MOVE, SCALAR,
            )  # fmt: skip
        return tile

    def row_by_row(tile, x, x_row, x_tap, w, w_row, R, rho, vectors, taps, move, broadcast):
        # Rows that not all sums reach yet, rows that all do, rows that not all do any more.
        tile = simd.slide(tile, x, x_row, w, w_row, 0, BEFORE, RHO, V, RHO, 1, SCALAR)
        for i in range(R - BEFORE):
            tile = simd.slide(
                tile, x + i * x_row, x_row, w + i * w_row, w_row,
                BEFORE, RHO, RHO, V, RHO, 1, SCALAR,
            )  # fmt: skip
        x_last, w_last = x + (R - RHO) * x_row, w + (R - RHO) * w_row
        return simd.slide(tile, x_last, x_row, w_last, w_row, RHO, LAST, RHO, V, RHO, 1, SCALAR)

    return in_blocks if T else row_by_row


@reads(
    *PLACES, "D", "P", "Q", "item", "x_row", "x_tap", "x_column", "x_pixel",
    "layers", "layer_x", "layer_w", "S", "columns", "w_columns", "R", "w_row",
    "weights_staged", "weights", "w_planes", "bias_from", "present",
    "y_own", "y_offset", "y_item", "y_image", "y_plane", "y_depth", "y_row", "y_pixel", "y_lane",
    "floor", "spill",
)  # fmt: skip
def correlate(
    bits: int, lanes: int, rho: int, vectors: int, taps: int, move: int, broadcast: int
) -> Any:
    """Correlate bands: ``rho`` rows by ``vectors`` vectors at a time.

    With ``broadcast`` 1 lanes are pixels, else channels. ``layers`` are the source channels and
    taps in depth that add up to a target channel.
    """
    fields = len(correlate.fields)  # type: ignore[attr-defined]
    size = bits // 8
    width = vectors * lanes
    count = rho * vectors
    line = width * size

    def kernel(args, x, w, y, bias, own, unit, workspace):
        (together, places, planes, depths, bands, band_from,
         D, P, Q, item_bytes, x_row, x_tap, x_column, x_pixel,
         layers, layer_x, layer_w, S, columns, w_columns, R, w_row,
         weights_staged, weights, w_planes, bias_from, present,
         y_own, y_offset, y_item, y_image, y_plane, y_depth, y_row, y_pixel, y_lane,
         floor, spill) = simd.words(args, fields)  # fmt: skip
        first, last = unit * together, min((unit + 1) * together, places)
        n, k, o, band = find_place(first, planes, depths, bands)
        for item in range(first, last):
            top, bottom = simd.word(band_from, band), simd.word(band_from, band + 1)
            height = min(bottom, P) - top if o < D else 0
            w_base = (workspace if weights_staged else w) + weights + simd.word(w_planes, k)
            if y_own:
                target = own + y_offset + (item - first) * y_item
            else:
                target = y + y_offset + n * y_image + k * y_plane + o * y_depth + top * y_row
            if broadcast:
                step, here = width, min(Q, width)
                start = bias + k * size
            else:
                step, here = 1, simd.word(present, k)
                start = workspace + bias_from + k * line
            x_base = own + (item - first) * item_bytes
            # Where the target is memory, the next rows' lines are asked for.
            ahead = 0 if y_own else rho * y_row
            for row in range(0, height, rho):
                p = min(row, height - rho)
                x_at, y_at = x_base + p * x_column, target + p * y_row
                for column in range(0, Q, step):
                    q = column
                    if broadcast:
                        # The last tile moves back to end with the row, where that is long enough.
                        q = max(min(q, Q - width), 0)
                        sums = simd.repeat_columns(start, bits, lanes, 1, count)
                    else:
                        sums = simd.repeat_rows(start, bits, lanes, rho, vectors)
                    at, to = x_at + q * x_pixel, y_at + q * y_pixel
                    for r in range(rho):
                        for j in range(0, line, 64):
                            simd.prefetch_target(to + ahead + r * y_row + j)
                    for layer in range(layers):
                        source = at + simd.word(layer_x, layer)
                        weight = w_base + simd.word(layer_w, layer)
                        for s in range(S):
                            sums = slide_rows(
                                sums, source + simd.word(columns, s), x_row, x_tap,
                                weight + simd.word(w_columns, s), w_row, R,
                                rho, vectors, taps, move, broadcast,
                            )  # fmt: skip
                    sums = simd.raised(sums, floor)
                    if y_lane == size:
                        simd.store_lines(sums, to, y_row, rho, vectors, here, 1)
                    else:
                        tile.scatter(sums, own + spill, (to,), rho, 0, line, here, y_row, y_lane)
            n, k, o, band = next_place(n, k, o, band, planes, depths, bands)

    return kernel


@reads(
    *PLACES, "parts", "part_P", "part_own", "part_y", "item", "own_row", "phases", "phase_own", "W",
    "y_image", "y_plane", "y_depth", "y_row",
)  # fmt: skip
def weave_rows(bits: int, lanes: int, step: int) -> Any:
    """Write the rows of bands, whose phases of a stride ``step`` lie apart, element by element."""
    fields = len(weave_rows.fields)  # type: ignore[attr-defined]
    size = bits // 8

    def kernel(args, x, w, y, bias, own, unit, workspace):
        (together, places, planes, depths, bands, band_from,
         parts, part_P, part_own, part_y, item_bytes, own_row, phases, phase_own, W,
         y_image, y_plane, y_depth, y_row) = simd.words(args, fields)  # fmt: skip
        first, last = unit * together, min((unit + 1) * together, places)
        n, k, o, band = find_place(first, planes, depths, bands)
        for item in range(first, last):
            top, bottom = simd.word(band_from, band), simd.word(band_from, band + 1)
            target = y + n * y_image + k * y_plane + o * y_depth + top * y_row
            for part in range(parts):
                source = own + simd.word(part_own, part) + (item - first) * item_bytes
                to = target + simd.word(part_y, part)
                for i in range(min(bottom, simd.word(part_P, part)) - top):
                    runs = simd.lookup(source + i * own_row, phase_own, 0, phases - 1, step)
                    for j in range(0, W, step * lanes):
                        simd.weave(
                            to + i * y_row + j * size, simd.shifted(runs, j // step * size),
                            W - j, bits, lanes,
                        )  # fmt: skip
            n, k, o, band = next_place(n, k, o, band, planes, depths, bands)

    return kernel
