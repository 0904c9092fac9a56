"""Packing: channels of a block laid side by side as rows of vectors: weights, gradients, biases."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from fastconv.cpu import simd
from fastconv.cpu.program import Constant, Step, compiled, reads


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
