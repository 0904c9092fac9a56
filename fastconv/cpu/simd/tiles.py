"""Tiles: blocks of vector registers, and the multiply-adds into them."""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastconv.cpu.simd.emit import (
    I64,
    Tile,
    add,
    as_pointer,
    at_least,
    dot_pairs,
    literals,
    llvm_scalar,
    masked_load,
    masked_store,
    multiply_add,
    prefix_mask,
    shuffle,
    size_of,
    splat,
)


@intrinsic(prefer_literal=True)
def zeros(typingctx, bits, lanes, count):
    """A tile of ``count`` vectors of zeros."""
    if not literals(bits, lanes, count):
        return None
    tile = Tile(bits, lanes.literal_value, count.literal_value)

    def codegen(context, b, signature, args):
        return ir.Constant(context.get_value_type(tile), None)

    return tile(bits, lanes, count), codegen


@intrinsic(prefer_literal=True)
def load_tile(typingctx, address, bits, lanes, count):
    """The tile of ``count`` vectors that lie one after the other at ``address``."""
    if not literals(bits, lanes, count):
        return None
    tile = Tile(bits, lanes.literal_value, count.literal_value)

    def codegen(context, b, signature, args):
        array = context.get_value_type(tile)
        step = tile.lanes * size_of(tile.dtype)
        value = ir.Constant(array, ir.Undefined)
        for i in range(tile.count):
            pointer = as_pointer(b, b.add(args[0], I64(i * step)), array.element)
            value = b.insert_value(value, b.load(pointer, align=1), i)
        return value

    return tile(address, bits, lanes, count), codegen


@intrinsic(prefer_literal=True)
def repeat_rows(typingctx, address, bits, lanes, m, vectors):
    """A tile of ``m`` rows, each the ``vectors`` vectors that lie at ``address``."""
    if not literals(bits, lanes, m, vectors):
        return None
    rows, columns = m.literal_value, vectors.literal_value
    tile = Tile(bits, lanes.literal_value, rows * columns)

    def codegen(context, b, signature, args):
        array = context.get_value_type(tile)
        step = tile.lanes * size_of(tile.dtype)
        value = ir.Constant(array, ir.Undefined)
        for j in range(columns):
            pointer = as_pointer(b, b.add(args[0], I64(j * step)), array.element)
            vector = b.load(pointer, align=1)
            for i in range(rows):
                value = b.insert_value(value, vector, i * columns + j)
        return value

    return tile(address, bits, lanes, m, vectors), codegen


@intrinsic(prefer_literal=True)
def repeat_columns(typingctx, address, bits, lanes, m, vectors):
    """A tile of ``m`` rows of ``vectors`` vectors, row i filled with scalar i at ``address``."""
    if not literals(bits, lanes, m, vectors):
        return None
    rows, columns = m.literal_value, vectors.literal_value
    tile = Tile(bits, lanes.literal_value, rows * columns)

    def codegen(context, b, signature, args):
        scalar, size = llvm_scalar(tile.dtype), size_of(tile.dtype)
        value = ir.Constant(context.get_value_type(tile), ir.Undefined)
        for i in range(rows):
            pointer = as_pointer(b, b.add(args[0], I64(i * size)), scalar)
            vector = splat(b, b.load(pointer, align=1), tile.lanes)
            for j in range(columns):
                value = b.insert_value(value, vector, i * columns + j)
        return value

    return tile(address, bits, lanes, m, vectors), codegen


@intrinsic
def add_tile(typingctx, tile, address):
    """``tile`` plus the vectors that lie one after the other at ``address``."""

    def codegen(context, b, signature, args):
        value, size = args[0], size_of(tile.dtype)
        for i in range(tile.count):
            vector = b.extract_value(value, i)
            pointer = as_pointer(b, b.add(args[1], I64(i * tile.lanes * size)), vector.type)
            total = add(b, vector, b.load(pointer, align=1))
            value = b.insert_value(value, total, i)
        return value

    return tile(tile, types.int64), codegen


@intrinsic
def store_tile(typingctx, tile, address):
    """Write the vectors of ``tile`` one after the other at ``address``."""

    def codegen(context, b, signature, args):
        step = tile.lanes * size_of(tile.dtype)
        for i in range(tile.count):
            vector = b.extract_value(args[0], i)
            pointer = as_pointer(b, b.add(args[1], I64(i * step)), vector.type)
            b.store(vector, pointer, align=1)
        return context.get_dummy_value()

    return types.void(tile, address), codegen


