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
from fastconv.options import current, options

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


@lru_cache(maxsize=1024)
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


def run(operation: Operation, a: Array, b: Array, out: Array) -> None:
    """Fill ``out`` with the pass of two arrays; all in the caller's order of axes."""
    first, second = operation.operands
    source, weights = a.transpose(operation.axes(first)), b.transpose(operation.axes(second))
    y = out.transpose(operation.axes(operation.result))
    name = PASSES[operation.result]
    # JAX's gradients of complex functions conjugate nothing, so neither is conjugated here.
    with options(**dict(operation.options)) if operation.options else nullcontext():
        host.compute(name, operation.g, source, weights, y, None, "auto")


def computed(operation: Operation, a: Any, b: Any) -> Array:
    """The pass of two arrays of JAX's, as a new array."""
    first, second = np.asarray(a), np.asarray(b)
    out = np.empty(operation.shape(operation.result), first.dtype)
    run(operation, first, second, out)
    return out
