"""What makes Winograd's operands: where mapped arrays lie, and the steps that map them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from fastconv.cpu import simd, winograd_maps
from fastconv.cpu.operands import Operands
from fastconv.cpu.planning import UNITS, Blocks, block_table
from fastconv.cpu.program import Constant, Step, compiled
from fastconv.cpu.views import OPERAND_X, Workspace
from fastconv.cpu.winograd_images import Images, Source, channel_table, tap_table, targets_of
from fastconv.cpu.winograd_maps import GATHERED
from fastconv.cpu.winograd_shape import Shape
from fastconv.lowering import Lowered

LINE = 256  # bytes of a mapped tile's channels: one part of the channels, where there are as many
_PAD = 64  # bytes between points, so that they do not meet in the same sets of a cache


class Parts(NamedTuple):
    """Input channels in parts of a line each, group by group, and what lies between them."""

    first: np.ndarray  #: each part's first channel, of all
    present: np.ndarray
    per_group: int
    channels: int  #: of a whole part


def channel_parts(groups: int, channels: int, width: int) -> Parts:
    """Cut every group's channels into parts of ``width``."""
    blocks = block_table(groups, channels, width, overlap=False)
    first = blocks.group * channels + blocks.first
    return Parts(first, blocks.present, len(first) // groups, width)


def line_of(shape: Shape, arrays: Operands) -> int:
    """Bytes of a mapped tile's channels in one part."""
    vector = arrays.lanes * arrays.size
    return LINE if shape.source_channels > arrays.lanes else vector


class Mapped(NamedTuple):
    """Where something mapped lies: from a part and a point to the next, and its bytes in all."""

    part: int
    point: int
    bytes: int


def mapped(parts: int, area: int, items: int, line: int) -> Mapped:
    """The place of [part][point][item][line]."""
    point = items * line + _PAD
    return Mapped(area * point, point, parts * area * point)


def maps_bytes(shape: Shape, arrays: Operands) -> int:
    """Bytes that the maps of images and outputs take on the way, the more of the two."""
    pixels = (shape.across - 1) * shape.wide.step + shape.wide.points
    return arrays.lanes * arrays.size * shape.high.points * pixels


def ahead(
    maker: Step,
    source: Source,
    made: Mapped,
    items: int,
    spill: int,
    space: Workspace,
    threads: int,
) -> tuple[Step, int]:
    """The step that makes all ``items`` before they are used, and where it puts them."""
    units = min(items, 4 * UNITS)
    place = space.take(made.bytes)
    constants: dict[str, Constant] = {
        "units": items,
        "inner": maker,
        "staged": int(source.staged),
        "x_offset": source.offset,
        "target": place,
        "scratch": space.take(spill * min(threads, units)),
        "scratch_bytes": spill,
    }
    return Step(compiled(winograd_maps.ahead), units, constants), place


def image_step(
    arrays: Operands, shape: Shape, source: Source, parts: Parts, made: Mapped, line: int
) -> Step:
    """What maps the source, tile by tile."""
    constants = image_constants(source.images, shape, parts, made, line)
    constants["operand"] = OPERAND_X
    kernel = compiled(
        winograd_maps.map_images,
        arrays.bits, arrays.lanes, simd.SIGNAL, *shape.points, *shape.steps, *shape.points,
        contiguous(source.images, arrays.size),
    )  # fmt: skip
    return Step(kernel, 0, constants)


def image_constants(
    images: Images, shape: Shape, parts: Parts, made: Mapped, line: int
) -> dict[str, Constant]:
    """What `map_images` reads of an operand and of what it makes."""
    return {
        "high": shape.high.tiles,
        "across": shape.across,
        "parts": len(parts.first),
        "part_from": parts.first * images.channel,
        "present": parts.present,
        "images": images.images,
        "H": images.H,
        "W": images.W,
        "before_h": images.before_h,
        "before_w": images.before_w,
        "channel": images.channel,
        "row": images.row,
        "pixel": images.pixel,
        "part_bytes": made.part,
        "point": made.point,
        "line": line,
    }


def contiguous(images: Images, size: int) -> int:
    """What lies contiguous in an image."""
    if images.pixel == size:
        return winograd_maps.PIXELS
    return winograd_maps.CHANNELS if images.channel == size else winograd_maps.ANY


def weight_step(
    low: Lowered,
    arrays: Operands,
    shape: Shape,
    images: Source,
    parts: Parts,
    blocks: Blocks,
    block_phase: np.ndarray,
    vectors: int,
    weight: Mapped,
) -> tuple[Step, int]:
    """What maps the weights, lanes over target channels, and the scratch bytes that it takes."""
    w, size, vector = arrays.w, arrays.size, arrays.lanes * arrays.size
    source, target = (0, 1) if low.transposed else (1, 0)
    # Groups are cut out of the weight's first axis, whichever channels that holds.
    per_group = low.source_channels if low.transposed else low.target_channels
    R, S = (1 + max(tap for part in low.parts for tap, _ in part.axes[i].taps) for i in range(2))
    area = R * S
    run = w[3] == size and (w[2] == S * size or R == 1)
    whole = run and w[source] == area * size
    mode = winograd_maps.WHOLE if whole else winograd_maps.TAPS if run else winograd_maps.ANY
    table = [r * w[2] + s * w[3] for r in range(R) for s in range(S)]
    taps = tap_table(low, shape, S)
    channel, phase = channel_table(low, shape, images.phase_first)
    firsts, counts, places = _gathering(channel, parts)
    constants: dict[str, Constant] = {
        "parts": parts.per_group,
        "block_from": blocks.group * (per_group * w[0]) + blocks.first * w[target],
        "valid": blocks.present,
        "block_taps": block_phase * (8 * taps.shape[1]),
        "present": parts.present,
        "channels": parts.channels,
        "gather_from": firsts * w[source],
        "gather_count": counts,
        "channel_at": places * (area * vector),
        "channel_taps": phase * (8 * taps.shape[1]),
        "tap_table": np.where(taps < 0, -1, taps * vector),
        "area": area,
        "run_table": np.array(table, np.int64),
        "channel": w[source],
        "lane_step": w[target],
        "mode": mode,
        "part_bytes": weight.part,
        "point": weight.point,
    }
    kernel = compiled(
        winograd_maps.map_weights,
        arrays.bits, arrays.lanes, *shape.taps, *shape.points, vectors,
    )  # fmt: skip
    return Step(kernel, 0, constants), (1 + int(counts.max()) * area) * vector


def _gathering(channel: np.ndarray, parts: Parts) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For every GATHERED channels of a part: the first operand channel they come from, how many.

    And for every channel, which of these is its own.
    """
    firsts, counts, places = [], [], []
    for start in range(0, parts.per_group * parts.channels, GATHERED):
        here = channel[start : start + GATHERED]
        first = int(here.min()) if len(here) else 0
        firsts.append(first)
        counts.append(int(here.max()) + 1 - first if len(here) else 0)
        places.append(here - first)
    return np.array(firsts, np.int64), np.array(counts, np.int64), np.concatenate(places)


def output_step(
    low: Lowered,
    arrays: Operands,
    shape: Shape,
    blocks: Blocks,
    block_phase: np.ndarray,
    vectors: int,
    product: Mapped,
) -> Step:
    """What maps the products of a block to the target."""
    targets = targets_of(low, arrays.y, shape)
    constants: dict[str, Constant] = {
        "high": shape.high.tiles,
        "across": shape.across,
        "phases": shape.phases,
        "block_phase": block_phase,
        "images": targets.images,
        "P": targets.H,
        "Q": targets.W,
        "channel": targets.channel,
        "row": targets.row,
        "pixel": targets.pixel,
        "y_blocks": (blocks.group * low.target_channels + blocks.first) * targets.channel,
        "valid": blocks.present,
        "point": product.point,
        "contiguous": contiguous(targets, arrays.size),
        "floor": arrays.floor,
    }
    kernel = compiled(
        winograd_maps.map_outputs,
        arrays.bits, arrays.lanes, *shape.steps, *shape.points, vectors,
    )  # fmt: skip
    return Step(kernel, 0, constants)