@intrinsic
def raised(typingctx, value, floor):
    """A tile, or a scalar, with all that is less than a number at that: an activation's floor.

    ``floor`` is the number's bits as an integer: see `Operands.floor`. NaN stays NaN.
    """

    def codegen(context, b, signature, args):
        if not isinstance(value, Tile):
            return at_least(b, args[0], args[1])
        tile = args[0]
        for i in range(value.count):
            vector = at_least(b, b.extract_value(tile, i), args[1])
            tile = b.insert_value(tile, vector, i)
        return tile

    return value(value, types.int64), codegen


@intrinsic(prefer_literal=True)
def outer(typingctx, tile, rows, offset, pitch, fixed, m, b_rows, b_offset, vectors):
    """One rank-1 update: scalars times vectors.

    Row ``(r, i)`` of the tile is the scalar at ``rows[r] + offset + i * pitch``, for each address
    of the tuple ``rows`` and ``i < m``. Column ``(q, j)`` is vector ``j`` at ``b_rows[q] +
    b_offset``, for each address of the tuple ``b_rows`` and ``j < vectors``. Their product is added
    to vector ``row * columns + column`` of ``tile``. A ``pitch`` known when compiling costs no
    register: it is given as ``fixed``, which is 0 otherwise.
    """
    if not literals(fixed, m, vectors):
        return None
    count, lanes, size = m.literal_value, tile.lanes, size_of(tile.dtype)
    known = fixed.literal_value
    columns = [(q, j) for q in range(len(b_rows)) for j in range(vectors.literal_value)]
    if len(rows) * count * len(columns) != tile.count:
        raise ValueError(
            f"{len(rows)} x {count} x {len(columns)} is no tile of {tile.count} vectors"
        )

    def codegen(context, b, signature, args):
        value, bases, shift, step, _, _, b_bases, b_shift, _ = args
        scalar, add_product = tile.factor, dot_pairs if tile.pairs else multiply_add
        vector = ir.VectorType(scalar, lanes)

        def load(q, j):
            start = b.add(b.extract_value(b_bases, q), b_shift)
            return b.load(as_pointer(b, b.add(start, I64(j * lanes * size)), vector), align=1)

        right = [load(q, j) for q, j in columns]
        for r in range(len(rows)):
            base = b.add(b.extract_value(bases, r), shift)
            for i in range(count):
                if known:
                    address = b.add(base, I64(i * known))
                else:
                    # Three to a base: base, base + step and base + 2 * step are addressing modes.
                    if i and i % 3 == 0:
                        base = b.add(base, b.mul(step, I64(3)))
                    address = b.add(base, b.mul(step, I64(i % 3)))
                left = splat(b, b.load(as_pointer(b, address, scalar), align=1), lanes)
                for j, column in enumerate(right):
                    k = (r * count + i) * len(right) + j
                    total = add_product(b, left, column, b.extract_value(value, k))
                    value = b.insert_value(value, total, k)
        return value

    signature = tile(tile, rows, types.int64, types.int64, fixed, m, b_rows, types.int64, vectors)
    return signature, codegen


@intrinsic(prefer_literal=True)
def inner(typingctx, tile, a, b_rows, valid, masked):
    """One step of dot products: vectors times vectors.

    ``tile[i * len(b_rows) + j] += vector(a[i]) * vector(b_rows[j])`` for the addresses in the two
    tuples. With ``masked`` 1 only the first ``valid`` lanes are read, the others count as zero.
    """
    if not literals(masked):
        return None
    dtype, lanes = tile.dtype, tile.lanes

    def codegen(context, b, signature, args):
        value, left, right, count, _ = args
        vector = ir.VectorType(llvm_scalar(dtype), lanes)
        mask = prefix_mask(b, lanes, count) if masked.literal_value else None

        def load(addresses, i):
            address = b.extract_value(addresses, i)
            if mask is not None:
                return masked_load(b, address, vector, mask)
            return b.load(as_pointer(b, address, vector), align=1)

        columns = [load(right, j) for j in range(len(b_rows))]
        for i in range(len(a)):
            row = load(left, i)
            for j, column in enumerate(columns):
                k = i * len(columns) + j
                total = multiply_add(b, row, column, b.extract_value(value, k))
                value = b.insert_value(value, total, k)
        return value

    return tile(tile, a, b_rows, types.int64, masked), codegen


