"""The three passes on Dask arrays: which chunks a result has, and what each is computed from."""

# ruff: noqa: A002 - PyTorch calls an argument input

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import fields
from itertools import product
from typing import Any, TypeAlias

import dask.array as da
import numpy as np
from dask.base import tokenize

from fastconv._arguments import sizes
from fastconv.geometry import ConvGeometry, forward_geometry, gradient_geometry
from fastconv.options import current

from . import tasks
from .arguments import chunked, chunks_of, no_images, same_dtype, stand_in, whole
from .channels import Cells, dense_cells, grouped_cells
from .cuts import Range, Read, gradient_read, input_ranges, input_read, lengths, output_ranges
from .cuts import ranges as ranges_of
from .graphs import Graph, Source
from .tasks import Chunk, How

Settings: TypeAlias = tuple[Any, Any, Any, Any]  # stride, padding, dilation, groups


def conv(
    rank: int,
    input: object,
    weight: object,
    bias: Any,
    settings: Settings,
    activation: str | None,
    algorithm: str,
) -> da.Array:
    """Return a convolution over ``rank`` axes."""
    x, w = chunked(input, "input"), whole(weight, "weight")
    same_dtype(w, "weight", x, "input")
    g = forward_geometry(x.shape, w.shape, *settings, rank)
    tasks.FORWARD[rank - 1](
        no_images(x, rank),
        stand_in(w),
        stand_in(bias),
        *settings,
        activation=activation,
        algorithm=algorithm,
    )
    b = None if bias is None else whole(bias, "bias")
    batch = x if x.ndim == rank + 2 else x[np.newaxis]
    if g.groups == 1:
        cells = dense_cells(g, w.chunks[0], batch.chunks[1])
    else:
        cells = grouped_cells(g, "input", g.C, batch.chunks[1])
    how = _how(g, x.dtype, algorithm, activation, partial=len(cells.of(k=cells.k[0])) > 1)
    graph = Graph(f"conv{rank}d-{tokenize(x, w, b, g, how)}", how)
    source, weights = Source(batch), _weight_blocks(w, g, cells)
    b = None if b is None else b.rechunk((lengths(cells.k),))
    axes = [
        [(pixels, input_read(g, axis, pixels)) for pixels in output_ranges(g, axis, chunks)]
        for axis, chunks in enumerate(batch.chunks[2:])
    ]
    for index, n, k, pixels, reads in _chunks(batch.chunks[0], cells.k, axes):
        shape = _shape(n, k, *pixels)
        parts: list[Any] = []
        for cell in cells.of(k=k):
            window = graph.window(source, (n, cell.c, *_boxes(reads)))
            with_bias = b is not None and not parts
            start = (b.name, index[1]) if b is not None and with_bias else None
            chunk = graph.interned(Chunk(cell.groups, _padding(reads), shape))
            at = (weights.name, *cells.block(cell), *(0,) * rank)
            parts.append((tasks.forward, how, chunk, *window, at, start))
        graph.add(index, parts, shape)
    sources = [batch, weights] if b is None else [batch, weights, b]
    y = graph.array(_result_chunks(batch.chunks[0], cells.k, axes), sources)
    return y if batch is x else y[0]


