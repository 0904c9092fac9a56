"""Tables, shared memory, and copies into it that go past the registers."""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types

from .instruction import SIMULATED, instruction
from .simulated import Pointer


@instruction("ld.global.nc.b32 $0, [$1];", "l", "r", pure=True)
def load_i32(address: Any) -> Any:
    """One 32-bit integer."""
    return address.read(np.int32)[0]


@instruction("ld.global.nc.v4.b32 {$0, $1, $2, $3}, [$4];", "l", "rrrr", pure=True)
def load4_i32(address: Any) -> Any:
    """Four 32-bit integers: one entry of a table."""
    return tuple(address.read(np.int32, 4))


@instruction("ld.shared.v4.b32 {$0, $1, $2, $3}, [$4];", "r", "rrrr")
def load4_shared_i32(address: Any) -> Any:
    """Four 32-bit integers of shared memory."""
    return tuple(address.read(np.int32, 4))


@instruction("st.shared.v4.b32 [$0], {$1, $2, $3, $4};", "rrrrr")
def store4_shared_i32(address: Any, a: Any, b: Any, c: Any, d: Any) -> None:
    """Four 32-bit integers into shared memory."""
    address.write([a, b, c, d], np.int32)


@instruction("cp.async.cg.shared.global [$0], [$1], 16, $2;", "rlr")
def copy_async(shared: Any, source: Any, size: Any) -> None:
    """Start copying 16 bytes to shared memory; with a ``size`` of 0, 16 zeros, and nothing read."""
    shared.write(source.read(np.uint8, 16) if size else np.zeros(16, np.uint8), np.uint8)


@instruction("cp.async.commit_group;", "")
def copy_commit() -> None:
    """Close the group of copies that this thread has started."""


def copy_waits(under_way: int) -> Any:
    """A wait until at most so many of this thread's newest groups of copies are under way."""

    @instruction(f"cp.async.wait_group {under_way};", "")
    def wait() -> None:
        """Wait."""

    return wait


if SIMULATED:

    def shared_memory(array: Any) -> Any:
        """The address of the block's dynamic shared memory, ``cuda.shared.array(0, uint8)``."""
        return Pointer(array.view(np.uint8))

else:
    from numba.cuda.extending import intrinsic

    @intrinsic
    def shared_memory(typing_context: Any, array: Any) -> Any:
        """The address of the block's dynamic shared memory, ``cuda.shared.array(0, uint8)``."""

        def codegen(context: Any, builder: ir.IRBuilder, signature: Any, values: Any) -> ir.Value:
            data = context.make_array(signature.args[0])(context, builder, values[0]).data
            shared = builder.addrspacecast(data, data.type.pointee.as_pointer(3))
            return builder.ptrtoint(shared, ir.IntType(32))

        return types.int32(array), codegen