@intrinsic
def add_sums(typingctx, tile, address):
    """Add the sum over the lanes of each vector of ``tile`` to the scalars at ``address``."""

    def codegen(context, b, signature, args):
        size = size_of(tile.dtype)
        for i in range(tile.count):
            vector = b.extract_value(args[0], i)
            width = tile.lanes // 2
            while width:
                low = shuffle(b, vector, vector, list(range(width)))
                high = shuffle(b, vector, vector, list(range(width, 2 * width)))
                vector = add(b, low, high)
                width //= 2
            pointer = as_pointer(b, b.add(args[1], I64(i * size)), vector.type)
            total = add(b, b.load(pointer, align=1), vector)
            b.store(total, pointer, align=1)
        return context.get_dummy_value()

    return types.void(tile, address), codegen


@intrinsic(prefer_literal=True)
def add_folded(typingctx, tile, lines, vectors, taps, turns):
    """Add rows of ``tile``, moved on lane by lane and summed, to the lines in memory.

    Each ``taps`` rows, ``vectors`` vectors long, are dealt out to ``turns`` lines: rows of one
    line after those of another, the first where the line begins and each a lane further on.
    """
    if not literals(vectors, taps, turns):
        return None
    length, lanes, size = vectors.literal_value, tile.lanes, size_of(tile.dtype)
    all_taps, apart = taps.literal_value, turns.literal_value
    runs = [len(range(turn, all_taps, apart)) for turn in range(min(all_taps, apart))]

    def codegen(context, b, signature, args):
        def vector(row, j):
            if 0 <= j < length:
                return b.extract_value(args[0], row * length + j)
            return ir.Constant(context.get_value_type(tile).element, None)

        def moved(row, j, by):
            picks = [lanes - by + lane for lane in range(lanes)]
            return shuffle(b, vector(row, j - 1), vector(row, j), picks)

        first = 0
        for i in range(len(lines)):
            start, run = b.extract_value(args[1], i), runs[i % len(runs)]
            totals = []
            for j in range(length + (run > 1)):
                total = vector(first, j)
                for by in range(1, run):
                    total = add(b, total, moved(first + by, j, by))
                totals.append(total)
            places = [
                as_pointer(b, b.add(start, I64(j * lanes * size)), total.type)
                for j, total in enumerate(totals)
            ]
            totals = [
                add(b, b.load(place, align=1), total)
                for place, total in zip(places, totals, strict=True)
            ]
            for place, total in zip(places, totals, strict=True):
                b.store(total, place, align=1)
            first += run
        return context.get_dummy_value()

    return types.void(tile, lines, vectors, taps, turns), codegen


@intrinsic(prefer_literal=True)
def add_rows(typingctx, tile, start, pitch, m, vectors, valid):
    """Add row ``i`` of ``tile``, ``vectors`` vectors long, to memory at ``start + i * pitch``.

    Of each row only the first ``valid`` elements are added; all of it is read. Rows may overlap.
    """
    if not literals(m, vectors):
        return None
    rows, columns, lanes = m.literal_value, vectors.literal_value, tile.lanes
    size = size_of(tile.dtype)

    def codegen(context, b, signature, args):
        value, base, step, _, _, count = args

        def added(write):
            for i in range(rows):
                line = b.add(base, b.mul(step, I64(i)))
                places = [b.add(line, I64(j * lanes * size)) for j in range(columns)]
                terms = [b.extract_value(value, i * columns + j) for j in range(columns)]
                totals = [
                    add(b, b.load(as_pointer(b, place, term.type), align=1), term)
                    for place, term in zip(places, terms, strict=True)
                ]
                for j, (place, total) in enumerate(zip(places, totals, strict=True)):
                    write(j, place, total)

        whole = b.icmp_signed(">=", count, I64(columns * lanes))
        with b.if_else(whole, likely=True) as (full, partial):
            with full:
                added(lambda j, place, v: b.store(v, as_pointer(b, place, v.type), align=1))
            with partial:
                masks = [
                    prefix_mask(b, lanes, b.sub(count, I64(j * lanes))) for j in range(columns)
                ]
                added(lambda j, place, v: masked_store(b, v, place, masks[j]))
        return context.get_dummy_value()

    return types.void(tile, types.int64, types.int64, m, vectors, types.int64), codegen
