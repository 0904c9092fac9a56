"""Staging: operands copied into the form that the tiles read.

Two kernels do it all. ``padded_copy`` writes an image with its zero padding (and, for a stride, one
phase of it) with either pixels or channels contiguous. ``pack_lanes`` lays out, for blocks of
channels, the channels of a block side by side as one vector row: weights, gradients and biases.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any, NamedTuple

import numpy as np

from fastconv.cpu import simd
from fastconv.cpu.program import Constant, Step, compiled, reads


class View(NamedTuple):
    """Where kernels find an array: in the operand itself or staged in the workspace.

    Strides are in bytes, ``offset`` is the place of element (0, 0, ...) in either.
    """

    staged: bool
    offset: int
    image: int  #: from one image to the next
    channel: int
    spatial: tuple[int, ...]
    group: int = 0  #: from one group to the next, or 0: as many channels further

    def group_step(self, channels: int) -> int:
        """Bytes from one group of so many channels to the next."""
        return self.group or channels * self.channel


def view_of(strides: Sequence[int]) -> View:
    """An operand (N, C, *spatial) read where it lies."""
    return View(False, 0, strides[0], strides[1], tuple(strides[2:]))


class Workspace:
    """Hands out places in a program's workspace, each aligned to a cache line."""

    def __init__(self) -> None:
        self.size = 0

    def take(self, size: int) -> int:
        """The offset of ``size`` new bytes; a vector read that overhangs them stays inside."""
        offset = self.size
        self.size += -(-(size + simd.VECTOR_BITS // 8) // 64) * 64
        return offset


# ------------------------------------------------------------------------------ padded copy

_AXES = ("a", "b", "c", "e")
_MOST_APART = 4  # elements of a source that vectors can be picked from
_FEW = 16  # zeros of a row that cost less one by one than by a call


@reads(
    "units", "operand", "source", "target",
    "a_count", "a_low", "a_high", "a_source", "a_target",
    "b_count", "b_low", "b_high", "b_source", "b_target",
    "c_count", "c_low", "c_high", "c_source", "c_target",
    "e_count", "e_low", "e_high", "e_source",
    "n_source", "n_target",
)  # fmt: skip
def padded_copy(bits: int, lanes: int, step: int) -> Any:
    """Copy (n, a, b, c, e) with zeros outside [low, high) of each axis; e becomes contiguous.

    Elements of e are ``step`` elements apart in the source, or, for 0, at any pitch.
    """
    size = bits // 8
    fields = len(padded_copy.fields)  # type: ignore[attr-defined]
    zero = (np.int32 if size == 4 else np.int64)(0)
    few = _FEW

    def kernel(args, x, w, y, bias, workspace, slot, slots):
        (units, operand, source, target,
         a_count, a_low, a_high, a_source, a_target,
         b_count, b_low, b_high, b_source, b_target,
         c_count, c_low, c_high, c_source, c_target,
         e_count, e_low, e_high, e_source,
         n_source, n_target) = simd.words(args, fields)  # fmt: skip
        origin = (x if operand == 0 else w) + source
        middle, e_after = max(e_high - e_low, 0), e_count - e_high
        reach = (e_low + -(-middle // lanes) * lanes) * size  # of a row's last vector
        vectors = step and e_low + e_after < few and c_target == e_count * size
        single = step == 1 and middle == e_count == lanes and c_high - c_low == c_count
        for unit in range(slot * units // slots, (slot + 1) * units // slots):
            b = unit % b_count
            a = unit // b_count % a_count
            n = unit // b_count // a_count
            inside = a_low <= a < a_high and b_low <= b < b_high
            to = workspace + target + n * n_target + a * a_target + b * b_target
            start = origin + n * n_source + a * a_source + b * b_source + e_low * e_source
            if single and inside:
                # One vector each: no more than to load and to store it.
                for c in range(c_count):
                    vector = simd.load_tile(start + c * c_source, bits, lanes, 1)
                    simd.store_tile(vector, to + c * c_target)
                continue
            for c in range(c_count):
                row = to + c * c_target
                if not inside or c < c_low or c >= c_high or middle == 0:
                    simd.clear_bytes(row, e_count * size)
                    continue
                first = start + c * c_source
                if vectors and reach <= (c_count - c) * c_target:
                    # Whole vectors: what they overhang the next rows have still to overwrite.
                    for e in range(e_low):
                        simd.poke(row + e * size, zero)
                    for e in range(0, middle, lanes):
                        simd.every(
                            row + (e_low + e) * size, first + e * e_source, middle - e,
                            step, bits, lanes,
                        )  # fmt: skip
                    for e in range(e_high, e_count):
                        simd.poke(row + e * size, zero)
                    continue
                simd.clear_bytes(row, e_low * size)
                if step == 1:
                    simd.copy_bytes(row + e_low * size, first, middle * size)
                else:
                    for e in range(middle):
                        value = simd.peek(first + e * e_source, bits)
                        simd.poke(row + (e_low + e) * size, value)
                simd.clear_bytes(row + e_high * size, e_after * size)

    return kernel


class Padding(NamedTuple):
    """A zero-padded (N, C, *spatial) operand: extents, zeros in front, and the padded extents."""

    N: int
    C: int
    spatial: tuple[int, ...]
    before: tuple[int, ...]
    padded: tuple[int, ...]


def stage_planes(
    strides: Sequence[int],
    p: Padding,
    phases: tuple[int, ...],
    operand: int,
    bits: int,
    space: Workspace,
    used: set[tuple[int, ...]] | None = None,
) -> tuple[list[Step], View]:
    """Stage with pixels contiguous: (n, c, phases, *spatial).

    ``phases`` splits each axis by its stride: phase f of axis i holds padded pixels f, f + s, ...
    The view's spatial strides step through one phase. Phases that are not ``used`` are left out.
    """
    size = bits // 8
    held = tuple(-(-e // s) for e, s in zip(p.padded, phases, strict=True))
    pitches = _contiguous(held, size)
    plane = prod(held) * size
    channel = plane * prod(phases)
    # Windows of up to three vectors may overhang the last row.
    offset = space.take(p.N * p.C * channel + 3 * simd.VECTOR_BITS // 8)
    steps = []
    for index, phase in enumerate(np.ndindex(*phases)):
        if used is not None and phase not in used:
            continue
        axes = [
            _axis(
                p.spatial[i], p.before[i], held[i], strides[2 + i], pitches[i], phases[i], phase[i]
            )
            for i in range(len(held))
        ]
        channels = (p.C, 0, p.C, strides[1], channel, 0)
        place = offset + index * plane
        images = (p.N, strides[0], p.C * channel)
        steps.append(_copy_step(images, [channels, *axes], place, operand, bits))
    return steps, View(True, offset, p.C * channel, channel, pitches)


def stage_pixels(
    strides: Sequence[int],
    p: Padding,
    operand: int,
    bits: int,
    space: Workspace,
    phases: tuple[int, ...] | None = None,
) -> tuple[list[Step], View]:
    """Stage with channels contiguous: (n, *spatial, phases, c).

    ``phases`` splits each axis by its stride as in `stage_planes`: a pixel then holds the channels
    of one phase after those of another. A pixel pitch that is a multiple of 2048 bytes is widened
    by a cache line: pixels side by side would otherwise meet in the same few sets of the
    first-level cache.
    """
    phases = phases or (1,) * len(p.padded)
    size = bits // 8
    pixel = p.C * size * prod(phases)
    if pixel % 2048 == 0:
        pixel += 64
    held = tuple(-(-e // s) for e, s in zip(p.padded, phases, strict=True))
    pitches = _contiguous(held, pixel)
    image = prod(held) * pixel
    offset = space.take(p.N * image)
    channels = (p.C, 0, p.C, strides[1], size, 0)
    steps = []
    for index, phase in enumerate(np.ndindex(*phases)):
        axes = [
            _axis(
                p.spatial[i], p.before[i], held[i], strides[2 + i], pitches[i], phases[i], phase[i]
            )
            for i in range(len(held))
        ]
        place = offset + index * p.C * size
        images = (p.N, strides[0], image)
        inner = [axes[-1], channels]
        if strides[1] == size and strides[-1] == pitches[-1] == p.C * size:
            # Pixels side by side are one run: a copy each would cost more than the copying.
            extent, before, wide = (n * p.C for n in (p.spatial[-1], p.before[-1], held[-1]))
            inner = [_axis(extent, before, wide, size, size, 1, 0)]
        steps.append(_copy_step(images, [*axes[:-1], *inner], place, operand, bits))
    return steps, View(True, offset, image, size, pitches)


def stage_groups(
    strides: Sequence[int],
    p: Padding,
    groups: int,
    operand: int,
    bits: int,
    space: Workspace,
) -> tuple[list[Step], View]:
    """Stage with a group's channels contiguous, each group an image: (n, group, *spatial, c).

    Of an image with channels contiguous, a vector of them to a group, and at most two spatial axes.
    A group's pixels, which lie apart there and meet in few sets of the first-level cache, then
    share its lines.
    """
    size, channels = bits // 8, p.C // groups
    pitches = _contiguous(p.padded, channels * size)
    plane = prod(p.padded) * channels * size
    offset = space.take(p.N * groups * plane)
    axes: list[tuple[int, ...]] = [
        _axis(p.spatial[i], p.before[i], p.padded[i], strides[2 + i], pitches[i], 1, 0)
        for i in range(len(p.padded))
    ]
    # Pixel by pixel, as they lie in the source.
    axes.append((groups, 0, groups, channels * strides[1], plane, 0))
    axes.append((channels, 0, channels, strides[1], size, 0))
    step = _copy_step((p.N, strides[0], groups * plane), axes, offset, operand, bits, channels)
    return [step], View(True, offset, groups * plane, size, pitches, plane)


def _contiguous(extents: Sequence[int], innermost: int) -> tuple[int, ...]:
    return tuple(innermost * prod(extents[i + 1 :]) for i in range(len(extents)))


def _axis(
    extent: int, before: int, held: int, stride: int, pitch: int, move: int, phase: int
) -> tuple[int, int, int, int, int, int]:
    """(count, low, high, source stride, target pitch, source shift) of one axis of a copy."""
    # Held element i is padded element phase + i * move, source element phase + i * move - before.
    low = min(held, max(0, -(-(before - phase) // move)))
    high = max(low, min(held, -(-(extent + before - phase) // move)))
    return held, low, high, stride * move, pitch, (phase - before) * stride


def _copy_step(
    images: tuple[int, int, int],
    axes: list[tuple[int, ...]],
    target: int,
    operand: int,
    bits: int,
    lanes: int | None = None,
) -> Step:
    axes = [(1, 0, 1, 0, 0, 0)] * (4 - len(axes)) + axes
    N, n_source, n_target = images
    constants: dict[str, Constant] = {
        "units": N * axes[0][0] * axes[1][0],
        "operand": operand,
        "source": sum(axis[5] for axis in axes),
        "target": target,
        "n_source": n_source,
        "n_target": n_target,
    }
    for name, (count, low, high, source, pitch, _) in zip(_AXES, axes, strict=True):
        constants |= {f"{name}_count": count, f"{name}_low": low, f"{name}_high": high}
        constants |= {f"{name}_source": source, f"{name}_target": pitch}
    del constants["e_target"]  # the innermost axis is contiguous
    apart = axes[3][3] // (bits // 8) if axes[3][3] % (bits // 8) == 0 else 0
    step = apart if 1 <= apart <= _MOST_APART else 0
    lanes = lanes or simd.VECTOR_BITS // (8 * (bits // 8))
    kernel = compiled(padded_copy, bits, lanes, step)
    return Step(kernel, int(constants["units"]), constants)  # type: ignore[arg-type]


# ------------------------------------------------------------------------------- pack lanes


@reads(
    "units", "operand", "target", "block_bytes", "width", "blocks_from", "valid",
    "outer", "outer_from", "inner", "inner_from", "lane_step", "blocks", "outer_first",
    "run_from", "first_row", "row_step", "ahead",
)  # fmt: skip
def pack_lanes(bits: int, lanes: int, mode: int) -> Any:
    """Lay out ``width`` lanes side by side for every (block, outer, inner); absent lanes are 0.

    Lane l is read ``lane_step`` apart. Modes: 0 any pitch; 1 ``inner`` is a run in the operand,
    forwards or backwards, so blocks are transposed in registers; 2 lanes are contiguous, so rows
    are copied.
    """
    size = bits // 8
    fields = len(pack_lanes.fields)  # type: ignore[attr-defined]

    def kernel(args, x, w, y, bias, workspace, slot, slots):
        (units, operand, target, block_bytes, width, blocks_from, valid,
         outer, outer_from, inner, inner_from, lane_step, blocks,
         outer_first, run_from, first_row, row_step, ahead) = simd.words(args, fields)  # fmt: skip
        origin = x if operand == 0 else (w if operand == 1 else bias)
        row = width * size
        for unit in range(slot * units // slots, (slot + 1) * units // slots):
            block = unit % blocks if outer_first else unit // outer
            u = unit // blocks if outer_first else unit % outer
            present = simd.word(valid, block)
            source = origin + simd.word(blocks_from, block) + simd.word(outer_from, u)
            to = workspace + target + block * block_bytes + u * inner * row
            if u + ahead < outer:
                later = origin + simd.word(blocks_from, block) + simd.word(outer_from, u + ahead)
                simd.prefetch(later, present * lane_step)
            if present < width and mode != 0:
                simd.clear_bytes(to, inner * row)
            if mode == 1:
                for lane in range(0, present, lanes):
                    for j in range(0, inner, lanes):
                        simd.transpose_block(
                            source + run_from + j * size + lane * lane_step, lane_step,
                            present - lane, to + first_row + j * row_step + lane * size, row_step,
                            inner - j, bits, lanes,
                        )  # fmt: skip
            elif mode == 2 and present % lanes == 0:
                for j in range(inner):
                    first = source + simd.word(inner_from, j)
                    for lane in range(0, present * size, lanes * size):
                        vector = simd.load_tile(first + lane, bits, lanes, 1)
                        simd.store_tile(vector, to + j * row + lane)
            elif mode == 2:
                for j in range(inner):
                    simd.copy_bytes(to + j * row, source + simd.word(inner_from, j), present * size)
            else:
                for j in range(inner):
                    first = source + simd.word(inner_from, j)
                    for lane in range(present):
                        value = simd.peek(first + lane * lane_step, bits)
                        simd.poke(to + j * row + lane * size, value)
                    simd.clear_bytes(to + j * row + present * size, (width - present) * size)

    return kernel


class Lanes(NamedTuple):
    """What to pack: byte offsets of blocks, of the outer and of the inner index, and lane pitch."""

    blocks_from: np.ndarray
    valid: np.ndarray  #: channels present in each block
    outer_from: np.ndarray
    inner_from: np.ndarray
    lane_step: int
    width: int  #: lanes of a packed row
    bits: int

    @property
    def block_bytes(self) -> int:
        """Bytes of one packed block."""
        return len(self.outer_from) * len(self.inner_from) * self.width * (self.bits // 8)

    @property
    def bytes(self) -> int:
        """Bytes of all packed blocks."""
        return len(self.blocks_from) * self.block_bytes


OPERAND_X, OPERAND_W, OPERAND_BIAS = 0, 1, 2

_AHEAD = 4  # units between asking for a run and reading it


def pack_step(what: Lanes, operand: int, target: int, *, block_by_block: bool = False) -> Step:
    """The step that packs ``what`` at ``target`` in the workspace.

    Its units are one (block, outer index) each, in the operand's order in memory unless
    ``block_by_block``.
    """
    size = what.bits // 8
    lanes = simd.VECTOR_BITS // (8 * size)
    half = lanes // 2
    if half * size >= 16 and what.width % lanes and what.width % half == 0:
        lanes = half
    outer, inner = len(what.outer_from), len(what.inner_from)
    run_from = int(what.inner_from.min() if inner else 0)
    run = run_from + np.arange(inner) * size
    backwards = inner > 1 and bool((what.inner_from == run[::-1]).all())
    is_run = backwards or bool((what.inner_from == run).all())
    mode = 1 if is_run and inner >= lanes // 2 else 2 if what.lane_step == size else 0
    row = what.width * size
    closer = outer > 1 and abs(what.lane_step) < abs(what.outer_from[1] - what.outer_from[0])
    units = len(what.blocks_from) * outer
    constants: dict[str, Constant] = {
        "units": units,
        "operand": operand,
        "target": target,
        "block_bytes": what.block_bytes,
        "width": what.width,
        "blocks_from": what.blocks_from,
        "valid": what.valid,
        "outer": outer,
        "outer_from": what.outer_from,
        "inner": inner,
        "inner_from": what.inner_from,
        "lane_step": what.lane_step,
        "blocks": len(what.blocks_from),
        "outer_first": int(closer and not block_by_block),
        "run_from": run_from,
        # Short runs far apart: the hardware sees no pattern to fetch ahead.
        "ahead": _AHEAD if closer and block_by_block else outer,
        "first_row": (inner - 1) * row if backwards else 0,
        "row_step": -row if backwards else row,
    }
    return Step(compiled(pack_lanes, what.bits, lanes, mode), units, constants)
