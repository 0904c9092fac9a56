"""How tiles and blocks leave for memory: in rows, masked, transposed."""

from __future__ import annotations

from functools import reduce

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from fastconv.cpu.simd.conversions import rounded_to_bfloat
from fastconv.cpu.simd.emit import (
    I1,
    I32,
    I64,
    as_pointer,
    literals,
    llvm_scalar,
    masked_load,
    masked_store,
    prefix_mask,
    scalar_of,
    shuffle,
    size_of,
    transposed,
)

LINE = 64  #: bytes of a cache line


@intrinsic(prefer_literal=True)
def store_rows(typingctx, tile, rows, pitch, m, vectors, valid, near):
    """Write row ``(r, i)`` of ``tile``, ``vectors`` vectors long, at ``rows[r] + i * pitch``.

    Only the first ``valid`` elements of each row are written; ``near`` as in `store_lines`.
    """
    return _pitched_store(tile, rows, m, vectors, lambda r, i: r * m.literal_value + i)


@intrinsic(prefer_literal=True)
def store_windows(typingctx, tile, rows, pitch, m, vectors, valid, near):
    """Write column ``q`` of row ``i`` of ``tile``, ``vectors`` vectors, at ``rows[q] + i * pitch``.

    Only the first ``valid`` elements of each column are written; ``near`` as in `store_lines`.
    """
    return _pitched_store(tile, rows, m, vectors, lambda q, i: i * len(rows) + q)


@intrinsic(prefer_literal=True)
def store_lines(typingctx, tile, target, pitch, m, vectors, valid, near):
    """Write row ``i`` of ``tile``, ``vectors`` vectors long, at ``target + i * pitch``.

    Only the first ``valid`` elements of each row are written; whole rows take no masks. Nor do rows
    that follow each other closely, but for the last: the next one overwrites what each overhangs.
    ``near`` 1: the rows stay in the caches. 0: rows that are whole cache lines go past them, so
    that what was there need not be read before.
    """
    if not literals(m, vectors):
        return None
    rows, columns = m.literal_value, vectors.literal_value

    def codegen(context, b, signature, args):
        value, start, step, _, _, count, kept = args
        places = [(start, i, i * columns) for i in range(rows)]
        _store_vectors(b, value, tile, places, step, columns, count, kept, follow=True)
        return context.get_dummy_value()

    places = [types.int64] * 2
    return types.void(tile, *places, m, vectors, types.int64, types.int64), codegen


def _pitched_store(tile, rows, m, vectors, run_of):
    """Store run ``run_of(r, i)`` of ``vectors`` vectors at ``rows[r] + i * pitch``."""
    if not literals(m, vectors):
        return None
    count, columns = m.literal_value, vectors.literal_value

    def codegen(context, b, signature, args):
        bases = cgutils.unpack_tuple(b, args[1], len(rows))
        places = [
            (base, i, run_of(r, i) * columns) for r, base in enumerate(bases) for i in range(count)
        ]
        _store_vectors(b, args[0], tile, places, args[2], columns, *args[5:])
        return context.get_dummy_value()

    numbers = [types.int64] * 2
    return types.void(tile, rows, types.int64, m, vectors, *numbers), codegen


def _stored_size(tile):
    """Bytes of an element as it leaves: sums over pairs of bfloat16 are rounded to one."""
    return 2 if tile.pairs else size_of(tile.dtype)


def _stored(b, tile, vector):
    """A vector of ``tile`` as it leaves."""
    return rounded_to_bfloat(b, vector) if tile.pairs else vector


