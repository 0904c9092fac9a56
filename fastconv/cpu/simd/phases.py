"""The phases of a stride s: elements dealt out in turn to s vectors, and woven together again."""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from fastconv.cpu.simd.emit import (
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
)


@intrinsic(prefer_literal=True)
def split(typingctx, targets, source, valid, bits, lanes):
    """Deal the elements at ``source`` out in turn, one vector to each of ``targets``.

    Those beyond ``valid`` are not read and zero; the vectors are written whole.
    """
    if not literals(bits, lanes):
        return None
    apart, n = len(targets), lanes.literal_value

    def codegen(context, b, signature, args):
        outs, start, count = args[:3]
        vector = ir.VectorType(llvm_scalar(scalar_of(bits)), n)
        pointers = [as_pointer(b, out, vector) for out in cgutils.unpack_tuple(b, outs, apart)]

        def deal(loaded):
            for first, pointer in enumerate(pointers):
                b.store(_every(b, loaded, first, n), pointer, align=1)

        _with_run(b, start, count, vector, size_of(scalar_of(bits)), apart, deal)
        return context.get_dummy_value()

    return types.void(targets, types.int64, types.int64, bits, lanes), codegen


@intrinsic(prefer_literal=True)
def every(typingctx, target, source, valid, step, bits, lanes):
    """Write a vector of every ``step``-th element at ``source``; those beyond ``valid`` are zero.

    All of the vector is written, and nothing read behind its last valid element.
    """
    if not literals(step, bits, lanes):
        return None
    apart, n = step.literal_value, lanes.literal_value

    def codegen(context, b, signature, args):
        out, start, count = args[:3]
        vector = ir.VectorType(llvm_scalar(scalar_of(bits)), n)
        pointer = as_pointer(b, out, vector)
        reach = b.sub(b.mul(count, I64(apart)), I64(apart - 1))  # from the first to the last

        def pick(loaded):
            b.store(_every(b, loaded, 0, n), pointer, align=1)

        _with_run(b, start, reach, vector, size_of(scalar_of(bits)), apart, pick)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64, step, bits, lanes), codegen


def _with_run(b, start, valid, vector, size, count, use):
    """Call ``use`` with ``count`` vectors side by side: whole ones, or zero beyond ``valid``."""
    n = vector.count
    places = [b.add(start, I64(i * n * size)) for i in range(count)]
    with b.if_else(b.icmp_signed(">=", valid, I64(n * count))) as (full, partial):
        with full:
            use([b.load(as_pointer(b, place, vector), align=1) for place in places])
        with partial:
            masks = [prefix_mask(b, n, b.sub(valid, I64(i * n))) for i in range(count)]
            pairs = zip(places, masks, strict=True)
            use([masked_load(b, place, vector, mask) for place, mask in pairs])


def _every(b, loaded, first, n):
    """Elements ``first``, ``first`` + s, ... of ``s`` vectors laid end to end."""
    step = len(loaded)
    if step == 1:
        return loaded[0]
    found = [divmod(first + lane * step, n) for lane in range(n)]
    result = shuffle(
        b, loaded[0], loaded[1], [at + n * which if which < 2 else 0 for which, at in found]
    )
    for i in range(2, step):
        picks = [n + at if which == i else lane for lane, (which, at) in enumerate(found)]
        result = shuffle(b, result, loaded[i], picks)
    return result


@intrinsic(prefer_literal=True)
def weave(typingctx, target, sources, valid, bits, lanes):
    """Write the elements of the vectors at ``sources`` in turn, of all at most ``valid``."""
    if not literals(bits, lanes):
        return None
    apart, n = len(sources), lanes.literal_value

    def codegen(context, b, signature, args):
        out, starts, count = args[:3]
        size = size_of(scalar_of(bits))
        vector = ir.VectorType(llvm_scalar(scalar_of(bits)), n)
        given = [
            b.load(as_pointer(b, start, vector), align=1)
            for start in cgutils.unpack_tuple(b, starts, apart)
        ]
        woven = [_woven(b, given, i, n) for i in range(apart)]
        whole = b.icmp_signed(">=", count, I64(apart * n))
        with b.if_else(whole) as (full, partial):
            with full:
                for i, value in enumerate(woven):
                    place = b.add(out, I64(i * n * size))
                    b.store(value, as_pointer(b, place, vector), align=1)
            with partial:
                for i, value in enumerate(woven):
                    mask = prefix_mask(b, n, b.sub(count, I64(i * n)))
                    masked_store(b, value, b.add(out, I64(i * n * size)), mask)
        return context.get_dummy_value()

    return types.void(types.int64, sources, types.int64, bits, lanes), codegen


def _woven(b, given, i, n):
    """Vector ``i`` of the vectors' elements taken in turn."""
    step = len(given)
    turns = [divmod(i * n + lane, step) for lane in range(n)]
    if step == 1:
        return given[0]
    result = shuffle(
        b, given[0], given[1], [at + n * which if which < 2 else 0 for at, which in turns]
    )
    for which in range(2, step):
        picks = [n + at if turn == which else lane for lane, (at, turn) in enumerate(turns)]
        result = shuffle(b, result, given[which], picks)
    return result
