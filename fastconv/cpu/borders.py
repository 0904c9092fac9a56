"""Borders that show the image itself: padded copies of images, and gradients folded back.

Pixels of a row lie side by side: single elements in planes, or, where channels are contiguous, runs
of all channels. Along depth and height a padded place shows one row of the image, found in a table;
along a row, what lies between its two ends is one run. Folding goes the other way: each row of the
target adds up the padded rows that show it, in the order in which they lie, and each pixel what
shows it in a row. Nothing depends on how units are shared out.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from fastconv.borders import shown
from fastconv.cpu import simd
from fastconv.cpu.conversion import Place
from fastconv.cpu.program import Constant, Step, compiled, reads
from fastconv.geometry import ConvGeometry

Table: TypeAlias = np.ndarray[Any, np.dtype[np.int64]]


@reads(
    "units", "source_in", "source_from", "target_in", "target_from", "planes_from", "plane_pitch",
    "rows", "rows_from", "row_pitch", "before", "middle", "after", "columns_from",
    "source_step", "pixel", "run",
)  # fmt: skip
def pad_rows(size: int) -> Any:
    """Copy images and what their borders show; a unit is a padded row.

    Pixels are elements of ``size`` bytes, or, for 0, runs of ``run`` bytes.
    """
    fields = len(pad_rows.fields)  # type: ignore[attr-defined]

    def kernel(args, x, w, y, bias, workspace, slot, slots):
        (units, source_in, source_from, target_in, target_from, planes_from, plane_pitch,
         rows, rows_from, row_pitch, before, middle, after, columns_from,
         source_step, pixel, run) = simd.words(args, fields)  # fmt: skip
        arrays = (x, w, y, bias, workspace)
        source, target = arrays[source_in] + source_from, arrays[target_in] + target_from
        single = source_step == pixel == run
        for unit in range(slot * units // slots, (slot + 1) * units // slots):
            plane, row = unit // rows, unit % rows
            start = source + simd.word(planes_from, plane) + simd.word(rows_from, row)
            to = target + plane * plane_pitch + row * row_pitch
            inside = to + before * pixel
            end = inside + middle * pixel
            length = size or run  # known when this is compiled: a load and a store
            for j in range(before):
                simd.copy_bytes(to + j * pixel, start + simd.word(columns_from, j), length)
            for j in range(after):
                border = start + simd.word(columns_from, before + j)
                simd.copy_bytes(end + j * pixel, border, length)
            if single:
                simd.copy_bytes(inside, start, middle * run)
            else:
                for j in range(middle):
                    simd.copy_bytes(inside + j * pixel, start + j * source_step, length)

    return kernel


@reads(
    "units", "source_in", "source_from", "target_in", "target_from", "outer_pitch", "depths",
    "depths_first", "depths_from", "planes_to", "rows", "rows_first", "rows_from", "row_step",
    "before", "middle", "borders", "columns_from", "columns_to", "pixel", "target_step", "run",
)  # fmt: skip
def fold_rows(bits: int, lanes: int) -> Any:
    """Add up, for each pixel of the target, the padded pixels that show it; a unit is a row."""
    fields = len(fold_rows.fields)  # type: ignore[attr-defined]
    size = bits // 8

    def kernel(args, x, w, y, bias, workspace, slot, slots):
        (units, source_in, source_from, target_in, target_from, outer_pitch, depths,
         depths_first, depths_from, planes_to, rows, rows_first, rows_from, row_step,
         before, middle, borders, columns_from, columns_to, pixel,
         target_step, run) = simd.words(args, fields)  # fmt: skip
        arrays = (x, w, y, bias, workspace)
        source, target = arrays[source_in] + source_from, arrays[target_in] + target_from
        # What lies between a row's ends: one run, where pixels have no gaps.
        runs, length = middle, run
        if target_step == pixel == run * size:
            runs, length = 1, middle * run
        for unit in range(slot * units // slots, (slot + 1) * units // slots):
            plane, row = unit // rows, unit % rows
            to = target + simd.word(planes_to, plane) + row * row_step
            origin = source + plane // depths * outer_pitch
            depth, copied = plane % depths, 0
            for d in range(simd.word(depths_first, depth), simd.word(depths_first, depth + 1)):
                for r in range(simd.word(rows_first, row), simd.word(rows_first, row + 1)):
                    line = origin + simd.word(depths_from, d) + simd.word(rows_from, r)
                    for i in range(runs + borders):
                        if i < runs:
                            start, out = line + (before + i) * pixel, to + i * target_step
                            count = length
                        else:
                            start = line + simd.word(columns_from, i - runs)
                            out, count = to + simd.word(columns_to, i - runs), run
                        if i < runs and not copied:
                            simd.copy_bytes(out, start, count * size)
                            continue
                        e = 0
                        while e + lanes <= count:
                            vector = simd.load_tile(out + e * size, bits, lanes, 1)
                            vector = simd.add_tile(vector, start + e * size)
                            simd.store_tile(vector, out + e * size)
                            e += lanes
                        while e < count:
                            total = simd.peek(out + e * size, bits)
                            total += simd.peek(start + e * size, bits)
                            simd.poke(out + e * size, total)
                            e += 1
                    copied = 1

    return kernel


class Frame(NamedTuple):
    """Images with their borders: how such a copy lies in memory."""

    shape: tuple[int, ...]  #: (N, C, *padded)
    strides: tuple[int, ...]
    bytes: int


def frame(g: ConvGeometry, like: Sequence[int], size: int) -> Frame:
    """A copy of the padded images of ``g``, its channels contiguous if the strides ``like`` are."""
    shape = g.padded.input_shape
    if not _by_pixels(like, g.C, size):
        strides = [size * prod(shape[axis + 1 :]) for axis in range(len(shape))]
        return Frame(shape, tuple(strides), size * prod(shape))
    pixel = g.C * size
    if pixel % 2048 == 0:  # see `staging.stage_pixels`
        pixel += 64
    spatial = [pixel * prod(shape[axis + 1 :]) for axis in range(2, len(shape))]
    image = pixel * prod(shape[2:])
    return Frame(shape, (image, size, *spatial), image * shape[0])


def pad_step(g: ConvGeometry, source: Place, target: Place, size: int) -> Step:
    """The step that copies images with their borders; ``target`` lies as a `frame` does."""
    by_pixels = _by_pixels(source.strides, g.C, size)
    (D, H, W), pixel = _axes(g), target.strides[-1]
    depth, height, step = _three(source.strides[2:], 0)
    planes = _sums([*_outer(g, source.strides, by_pixels), D.places * depth])
    row_pitch = len(W.places) * pixel
    constants: dict[str, Constant] = {
        "units": len(planes) * len(H.places),
        "source_in": source.where,
        "source_from": source.offset,
        "target_in": target.where,
        "target_from": target.offset,
        "planes_from": planes,
        "plane_pitch": len(H.places) * row_pitch,
        "rows": len(H.places),
        "rows_from": _table(H.places * height),
        "row_pitch": row_pitch,
        "before": W.before,
        "middle": W.size,
        "after": len(W.borders) - W.before,
        "columns_from": _table(W.places[W.borders] * step),
        "source_step": step,
        "pixel": pixel,
        "run": g.C * size if by_pixels else size,
    }
    kernel = compiled(pad_rows, 0 if by_pixels else size)
    return Step(kernel, len(planes) * len(H.places), constants)


def fold_step(g: ConvGeometry, source: Place, target: Place, bits: int) -> Step:
    """The step that folds padded images, which lie as a `frame` does, back into images."""
    size = bits // 8
    by_pixels = _by_pixels(target.strides, g.C, size)
    (D, H, W), pixel = _axes(g), source.strides[-1]
    depth, height, step = _three(target.strides[2:], 0)
    planes = _sums([*_outer(g, target.strides, by_pixels), np.arange(D.size) * depth])
    row_pitch = len(W.places) * pixel
    plane_pitch = len(H.places) * row_pitch
    (depths_first, depths), (rows_first, rows) = D.showing(), H.showing()
    constants: dict[str, Constant] = {
        "units": len(planes) * H.size,
        "source_in": source.where,
        "source_from": source.offset,
        "target_in": target.where,
        "target_from": target.offset,
        "outer_pitch": len(D.places) * plane_pitch,
        "depths": D.size,
        "depths_first": _table(depths_first),
        "depths_from": _table(depths * plane_pitch),
        "planes_to": planes,
        "rows": H.size,
        "rows_first": _table(rows_first),
        "rows_from": _table(rows * row_pitch),
        "row_step": height,
        "before": W.before,
        "middle": W.size,
        "borders": len(W.borders),
        "columns_from": _table(W.borders * pixel),
        "columns_to": _table(W.places[W.borders] * step),
        "pixel": pixel,
        "target_step": step,
        "run": g.C if by_pixels else 1,
    }
    kernel = compiled(fold_rows, bits, simd.VECTOR_BITS // (8 * size))
    return Step(kernel, len(planes) * H.size, constants)


class _Axis(NamedTuple):
    """A padded axis: the image's size, the padding before it, what each padded place shows."""

    size: int
    before: int
    places: Table

    @property
    def borders(self) -> Table:
        """The padded places outside of the image."""
        at = np.arange(len(self.places))
        return np.concatenate([at[: self.before], at[self.before + self.size :]])

    def showing(self) -> tuple[Table, Table]:
        """For each place of the image, the padded places that show it: where they begin; all."""
        order = np.argsort(self.places, kind="stable")
        return np.searchsorted(self.places[order], np.arange(self.size + 1)), order