def _store_vectors(b, value, tile, places, pitch, columns, valid, near, follow=False):
    """For each (base, i, k), store ``columns`` vectors from number k on at base + i * pitch.

    ``near`` as in `store_lines`. ``follow``: all have one base, and i counts up from 0.
    """
    lanes, size = tile.lanes, _stored_size(tile)
    runs = [(b.add(base, b.mul(pitch, I64(i))), first) for base, i, first in places]

    def write(runs, masks=None, past_caches=False):
        for address, first in runs:
            for j in range(columns):
                vector = _stored(b, tile, b.extract_value(value, first + j))
                place = b.add(address, I64(j * lanes * size))
                if masks:
                    masked_store(b, vector, place, masks[j])
                elif past_caches:
                    stored = b.store(vector, as_pointer(b, place, vector.type), align=lanes * size)
                    stored.set_metadata("nontemporal", b.module.add_metadata([I32(1)]))
                else:
                    b.store(vector, as_pointer(b, place, vector.type), align=1)

    whole = b.icmp_signed(">=", valid, I64(columns * lanes))
    with b.if_else(whole, likely=True) as (full, partial):
        # Masked stores cost several times as much as plain ones.
        with full:
            if columns * lanes * size % LINE:
                write(runs)
            else:
                within = b.and_(reduce(b.or_, [start for start, _ in runs]), I64(LINE - 1))
                on_lines = b.icmp_signed("==", b.or_(within, near), I64(0))
                with b.if_else(on_lines) as (past, through):
                    with past:
                        write(runs, past_caches=True)
                    with through:
                        write(runs)
        with partial:
            masks = [prefix_mask(b, lanes, b.sub(valid, I64(j * lanes))) for j in range(columns)]
            if follow and len(runs) > 1:
                together = b.icmp_signed("==", pitch, b.mul(valid, I64(size)))
                within = b.icmp_signed(">=", b.mul(valid, I64(2)), I64(columns * lanes))
                with b.if_else(b.and_(together, within)) as (close, apart):
                    with close:
                        write(runs[:-1])
                        write(runs[-1:], masks)
                    with apart:
                        write(runs, masks)
            else:
                write(runs, masks)


@intrinsic(prefer_literal=True)
def store_columns(typingctx, tile, rows, lane_pitch, m, vectors):
    """Write ``tile`` transposed: lane ``l`` of rows ``(r, 0 .. m - 1)`` side by side.

    Element ``(r, i)`` of lane ``l`` (counted through all ``vectors``) goes to address
    ``rows[r] + l * lane_pitch + i * itemsize``.
    """
    if not literals(m, vectors):
        return None
    count, columns, lanes, size = (
        m.literal_value,
        vectors.literal_value,
        tile.lanes,
        _stored_size(tile),
    )

    def codegen(context, b, signature, args):
        value, bases, pitch = args[:3]
        vector = ir.VectorType(llvm_scalar(tile.dtype), lanes)
        blank = ir.Constant(vector, ir.Undefined)
        for r in range(len(rows)):
            base = b.extract_value(bases, r)
            for j in range(columns):
                for first in range(0, count, lanes):
                    filled = min(lanes, count - first)
                    block = [
                        b.extract_value(value, (r * count + first + i) * columns + j)
                        if i < filled
                        else blank
                        for i in range(lanes)
                    ]
                    mask = ir.Constant(
                        ir.VectorType(I1, lanes), [int(i < filled) for i in range(lanes)]
                    )
                    for lane, column in enumerate(transposed(b, block)):
                        shift = b.mul(pitch, I64(j * lanes + lane))
                        address = b.add(b.add(base, shift), I64(first * size))
                        column = _stored(b, tile, column)
                        if filled == lanes:
                            b.store(column, as_pointer(b, address, column.type), align=1)
                        elif filled == 1:
                            # LLVM 20 makes 32 bits of a masked store of one lane of 16.
                            scalar = b.extract_element(column, I32(0))
                            b.store(scalar, as_pointer(b, address, scalar.type), align=1)
                        else:
                            masked_store(b, column, address, mask)
        return context.get_dummy_value()

    return types.void(tile, rows, lane_pitch, m, vectors), codegen


