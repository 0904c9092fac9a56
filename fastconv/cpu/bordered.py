"""Plans for padding modes: the steps of a convolution without padding, on a copy with borders.

A copy of a few images is padded, used and overwritten by the next few while it is in cache. In an
input gradient the copy is the result, folded back into images; in a weight gradient, whose sums run
over all images, it holds them all.
"""

from __future__ import annotations

from dataclasses import replace
from math import prod

import numpy as np

from fastconv.cpu import convolution, workspaces
from fastconv.cpu.borders import Frame, fold_step, frame, pad_step
from fastconv.cpu.conversion import (
    BIAS,
    WORKSPACE,
    Place,
    Redirected,
    W,
    X,
    Y,
    images_at_a_time,
    of_weights,
)
from fastconv.cpu.convolution import Made
from fastconv.cpu.operands import Operands
from fastconv.cpu.program import Array, Program, Stages, Step
from fastconv.cpu.views import Workspace
from fastconv.geometry import ConvGeometry


def seen(pass_name: str, g: ConvGeometry, arrays: Operands) -> tuple[ConvGeometry, Operands]:
    """The geometry and the operands of the convolution that is computed in the end."""
    if g.padding_mode == "zeros":
        return g, arrays
    strides = _frame(pass_name, g, arrays).strides
    if pass_name == "input_gradient":
        return g.padded, arrays._replace(y=strides)
    return g.padded, arrays._replace(x=strides)


def plan_steps(
    pass_name: str,
    g: ConvGeometry,
    arrays: Operands,
    algorithm: str,
    winograd: bool,
    space: Workspace,
) -> Made:
    """`convolution.plan_steps`, for every padding mode."""
    if g.padding_mode == "zeros":
        return convolution.plan_steps(pass_name, g, arrays, algorithm, winograd, space)
    sums = pass_name == "weight_gradient"
    each = arrays.size * (prod(g.padded.input_shape[1:]) + prod(g.output_shape[1:]))
    few = replace(g, N=g.N if sums else images_at_a_time(g.N, each))
    inner_g, inner = seen(pass_name, few, arrays)
    name, made, multiply_adds = convolution.plan_steps(
        pass_name, inner_g, inner, algorithm, winograd, space
    )
    if not isinstance(made, list):
        return Made(name, _Around(pass_name, g, arrays, name), multiply_adds)
    copy = _frame(pass_name, few, arrays)
    at = Place(WORKSPACE, space.take(copy.bytes), copy.strides)
    before, inside = _sorted(made, pass_name)
    rounds = -(-g.N // few.N)
    steps: list[Step] = []
    for i in range(rounds):
        first = min(i * few.N, g.N - few.N)  # the last few images may be done twice
        x, y = (Place(X, first * arrays.x[0], arrays.x), Place(Y, first * arrays.y[0], arrays.y))
        if sums:
            y = Place(Y, 0, arrays.y)
        if pass_name == "input_gradient":
            steps += _redirected(before if i == 0 else [], x, at)
            steps += [*_redirected(inside, x, at), fold_step(few, at, y, arrays.bits)]
        else:
            steps += _redirected(before if i == 0 else [], at, y)
            steps += [pad_step(few, x, at, arrays.size), *_redirected(inside, at, y)]
    return Made(name, steps, rounds * multiply_adds)


def _frame(pass_name: str, g: ConvGeometry, arrays: Operands) -> Frame:
    """The copy of the padded images: of the source, or of an input gradient's result."""
    return frame(g, arrays.y if pass_name == "input_gradient" else arrays.x, arrays.size)


def _sorted(steps: list[Step], pass_name: str) -> tuple[list[Step], list[Step]]:
    """The steps that do for all images, and the others."""
    if pass_name == "weight_gradient":
        return [], steps
    return [s for s in steps if of_weights(s)], [s for s in steps if not of_weights(s)]


def _redirected(steps: list[Step], x: Place, y: Place) -> list[Step]:
    return [Redirected(step, x, Place(W, 0, ()), y, Place(BIAS, 0, ())) for step in steps]


class _Around:
    """A pass on a padded copy of all images by an algorithm whose steps are no kernels."""

    def __init__(self, pass_name: str, g: ConvGeometry, arrays: Operands, algorithm: str) -> None:
        self.copy, self.dtype = _frame(pass_name, g, arrays), np.dtype(f"f{arrays.size}")
        plan = convolution.make_plan(pass_name, *seen(pass_name, g, arrays), algorithm)
        self.inner, self.serial = plan.program, False
        self.folds = pass_name == "input_gradient"
        strides = self.copy.strides
        if self.folds:
            step = fold_step(g, Place(X, 0, strides), Place(Y, 0, arrays.y), arrays.bits)
        else:
            step = pad_step(g, Place(X, 0, arrays.x), Place(Y, 0, strides), arrays.size)
        self.copying = Program([step], 0, serial=False)
        self.workspace = self.inner.workspace + self.copy.bytes

    def stages(self) -> Stages:
        """The stages, in the order they run."""
        around, inner = self.copying.stages(), self.inner.stages()
        return (*inner, *around) if self.folds else (*around, *inner)

    def run(self, x: Array, w: Array, y: Array, bias: Array) -> None:
        """Pad the source or fold the result, before or after the pass itself."""
        memory = workspaces.take(self.copy.bytes)
        try:
            copy = np.ndarray(self.copy.shape, self.dtype, memory, 0, self.copy.strides)
            if self.folds:
                self.inner.run(x, w, copy, bias)
                self.copying.run(copy, w, y, bias)
            else:
                self.copying.run(x, w, copy, bias)
                self.inner.run(copy, w, y, bias)
        finally:
            workspaces.give_back(memory)
