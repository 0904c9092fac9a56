"""Borders that show the image itself: padded copies of images, and gradients folded back.

The copy is all images at once, in scratch memory, its channels contiguous if the images' are. A
thread copies one padded pixel; folding, it adds up all that show one pixel of the image, in the
order in which they lie.
"""

from __future__ import annotations

from dataclasses import replace
from math import prod
from typing import Any, NamedTuple

import numpy as np
from numba import cuda

from fastconv.borders import shown
from fastconv.geometry import ConvGeometry

from .._array_interface import c_order
from .indexing import along, divisor, split
from .planning import Operands, Sizes, Workspace, ceil_div, three, words
from .program import Blocks, Step, compiled
from .ptx import KINDS, load_i32

THREADS = 128


class Copy(NamedTuple):
    """Where padded images lie in the workspace, and their strides in elements."""

    place: int
    strides: Sizes


def padded_copy(g: ConvGeometry, like: Sizes, size: int, space: Workspace) -> Copy:
    """Room for the padded images of ``g``, in elements of ``size`` bytes."""
    shape = g.padded.input_shape
    strides = c_order(shape)
    if g.C > 1 and like[1] == 1 and like[-1] != 1:
        first, *spatial, channel = c_order((shape[0], *shape[2:], shape[1]))
        strides = (first, channel, *spatial)
    return Copy(space.take(prod(shape) * size), strides)


def pad_step(g: ConvGeometry, x: Sizes, copy: Copy, kind: str) -> Step:
    """The launch that copies images of strides ``x`` with their borders; without any, as is."""
    axes = _axes(g)
    table = np.concatenate(axes)
    sizes = _sizes(g, [len(axis) for axis in axes], x, copy.strides)
    grid = (ceil_div(sizes["pixels"], THREADS) * g.C * g.N, 1, 1)
    kernel = compiled(pad_images, kind)
    return Step(kernel, grid, sizes, table=words(table), target=copy.place)


def fold_step(g: ConvGeometry, copy: Copy, y: Sizes, kind: str) -> Step:
    """The launch that folds padded images back into images of strides ``y``."""
    lists: list[np.ndarray[Any, Any]] = []
    starts: list[int] = []
    extents = three(g.input, 1)
    for places, size in zip(_axes(g), extents, strict=True):
        order = np.argsort(places, kind="stable")
        first = np.searchsorted(places[order], np.arange(size + 1))
        starts.append(sum(map(len, lists)))
        lists += [first + starts[-1] + size + 1, order]  # where each list lies in the table
    sizes = _sizes(g, extents, copy.strides, y) | along("list", starts, 0)
    grid = (ceil_div(sizes["pixels"], THREADS) * g.C * g.N, 1, 1)
    kernel = compiled(fold_images, kind)
    return Step(kernel, grid, sizes, table=words(np.concatenate(lists)), source=copy.place)


def moved(steps: list[Step], places: dict[str, int]) -> list[Step]:
    """Launches whose operands, named by their letters, lie in the workspace instead."""

    def place(operand: str | int) -> str | int:
        return places.get(operand, operand) if isinstance(operand, str) else operand

    return [
        replace(
            step,
            source=place(step.source),
            weights=place(step.weights),
            target=place(step.target),
        )
        for step in steps
    ]


def inside(
    pass_name: str, g: ConvGeometry, arrays: Operands, space: Workspace
) -> tuple[ConvGeometry, Operands, Copy]:
    """What a pass without padding sees, and the copy that is its source or its target."""
    if pass_name == "input_gradient":
        copy = padded_copy(g, arrays.y, arrays.size, space)
        return g.padded, arrays._replace(y=copy.strides), copy
    copy = padded_copy(g, arrays.x, arrays.size, space)
    return g.padded, arrays._replace(x=copy.strides), copy


def around(
    pass_name: str, g: ConvGeometry, arrays: Operands, copy: Copy, steps: list[Step]
) -> list[Step]:
    """The launches of a pass on ``copy``, and what makes it or folds it."""
    if pass_name == "input_gradient":
        folding = fold_step(g, copy, arrays.y, arrays.kind)
        return [*moved(steps, {"y": copy.place}), folding]
    return [pad_step(g, arrays.x, copy, arrays.kind), *moved(steps, {"x": copy.place})]


