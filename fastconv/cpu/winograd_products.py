"""Winograd's products: at every point, a product of matrices over channels or over tiles."""

from __future__ import annotations

from typing import Any

from fastconv.cpu import simd, tile
from fastconv.cpu.program import reads


@reads(
    "units", "block_parts", "blocks", "block_group", "chunk_strips", "strips", "across",
    "staged", "x_offset", "image_maker", "images", "image_part", "image_point",
    "weight_maker", "weights", "weight_part", "weight_point",
    "group_parts", "parts", "present", "output_maker", "products", "product_point",
    "bias_from", "maps", "scratch", "scratch_bytes",
)  # fmt: skip
def multiply(bits: int, lanes: int, area: int, m: int, vectors: int, line: int) -> Any:
    """Forward: ``m`` tiles by ``vectors`` vectors of output channels, summed over input channels.

    A unit is a chunk of rows of tiles by a part of the channel blocks. Mapped images and weights
    are ready, or a maker maps them when their turn comes, into the slot's own memory: images for a
    chunk, weights for a block and a part of the channels. Sums start afresh for every part: that
    halves the rounding of long ones.
    """
    fields = len(multiply.fields)  # type: ignore[attr-defined]
    size = bits // 8
    width = vectors * lanes * size
    count = m * vectors

    def kernel(args, x, w, y, bias, workspace, slot, slots):
        (units, block_parts, blocks, block_group, chunk_strips, strips, across,
         staged, x_offset, image_maker, images, image_part, image_point,
         weight_maker, weights, weight_part, weight_point,
         group_parts, parts, present, output_maker, products, product_point,
         bias_from, maps, scratch, scratch_bytes) = simd.words(args, fields)  # fmt: skip
        source = (workspace if staged else x) + x_offset
        own = workspace + scratch + slot * scratch_bytes
        sums_at, spill, held = own + products, own + maps, -1
        for unit in range(slot * units // slots, (slot + 1) * units // slots):
            chunk, block_part = unit // block_parts, unit % block_parts
            first = chunk * chunk_strips
            last = min(first + chunk_strips, strips)
            if image_maker:
                image = own + images
                if held != chunk:
                    moved = image - first * across * line
                    simd.call(
                        simd.word(image_maker, 0),
                        (simd.word(image_maker, 1), source, w, moved, spill, 0,
                         first * parts, last * parts),
                    )  # fmt: skip
                    held = chunk
            else:
                image = workspace + images + first * across * line
            first_block = block_part * blocks // block_parts
            last_block = (block_part + 1) * blocks // block_parts
            for block in range(first_block, last_block):
                group = simd.word(block_group, block)
                for part in range(group_parts):
                    item = block * group_parts + part
                    if weight_maker:
                        weight = own + weights
                        simd.call(
                            simd.word(weight_maker, 0),
                            (simd.word(weight_maker, 1), source, w, weight - item * weight_part,
                             spill, 0, item, item + 1),
                        )  # fmt: skip
                    else:
                        weight = workspace + weights + item * weight_part
                    at = image + (group * group_parts + part) * image_part
                    channels = simd.word(present, group * group_parts + part)
                    for point in range(area):
                        b_rows = (weight + point * weight_point,)
                        for q in range(0, (last - first) * across, m):
                            place = sums_at + point * product_point + q * width
                            sums = simd.zeros(bits, lanes, count)
                            sums = tile.contract_steps(
                                sums, (at + point * image_point + q * line,), line, line, m,
                                b_rows, vectors, channels, size,
                            )  # fmt: skip
                            if part:
                                sums = simd.add_tile(sums, place)
                            simd.store_tile(sums, place)
                simd.call(
                    simd.word(output_maker, 0),
                    (simd.word(output_maker, 1), sums_at, spill, y, workspace + bias_from, block,
                     first, last),
                )  # fmt: skip

    return kernel


@reads(
    "units", "splits", "image_cuts", "gradient_cuts", "chunks", "chunk_strips", "strips", "across",
    "staged", "x_offset", "image_maker", "images", "image_part", "image_point", "image_parts",
    "present",
    "gradient_maker", "gradients", "gradient_part", "gradient_point", "gradient_parts",
    "groups", "sums", "sums_part", "sums_point", "maps",
    "partial", "block_sums", "split_sums", "part_lines", "scratch", "scratch_bytes",
)  # fmt: skip
def multiply_gradient(
    bits: int, lanes: int, points_h: int, points_w: int, m: int, vectors: int, line: int,
    taps_h: int, taps_w: int,
) -> Any:  # fmt: skip
    """Weight gradient: ``m`` input by ``vectors`` vectors of output channels, summed over tiles.

    A unit is a split of the tiles by a cut of the input channels by a cut of the output channels.
    Mapped images and gradients are ready, or made chunk by chunk in the slot's own memory. What a
    unit sums it maps to ``taps_h`` x ``taps_w`` weights.
    """
    fields = len(multiply_gradient.fields)  # type: ignore[attr-defined]
    size = bits // 8
    width = vectors * lanes * size
    count = m * vectors
    area, entries = points_h * points_w, taps_h * taps_w

    def kernel(args, x, w, y, bias, workspace, slot, slots):
        (units, splits, image_cuts, gradient_cuts, chunks, chunk_strips, strips, across,
         staged, x_offset, image_maker, images, image_part, image_point, image_parts, present,
         gradient_maker, gradients, gradient_part, gradient_point, gradient_parts,
         groups, sums_from, sums_part, sums_point, maps,
         partial, block_sums, split_sums, part_lines,
         scratch, scratch_bytes) = simd.words(args, fields)  # fmt: skip
        source = (workspace if staged else x) + x_offset
        own = workspace + scratch + slot * scratch_bytes
        sums_at, spill = own + sums_from, own + maps
        for unit in range(slot * units // slots, (slot + 1) * units // slots):
            gradient_cut, rest = unit % gradient_cuts, unit // gradient_cuts
            image_cut, rest = rest % image_cuts, rest // image_cuts
            group, split = rest % groups, rest // groups
            first_part = image_cut * image_parts // image_cuts
            last_part = (image_cut + 1) * image_parts // image_cuts
            first_block = gradient_cut * gradient_parts // gradient_cuts
            last_block = (gradient_cut + 1) * gradient_parts // gradient_cuts
            here, there = group * image_parts + first_part, group * gradient_parts + first_block
            first_chunk, last_chunk = split * chunks // splits, (split + 1) * chunks // splits
            for chunk in range(first_chunk, last_chunk):
                first = chunk * chunk_strips
                last = min(first + chunk_strips, strips)
                tiles = (last - first) * across
                if image_maker:
                    image, gradient = own + images, own + gradients
                    # Only the parts of this cut, each at its number from the address given on.
                    to = image - first * across * line - here * image_part
                    for strip in range(first, last):
                        item = strip * groups * image_parts + here
                        simd.call(
                            simd.word(image_maker, 0),
                            (simd.word(image_maker, 1), source, w, to, spill, 0,
                             item, item + last_part - first_part),
                        )  # fmt: skip
                    to = gradient - first * across * width - there * gradient_part
                    for strip in range(first, last):
                        item = strip * groups * gradient_parts + there
                        simd.call(
                            simd.word(gradient_maker, 0),
                            (simd.word(gradient_maker, 1), source, w, to, spill, 0,
                             item, item + last_block - first_block),
                        )  # fmt: skip
                else:
                    image = workspace + images + first * across * line + here * image_part
                    gradient = workspace + gradients + first * across * width
                    gradient += there * gradient_part
                place = sums_at
                for block in range(last_block - first_block):
                    right = gradient + block * gradient_part
                    for part in range(first_part, last_part):
                        left = image + (part - first_part) * image_part
                        channels = simd.word(present, group * image_parts + part)
                        for point in range(area):
                            b_rows = (right + point * gradient_point,)
                            for c in range(0, channels, m):
                                to = place + point * sums_point + c * width
                                if chunk == first_chunk:
                                    sums = simd.zeros(bits, lanes, count)
                                else:
                                    sums = simd.load_tile(to, bits, lanes, count)
                                sums = tile.contract_steps(
                                    sums, (left + point * image_point + c * size,), size, size, m,
                                    b_rows, vectors, tiles, line,
                                )  # fmt: skip
                                simd.store_tile(sums, to)
                        place += sums_part
            place = sums_at
            for block in range(first_block, last_block):
                out = workspace + partial + split * split_sums
                out += (group * gradient_parts + block) * block_sums
                for part in range(first_part, last_part):
                    for c in range(simd.word(present, group * image_parts + part)):
                        for v in range(vectors):
                            lane = v * lanes * size
                            simd.map_outputs(
                                taps_h, taps_w, points_h, points_w, place + c * width + lane,
                                sums_point,
                                out + (part * part_lines + c * entries) * width + lane,
                                taps_w * width, width, 0, 0, bits, lanes,
                            )  # fmt: skip
                    place += sums_part

    return kernel
