"""The register tiles: the loops that keep a block of sums in registers.

Each function takes a tile (see :class:`fastconv.cpu.simd.Tile`), adds a sum of products to it and
returns it. They are written once for every ISA, dtype and tile size: sizes that shape the code
(``pitch`` where it is fixed, ``m``, ``vectors``) arrive as integer literals.

Tiles that reach 95 % of the machine's FMA peak with operands in L2: 14x2, 12x2, 8x3, 7x2, 6x4, 4x4
vectors on 32 registers (AVX-512); 6x2, 4x3, 3x4 on 16 (AVX2). Fewer than 8 vectors leave the FMA
units waiting for each other; more than 28 (12) spill.
"""

from __future__ import annotations

from numba import types
from numba.extending import overload

from fastconv.cpu import simd


def contract_taps(tile, rows, pitch, fixed, m, b_rows, vectors, count, step, taps, table):
    """Sum over ``count`` channels and ``taps`` taps: gathered scalars times packed vectors.

    Channel ``c`` and tap ``t`` read their scalars at ``rows`` moved by ``c * step + table[t]``
    bytes, and the next ``vectors`` vectors of ``b_rows``, which hold them in that order without
    gaps.
    """
    raise NotImplementedError("compiled code only")


@overload(contract_taps, prefer_literal=True, inline="always")
def _contract_taps(tile, rows, pitch, fixed, m, b_rows, vectors, count, step, taps, table):
    if not isinstance(vectors, types.IntegerLiteral):
        return None
    FIXED, M, V = fixed.literal_value, m.literal_value, vectors.literal_value
    columns = V * tile.lanes * tile.dtype.bitwidth // 8

    def run(tile, rows, pitch, fixed, m, b_rows, vectors, count, step, taps, table):
        at = 0
        for c in range(count):
            for t in range(taps):
                offset = c * step + simd.word(table, t)
                tile = simd.outer(tile, rows, offset, pitch, FIXED, M, b_rows, at, V)
                at += columns
        return tile

    return run


def contract_channels(
    tile, rows, pitch, fixed, m, b_rows, vectors, channels, table, later, later_step
):
    """`contract_taps` of one tap, which asks step by step for what will be read later.

    Cache lines from memory come while the tile is multiplied, one at ``later + c * later_step`` for
    channel ``c``: asked for all at once, they would hold up everything behind them.
    """
    raise NotImplementedError("compiled code only")


@overload(contract_channels, prefer_literal=True, inline="always")
def _contract_channels(
    tile, rows, pitch, fixed, m, b_rows, vectors, channels, table, later, later_step
):
    if not isinstance(vectors, types.IntegerLiteral):
        return None
    FIXED, M, V = fixed.literal_value, m.literal_value, vectors.literal_value
    columns = V * tile.lanes * tile.dtype.bitwidth // 8

    def run(tile, rows, pitch, fixed, m, b_rows, vectors, channels, table, later, later_step):
        at = 0
        for c in range(channels):
            simd.prefetch_line(later + c * later_step)
            tile = simd.outer(tile, rows, simd.word(table, c), pitch, FIXED, M, b_rows, at, V)
            at += columns
        return tile

    return run


def contract_rows(
    tile, rows, pitch, fixed, m, b, vectors, count, table, length, step, later, later_b
):
    """Sum over ``count`` image rows of ``length`` pixels: scalars times vectors.

    Pixel ``p`` of image row ``i`` reads its scalars at ``rows`` moved by ``table[i] + p * step``
    bytes, and ``vectors`` vectors at ``b``, which is (address, bytes from one pixel to the next).
    With each it asks for two cache lines that will be read later: where row ``i`` of the table
    ``later`` moves the pixel, and for row ``i`` of ``later_b``, which is (address, table, step).
    """
    raise NotImplementedError("compiled code only")


@overload(contract_rows, prefer_literal=True, inline="always")
def _contract_rows(
    tile, rows, pitch, fixed, m, b, vectors, count, table, length, step, later, later_b
):
    if not isinstance(vectors, types.IntegerLiteral):
        return None
    FIXED, M, V = fixed.literal_value, m.literal_value, vectors.literal_value

    def run(tile, rows, pitch, fixed, m, b, vectors, count, table, length, step, later, later_b):
        b_rows, at = (b[0],), 0
        b_at, b_table, b_step = later_b
        for i in range(count):
            offset = simd.word(table, i)
            ahead = rows[0] + simd.word(later, i) - offset
            b_ahead = b_at + simd.word(b_table, i)
            for p in range(length):
                simd.prefetch_line(ahead + offset)
                simd.prefetch_line(b_ahead + p * b_step)
                tile = simd.outer(tile, rows, offset, pitch, FIXED, M, b_rows, at, V)
                offset += step
                at += b[1]
        return tile

    return run


def contract_steps(tile, rows, pitch, fixed, m, b_rows, vectors, count, step):
    """Sum over ``count`` steps: scalars at ``rows`` moved by ``i * step`` bytes, packed vectors."""
    raise NotImplementedError("compiled code only")


