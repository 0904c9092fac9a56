"""Weight gradients of planes: an output gradient's rows against the image's, tap by tap.

The sums of a block of taps stay in registers through a whole band of the image, which is staged as
for the forward pass; each loaded vector of the image serves every tap that meets it.
"""

from __future__ import annotations

from typing import Any

from numba import types
from numba.extending import overload

from fastconv.cpu import simd
from fastconv.cpu.plane_staging import PLACES, find_place, next_place
from fastconv.cpu.program import reads


def slide_steps(
    sums, bases, x_row, x_step, dy, dy_row, dy_step, first, last, valid, masked, rho, R, move
):  # fmt: skip
    """Sum over vectors ``first`` to ``last - 1``, a step apart, of ``rho`` rows."""
    raise NotImplementedError("compiled code only")


@overload(slide_steps, prefer_literal=True, jit_options={"forceinline": True})
def _slide_steps(
    sums, bases, x_row, x_step, dy, dy_row, dy_step, first, last, valid, masked, rho, R, move
):  # fmt: skip
    if not isinstance(R, types.IntegerLiteral):
        return None
    MASKED, RHO, TAPS = masked.literal_value, rho.literal_value, R.literal_value
    MOVE = move.literal_value

    def run(
        sums, bases, x_row, x_step, dy, dy_row, dy_step, first, last, valid, masked, rho, R, move,
    ):  # fmt: skip
        for i in range(first, last):
            for j in range(RHO, 2 * RHO):  # the next rows: too many streams to be foreseen
                simd.prefetch_line(dy + j * dy_row + i * dy_step)
            sums = simd.slide_gradient(
                sums, simd.shifted(bases, i * x_step), x_row, dy + i * dy_step, dy_row,
                valid, MASKED, RHO, TAPS, MOVE,
            )  # fmt: skip
        return sums

    return run


