"""Makes graphs: windows gathered from chunks, and sums over chunks in a tree."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from math import prod
from typing import Any, TypeAlias

import dask.array as da
import numpy as np
from dask.highlevelgraph import HighLevelGraph

from . import tasks
from .cuts import Range, covering, lengths, ranges
from .tasks import How, Window

Key: TypeAlias = tuple[Any, ...]

FAN_IN = 8  #: summands that one task adds up


class Source:
    """A Dask array's blocks: where each begins and ends, and its key."""

    def __init__(self, array: da.Array) -> None:
        self.array = array
        self.axes = [ranges(chunks) for chunks in array.chunks]

    def pieces(self, box: Sequence[Range]) -> list[Piece]:
        """The blocks that a box touches, first axis slowest."""
        touched = [covering(chunks, part) for chunks, part in zip(self.axes, box, strict=True)]
        return [self._piece(combined, box) for combined in product(*touched)]

    def _piece(self, combined: tuple[tuple[int, Range], ...], box: Sequence[Range]) -> Piece:
        index = tuple(block for block, _ in combined)
        parts = tuple(part for _, part in combined)
        chunks = [axis[block] for axis, block in zip(self.axes, index, strict=True)]
        starts = [
            chunk[0] + part[0] - wanted[0] if part[1] > part[0] else 0
            for chunk, part, wanted in zip(chunks, parts, box, strict=True)
        ]
        return Piece((self.array.name, *index), prod(lengths(chunks)), parts, starts)


class Piece:
    """What a box and a block have in common."""

    def __init__(
        self, key: Key, block_size: int, parts: tuple[Range, ...], starts: Sequence[int]
    ) -> None:
        self.key, self.block_size, self.parts = key, block_size, parts
        self.size = prod(lengths(parts))
        self.place = tuple((s, s + n) for s, n in zip(starts, lengths(parts), strict=True))


class Graph:
    """The tasks of one call, under one name."""

    def __init__(self, name: str, how: How) -> None:
        self.name, self.how = name, how
        self.tasks: dict[Key, Any] = {}
        self._cuts: dict[tuple[Key, tuple[Range, ...]], Key] = {}
        self._same: dict[Any, Any] = {}

    def window(self, source: Source, box: Sequence[Range]) -> tuple[Window, list[Key]]:
        """What gathers a box of an array: its pieces' places, and the keys that they are under.

        Of the block that holds the largest piece, if that is half of it or more, the whole is
        read: the chunk will be computed where it lies. Of any other a strip is cut by a task of
        its own, which runs where that block lies, so that only the strip crosses to another worker.
        """
        pieces = source.pieces(box)
        largest = max(pieces, key=lambda piece: piece.size)
        keys, inside = [], []
        for piece in pieces:
            near = piece is largest and 2 * piece.size >= piece.block_size
            if near or piece.size == piece.block_size:
                keys.append(piece.key)
                inside.append(piece.parts)
            else:
                keys.append(self._cut(piece))
                inside.append(tuple((0, size) for size in lengths(piece.parts)))
        place = tuple(piece.place for piece in pieces)
        return self.interned(Window(lengths(box), tuple(inside), place)), keys

    def _cut(self, piece: Piece) -> Key:
        wanted = piece.key, piece.parts
        if wanted not in self._cuts:
            key = self._cuts[wanted] = (f"{self.name}-cut", len(self._cuts))
            self.tasks[key] = (tasks.cut, piece.key, piece.parts)
        return self._cuts[wanted]

    def interned(self, value: Any) -> Any:
        """One object for all equal ones: most chunks are alike, and a graph travels."""
        return self._same.setdefault(value, value)

    def add(self, index: tuple[int, ...], parts: Sequence[Any], shape: tuple[int, ...]) -> None:
        """Make the chunk at ``index`` of one task, or of the sum of several, in a tree.

        Neighbours are added first, in an order that the chunks alone decide.
        """
        target = (self.name, *index)
        if not parts:
            self.tasks[target] = (tasks.zeros, self.interned(shape), self.how.dtype)
            return
        if not self.how.partial:
            (self.tasks[target],) = parts
            return
        keys = self._named("part", index, 0, parts)
        level = 1
        while len(keys) > FAN_IN:
            sums = [(tasks.add, keys[i : i + FAN_IN]) for i in range(0, len(keys), FAN_IN)]
            keys = self._named("sum", index, level, sums)
            level += 1
        self.tasks[target] = (tasks.finish, self.how, keys)

    def _named(
        self, what: str, index: tuple[int, ...], level: int, made: Sequence[Any]
    ) -> list[Key]:
        keys = [(f"{self.name}-{what}", *index, level, i) for i in range(len(made))]
        self.tasks.update(zip(keys, made, strict=True))
        return keys

    def array(self, chunks: tuple[tuple[int, ...], ...], sources: Sequence[da.Array]) -> da.Array:
        """The Dask array of these chunks."""
        graph = HighLevelGraph.from_collections(self.name, self.tasks, dependencies=sources)
        meta = np.empty((0,) * len(chunks), self.how.dtype)
        return da.Array(graph, self.name, chunks, meta=meta)
