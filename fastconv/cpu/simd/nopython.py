"""A call of fastconv in a user's compiled function: what its arguments are, made 64-bit words.

All of it is compiled into that function, so it does as little as it can: it writes the words down,
has `FIND` look for an entry, makes an array for the result and has `RUN` fill it. See `protocol`.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.imputils import impl_ret_borrowed, impl_ret_new_ref
from numba.extending import intrinsic
from numba.np.arrayobj import make_array, populate_array

from fastconv.cpu import protocol
from fastconv.cpu.always import njit
from fastconv.cpu.simd.emit import I64, as_pointer
from fastconv.cpu.simd.memory import word
from fastconv.cpu.simd.shared import called_at, caller, external, text_at
from fastconv.cpu.witness import WITNESS

_LINE = 64  # bytes of a cache line: results start on one


def entry_call(schema: str, key: int, result: types.Type | None) -> Any:
    """The intrinsic that does a call of which ``schema`` and its hash ``key`` tell the types.

    It takes the arrays X, W, BIAS and the one for the result, each of which may be None, and a
    tuple of all other arguments, and returns the result: an array of the type ``result``, or where
    that is None the array that it was given.
    """

    @intrinsic
    def call(typingctx, arrays, others):
        refuse = typingctx.resolve_value_type(_refuse)
        refusal = refuse.get_call_type(typingctx, (types.int64,), {})
        returned = result or arrays[3]

        def codegen(context, b, signature, args):
            constants = context.environment.consts
            if not any(constant is WITNESS for constant in constants):
                constants.append(WITNESS)
            refused = context.get_function(refuse, refusal)

            def check(wrong: ir.Value) -> None:
                with b.if_then(wrong, likely=False):
                    refused(b, [data])

            given = list(zip(arrays, cgutils.unpack_tuple(b, args[0]), strict=True))
            bias = None
            if isinstance(arrays[2], types.Array) and arrays[2].layout != "C":
                bias = types.Array(arrays[2].dtype, arrays[2].ndim, "C")
                made = context.compile_internal(b, _copied, bias(arrays[2]), [given[2][1]])
                given[2] = bias, made
            words: list[ir.Value] = []
            for kind, value in given:
                if isinstance(kind, types.Array):
                    array = make_array(kind)(context, b, value)
                    words += cgutils.unpack_tuple(b, array.shape, kind.ndim)
                    words += cgutils.unpack_tuple(b, array.strides, kind.ndim)
            words += _flat(context, b, others, args[1])

            block, data = _written(context, b, key, words, given)
            state = external(b, protocol.SYMBOL)
            text = context.insert_const_string(b.module, schema)
            length = I64(len(words) + protocol.FIRST)
            asked = [block, length, b.ptrtoint(text, I64), I64(len(schema))]
            called_at(b, _load(b, state, protocol.FIND), asked)
            entry = _load_at(b, data, protocol.ANSWER)
            check(b.icmp_signed("==", entry, I64(0)))
            if result is not None:
                y = _new_array(context, b, result, entry)
                _store(b, data, protocol.Y, b.ptrtoint(y.data, I64))
            status = called_at(b, _load(b, state, protocol.RUN), [entry, data])
            failed = b.icmp_signed("!=", status, I64(0))
            if bias is not None:
                context.nrt.decref(b, *given[2])
            if result is not None:
                with b.if_then(failed, likely=False):
                    context.nrt.decref(b, result, y._getvalue())
            check(failed)
            if result is not None:
                return impl_ret_new_ref(context, b, returned, y._getvalue())
            return impl_ret_borrowed(context, b, returned, given[3][1])

        return returned(arrays, others), codegen

    return call


def _written(
    context: Any, b: ir.IRBuilder, key: int, words: list[ir.Value], given: list[Any]
) -> tuple[ir.Value, ir.Value]:
    """The addresses, on the stack, of a call's words and of its data."""
    length = protocol.FIRST + len(words)
    held = cgutils.alloca_once(b, ir.ArrayType(I64, length + protocol.DATA_WORDS))
    block = b.ptrtoint(held, I64)
    data = b.add(block, I64(8 * length))
    for i, value in enumerate([I64(key), I64(0), *words]):
        _store(b, block, i, value)
    places = protocol.X, protocol.W, protocol.BIAS, protocol.Y
    for place, (kind, value) in zip(places, given, strict=True):
        address = I64(0)
        if isinstance(kind, types.Array):
            address = b.ptrtoint(make_array(kind)(context, b, value).data, I64)
        _store(b, data, place, address)
    _store(b, data, protocol.ERROR, I64(protocol.INTERRUPTED))
    _store(b, data, protocol.MESSAGE, I64(0))
    _store(b, data, protocol.ANSWER, I64(0))
    _store(b, data, protocol.CALLER, caller(b, protocol.HOLDS_LOCK, protocol.STRANGER))
    return block, data


