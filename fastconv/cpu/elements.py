"""Plans for every element type: those that kernels do not compute in are computed in another.

float16 and bfloat16 are computed in float32 and rounded once; integers in 64 bits, modulo 2**64;
complex numbers as twice as many real channels, a product of two being a 2x2 block of real weights.
Steps before and after convert the operands and the result, a few images at a time, so that what is
converted stays in cache; in between run the very steps of the other type.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from math import prod
from typing import NamedTuple

from fastconv.cpu import bfloat_pairs, bordered, convolution, simd
from fastconv.cpu.conversion import (
    BIAS,
    WORKSPACE,
    Place,
    Redirected,
    W,
    X,
    Y,
    add_step,
    convert_step,
    images_at_a_time,
    of_weights,
    packed_strides,
)
from fastconv.cpu.convolution import Made, Plan
from fastconv.cpu.operands import Operands
from fastconv.cpu.program import Step
from fastconv.cpu.views import Workspace
from fastconv.geometry import ConvGeometry

# What a type is computed in, by the dtypes' names.
_COMPUTED = {
    "float16": "float32",
    "bfloat16": "float32",
    "complex64": "float32",
    "complex128": "float64",
    **{name: "int64" for name in simd.ELEMENTS if "int" in name},
}
_BITS = {"float32": 32, "float64": 64, "int64": simd.INT64}


class Arrays(NamedTuple):
    """The element type, and byte strides of source (N, C, ...), weights and target.

    ``conjugated`` is "x" or "w" where that operand's complex conjugate is meant, ``activation``
    what is done to each result last: None or "relu".
    """

    kind: str
    x: tuple[int, ...]
    w: tuple[int, ...]
    y: tuple[int, ...]
    conjugated: str = ""
    activation: str | None = None


def make_plan(
    pass_name: str, g: ConvGeometry, arrays: Arrays, algorithm: str, winograd: bool
) -> Plan:
    """The plan of a pass: "forward", "weight_gradient" or "input_gradient".

    ``winograd``: whether "auto" may choose an algorithm that rounds more coarsely.
    """
    paired = arrays.kind == "bfloat16" and g.padding_mode == "zeros"
    if paired and bfloat_pairs.serve(pass_name, g):
        made = _Adapted(pass_name, g, arrays)
        pairs = bfloat_pairs.Pairs(pass_name, g, *arrays[1:4], arrays.activation)
        if algorithm == "direct" or (algorithm == "auto" and not made.beats(pairs, winograd)):
            return pairs.plan()
    space = Workspace()
    return plan_steps(pass_name, g, arrays, algorithm, winograd, space).plan(space)


def plan_steps(
    pass_name: str,
    g: ConvGeometry,
    arrays: Arrays,
    algorithm: str,
    winograd: bool,
    space: Workspace,
) -> Made:
    """What `make_plan` makes a program of, unless that is pairs of bfloat16."""
    if _needs_conversion(arrays.kind):
        return _Adapted(pass_name, g, arrays).plan_steps(algorithm, winograd, space)
    return bordered.plan_steps(pass_name, g, _plain(arrays), algorithm, winograd, space)


def candidates(pass_name: str, g: ConvGeometry, arrays: Arrays, winograd: bool) -> tuple[str, ...]:
    """The algorithms that can do a pass, but for those that `make_plan` may not choose."""
    operands = _plain(arrays)
    if _needs_conversion(arrays.kind):
        made = _Adapted(pass_name, g, arrays)
        g, operands = made.geometry, made.operands
    return convolution.candidates(pass_name, *bordered.seen(pass_name, g, operands), winograd)


def _needs_conversion(kind: str) -> bool:
    # Modulo 2**64, signed and unsigned are one.
    return kind not in _BITS and kind != "uint64"


def _plain(arrays: Arrays) -> Operands:
    bits = _BITS[_COMPUTED.get(arrays.kind, arrays.kind)]
    # Unsigned, nothing is below zero, whatever its sign would be.
    activation = None if arrays.kind == "uint64" else arrays.activation
    return Operands(bits, arrays.x, arrays.w, arrays.y, activation)


class _Array(NamedTuple):
    """An operand or a result: its shape and strides, and the strides of its converted self.

    Complex numbers make twice as many channels of some axes, the parts of a number side by side.
    """

    shape: tuple[int, ...]
    strides: tuple[int, ...]
    made: tuple[int, ...]
    doubled: tuple[int, ...]

    @property
    def steps(self) -> tuple[int, ...]:
        """From one of the array's own elements to the next, in its converted self."""
        return tuple(step * 2 if i in self.doubled else step for i, step in enumerate(self.made))


