"""Taps in lanes: the kernels of a signal's input gradient, for kernels longer than many a vector.

What one element of the output gradient adds to the image is a run of as many elements as the kernel
has taps: its products with the weights. Tiles of a few elements by a few vectors of taps are summed
over all output channels, and added where each element's run lies, into a line that stays in cache.
"""

from __future__ import annotations

from typing import Any

from fastconv.cpu import simd, tile
from fastconv.cpu.column_sums import deliver
from fastconv.cpu.program import reads


@reads(
    "units", "groups", "bands", "band_from", "stride", "reach", "before", "targets",
    "channels", "image", "group", "channel", "pixel", "weights", "blocks", "block_bytes", "taps",
    "results", "line_bytes", "y_image", "y_group", "y_channel", "y_pixel", "bias_group", "floor",
    "seams", "seam", "seam_line", "scratch", "scratch_bytes", "spill",
)  # fmt: skip
def multiply(bits: int, lanes: int, m: int, vectors: int, fixed: int, step: int) -> Any:
    """Multiply ``m`` elements by ``vectors`` vectors of taps, and add them where they belong.

    A unit is a band of elements of one image's gradient in one group. What its runs reach beyond
    those of the next band's first elements is left to `join`. ``fixed`` is the elements' pitch in
    bytes where it is known when compiling, else 0.
    """
    fields = len(multiply.fields)  # type: ignore[attr-defined]
    size = bits // 8
    width = vectors * lanes
    line = width * size
    vector = lanes * size
    count = m * vectors

    def kernel(args, x, w, y, bias, workspace, slot, slots):
        (units, groups, bands, band_from, stride, reach, before, targets,
         channels, image, group, channel, pixel, weights, blocks, block_bytes, taps,
         results, line_bytes, y_image, y_group, y_channel, y_pixel, bias_group, floor,
         seams, seam, seam_line, scratch, scratch_bytes,
         spill) = simd.words(args, fields)  # fmt: skip
        lines = workspace + scratch + slot * scratch_bytes
        spill_at = lines + spill
        for unit in range(slot * units // slots, (slot + 1) * units // slots):
            band = unit % bands
            g, n = unit // bands % groups, unit // bands // groups
            first, last = simd.word(band_from, band), simd.word(band_from, band + 1)
            simd.clear_bytes(lines, results * line_bytes)
            source = x + n * image + g * group
            for c in range(results):
                packed = workspace + weights + (g * results + c) * blocks * block_bytes
                for block in range(blocks):
                    run = lines + c * line_bytes + block * line
                    here = min(width, taps - block * width)
                    for p in range(first, last, m):
                        # The last tile moves back, and adds only what is new.
                        begin = min(p, last - m)
                        sums = simd.zeros(bits, lanes, count)
                        sums = tile.contract_steps(
                            sums, (source + begin * pixel,), pixel, fixed, m,
                            (packed,), vectors, channels, channel,
                        )  # fmt: skip
                        to = run + (begin - first) * stride * size
                        if begin == p:
                            simd.add_rows(sums, to, stride * size, m, vectors, here)
                            continue
                        simd.store_tile(sums, spill_at)
                        for i in range(p - begin, m):
                            for v in range(0, here, lanes):
                                term = simd.load_tile(
                                    spill_at + i * line + v * size, bits, lanes, 1
                                )
                                simd.add_rows(
                                    term, to + (i * stride + v) * size, vector, 1, 1, here - v
                                )
                    packed += block_bytes
            # Line element e is target e + origin; ``reach`` elements at either end are shared.
            origin = first * stride - before
            begin, end = origin, last * stride - before
            if band:
                side = workspace + seams + ((n * groups + g) * (bands - 1) + band - 1) * seam
                side += results * seam_line
                for c in range(results):
                    simd.copy_bytes(side + c * seam_line, lines + c * line_bytes, reach * size)
                begin += reach
            if band < bands - 1:
                side = workspace + seams + ((n * groups + g) * (bands - 1) + band) * seam
                tail = lines + (end - origin) * size
                for c in range(results):
                    simd.copy_bytes(side + c * seam_line, tail + c * line_bytes, reach * size)
            else:
                end = targets
            begin = max(begin, 0)
            wanted = min(end, targets) - begin
            deliver(
                lines + (begin - origin) * size, 0, 1, 0,
                y + n * y_image + g * y_group + begin * y_pixel, bias + g * bias_group,
                (results, line_bytes, 1, wanted, y_channel,
                 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, wanted, y_pixel),
                floor, bits, lanes, step,
            )  # fmt: skip

    return kernel


@reads(
    "units", "groups", "bands", "band_from", "stride", "reach", "before", "targets", "results",
    "y_image", "y_group", "y_channel", "y_pixel", "bias_group", "floor",
    "seams", "seam", "seam_line",
)  # fmt: skip
def join(bits: int, lanes: int, step: int) -> Any:
    """Add up and write the elements that neighbouring bands share: a unit is one seam."""
    fields = len(join.fields)  # type: ignore[attr-defined]
    size = bits // 8

    def kernel(args, x, w, y, bias, workspace, slot, slots):
        (units, groups, bands, band_from, stride, reach, before, targets, results,
         y_image, y_group, y_channel, y_pixel, bias_group, floor,
         seams, seam, seam_line) = simd.words(args, fields)  # fmt: skip
        for unit in range(slot * units // slots, (slot + 1) * units // slots):
            band, image = unit % (bands - 1), unit // (bands - 1)
            g, n = image % groups, image // groups
            origin = simd.word(band_from, band + 1) * stride - before
            begin = max(origin, 0)
            count = min(origin + reach, targets) - begin
            side = workspace + seams + unit * seam + (begin - origin) * size
            deliver(
                side, side + results * seam_line, 1, 0,
                y + n * y_image + g * y_group + begin * y_pixel, bias + g * bias_group,
                (results, seam_line, 1, count, y_channel,
                 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, count, y_pixel),
                floor, bits, lanes, step,
            )  # fmt: skip

    return kernel