@overload(contract_steps, prefer_literal=True, inline="always")
def _contract_steps(tile, rows, pitch, fixed, m, b_rows, vectors, count, step):
    if not isinstance(vectors, types.IntegerLiteral):
        return None
    FIXED, M, V = fixed.literal_value, m.literal_value, vectors.literal_value
    columns = V * tile.lanes * tile.dtype.bitwidth // 8

    def run(tile, rows, pitch, fixed, m, b_rows, vectors, count, step):
        for i in range(count):
            tile = simd.outer(tile, rows, i * step, pitch, FIXED, M, b_rows, i * columns, V)
        return tile

    return run


def contract_ahead(tile, rows, pitch, fixed, m, b_rows, vectors, count, step, later, later_step):
    """`contract_steps`, which asks for the line at ``later + i * later_step`` with step ``i``."""
    raise NotImplementedError("compiled code only")


@overload(contract_ahead, prefer_literal=True, inline="always")
def _contract_ahead(tile, rows, pitch, fixed, m, b_rows, vectors, count, step, later, later_step):
    if not isinstance(vectors, types.IntegerLiteral):
        return None
    FIXED, M, V = fixed.literal_value, m.literal_value, vectors.literal_value
    columns = V * tile.lanes * tile.dtype.bitwidth // 8

    def run(tile, rows, pitch, fixed, m, b_rows, vectors, count, step, later, later_step):
        for i in range(count):
            simd.prefetch_line(later + i * later_step)
            tile = simd.outer(tile, rows, i * step, pitch, FIXED, M, b_rows, i * columns, V)
        return tile

    return run


def contract_between(
    tile, rows, pitch, fixed, m, b_rows, vectors, count, step, later, later_step, target, spread
):
    """`contract_ahead`, which with step ``i`` asks for the line at ``target + i * spread``, too.

    That line will be written.
    """
    raise NotImplementedError("compiled code only")


@overload(contract_between, prefer_literal=True, inline="always")
def _contract_between(
    tile, rows, pitch, fixed, m, b_rows, vectors, count, step, later, later_step, target, spread
):
    if not isinstance(vectors, types.IntegerLiteral):
        return None
    FIXED, M, V = fixed.literal_value, m.literal_value, vectors.literal_value
    columns = V * tile.lanes * tile.dtype.bitwidth // 8

    def run(
        tile, rows, pitch, fixed, m, b_rows, vectors, count, step, later, later_step, target, spread
    ):
        for i in range(count):
            simd.prefetch_line(later + i * later_step)
            simd.prefetch_target(target + i * spread)
            tile = simd.outer(tile, rows, i * step, pitch, FIXED, M, b_rows, i * columns, V)
        return tile

    return run


def contract_windows(tile, weights, m, b_rows, vectors, count, step, taps, table):
    """Sum over ``count`` channels and ``taps`` taps: packed scalars times windows of an image.

    Channel ``c`` and tap ``t`` read the next ``m`` scalars at ``weights``, and ``vectors`` vectors
    at each of ``b_rows`` moved by ``c * step + table[t]`` bytes.
    """
    raise NotImplementedError("compiled code only")


@overload(contract_windows, prefer_literal=True, inline="always")
def _contract_windows(tile, weights, m, b_rows, vectors, count, step, taps, table):
    if not isinstance(vectors, types.IntegerLiteral):
        return None
    size = tile.dtype.bitwidth // 8
    M, V = m.literal_value, vectors.literal_value
    scalars = M * size

    def run(tile, weights, m, b_rows, vectors, count, step, taps, table):
        rows = (weights,)
        at = 0
        for c in range(count):
            for t in range(taps):
                offset = c * step + simd.word(table, t)
                tile = simd.outer(tile, rows, at, size, size, M, b_rows, offset, V)
                at += scalars
        return tile

    return run


def scatter(tile, scratch, rows, m, row_skip, skip, width, pitch, step):
    """Write a tile element by element, at any pitch, by way of ``scratch``.

    Element ``l < width`` of group ``(r, i)``, found ``r * row_skip + i * skip`` bytes into the
    tile, goes to ``rows[r] + i * pitch + l * step``.
    """
    raise NotImplementedError("compiled code only")


@overload(scatter)
def _scatter(tile, scratch, rows, m, row_skip, skip, width, pitch, step):
    bits, count = tile.dtype.bitwidth, len(rows)
    size, pairs = bits // 8, int(tile.pairs)
    kind, made = simd.ELEMENTS.index("float32"), simd.ELEMENTS.index("bfloat16")
    how = simd.PLAIN

    def run(tile, scratch, rows, m, row_skip, skip, width, pitch, step):
        simd.store_tile(tile, scratch)
        for r in range(count):
            for i in range(m):
                source = scratch + r * row_skip + i * skip
                target = rows[r] + i * pitch
                for lane in range(width):
                    if pairs:
                        simd.convert(target + lane * step, source + lane * size, kind, made, 1, how)
                    else:
                        simd.poke(target + lane * step, simd.peek(source + lane * size, bits))

    return run