def _axes(g: ConvGeometry) -> tuple[_Axis, ...]:
    """D, H and W: an axis that a convolution lacks has one place."""
    pads = zip(g.input, g.pad_before, g.pad_after, strict=True)
    axes = [_Axis(n, before, shown(g.padding_mode, n, before, after)) for n, before, after in pads]
    return (_Axis(1, 0, np.zeros(1, np.int64)),) * (3 - len(axes)) + tuple(axes)


def _three(values: Sequence[int], missing: int) -> tuple[int, ...]:
    return (missing,) * (3 - len(values)) + tuple(values)


def _outer(g: ConvGeometry, strides: Sequence[int], by_pixels: bool) -> list[Table]:
    """Where images begin, and their channels unless a pixel holds them all."""
    channels = [] if by_pixels else [np.arange(g.C) * strides[1]]
    return [np.arange(g.N) * strides[0], *channels]


def _by_pixels(strides: Sequence[int], channels: int, size: int) -> bool:
    """Whether channels are contiguous and pixels are not: rows are then runs of all channels."""
    return channels > 1 and strides[1] == size and strides[-1] != size


def _sums(terms: Sequence[Table]) -> Table:
    """All sums of one element of each term, the last term's fastest."""
    total = np.zeros(1, np.int64)
    for term in terms:
        total = (total[:, np.newaxis] + term).ravel()
    return _table(total)


def _table(values: Table) -> Table:
    return np.ascontiguousarray(values, np.int64)