def _axes(g: ConvGeometry) -> list[np.ndarray[Any, Any]]:
    """What each padded place shows, along D, H and W."""
    pads = zip(g.input, g.pad_before, g.pad_after, strict=True)
    axes = [shown(g.padding_mode, size, before, after) for size, before, after in pads]
    return [np.zeros(1, np.int64)] * (3 - len(axes)) + axes


def _sizes(g: ConvGeometry, extents: Any, x: Sizes, y: Sizes) -> dict[str, int]:
    """The integers of a kernel whose threads write images of these extents."""
    D, H, W = extents
    return {
        "pixels": D * H * W,
        **divisor("blocks", ceil_div(D * H * W, THREADS)),
        **divisor("channels", g.C),
        **divisor("plane", H * W),
        **divisor("row", W),
        **along("extent", extents, 1),
        "x_n": x[0],
        "x_c": x[1],
        **along("x", x[2:], 0),
        "y_n": y[0],
        "y_c": y[1],
        **along("y", y[2:], 0),
    }


def pad_images(kind: str) -> Any:
    """A thread copies what one padded pixel shows. Blocks: image, channel, pixels."""
    load, store, size = KINDS[kind].load, KINDS[kind].store, KINDS[kind].size

    def kernel(
        x, w, y, bias, workspace, table,
        pixels, blocks, blocks_magic, blocks_shift, channels, channels_magic, channels_shift,
        plane, plane_magic, plane_shift, row, row_magic, row_shift,
        extent_d, extent_h, extent_w, x_n, x_c, x_d, x_h, x_w, y_n, y_c, y_d, y_h, y_w,
    ):  # fmt: skip
        rest, block = split(cuda.blockIdx.x, blocks, blocks_magic, blocks_shift)
        n, c = split(rest, channels, channels_magic, channels_shift)
        pixel = block * THREADS + cuda.threadIdx.x
        if pixel < pixels:
            d, rest = split(pixel, plane, plane_magic, plane_shift)
            h, v = split(rest, row, row_magic, row_shift)
            from_d = load_i32(table + d * 4) * x_d
            from_h = load_i32(table + (extent_d + h) * 4) * x_h
            from_w = load_i32(table + (extent_d + extent_h + v) * 4) * x_w
            from_x = n * x_n + c * x_c + from_d + from_h + from_w
            to_y = n * y_n + c * y_c + d * y_d + h * y_h + v * y_w
            store(y + to_y * size, load(x + from_x * size))

    return kernel, Blocks(THREADS, per_multiprocessor=8)


def fold_images(kind: str) -> Any:
    """A thread sums the padded pixels that show one pixel. Blocks: image, channel, pixels."""
    load, store, size = KINDS[kind].load, KINDS[kind].store, KINDS[kind].size
    compute = KINDS[kind].compute

    def kernel(
        x, w, y, bias, workspace, table,
        pixels, blocks, blocks_magic, blocks_shift, channels, channels_magic, channels_shift,
        plane, plane_magic, plane_shift, row, row_magic, row_shift,
        extent_d, extent_h, extent_w, x_n, x_c, x_d, x_h, x_w, y_n, y_c, y_d, y_h, y_w,
        list_d, list_h, list_w,
    ):  # fmt: skip
        rest, block = split(cuda.blockIdx.x, blocks, blocks_magic, blocks_shift)
        n, c = split(rest, channels, channels_magic, channels_shift)
        pixel = block * THREADS + cuda.threadIdx.x
        if pixel < pixels:
            d, rest = split(pixel, plane, plane_magic, plane_shift)
            h, v = split(rest, row, row_magic, row_shift)
            at_d, at_h, at_w = (table + (list_d + d) * 4, table + (list_h + h) * 4,
                                table + (list_w + v) * 4)  # fmt: skip
            total = compute(0)
            for i in range(load_i32(at_d), load_i32(at_d + 4)):
                from_d = n * x_n + c * x_c + load_i32(table + i * 4) * x_d
                for j in range(load_i32(at_h), load_i32(at_h + 4)):
                    from_h = from_d + load_i32(table + j * 4) * x_h
                    for k in range(load_i32(at_w), load_i32(at_w + 4)):
                        from_x = from_h + load_i32(table + k * 4) * x_w
                        total += load(x + from_x * size)
            to_y = n * y_n + c * y_c + d * y_d + h * y_h + v * y_w
            store(y + to_y * size, total)

    return kernel, Blocks(THREADS, per_multiprocessor=8)
