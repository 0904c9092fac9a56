"""Operands of a pass: what a plan knows of the arrays, and the steps that stage and pack them."""

from __future__ import annotations

from math import prod
from typing import NamedTuple

import numpy as np

from fastconv.cpu import simd
from fastconv.cpu.packing import Lanes, pack_step
from fastconv.cpu.planning import Axis, Blocks
from fastconv.cpu.program import Step
from fastconv.cpu.staging import Padding, stage_groups, stage_pixels, stage_planes
from fastconv.cpu.views import OPERAND_BIAS, OPERAND_W, OPERAND_X, View, Workspace, view_of
from fastconv.lowering import Correlation, Lowered

# Of source and target, from which on what is written is best not kept in the caches: a core's share
# of the third level holds no more.
_STREAMED = 12 << 20
_PIECE = 128  # weights in a row that make a transpose worth its set-up


class Operands(NamedTuple):
    """Bits of an element, or simd.INT64 or PAIRS; byte strides of source, weights and target."""

    bits: int
    x: tuple[int, ...]
    w: tuple[int, ...]
    y: tuple[int, ...]
    activation: str | None = None  #: what is done to each result last: None or "relu"
    converted: bool = False  #: whether these are copies in another type, for kernels alone
    halved: bool = False  #: whether vectors are half as wide as they can be: see `halved_lanes`

    @property
    def size(self) -> int:
        """Bytes of an element."""
        return self.bits // 8

    @property
    def target_size(self) -> int:
        """Bytes of an element of the target of a forward pass or an input gradient."""
        return 2 if self.bits == simd.PAIRS else self.size

    @property
    def lanes(self) -> int:
        """Elements of a vector."""
        return simd.VECTOR_BITS // (8 * self.size) >> self.halved

    @property
    def floor(self) -> int:
        """The least result, as a number's bits: 0 under "relu", else the least number there is.

        For kernels, which apply it by `simd.raised` before they store: one maximum a vector costs
        less than to ask whether it is wanted.
        """
        return 0 if self.activation == "relu" else simd.lowest(self.bits)

    @property
    def channels_last(self) -> bool:
        """Whether the source's channels are contiguous and its pixels are not."""
        return self.x[1] == self.size and self.x[-1] != self.size


def halved_lanes(low: Lowered, arrays: Operands) -> Operands:
    """``arrays`` with vectors half as wide where a group's channels fill no more than that.

    Where channels are contiguous, lanes are channels. Processors that start one multiply-add of
    512 bits a cycle start two of 256, and have as many registers for them; a tile's scalars come
    from memory either way.
    """
    few = 2 * low.target_channels <= arrays.lanes
    return arrays._replace(halved=few and arrays.channels_last and simd.VECTOR_BITS == 512)


def stay_near(low: Lowered, arrays: Operands) -> int:
    """1 where results may stay in the caches for who reads them next, 0 where they are too many."""
    return int(arrays.converted or image_bytes(low, arrays) < _STREAMED)


def image_bytes(low: Lowered, arrays: Operands) -> int:
    """Bytes of source and target together; of a weight gradient, of image and output gradient."""
    source = low.source_channels * prod(low.source)
    target = low.target_channels * sum(prod(part.counts) for part in low.parts)
    return low.N * low.groups * (source * arrays.size + target * arrays.target_size)


def stage(
    low: Lowered, arrays: Operands, space: Workspace, *, pixels_contiguous: bool
) -> tuple[list[Step], View]:
    """The steps that stage the source, if it must be, and where the kernels then find it.

    ``pixels_contiguous``: kernels read vectors of pixels, from stride phases, past a row's end too.
    """
    moves = tuple(axis.move for axis in low.parts[-1].axes)
    channels = low.groups * low.source_channels
    extents = Padding(low.N, channels, low.source, low.before, low.padded)
    if pixels_contiguous:
        used = used_phases(low, moves)
        return stage_planes(arrays.x, extents, moves, OPERAND_X, arrays.bits, space, used)
    # Pixels 4096 bytes apart share one set of the first-level cache: a copy spreads them.
    crowded = arrays.channels_last and arrays.x[-1] % 4096 == 0
    # One tap reads each pixel once, so pixels that lie apart waste most of every cache line.
    sparse = (
        len(low.parts[-1].taps) == 1 and not arrays.channels_last and arrays.x[-1] != arrays.size
    )
    if not low.needs_padding and not crowded and not sparse:
        return [], view_of(arrays.x)
    if arrays.halved and low.groups > 1 and low.source_channels == arrays.lanes and len(moves) < 3:
        return stage_groups(arrays.x, extents, low.groups, OPERAND_X, arrays.bits, space)
    if arrays.channels_last:
        return stage_pixels(arrays.x, extents, OPERAND_X, arrays.bits, space)
    return stage_planes(arrays.x, extents, (1,) * len(moves), OPERAND_X, arrays.bits, space)


