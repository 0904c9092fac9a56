"""Arrays copied as another element type: operands on their way in, results on their way out.

An array is seen as rows of equal length. Axes that lie alike in source and target make one row, so
that a contiguous array is a single one.
"""

from __future__ import annotations

from math import inf
from typing import Any, NamedTuple

from fastconv.cpu import simd
from fastconv.cpu.planning import UNITS, Axis, merged_loops
from fastconv.cpu.program import Constant, Step, compiled, reads
from fastconv.cpu.views import OPERAND_BIAS, OPERAND_W

_PIECE = 1 << 14  # elements of a row that are one unit of work
_ROUND_BYTES = 1 << 21  # of images copied at a time, source and target together

X, W, Y, BIAS, WORKSPACE = range(5)  #: where an array is: in a kernel's operands or its workspace


class Place(NamedTuple):
    """Element (0, 0, ...) of an array: which operand it is in, at what byte; and byte strides."""

    where: int
    offset: int
    strides: tuple[int, ...]


def packed_strides(shape: tuple[int, ...], like: tuple[int, ...], size: int) -> tuple[int, ...]:
    """Strides without gaps, for elements of ``size`` bytes, the axes in memory as in ``like``."""
    order = sorted(range(len(shape)), key=lambda axis: -abs(like[axis]) if like[axis] else -inf)
    strides = [0] * len(shape)
    for axis in reversed(order):
        strides[axis] = size
        size *= shape[axis]
    return tuple(strides)