def _array(
    shape: tuple[int, ...], strides: tuple[int, ...], doubled: tuple[int, ...], size: int
) -> _Array:
    """An array whose converted self has its axes in the same order in memory, without gaps."""
    counts = tuple(count * 2 if i in doubled else count for i, count in enumerate(shape))
    return _Array(shape, strides, packed_strides(counts, strides, size), doubled)


class _Adapted:
    """A pass that is computed in another type than its arrays have."""

    def __init__(self, pass_name: str, g: ConvGeometry, arrays: Arrays) -> None:
        self.pass_name, self.arrays, self.batch = pass_name, arrays, g.N
        self.computed = _COMPUTED[arrays.kind]
        self.complex = arrays.kind.startswith("complex")
        #: the type of an element, or of a complex number's parts
        self.kind = self.computed if self.complex else arrays.kind
        self.size = 4 if self.computed == "float32" else 8
        parts = 2 if self.complex else 1
        each = parts * self.size * (g.C * prod(g.input) + g.K * prod(g.output))
        self.images = g.N if pass_name == "weight_gradient" else images_at_a_time(g.N, each)
        self.geometry = replace(g, N=self.images, C=parts * g.C, K=parts * g.K)
        few = replace(g, N=self.images)
        shapes = {
            "forward": (few.input_shape, few.weight_shape, few.output_shape),
            "weight_gradient": (few.input_shape, few.output_shape, few.weight_shape),
            "input_gradient": (few.output_shape, few.weight_shape, few.input_shape),
        }[pass_name]
        channels = [(1,), (0, 1), (1,)] if pass_name != "weight_gradient" else [(1,), (1,), (0, 1)]
        self.x, self.w, self.y = (
            _array(shape, strides, doubled if self.complex else (), self.size)
            for shape, strides, doubled in zip(shapes, arrays[1:4], channels, strict=True)
        )
        bits = _BITS[self.computed]
        #: integers wrap first, so that what they become is compared with zero as it leaves
        self.wraps = self.computed == "int64"
        activation = None if self.wraps else arrays.activation
        self.operands = Operands(
            bits, self.x.made, self.w.made, self.y.made, activation, converted=True
        )

    def beats(self, pairs: bfloat_pairs.Pairs, winograd: bool) -> bool:
        """Whether float32 takes less time than pairs of bfloat16: by Winograd's algorithm alone."""
        what = self.pass_name, self.geometry, self.operands
        if convolution.choice(*what, winograd) != "winograd":
            return False
        rounds = self.batch / self.images
        direct = convolution.estimate("direct", self.pass_name, pairs.geometry, pairs.operands)
        return convolution.estimate("winograd", *what) * rounds < direct

    def plan_steps(self, algorithm: str, winograd: bool, space: Workspace) -> Made:
        """The steps: weights first, then image by image; the last few images may be done twice."""
        name, inner, multiply_adds = bordered.plan_steps(
            self.pass_name, self.geometry, self.operands, algorithm, winograd, space
        )
        if not isinstance(inner, list):
            raise TypeError(f"algorithm {name!r} has no steps to run on copies")
        self.x_at, self.w_at, self.y_at = (self._taken(a, space) for a in (self.x, self.w, self.y))
        before, bias = self._bias(space)
        places = (
            Place(WORKSPACE, self.x_at, ()),
            Place(WORKSPACE, self.w_at, ()),
            Place(WORKSPACE, self.y_at, ()),
            bias,
        )
        before += self._weights()
        inside: list[Step] = []
        for step in inner:
            once = self.pass_name != "weight_gradient" and of_weights(step)
            (before if once else inside).append(Redirected(step, *places))
        rounds = -(-self.batch // self.images)
        firsts = [min(i * self.images, self.batch - self.images) for i in range(rounds)]
        steps = before
        for first in firsts:
            steps = [*steps, *self._source(first), *inside, *self._result(first)]
        return Made(name, steps, multiply_adds * rounds)

    def _taken(self, array: _Array, space: Workspace) -> int:
        parts = 2 ** len(array.doubled)
        return space.take(parts * prod(array.shape) * self.size)

    def _bias(self, space: Workspace) -> tuple[list[Step], Place]:
        """The step that converts the bias, and where it is then."""
        if self.pass_name == "weight_gradient" or self.complex:
            return [], Place(BIAS, 0, ())  # a complex bias is one of twice as many channels
        channels = (self.y.shape[1],)
        size = simd.element_bytes(self.kind)
        made = Place(WORKSPACE, space.take(channels[0] * self.size), (self.size,))
        return [self._convert(channels, Place(BIAS, 0, (size,)), made)], made

    def _convert(
        self, shape: tuple[int, ...], source: Place, target: Place, negated: bool = False
    ) -> Step:
        how = simd.NEGATED if negated else simd.PLAIN
        return convert_step(shape, source, target, self.kind, self.computed, how)

    def _split(self, array: _Array, operand: int, offset: int, place: int) -> tuple[Place, Place]:
        """An array whose channels alone are doubled, as it is and converted: parts as an axis."""
        if not self.complex:
            return Place(operand, offset, array.strides), Place(WORKSPACE, place, array.made)
        return (
            Place(operand, offset, (*array.strides, self.size)),
            Place(WORKSPACE, place, (*array.steps, array.made[1])),
        )

    def _source(self, first: int) -> list[Step]:
        """The steps that convert images of the source from number ``first`` on."""
        source, made = self._split(self.x, X, first * self.x.strides[0], self.x_at)
        return [self._convert(self._parted(self.x.shape), source, made)]

    def _parted(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return (*shape, 2) if self.complex else shape

    def _weights(self) -> list[Step]:
        """The steps that convert the weights, or the output gradient."""
        if not self.complex or self.pass_name == "weight_gradient":
            source, made = self._split(self.w, W, 0, self.w_at)
            return [self._convert(self._parted(self.w.shape), source, made)]
        # To output parts (i) from input parts (j), re and im: [[re, -im], [im, re]].
        steps = []
        for i, j in product(range(2), range(2)):
            source = Place(W, self.size if i != j else 0, self.w.strides)
            offset = self.w_at + i * self.w.made[0] + j * self.w.made[1]
            to_real = (i, j) == ((1, 0) if self.pass_name == "input_gradient" else (0, 1))
            negated = i != j and to_real != (self.arrays.conjugated == "w")
            made = Place(WORKSPACE, offset, self.w.steps)
            steps.append(self._convert(self.w.shape, source, made, negated))
        return steps

    def _result(self, first: int) -> list[Step]:
        """The steps that convert the result of images from number ``first`` on."""
        y = self.y
        if self.complex and self.pass_name == "weight_gradient":
            return self._complex_gradient()
        offset = first * y.strides[0] if self.pass_name != "weight_gradient" else 0
        target, made = self._split(y, Y, offset, self.y_at)
        how = simd.RAISED if self.wraps and self.arrays.activation == "relu" else simd.PLAIN
        return [convert_step(self._parted(y.shape), made, target, self.computed, self.kind, how)]

    def _complex_gradient(self) -> list[Step]:
        """The steps that join products of parts of dy and x: re re -+ im im and im re +- re im."""
        y, bits = self.y, self.operands.bits
        re_re, re_im = self.y_at, self.y_at + y.made[1]
        im_re, im_im = re_re + y.made[0], re_im + y.made[0]
        conjugated = self.arrays.conjugated
        mixed = (re_im, im_re) if conjugated == "w" else (im_re, re_im)
        real = (0, y.strides), (re_re, im_im), 1 if conjugated else -1
        imaginary = (self.size, y.strides), mixed, -1 if conjugated else 1
        return [
            add_step(y.shape, y.steps, terms, sign, target, bits)
            for target, terms, sign in (real, imaginary)
        ]