def weight_gradient(
    rank: int,
    input: object,
    weight_size: Sequence[int],
    grad_output: object,
    settings: Settings,
    algorithm: str,
) -> da.Array:
    """Return the gradient of a convolution over ``rank`` axes with respect to its weight."""
    x, dy = chunked(input, "input"), chunked(grad_output, "grad_output")
    same_dtype(dy, "grad_output", x, "input")
    size, names = sizes(weight_size, "weight_size"), ("input", "weight_size")
    g = gradient_geometry(x.shape, size, dy.shape, *settings, rank, names)
    none = no_images(x, rank), size, no_images(dy, rank)
    tasks.WEIGHT[rank - 1](*none, *settings, algorithm=algorithm)
    if g.groups == 1:
        cells = dense_cells(g, dy.chunks[1], x.chunks[1])
    else:
        cells = grouped_cells(g, "input", g.C, x.chunks[1])
    axes = [
        [(pixels, input_read(g, axis, pixels)) for pixels in ranges_of(chunks)]
        for axis, chunks in enumerate(dy.chunks[2:])
    ]
    summands = len(dy.chunks[0]) * int(np.prod([len(axis) for axis in axes]))
    how = _how(g, x.dtype, algorithm, None, partial=summands > 1)
    graph = Graph(f"conv{rank}d_weight-{tokenize(x, dy, g, how)}", how)
    source, gradient = Source(x), Source(dy)
    for cell in cells.of():
        shape = _shape(cell.k, (0, (cell.c[1] - cell.c[0]) // cell.groups)) + g.kernel
        parts: list[Any] = []
        for _, n, _, pixels, reads in _chunks(dy.chunks[0], [cell.k], axes):
            box = (n, cell.k, *pixels)
            if any(start == stop for start, stop in (*box, *_boxes(reads))):
                continue  # no image, or padding alone: nothing to add
            window = graph.window(source, (n, cell.c, *_boxes(reads)))
            grad_window = graph.window(gradient, box)
            chunk = graph.interned(Chunk(cell.groups, _padding(reads), shape))
            parts.append((tasks.weight_gradient, how, chunk, *window, *grad_window))
        graph.add((*cells.block(cell), *(0,) * rank), parts, shape)
    kernel = tuple((size,) for size in g.kernel)
    return graph.array((lengths(cells.k), lengths(cells.within), *kernel), [x, dy])


def input_gradient(
    rank: int,
    input_size: Sequence[int],
    weight: object,
    grad_output: object,
    settings: Settings,
    chunks: Any,
    algorithm: str,
) -> da.Array:
    """Return the gradient of a convolution over ``rank`` axes with respect to its input."""
    w, dy = whole(weight, "weight"), chunked(grad_output, "grad_output")
    same_dtype(dy, "grad_output", w, "weight")
    size, names = sizes(input_size, "input_size"), ("input_size", "weight")
    g = gradient_geometry(size, w.shape, dy.shape, *settings, rank, names)
    none = (0, *size[1:]), stand_in(w), no_images(dy, rank)
    tasks.INPUT[rank - 1](*none, *settings, algorithm=algorithm)
    wanted = None
    if chunks is not None:
        wanted = chunks_of(chunks, size, dy.dtype)
    if g.groups == 1:
        cells = dense_cells(g, dy.chunks[1], wanted[1] if wanted else w.chunks[1])
    elif wanted:
        cells = grouped_cells(g, "chunks", g.C, wanted[1])
    else:
        cells = grouped_cells(g, "grad_output", g.K, dy.chunks[1])
    how = _how(g, dy.dtype, algorithm, None, partial=len(cells.of(c=cells.c[0])) > 1)
    graph = Graph(f"conv{rank}d_input-{tokenize(w, dy, g, how, wanted)}", how)
    source, weights = Source(dy), _weight_blocks(w, g, cells)
    axes = []
    for axis in range(rank):
        given = ranges_of(wanted[2 + axis]) if wanted else None
        targets = given or input_ranges(g, axis, dy.chunks[2 + axis])
        axes.append([(pixels, gradient_read(g, axis, pixels)) for pixels in targets])
    batches = wanted[0] if wanted else dy.chunks[0]
    for index, n, c, pixels, reads in _chunks(batches, cells.c, axes):
        shape = _shape(n, c, *pixels)
        parts: list[Any] = []
        for cell in cells.of(c=c):
            window = graph.window(source, (n, cell.k, *_boxes(reads)))
            chunk = graph.interned(Chunk(cell.groups, _padding(reads), shape))
            at = (weights.name, *cells.block(cell), *(0,) * rank)
            parts.append((tasks.input_gradient, how, chunk, *window, at))
        graph.add(index, parts, shape)
    return graph.array(_result_chunks(batches, cells.c, axes), [dy, weights])


def _how(
    g: ConvGeometry, dtype: np.dtype[Any], algorithm: str, activation: str | None, partial: bool
) -> How:
    settings = current()
    given = {field.name: getattr(settings, field.name) for field in fields(settings) if field.init}
    given["threads"] = settings.threads or 1  # Dask's own threads and processes fill the machine
    options = tuple(given.items())
    return How(g.rank, g.stride, g.dilation, algorithm, activation, options, dtype, partial)


def _weight_blocks(w: da.Array, g: ConvGeometry, cells: Cells) -> da.Array:
    """The weight with a block for each cell."""
    kernel = tuple((size,) for size in g.kernel)
    return w.rechunk((lengths(cells.k), lengths(cells.within), *kernel))


Axes = list[list[tuple[Range, Read]]]


def _chunks(
    batches: Sequence[int], channels: list[Range], axes: Axes
) -> Iterator[tuple[tuple[int, ...], Range, Range, tuple[Range, ...], tuple[Read, ...]]]:
    """Each chunk of a result: its index, and what of each axis it is, and reads."""
    parts: list[list[Any]] = [ranges_of(batches), channels, *axes]
    for index in product(*(range(len(part)) for part in parts)):
        n, channel, *spatial = (part[i] for part, i in zip(parts, index, strict=True))
        pixels, reads = zip(*spatial, strict=True)
        yield index, n, channel, pixels, reads


def _result_chunks(
    batches: Sequence[int], channels: list[Range], axes: Axes
) -> tuple[tuple[int, ...], ...]:
    spatial = (lengths([pixels for pixels, _ in axis]) for axis in axes)
    return (tuple(batches), lengths(channels), *spatial)


def _boxes(reads: Sequence[Read]) -> tuple[Range, ...]:
    return tuple((read.start, read.stop) for read in reads)


def _padding(reads: Sequence[Read]) -> tuple[tuple[int, int], ...]:
    return tuple((read.before, read.after) for read in reads)


def _shape(*parts: Range) -> tuple[int, ...]:
    return lengths(parts)