@reads(
    "units", "source_in", "source_from", "target_in", "target_from", "source_rows", "target_rows",
    "length", "source_step", "target_step", "pieces",
)  # fmt: skip
def convert_rows(kind: int, made: int, lanes: int, how: int) -> Any:
    """Copy rows of elements of type ``kind`` as type ``made``: numbers of `simd.ELEMENTS`.

    ``how`` is as in `simd.convert`.

    With more than one lane, rows are contiguous on both sides. A unit is a piece of a row.
    """
    fields = len(convert_rows.fields)  # type: ignore[attr-defined]
    size, made_size = _SIZES[kind], _SIZES[made]

    def kernel(args, x, w, y, bias, workspace, slot, slots):
        (units, source_in, source_from, target_in, target_from, source_rows, target_rows,
         length, source_step, target_step, pieces) = simd.words(args, fields)  # fmt: skip
        arrays = (x, w, y, bias, workspace)
        source, target = arrays[source_in] + source_from, arrays[target_in] + target_from
        for unit in range(slot * units // slots, (slot + 1) * units // slots):
            row, piece = unit // pieces, unit % pieces
            i, last = piece * length // pieces, (piece + 1) * length // pieces
            start = source + simd.word(source_rows, row)
            to = target + simd.word(target_rows, row)
            if lanes > 1:
                while i + lanes <= last:
                    simd.convert(to + i * made_size, start + i * size, kind, made, lanes, how)
                    i += lanes
            while i < last:
                simd.convert(to + i * target_step, start + i * source_step, kind, made, 1, how)
                i += 1

    return kernel


_SIZES = tuple(map(simd.element_bytes, simd.ELEMENTS))


def convert_step(
    shape: tuple[int, ...],
    source: Place,
    target: Place,
    kind: str,
    made: str,
    how: int = simd.PLAIN,
) -> Step:
    """The step that copies an array of this shape from one place, type and layout to another."""
    numbers = simd.ELEMENTS.index(kind), simd.ELEMENTS.index(made)
    sizes = tuple(_SIZES[number] for number in numbers)
    over = merged_loops(list(map(Axis, shape, source.strides, target.strides)))
    pixels = over.pixels
    contiguous = pixels.length == 1 or (pixels.x_step, pixels.y_step) == sizes
    pieces = -(-pixels.length // _PIECE)
    units = len(over.x_rows) * pieces
    constants: dict[str, Constant] = {
        "units": units,
        "source_in": source.where,
        "source_from": source.offset,
        "target_in": target.where,
        "target_from": target.offset,
        "source_rows": over.x_rows,
        "target_rows": over.y_rows,
        "length": pixels.length,
        "source_step": pixels.x_step,
        "target_step": pixels.y_step,
        "pieces": pieces,
    }
    lanes = simd.VECTOR_BITS // (8 * max(sizes)) if contiguous else 1
    return Step(compiled(convert_rows, *numbers, lanes, how), units, constants)


@reads(
    "units", "first_from", "second_from", "target_from",
    "source_rows", "target_rows", "length", "source_step", "target_step",
)  # fmt: skip
def add_rows(bits: int, sign: int) -> Any:
    """Write, at the target, rows of the workspace plus ``sign`` times others beside them."""
    fields = len(add_rows.fields)  # type: ignore[attr-defined]

    def kernel(args, x, w, y, bias, workspace, slot, slots):
        (units, first_from, second_from, target_from, source_rows, target_rows,
         length, source_step, target_step) = simd.words(args, fields)  # fmt: skip
        for row in range(slot * units // slots, (slot + 1) * units // slots):
            start = workspace + simd.word(source_rows, row)
            to = y + target_from + simd.word(target_rows, row)
            for i in range(length):
                total = simd.peek(start + first_from + i * source_step, bits)
                other = simd.peek(start + second_from + i * source_step, bits)
                simd.poke(to + i * target_step, total + other if sign > 0 else total - other)

    return kernel


def add_step(
    shape: tuple[int, ...], strides: tuple[int, ...], terms: tuple[int, int], sign: int,
    target: tuple[int, tuple[int, ...]], bits: int,
) -> Step:  # fmt: skip
    """The step that writes y: the first term plus ``sign`` times the second.

    Both lie in the workspace, at the offsets ``terms``, with these strides; ``target`` is y's
    offset and strides.
    """
    offset, steps = target
    over = merged_loops(list(map(Axis, shape, strides, steps)))
    constants: dict[str, Constant] = {
        "units": len(over.x_rows),
        "first_from": terms[0],
        "second_from": terms[1],
        "target_from": offset,
        "source_rows": over.x_rows,
        "target_rows": over.y_rows,
        "length": over.pixels.length,
        "source_step": over.pixels.x_step,
        "target_step": over.pixels.y_step,
    }
    return Step(compiled(add_rows, bits, sign), len(over.x_rows), constants)


@reads(
    "inner", "x_in", "x_from", "w_in", "w_from", "y_in", "y_from", "bias_in", "bias_from",
)  # fmt: skip
def redirect() -> Any:
    """Run another step's kernel on operands that lie elsewhere."""
    fields = len(redirect.fields)  # type: ignore[attr-defined]

    def kernel(args, x, w, y, bias, workspace, slot, slots):
        (inner, x_in, x_from, w_in, w_from, y_in, y_from,
         bias_in, bias_from) = simd.words(args, fields)  # fmt: skip
        arrays = (x, w, y, bias, workspace)
        simd.call(
            simd.word(inner, 0),
            (
                simd.word(inner, 1), arrays[x_in] + x_from, arrays[w_in] + w_from,
                arrays[y_in] + y_from, arrays[bias_in] + bias_from, workspace, slot, slots,
            ),
        )  # fmt: skip

    return kernel


class Redirected(Step):
    """A step that runs on operands at other places, and otherwise is what it was."""

    def __init__(self, inner: Step, x: Place, w: Place, y: Place, bias: Place) -> None:
        constants: dict[str, Constant] = {"inner": inner}
        for name, place in (("x", x), ("w", w), ("y", y), ("bias", bias)):
            constants |= {f"{name}_in": place.where, f"{name}_from": place.offset}
        super().__init__(compiled(redirect), inner.units, constants)
        self.slot_bytes, self.told, self.twin = inner.slot_bytes, inner.told, inner.twin or inner


def images_at_a_time(N: int, each: int) -> int:
    """How many images of ``each`` byte to copy at a time, in rounds of much the same length."""
    most = max(1, _ROUND_BYTES // each, -(-N // UNITS))
    return -(-N // -(-N // most))


def of_weights(step: Step) -> bool:
    """Whether a step of a forward pass or an input gradient depends on weights or bias alone."""
    inner = step.constants.get("inner")
    if isinstance(inner, Step):
        return of_weights(inner)
    packs = step.constants.get("operand") in (OPERAND_W, OPERAND_BIAS)
    return packs or step.kernel.name == "winograd_maps.map_weights"
