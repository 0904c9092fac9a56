"""Memory that several threads use at once, and what threads without a lock may ask Python."""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from fastconv.cpu.simd.emit import I8, I32, I64, as_pointer

_ANY = I8.as_pointer()


def external(b: ir.IRBuilder, name: str) -> ir.Value:
    """Where 64-bit words lie that go by ``name`` in this process: found when code is loaded."""
    known = b.module.globals.get(name)
    return known or cgutils.add_global_variable(b.module, I64, name)


def c_function(b: ir.IRBuilder, name: str, result: ir.Type, *arguments: ir.Type) -> ir.Function:
    """A C function of this process."""
    return cgutils.get_or_insert_function(b.module, ir.FunctionType(result, arguments), name)


def called_at(b: ir.IRBuilder, address: ir.Value, arguments: list[ir.Value]) -> ir.Value:
    """What the C function at ``address`` returns, given 64-bit integers."""
    prototype = ir.FunctionType(I64, [I64] * len(arguments))
    return b.call(as_pointer(b, address, prototype), arguments)


def caller(b: ir.IRBuilder, holds_lock: int, stranger: int) -> ir.Value:
    """What the calling thread is: holding the interpreter's lock, unknown to Python, or neither: 0.

    `PyGILState_Check` alone will not do: once there have been subinterpreters, it says of any
    thread that it holds the lock.
    """
    state = b.call(c_function(b, "PyGILState_GetThisThreadState", _ANY), [])
    holds = b.call(c_function(b, "PyGILState_Check", I32), [])
    known = b.select(b.icmp_signed("!=", holds, I32(0)), I64(holds_lock), I64(0))
    return b.select(cgutils.is_null(b, state), I64(stranger), known)


@intrinsic(prefer_literal=True)
def symbol(typingctx, name):
    """The address of what goes by the literal ``name`` in this process."""
    if not isinstance(name, types.StringLiteral):
        return None

    def codegen(context, b, signature, args):
        return b.ptrtoint(external(b, name.literal_value), I64)

    return types.int64(name), codegen


@intrinsic
def ask(typingctx, function, arguments):
    """Call a C function that runs Python, given a tuple of 64-bit integers: it answers in memory.

    It is called with the interpreter's lock. An error that this thread has set before, as Numba
    does within a parallel loop and then goes on, is put aside meanwhile.
    """

    def codegen(context, b, signature, args):
        api = context.get_python_api(b)
        lock = api.gil_ensure()
        error = [cgutils.alloca_once(b, api.pyobj) for _ in range(3)]
        b.call(c_function(b, "PyErr_Fetch", ir.VoidType(), *(e.type for e in error)), error)
        called_at(b, args[0], cgutils.unpack_tuple(b, args[1], len(arguments)))
        put_back = c_function(b, "PyErr_Restore", ir.VoidType(), *[api.pyobj] * 3)
        b.call(put_back, [b.load(e) for e in error])
        api.gil_release(lock)
        return context.get_dummy_value()

    return types.void(types.int64, arguments), codegen


@intrinsic
def add_at_once(typingctx, address, number):
    """Add to the 64-bit integer at ``address``, which other threads may change; what it was."""

    def codegen(context, b, signature, args):
        return b.atomic_rmw("add", as_pointer(b, args[0], I64), args[1], "seq_cst")

    return types.int64(types.int64, types.int64), codegen


@intrinsic
def exchange(typingctx, address, number):
    """Put a 64-bit integer at ``address`` in place of another, which is returned."""

    def codegen(context, b, signature, args):
        return b.atomic_rmw("xchg", as_pointer(b, args[0], I64), args[1], "seq_cst")

    return types.int64(types.int64, types.int64), codegen


@intrinsic
def replace_zero(typingctx, address, number):
    """Put a 64-bit integer at ``address`` if there is a zero, and say whether there was."""

    def codegen(context, b, signature, args):
        pointer = as_pointer(b, args[0], I64)
        found = b.cmpxchg(pointer, I64(0), args[1], "seq_cst", "seq_cst")
        return b.extract_value(found, 1)

    return types.boolean(types.int64, types.int64), codegen


@intrinsic
def published(typingctx, address):
    """The 64-bit integer at ``address``; what was written before it was published is seen then."""

    def codegen(context, b, signature, args):
        return b.load_atomic(as_pointer(b, args[0], I64), "seq_cst", 8)

    return types.int64(types.int64), codegen


@intrinsic
def publish(typingctx, address, number):
    """Write a 64-bit integer for `published`, after all that was written before."""

    def codegen(context, b, signature, args):
        b.store_atomic(args[1], as_pointer(b, args[0], I64), "seq_cst", 8)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), codegen


@intrinsic
def allocate(typingctx, size):
    """The address of ``size`` new bytes, or 0: for any thread, with a lock or without."""

    def codegen(context, b, signature, args):
        return b.ptrtoint(b.call(c_function(b, "PyMem_RawMalloc", _ANY, I64), args), I64)

    return types.int64(types.int64), codegen


@intrinsic
def free(typingctx, address):
    """Give memory back that `allocate` gave."""

    def codegen(context, b, signature, args):
        function = c_function(b, "PyMem_RawFree", ir.VoidType(), _ANY)
        b.call(function, [b.inttoptr(args[0], _ANY)])
        return context.get_dummy_value()

    return types.void(types.int64), codegen


@intrinsic
def managed_memory(typingctx, size, allocator):
    """The address of Numba's record of new memory, or 0, by the external allocator at an address.

    See numba/core/runtime/nrt_external.h: that allocator's four words, and the table of functions
    of which this calls the second, ``allocate_external``.
    """

    def codegen(context, b, signature, args):
        table = b.call(c_function(b, "NRT_get_api", I64.as_pointer()), [])
        return called_at(b, b.load(b.gep(table, [I64(1)])), args)

    return types.int64(types.int64, types.int64), codegen


@intrinsic
def context_integer(typingctx, variable):
    """The integer that the context variable at an address holds in the caller's context.

    The caller holds the interpreter's lock, and the variable has a default. It is an integer.
    """

    def codegen(context, b, signature, args):
        api = context.get_python_api(b)
        place = cgutils.alloca_once(b, api.pyobj, zfill=True)
        get = c_function(b, "PyContextVar_Get", I32, api.pyobj, api.pyobj, place.type)
        b.call(get, [b.inttoptr(args[0], api.pyobj), api.get_null_object(), place])
        found = b.load(place)
        number = api.long_as_longlong(found)
        api.decref(found)
        return number

    return types.int64(types.int64), codegen


@intrinsic
def text_at(typingctx, address):
    """The string at an address, for whom a reference to it was kept."""

    def codegen(context, b, signature, args):
        api = context.get_python_api(b)
        lock = api.gil_ensure()
        string = b.inttoptr(args[0], api.pyobj)
        text = api.to_native_value(types.unicode_type, string).value
        api.decref(string)
        api.gil_release(lock)
        return text

    return types.unicode_type(types.int64), codegen
