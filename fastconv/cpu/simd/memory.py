"""Scalars, 64-bit words, tuples of addresses, and calls by address."""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from fastconv.cpu.simd.emit import (
    I8,
    I32,
    I64,
    as_pointer,
    literals,
    llvm_scalar,
    scalar_of,
)


@intrinsic(prefer_literal=True)
def peek(typingctx, address, bits):
    """The scalar of ``bits`` bits at ``address``."""
    if not literals(bits):
        return None
    dtype = scalar_of(bits)

    def codegen(context, b, signature, args):
        return b.load(as_pointer(b, args[0], llvm_scalar(dtype)), align=1)

    return dtype(types.int64, bits), codegen


@intrinsic
def poke(typingctx, address, value):
    """Write the floating-point scalar ``value`` at ``address``."""

    def codegen(context, b, signature, args):
        b.store(args[1], as_pointer(b, args[0], args[1].type), align=1)
        return context.get_dummy_value()

    return types.void(types.int64, value), codegen


def _ask(b, address, write):
    """Emit a prefetch of the cache line at ``address``, into the first level."""
    pointer = I8.as_pointer()
    prototype = ir.FunctionType(ir.VoidType(), [pointer, I32, I32, I32])
    function = cgutils.get_or_insert_function(b.module, prototype, "llvm.prefetch.p0")
    b.call(function, [b.inttoptr(address, pointer), I32(write), I32(3), I32(1)])


@intrinsic
def prefetch(typingctx, address, length):
    """Ask for the cache lines of ``length`` bytes at ``address``, which will soon be read."""

    def codegen(context, b, signature, args):
        lines = b.sdiv(b.add(args[1], I64(63)), I64(64))
        with cgutils.for_range(b, lines) as loop:
            _ask(b, b.add(args[0], b.mul(loop.index, I64(64))), 0)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), codegen


@intrinsic
def prefetch_line(typingctx, address):
    """Ask for the cache line at ``address``, which will soon be read."""

    def codegen(context, b, signature, args):
        _ask(b, args[0], 0)
        return context.get_dummy_value()

    return types.void(types.int64), codegen


@intrinsic
def prefetch_target(typingctx, address):
    """Ask for the cache line at ``address``, which will soon be written."""

    def codegen(context, b, signature, args):
        _ask(b, args[0], 1)
        return context.get_dummy_value()

    return types.void(types.int64), codegen


@intrinsic
def settle(typingctx):
    """Wait for all that went past the caches: other threads see it before what comes after this."""

    def codegen(context, b, signature, args):
        b.fence("seq_cst")
        return context.get_dummy_value()

    return types.void(), codegen


@intrinsic
def copy_bytes(typingctx, target, source, length):
    """Copy ``length`` bytes between addresses that do not overlap."""

    def codegen(context, b, signature, args):
        to, start = (as_pointer(b, a, I8) for a in args[:2])
        cgutils.raw_memcpy(b, to, start, args[2], 1)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), codegen


@intrinsic
def clear_bytes(typingctx, target, length):
    """Set ``length`` bytes at ``target`` to zero."""

    def codegen(context, b, signature, args):
        cgutils.memset(b, as_pointer(b, args[0], I8), args[1], 0)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), codegen


@intrinsic
def word(typingctx, address, index):
    """The 64-bit integer number ``index`` of those at ``address``."""

    def codegen(context, b, signature, args):
        return b.load(b.gep(as_pointer(b, args[0], I64), [args[1]]))

    return types.int64(types.int64, types.int64), codegen


@intrinsic(prefer_literal=True)
def words(typingctx, address, count):
    """The first ``count`` 64-bit integers at ``address``, as a tuple."""
    if not literals(count):
        return None
    result = types.UniTuple(types.int64, count.literal_value)

    def codegen(context, b, signature, args):
        pointer = as_pointer(b, args[0], I64)
        loaded = [b.load(b.gep(pointer, [I64(i)])) for i in range(result.count)]
        return context.make_tuple(b, result, loaded)

    return result(types.int64, count), codegen


@intrinsic(prefer_literal=True)
def lookup(typingctx, base, table, first, last, count):
    """The tuple of ``base + table[min(first + i, last)]`` for ``i < count``.

    Past the end the last entry stands again: a tile that hangs over computes it twice.
    """
    if not literals(count):
        return None
    result = types.UniTuple(types.int64, count.literal_value)

    def codegen(context, b, signature, args):
        start, entries, begin, end, _ = args
        pointer = as_pointer(b, entries, I64)
        found = []
        for i in range(result.count):
            index = b.add(begin, I64(i))
            index = b.select(b.icmp_signed("<", index, end), index, end)
            found.append(b.add(start, b.load(b.gep(pointer, [index]))))
        return context.make_tuple(b, result, found)

    return result(types.int64, types.int64, types.int64, types.int64, count), codegen


@intrinsic(prefer_literal=True)
def progression(typingctx, start, step, count):
    """The tuple of ``start + i * step`` for ``i < count``."""
    if not literals(count):
        return None
    result = types.UniTuple(types.int64, count.literal_value)

    def codegen(context, b, signature, args):
        terms = [b.add(args[0], b.mul(args[1], I64(i))) for i in range(result.count)]
        return context.make_tuple(b, result, terms)

    return result(types.int64, types.int64, count), codegen


@intrinsic
def shifted(typingctx, addresses, offset):
    """The tuple of addresses with ``offset`` added to each."""

    def codegen(context, b, signature, args):
        moved = [b.add(a, args[1]) for a in cgutils.unpack_tuple(b, args[0], len(addresses))]
        return context.make_tuple(b, addresses, moved)

    return addresses(addresses, types.int64), codegen


@intrinsic
def call(typingctx, function, arguments):
    """Call the C function at address ``function`` with a tuple of 64-bit integers."""

    def codegen(context, b, signature, args):
        values = cgutils.unpack_tuple(b, args[1], len(arguments))
        prototype = ir.FunctionType(ir.VoidType(), [I64] * len(values))
        b.call(as_pointer(b, args[0], prototype), values)
        return context.get_dummy_value()

    return types.void(types.int64, arguments), codegen