def used_phases(low: Lowered, moves: tuple[int, ...]) -> set[tuple[int, ...]]:
    """The stride phases of the source that any tap is in."""
    taps = (offsets for part in low.parts for _, offsets in part.taps)
    return {tuple(o % m for o, m in zip(offsets, moves, strict=True)) for offsets in taps}


def weight_lanes(
    low: Lowered, part: Correlation, arrays: Operands, blocks: Blocks, width: int
) -> Lanes:
    """Weights of ``part`` as [block][source channel][tap][width]."""
    source, target = (0, 1) if low.transposed else (1, 0)
    # Groups are cut out of the weight's first axis, whichever channels that holds.
    per_group = low.source_channels if low.transposed else low.target_channels
    inner = np.array(
        [sum(i * s for i, s in zip(index, arrays.w[2:], strict=True)) for index, _ in part.taps],
        dtype=np.int64,
    )
    outer = np.arange(low.source_channels, dtype=np.int64) * arrays.w[source]
    run = np.arange(len(inner)) * arrays.size
    if (inner == run).all() and len(inner) * arrays.size == arrays.w[source]:
        outer, inner = _regrouped(low.source_channels, len(inner), arrays.size)
    elif len(inner) == 1:
        outer, inner = inner, outer
    return Lanes(
        blocks_from=blocks.group * (per_group * arrays.w[0]) + blocks.first * arrays.w[target],
        valid=blocks.present,
        outer_from=outer,
        inner_from=inner,
        lane_step=arrays.w[target],
        width=width,
        bits=arrays.bits,
    )


def _regrouped(channels: int, taps: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """One run over channels and taps, cut into equal pieces long enough to transpose."""
    divisors = (d for d in range(channels, 0, -1) if channels % d == 0)
    pieces = next((d for d in divisors if channels * taps // d >= _PIECE), 1)
    length = channels * taps // pieces
    index = np.arange(pieces, dtype=np.int64) * (length * size)
    return index, np.arange(length, dtype=np.int64) * size


def pack_weights(
    low: Lowered, part: Correlation, arrays: Operands, blocks: Blocks, width: int, space: Workspace
) -> tuple[Step, int, int]:
    """The step that packs all weights of ``part``: step, place, bytes of a block."""
    return packed(weight_lanes(low, part, arrays, blocks, width), OPERAND_W, space)


def pack_bias(
    low: Lowered, arrays: Operands, blocks: Blocks, width: int, space: Workspace
) -> tuple[Step, int]:
    """The bias of each block's channels, as [block][width]: step and place."""
    first = (blocks.group * low.target_channels + blocks.first) * arrays.size
    origin = np.zeros(1, np.int64)
    lanes = Lanes(first, blocks.present, origin, origin, arrays.size, width, arrays.bits)
    step, place, _ = packed(lanes, OPERAND_BIAS, space)
    return step, place


def gradient_lanes(
    low: Lowered, arrays: Operands, rows: np.ndarray, pixels: Axis, blocks: Blocks, width: int
) -> Lanes:
    """The output gradient as [block][image row][pixel][width]."""
    channel = arrays.w[1]
    return Lanes(
        blocks_from=(blocks.group * low.target_channels + blocks.first) * channel,
        valid=blocks.present,
        outer_from=rows,
        inner_from=np.arange(pixels.length, dtype=np.int64) * pixels.y_step,
        lane_step=channel,
        width=width,
        bits=arrays.bits,
    )


def packed(lanes: Lanes, operand: int, space: Workspace) -> tuple[Step, int, int]:
    """The step that packs all of ``lanes`` into the workspace: step, place, bytes of a block."""
    place = space.take(lanes.bytes)
    return pack_step(lanes, operand, place), place, lanes.block_bytes
