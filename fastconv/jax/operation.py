"""One pass as XLA knows it: settings that fit into a line of text, and its run on the host."""

from __future__ import annotations

import json
from contextlib import nullcontext
from dataclasses import astuple, dataclass, fields
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np

from fastconv import host
from fastconv._arrays import Array
from fastconv.geometry import ConvGeometry
from fastconv.options import changed, current

Axes: TypeAlias = tuple[int, ...]  #: where, in an array, the axes of the order (N, C, H, W) lie

# By the array that a pass computes: its name elsewhere, and the two that it is computed from.
PASSES = {"y": "forward", "w": "weight_gradient", "x": "input_gradient"}
OPERANDS = {"y": ("x", "w"), "w": ("x", "y"), "x": ("y", "w")}


@dataclass(frozen=True, slots=True)
class Operation:
    """The pass that computes ``result``: x, w or y, a convolution's input, weight or output."""

    result: str
    g: ConvGeometry
    layout: tuple[tuple[str, Axes], ...]
    options: tuple[tuple[str, Any], ...]

    @property
    def operands(self) -> tuple[str, str]:
        """The names of the two arrays that it takes."""
        return OPERANDS[self.result]

    def axes(self, name: str) -> Axes:
        """The axes of an array, in the order (N, C, ...), (K, C, ...) or (N, K, ...)."""
        return dict(self.layout)[name]

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of an array in the caller's own order of axes."""
        g = self.g
        ordered = {"x": g.input_shape, "w": g.weight_shape, "y": g.output_shape}[name]
        shape = [0] * len(ordered)
        for axis, size in zip(self.axes(name), ordered, strict=True):
            shape[axis] = size
        return tuple(shape)

    def text(self) -> str:
        """All of it, for the compiled program, which may outlive the process."""
        return json.dumps([self.result, astuple(self.g), self.layout, self.options])


def from_text(text: bytes) -> Operation:
    """The operation whose text this is."""
    result, sizes, layout, settings = json.loads(text)
    g = ConvGeometry(*(tuple(n) if isinstance(n, list) else n for n in sizes))  # type: ignore[arg-type]
    axes = tuple((name, tuple(order)) for name, order in layout)
    return Operation(result, g, axes, tuple((name, value) for name, value in settings))


def settings_in_force() -> tuple[tuple[str, Any], ...]:
    """The caller's `fastconv.options`: XLA's threads, which run the pass, have none."""
    settings = current()
    given = ((field, getattr(settings, field.name)) for field in fields(settings) if field.init)
    return tuple((field.name, value) for field, value in given if value != field.default)


class Job:
    """An operation with all that its run needs looked up: a small one takes less than the rest."""

    __slots__ = ("_axes", "_g", "_pass_name", "_settings", "shapes")

    def __init__(self, operation: Operation) -> None:
        names = (*operation.operands, operation.result)
        self.shapes = tuple(operation.shape(name) for name in names)
        self._axes = tuple(operation.axes(name) for name in names)
        self._pass_name, self._g = PASSES[operation.result], operation.g
        self._settings = dict(operation.options)

    def run(self, a: Array, b: Array, out: Array) -> None:
        """Fill ``out`` with the pass of two arrays; all in the caller's order of axes."""
        source, weights, y = (
            array.transpose(axes) for array, axes in zip((a, b, out), self._axes, strict=True)
        )
        # JAX's gradients of complex functions conjugate nothing, so neither is conjugated here.
        name, g = self._pass_name, self._g
        with changed(self._settings) if self._settings else nullcontext():
            host.compute(host.Pass(name, g, source, weights, y, y, None, "auto", None, ""))


@lru_cache(maxsize=1024)
def job(text: bytes) -> Job:
    """The job of the operation whose text this is."""
    return Job(from_text(text))


def computed(operation: Operation, a: Any, b: Any) -> Array:
    """The pass of two arrays of JAX's, as a new array."""
    first, second = np.asarray(a), np.asarray(b)
    to_do = Job(operation)
    out = np.empty(to_do.shapes[2], first.dtype)
    to_do.run(first, second, out)
    return out
