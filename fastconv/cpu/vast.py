"""Weight gradients where padding is vast: of the taps that meet the image; see `trimmed`.

All other weights meet nothing but padding, and their gradients are zero.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fastconv.cpu import simd
from fastconv.cpu.conversion import BIAS, Place, Redirected, W, X, Y
from fastconv.cpu.operands import Operands
from fastconv.cpu.planning import Axis, merged_loops
from fastconv.cpu.program import Constant, Step, compiled, reads
from fastconv.cpu.views import Workspace
from fastconv.lowering import AxisPart, Correlation, Lowered

Make = Callable[[Lowered, Operands, Workspace, int], list[Step]]


def weight_gradient(
    make: Make, shape: tuple[int, ...], low: Lowered, arrays: Operands, space: Workspace
) -> list[Step]:
    """The steps of a weight gradient of this shape; ``make`` makes those of what is left."""
    steps = [_clear_step(shape, arrays)]
    for part in low.parts[1:]:
        first = [axis.taps[0][0] for axis in part.axes]
        offset = sum(tap * stride for tap, stride in zip(first, arrays.y[2:], strict=True))
        left = low._replace(parts=(Correlation(tuple(map(_numbered, part.axes))),))
        places = Place(X, 0, ()), Place(W, 0, ()), Place(Y, offset, ()), Place(BIAS, 0, ())
        made = make(left, arrays, space, space.slots)
        steps += [Redirected(step, *places) for step in made]
    return steps


def _numbered(axis: AxisPart) -> AxisPart:
    """An axis whose taps are those of a kernel of its own."""
    return axis._replace(taps=tuple((i, offset) for i, (_, offset) in enumerate(axis.taps)))


def _clear_step(shape: tuple[int, ...], arrays: Operands) -> Step:
    over = merged_loops([Axis(n, s, s) for n, s in zip(shape, arrays.y, strict=True)])
    constants: dict[str, Constant] = {
        "units": len(over.y_rows),
        "rows": over.y_rows,
        "length": over.pixels.length,
        "step": over.pixels.y_step,
    }
    return Step(compiled(clear_rows, arrays.size), len(over.y_rows), constants)


@reads("units", "rows", "length", "step")
def clear_rows(size: int) -> Any:
    """Write zeros into rows of elements of ``size`` bytes; a unit is a row."""
    fields = len(clear_rows.fields)  # type: ignore[attr-defined]
    zero = (np.int32 if size == 4 else np.int64)(0)

    def kernel(args, x, w, y, bias, workspace, slot, slots):
        units, rows, length, step = simd.words(args, fields)
        for unit in range(slot * units // slots, (slot + 1) * units // slots):
            row = y + simd.word(rows, unit)
            if step == size:
                simd.clear_bytes(row, length * size)
                continue
            for i in range(length):
                simd.poke(row + i * step, zero)

    return kernel