def _flat(context: Any, b: ir.IRBuilder, kind: types.Type, value: ir.Value) -> list[ir.Value]:
    """The numbers in a value as words, in order; strings and None have none."""
    if isinstance(kind, types.BaseTuple):
        items = zip(kind, cgutils.unpack_tuple(b, value, len(kind)), strict=True)
        return [word for inner, item in items for word in _flat(context, b, inner, item)]
    if isinstance(kind, types.Float):
        return [b.bitcast(context.cast(b, value, kind, types.float64), I64)]
    if isinstance(kind, types.Boolean):
        return [b.zext(value, I64)]
    if isinstance(kind, types.Integer):
        wide = types.int64 if kind.signed else types.uint64
        return [context.cast(b, value, kind, wide)]
    return []


def _new_array(context: Any, b: ir.IRBuilder, kind: types.Array, entry: ir.Value) -> Any:
    """An uninitialised array as an entry says."""
    size = _load_at(b, entry, protocol.BYTES)
    shape = [_load_at(b, entry, protocol.SHAPE + i) for i in range(kind.ndim)]
    strides = [_load_at(b, entry, protocol.STRIDES + i) for i in range(kind.ndim)]
    held = cgutils.alloca_once(b, cgutils.voidptr_t)
    start = cgutils.alloca_once_value(b, I64(0))
    large = b.icmp_signed(">=", size, I64(protocol.LARGE_BYTES))
    with b.if_else(large, likely=False) as (then, otherwise):
        with then:
            make = _load(b, external(b, protocol.SYMBOL), protocol.LARGE)
            record = called_at(b, make, [b.add(size, I64(_LINE))])
            b.store(b.inttoptr(record, cgutils.voidptr_t), held)
        with otherwise:
            b.store(context.nrt.meminfo_alloc_aligned_unchecked(b, size, _LINE), held)
    memory = b.load(held)
    with cgutils.if_likely(b, cgutils.is_not_null(b, memory)):
        first = b.ptrtoint(context.nrt.meminfo_data(b, memory), I64)
        b.store(b.and_(b.add(first, I64(_LINE - 1)), I64(-_LINE)), start)
    pointee = context.get_data_type(kind.dtype)
    data = b.inttoptr(b.load(start), pointee.as_pointer())
    array = make_array(kind)(context, b)
    populate_array(array, data, shape, strides, context.get_abi_sizeof(pointee), memory)
    return array


def _copied(array):
    return array.copy()


def _store(b: ir.IRBuilder, address: ir.Value, place: int, value: ir.Value) -> None:
    b.store(value, b.gep(as_pointer(b, address, I64), [I64(place)]))


def _load_at(b: ir.IRBuilder, address: ir.Value, place: int) -> ir.Value:
    return _load(b, as_pointer(b, address, I64), place)


def _load(b: ir.IRBuilder, pointer: ir.Value, place: int) -> ir.Value:
    return b.load(b.gep(pointer, [I64(place)]))


@njit
def _refuse(data):
    """Raise the error that a call's data tell of."""
    kind, message = word(data, protocol.ERROR), word(data, protocol.MESSAGE)
    if message == 0 and kind == protocol.STARVED:
        raise MemoryError("there is no memory for the result or for the workspace")
    text = text_at(message) if message else ""
    if kind == 0:
        raise TypeError(text)
    if kind == 1:
        raise ValueError(text)
    if kind == 2:
        raise MemoryError(text)
    if kind == 4:
        raise KeyboardInterrupt(text)
    raise RuntimeError(text)
