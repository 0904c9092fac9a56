"""Python objects in compiled code: as addresses in, as new references out.

Numba's own way to hand over an array takes longer than a small convolution. A function of
`Object` arguments gets each object's address and nothing else; the caller holds the objects.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import NativeValue, box, intrinsic, models, register_model, unbox

from fastconv.cpu.simd.emit import I64, literals


class Object(types.Type):  # type: ignore[misc]
    """A Numba type: a Python object, by its address."""

    def __init__(self) -> None:
        super().__init__(name="Object")


@register_model(Object)
class _ObjectModel(models.PrimitiveModel):  # type: ignore[misc]
    def __init__(self, dmm: Any, fe_type: Object) -> None:
        super().__init__(dmm, fe_type, I64)


@unbox(Object)
def _borrow(typ, obj, c):
    return NativeValue(c.builder.ptrtoint(obj, I64))


@box(Object)
def _hand_out(typ, value, c):
    reference = c.builder.inttoptr(value, c.pyapi.pyobj)
    c.pyapi.incref(reference)
    return reference


@intrinsic
def address_of(typingctx, reference):
    """The address of an `Object`."""

    def codegen(context, b, signature, args):
        return args[0]

    return types.int64(reference), codegen


@intrinsic
def object_at(typingctx, address):
    """The `Object` at an address."""

    def codegen(context, b, signature, args):
        return args[0]

    return Object()(types.int64), codegen


@intrinsic
def integer_value(typingctx, address):
    """The value of the exact int at ``address``; negative where it does not fit 64 bits."""

    def codegen(context, b, signature, args):
        api = context.get_python_api(b)
        value = api.long_as_longlong(b.inttoptr(args[0], api.pyobj))
        with b.if_then(b.icmp_signed("<", value, I64(0)), likely=False):
            api.err_clear()  # what does not fit is -1 and an error
        return value

    return types.int64(types.int64), codegen


def _length(function: str) -> Any:
    @intrinsic
    def length(typingctx, address):
        """The length of the exact tuple or list at ``address``."""

        def codegen(context, b, signature, args):
            api = context.get_python_api(b)
            prototype = ir.FunctionType(api.py_ssize_t, [api.pyobj])
            call = cgutils.get_or_insert_function(b.module, prototype, function)
            return b.call(call, [b.inttoptr(args[0], api.pyobj)])

        return types.int64(types.int64), codegen

    return length


def _item(function: str) -> Any:
    @intrinsic
    def item(typingctx, address, index):
        """The address of item number ``index`` of the exact tuple or list at ``address``."""

        def codegen(context, b, signature, args):
            api = context.get_python_api(b)
            prototype = ir.FunctionType(api.pyobj, [api.pyobj, api.py_ssize_t])
            call = cgutils.get_or_insert_function(b.module, prototype, function)
            return b.ptrtoint(b.call(call, [b.inttoptr(args[0], api.pyobj), args[1]]), I64)

        return types.int64(types.int64, types.int64), codegen

    return item


tuple_length, tuple_item = _length("PyTuple_Size"), _item("PyTuple_GetItem")
list_length, list_item = _length("PyList_Size"), _item("PyList_GetItem")


@intrinsic(prefer_literal=True)
def stack(typingctx, count):
    """The address of ``count`` 64-bit integers on the stack, good until the function returns."""
    if not literals(count):
        return None

    def codegen(context, b, signature, args):
        held = cgutils.alloca_once(b, ir.ArrayType(I64, count.literal_value))
        return b.ptrtoint(held, I64)

    return types.int64(count), codegen