@reads(
    "units", "splits", *PLACES, "planes", "stagers", "stager_count", "item", "Q",
    "x_row", "x_column", "x_step", "layers", "layer_x", "row_blocks", "row_starts",
    "column_blocks", "columns", "dy_place", "dy_offset", "dy_image", "dy_plane", "dy_divisor",
    "dy_depth", "dy_row", "dy_step", "vectors", "present", "partial", "plane_sums", "split_sums",
    "scratch", "scratch_bytes", "cleared", "sums",
)  # fmt: skip
def correlate_gradient(
    bits: int, lanes: int, rho: int, R: int, S: int, move: int, dots: int
) -> Any:
    """Sum ``R`` x ``S`` taps at a time, ``rho`` rows of the gradient at a time.

    With ``dots`` 1 lanes are pixels, which are added up in the end, else channels. A unit is a
    plane, or a block of ``vectors`` vectors of channels, by a split of its bands in all images,
    ``together`` of which are staged at a time. A slot's memory holds them and, from ``sums`` on,
    the sums. ``dy_place``: 0 for the operand, 1 for the workspace, 2 for the slot's memory.
    """
    fields = len(correlate_gradient.fields)  # type: ignore[attr-defined]
    size = bits // 8
    count = R * S
    vector = lanes * size
    block = count * vector

    def kernel(args, x, w, y, bias, workspace, slot, slots):
        (units, splits, together, places, images, depths, bands, band_from, planes, stagers,
         stager_count, item_bytes, Q, x_row, x_column, x_step, layers, layer_x, row_blocks,
         row_starts, column_blocks, columns, dy_place, dy_offset, dy_image, dy_plane, dy_divisor,
         dy_depth, dy_row, dy_step, vectors, present, partial, plane_sums, split_sums,
         scratch, scratch_bytes, cleared, sums_from) = simd.words(args, fields)  # fmt: skip
        own = workspace + scratch + slot * scratch_bytes
        simd.clear_bytes(own, cleared)
        gradient = (w if dy_place == 0 else workspace if dy_place == 1 else own) + dy_offset
        blocks = layers * row_blocks * column_blocks
        batches = places // (planes * together)
        for unit in range(slot * units // slots, (slot + 1) * units // slots):
            k, split = unit // splits, unit % splits
            simd.clear_bytes(own + sums_from, vectors * blocks * block)
            dy_base = gradient + k // dy_divisor * dy_plane
            for batch in range(split * batches // splits, (split + 1) * batches // splits):
                staged = k * batches + batch
                for i in range(stager_count):
                    entry = simd.word(stagers, i)
                    simd.call(
                        simd.word(entry, 0),
                        (simd.word(entry, 1), x, w, y, bias, own, staged, workspace),
                    )
                place = own + sums_from
                for v in range(vectors):
                    if dots:
                        steps, full, valid = -(-Q // lanes), Q // lanes, Q % lanes
                    else:
                        steps, valid = Q, max(simd.word(present, k) - v * lanes, 0)
                        full = Q if valid >= lanes else 0
                    for layer in range(layers):
                        for r in range(row_blocks):
                            image = own + simd.word(layer_x, layer) + simd.word(row_starts, r)
                            image += v * vector
                            for s in range(column_blocks):
                                _, n, o, band = find_place(staged * together, images, depths, bands)
                                bases = simd.lookup(image, columns, s * S, column_blocks * S - 1, S)
                                sums = simd.load_tile(place, bits, lanes, count)
                                for item in range(together):
                                    top = simd.word(band_from, band)
                                    height = simd.word(band_from, band + 1) - top
                                    whole = height // rho * rho
                                    dy = dy_base + n * dy_image + o * dy_depth + top * dy_row
                                    dy += v * vector
                                    x_at = simd.shifted(bases, item * item_bytes)
                                    for p in range(0, whole, rho):
                                        x_p, dy_p = (
                                            simd.shifted(x_at, p * x_column),
                                            dy + p * dy_row,
                                        )
                                        sums = slide_steps(
                                            sums, x_p, x_row, x_step, dy_p, dy_row, dy_step,
                                            0, full, 0, 0, rho, R, move,
                                        )  # fmt: skip
                                        sums = slide_steps(
                                            sums, x_p, x_row, x_step, dy_p, dy_row, dy_step,
                                            full, steps, valid, 1, rho, R, move,
                                        )  # fmt: skip
                                    for p in range(whole, height if rho > 1 else whole):
                                        x_p, dy_p = (
                                            simd.shifted(x_at, p * x_column),
                                            dy + p * dy_row,
                                        )
                                        sums = slide_steps(
                                            sums, x_p, x_row, x_step, dy_p, dy_row, dy_step,
                                            0, full, 0, 0, 1, R, move,
                                        )  # fmt: skip
                                        sums = slide_steps(
                                            sums, x_p, x_row, x_step, dy_p, dy_row, dy_step,
                                            full, steps, valid, 1, 1, R, move,
                                        )  # fmt: skip
                                    _, n, o, band = next_place(0, n, o, band, images, depths, bands)
                                simd.store_tile(sums, place)
                                place += block
            target = workspace + partial + k * plane_sums + split * split_sums
            if dots:
                simd.clear_bytes(target, blocks * count * size)
                for b in range(blocks):
                    sums = simd.load_tile(own + sums_from + b * block, bits, lanes, count)
                    simd.add_sums(sums, target + b * count * size)
            else:
                simd.copy_bytes(target, own + sums_from, vectors * blocks * block)

    return kernel


@reads(
    "units", "entries", "sources", "targets", "present", "lane", "splits", "partial", "plane_sums",
    "split_sums", "sums_from", "y_planes", "y_lane",
)  # fmt: skip
def finish_gradient(bits: int) -> Any:
    """Add the splits' sums in order: entry e, ``sources[e]`` bytes in, goes to ``targets[e]``.

    A unit is a plane, or a vector of channels ``lane`` bytes apart in the sums, ``sums_from`` on.
    """
    fields = len(finish_gradient.fields)  # type: ignore[attr-defined]

    def kernel(args, x, w, y, bias, workspace, slot, slots):
        (units, entries, sources, targets, present, lane, splits, partial, plane_sums,
         split_sums, sums_from, y_planes, y_lane) = simd.words(args, fields)  # fmt: skip
        for unit in range(slot * units // slots, (slot + 1) * units // slots):
            sums = workspace + partial + unit * plane_sums + simd.word(sums_from, unit)
            for e in range(entries):
                source = sums + simd.word(sources, e)
                target = y + simd.word(y_planes, unit) + simd.word(targets, e)
                for i in range(simd.word(present, unit)):
                    total = simd.peek(source + i * lane, bits)
                    for split in range(1, splits):
                        total += simd.peek(source + i * lane + split * split_sums, bits)
                    simd.poke(target + i * y_lane, total)

    return kernel
