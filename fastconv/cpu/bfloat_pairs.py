"""bfloat16 by the processor's own instruction: products of pairs, two at a time.

Seen as elements of 32 bits, pairs go through direct convolution like any other type: pairs of
source channels in a forward pass and an input gradient, whose results are rounded as they leave,
and pairs of images in a weight gradient. Where a pair does not lie side by side in memory already,
operands are copied so that it does.
"""

from __future__ import annotations

from dataclasses import replace
from math import prod
from typing import Any, NamedTuple

from fastconv.cpu import convolution, simd
from fastconv.cpu.conversion import (
    BIAS,
    WORKSPACE,
    Place,
    Redirected,
    W,
    X,
    Y,
    convert_step,
    packed_strides,
)
from fastconv.cpu.convolution import Plan
from fastconv.cpu.operands import Operands
from fastconv.cpu.planning import Axis, merged_loops
from fastconv.cpu.program import Constant, Program, Step, compiled, reads
from fastconv.cpu.views import Workspace
from fastconv.geometry import ConvGeometry

_PIECE = 1 << 13  # pairs of a row that are one unit of work
_HALF, _PAIR = 2, 4  # bytes

Strides = tuple[int, ...]


def serve(pass_name: str, g: ConvGeometry) -> bool:
    """Whether the processor has the instruction, pairs can be made, and targets fill vectors."""
    source, target = g.C // g.groups, g.K // g.groups
    if pass_name == "input_gradient":
        source, target = target, source
    paired = g.N if pass_name == "weight_gradient" else source
    return simd.MULTIPLIES_PAIRS and paired % 2 == 0 and target >= simd.VECTOR_BITS // 32


class _Operand(NamedTuple):
    """An operand as pairs: the step that copies it, if one must, where it is, and its strides."""

    steps: list[Step]
    place: Place
    strides: Strides


class Pairs:
    """A pass over pairs: its geometry and operands, and the plan that runs it."""

    def __init__(
        self,
        pass_name: str,
        g: ConvGeometry,
        x: Strides,
        w: Strides,
        y: Strides,
        activation: str | None = None,
    ) -> None:
        self.pass_name, self.y = pass_name, y
        self.shapes = {
            "forward": (g.input_shape, g.weight_shape, g.output_shape),
            "weight_gradient": (g.input_shape, g.output_shape, g.weight_shape),
            "input_gradient": (g.output_shape, g.weight_shape, g.input_shape),
        }[pass_name]
        self.geometry, axes = {
            "forward": (replace(g, C=g.C // 2), (1, 1)),
            "weight_gradient": (replace(g, N=g.N // 2), (0, 0)),
            "input_gradient": (replace(g, K=g.K // 2), (1, 0)),
        }[pass_name]
        self.space = Workspace()
        self.source = self._paired(self.shapes[0], x, axes[0], X)
        self.weights = self._paired(self.shapes[1], w, axes[1], W)
        #: a weight gradient is added up in float32, and rounded at the end
        self.target = packed_strides(self.shapes[2], y, 4) if self._gradient else y
        strides = self.source.strides, self.weights.strides, self.target
        self.operands = Operands(simd.PAIRS, *strides, activation, converted=True)

    @property
    def _gradient(self) -> bool:
        return self.pass_name == "weight_gradient"

    def plan(self) -> Plan:
        """The plan of direct convolution."""
        name, inner, multiply_adds = convolution.plan_steps(
            self.pass_name, self.geometry, self.operands, "direct", False, self.space
        )
        if not isinstance(inner, list):
            raise TypeError(f"algorithm {name!r} has no steps to run on copies")
        channels, bias, result = self.shapes[2][1], Place(BIAS, 0, ()), Place(Y, 0, self.y)
        before, after = [*self.weights.steps, *self.source.steps], []
        if self._gradient:
            shape, y = self.shapes[2], result
            result = Place(WORKSPACE, self.space.take(4 * prod(shape)), self.target)
            after = [convert_step(shape, result, y, "float32", "bfloat16")]
        else:
            given = Place(BIAS, 0, (_HALF,))
            bias = Place(WORKSPACE, self.space.take(4 * channels), (4,))
            before.append(convert_step((channels,), given, bias, "bfloat16", "float32"))
        places = self.source.place, self.weights.place, result, bias
        steps = [*before, *(Redirected(step, *places) for step in inner), *after]
        serial = convolution.is_small(2 * multiply_adds)
        return Plan(name, Program(steps, self.space.size, serial))

    def _paired(
        self, shape: tuple[int, ...], strides: Strides, axis: int, operand: int
    ) -> _Operand:
        """An operand as pairs along ``axis``, which lie side by side as they are or in a copy."""
        halved = tuple(size // 2 if i == axis else size for i, size in enumerate(shape))
        doubled = tuple(step * 2 if i == axis else step for i, step in enumerate(strides))
        if strides[axis] == _HALF:
            return _Operand([], Place(operand, 0, doubled), doubled)
        made = packed_strides(halved, strides, _PAIR)
        place = Place(WORKSPACE, self.space.take(_PAIR * prod(halved)), made)
        return _Operand([_zip_step(halved, operand, doubled, strides[axis], place)], place, made)


@reads(
    "units", "operand", "second", "target", "source_rows", "target_rows",
    "length", "source_step", "target_step", "pieces",
)  # fmt: skip
def zip_rows(lanes: int) -> Any:
    """Copy rows of 16-bit elements and others, ``second`` bytes apart, by turns.

    With more than one lane, rows are contiguous on both sides. A unit is a piece of a row.
    """
    fields = len(zip_rows.fields)  # type: ignore[attr-defined]

    def kernel(args, x, w, y, bias, workspace, slot, slots):
        (units, operand, second, target, source_rows, target_rows,
         length, source_step, target_step, pieces) = simd.words(args, fields)  # fmt: skip
        origin = x if operand == 0 else w
        for unit in range(slot * units // slots, (slot + 1) * units // slots):
            row, piece = unit // pieces, unit % pieces
            i, last = piece * length // pieces, (piece + 1) * length // pieces
            start = origin + simd.word(source_rows, row)
            to = workspace + target + simd.word(target_rows, row)
            if lanes > 1:
                while i + lanes <= last:
                    one = start + i * source_step
                    simd.zip_vectors(to + i * target_step, one, one + second, 16, lanes)
                    i += lanes
            while i < last:
                one = start + i * source_step
                simd.zip_vectors(to + i * target_step, one, one + second, 16, 1)
                i += 1

    return kernel


def _zip_step(
    shape: tuple[int, ...], operand: int, strides: Strides, second: int, target: Place
) -> Step:
    """The step that copies pairs, whose members lie ``second`` bytes apart, to lie side by side."""
    over = merged_loops(list(map(Axis, shape, strides, target.strides)))
    pixels = over.pixels
    pieces = -(-pixels.length // _PIECE)
    units = len(over.x_rows) * pieces
    constants: dict[str, Constant] = {
        "units": units,
        "operand": operand,
        "second": second,
        "target": target.offset,
        "source_rows": over.x_rows,
        "target_rows": over.y_rows,
        "length": pixels.length,
        "source_step": pixels.x_step,
        "target_step": pixels.y_step,
        "pieces": pieces,
    }
    contiguous = (pixels.x_step, pixels.y_step) == (_HALF, _PAIR)
    return Step(compiled(zip_rows, simd.VECTOR_BITS // 32 if contiguous else 1), units, constants)