@intrinsic(prefer_literal=True)
def transpose_block(
    typingctx, source, source_pitch, height, target, target_pitch, width, bits, lanes
):
    """Transpose ``height`` x ``width`` elements, or the first ``lanes`` x ``lanes`` of them.

    Rows lie ``source_pitch`` apart at ``source``; each becomes a column at ``target``, whose rows
    lie ``target_pitch`` apart. Nothing outside the block is read or written.
    """
    if not literals(bits, lanes):
        return None
    n = lanes.literal_value

    def codegen(context, b, signature, args):
        start, step, rows, out, out_step, columns = args[:6]
        vector = ir.VectorType(llvm_scalar(scalar_of(bits)), n)
        zero = I64(0)

        def mask(index, bound, length):
            inside = b.icmp_signed("<", I64(index), bound)
            return prefix_mask(b, n, b.select(inside, length, zero))

        def source(i):
            return b.add(start, b.mul(step, I64(i)))

        def target(i):
            return b.add(out, b.mul(out_step, I64(i)))

        whole = b.and_(b.icmp_signed(">=", rows, I64(n)), b.icmp_signed(">=", columns, I64(n)))
        with b.if_else(whole) as (full, partial):
            # Masked stores cost several times as much as plain ones.
            with full:
                block = [b.load(as_pointer(b, source(i), vector), align=1) for i in range(n)]
                for i, column in enumerate(transposed(b, block)):
                    b.store(column, as_pointer(b, target(i), vector), align=1)
            with partial:
                block = [
                    masked_load(b, source(i), vector, mask(i, rows, columns)) for i in range(n)
                ]
                for i, column in enumerate(transposed(b, block)):
                    masked_store(b, column, target(i), mask(i, columns, rows))
        return context.get_dummy_value()

    return types.void(*[types.int64] * 6, bits, lanes), codegen


@intrinsic(prefer_literal=True)
def copy_vector(typingctx, target, source, valid, bits, lanes):
    """Copy one vector, of its elements at most ``valid``."""
    if not literals(bits, lanes):
        return None
    n = lanes.literal_value

    def codegen(context, b, signature, args):
        vector = ir.VectorType(llvm_scalar(scalar_of(bits)), n)
        mask = prefix_mask(b, n, args[2])
        masked_store(b, masked_load(b, args[1], vector, mask), args[0], mask)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64, bits, lanes), codegen


@intrinsic(prefer_literal=True)
def copy_pairs(typingctx, target, source, valid, bits, lanes):
    """Copy every other element, up to one vector of them and at most ``valid``."""
    if not literals(bits, lanes):
        return None
    n = lanes.literal_value

    def codegen(context, b, signature, args):
        vector = ir.VectorType(llvm_scalar(scalar_of(bits)), n)
        size = size_of(scalar_of(bits))
        out, start, count = args[:3]
        # The element after the last is not touched: it may lie outside.
        reach = b.sub(b.mul(count, I64(2)), I64(1))
        low = masked_load(b, start, vector, prefix_mask(b, n, reach))
        high_mask = prefix_mask(b, n, b.sub(reach, I64(n)))
        high = masked_load(b, b.add(start, I64(n * size)), vector, high_mask)
        value = shuffle(b, low, high, list(range(0, 2 * n, 2)))
        masked_store(b, value, out, prefix_mask(b, n, count))
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64, bits, lanes), codegen


@intrinsic(prefer_literal=True)
def zip_vectors(typingctx, target, first, second, bits, lanes):
    """Write ``lanes`` elements at ``first`` and as many at ``second``, by turns, at ``target``."""
    if not literals(bits, lanes):
        return None
    n, element = lanes.literal_value, ir.IntType(bits.literal_value)

    def codegen(context, b, signature, args):
        vector = ir.VectorType(element, n)
        x, y = (b.load(as_pointer(b, address, vector), align=1) for address in args[1:3])
        both = shuffle(b, x, y, [i + n * side for i in range(n) for side in range(2)])
        b.store(both, as_pointer(b, args[0], both.type), align=1)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64, bits, lanes), codegen
