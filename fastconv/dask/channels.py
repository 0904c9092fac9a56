"""Which channels are convolved together, by the chunks along the channel axes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from fastconv.geometry import ConvGeometry

from .cuts import Range, ranges


class Cell(NamedTuple):
    """Output channels and input channels of one block of the weight, in so many whole groups."""

    k: Range
    c: Range
    groups: int


class Cells:
    """All cells of a call, and the ranges that they cut the two channel axes into."""

    def __init__(self, g: ConvGeometry, cells: Sequence[Cell]) -> None:
        self._all = cells
        self.k = sorted({cell.k for cell in cells})
        self.c = sorted({cell.c for cell in cells})
        self._grouped = g.groups > 1
        #: the second axis of the weight, which counts channels within a group
        self.within = [(0, g.C // g.groups)] if self._grouped else self.c

    def of(self, *, k: Range | None = None, c: Range | None = None) -> list[Cell]:
        """The cells with these output channels, or with these input channels."""
        return [cell for cell in self._all if k in (None, cell.k) and c in (None, cell.c)]

    def block(self, cell: Cell) -> tuple[int, int]:
        """Where a cell's block lies among those of the weight."""
        return self.k.index(cell.k), 0 if self._grouped else self.c.index(cell.c)


def dense_cells(g: ConvGeometry, k_chunks: Sequence[int], c_chunks: Sequence[int]) -> Cells:
    """Without groups, every chunk of output channels sees every chunk of input channels."""
    return Cells(g, [Cell(k, c, 1) for k in _filled(k_chunks) for c in _filled(c_chunks)])


def grouped_cells(g: ConvGeometry, name: str, channels: int, chunks: Sequence[int]) -> Cells:
    """With groups, each chunk of ``channels``, those of argument ``name``, is a cell of its own."""
    each = channels // g.groups
    if any(start % each for start, _ in ranges(chunks)):
        raise ValueError(
            f"{name} must have its channels in chunks of whole groups, which are {each} each "
            f"for groups={g.groups}, got chunks {tuple(chunks)}: rechunk it, for example with "
            f"{name}.rechunk({{1: -1}})"
        )
    k, c = g.K // g.groups, g.C // g.groups
    spans = [(start // each, stop // each) for start, stop in _filled(chunks)]
    return Cells(g, [Cell((a * k, b * k), (a * c, b * c), b - a) for a, b in spans])


def _filled(chunks: Sequence[int]) -> list[Range]:
    return [(start, stop) for start, stop in ranges(chunks) if start < stop]
