"""Hopper's products (sm_90a): four warps multiply matrices that stand in shared memory.

Both operands lie in rows of 128 bytes, eight rows to a block of 1024, and each block at a multiple
of 1024. Within a row the 16-byte chunks change places: chunk c of row r stands at c ^ (r % 8), the
128-byte swizzle. Two arrangements are used:

- reduction innermost: row r is row r of the matrix, its 128 bytes are the reduction;
- rows innermost (16-bit kinds alone): row p is place p of the reduction, its 128 bytes are 64 rows
  of the matrix; further rows of the matrix follow ``leading`` bytes on.

A descriptor names such an operand. A product takes 32 bytes of the reduction in the first case, 16
places in the second, so the next product's operand begins 32 or 2048 bytes on.

The sums of 64 rows x N columns are spread over 128 threads: thread T holds in 4 j + 0 .. 3, with
L = T % 32, row 16 (T // 32) + L // 4 at columns 8 j + 2 (L % 4) and + 1, then the row 8 further on.

"PTX ISA", sections on wgmma and its shared memory layouts.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types

from .instruction import SIMULATED, instruction
from .matrix import as_numbers
from .simulated import together

BLOCK = 1024  #: bytes of eight swizzled rows
_THREADS = 128
_ROWS = 64


@instruction(
    "{ .reg .b64 a; .reg .b32 s; and.b32 s, $1, 0x3ffff; shr.u32 s, s, 4; cvt.u64.u32 a, s;"
    " or.b64 $0, a, $2; }",
    "rl",
    "l",
    pure=True,
)
def descriptor(address: Any, layout: Any) -> Any:
    """An operand that begins at a shared address, arranged as `layout_of` says."""
    return address, int(layout)


def layout_of(leading: int, stride: int) -> int:
    """A descriptor's upper part: bytes to the next 64 rows and to the next block, and the swizzle.

    Where the reduction is innermost, ``leading`` means nothing.
    """
    return (leading >> 4) << 16 | (stride >> 4) << 32 | 1 << 62


@instruction("wgmma.fence.sync.aligned;", "")
def warpgroup_fence() -> None:
    """Order this thread's registers before the products that follow."""


@instruction("wgmma.commit_group.sync.aligned;", "")
def warpgroup_commit() -> None:
    """Close the group of products begun since the last."""


@instruction("wgmma.wait_group.sync.aligned 0;", "")
def warpgroup_wait_0() -> None:
    """Wait for all groups of products."""


@instruction("wgmma.wait_group.sync.aligned 1;", "")
def warpgroup_wait_1() -> None:
    """Wait until at most the newest group of products is under way."""


def warpgroup_multiply(kind: str, columns: int, *, rows_inner: bool = False) -> Any:
    """The product ``(sums, a, b)``: adds A B, 64 x columns, to an array of columns / 2 float32.

    The sums may be read only after a wait. ``rows_inner`` says how both operands are arranged.
    """
    if SIMULATED:

        def multiply(sums: Any, a: Any, b: Any) -> None:
            """The same, at once."""
            found = together(
                (a, b, sums), lambda lanes: _product(lanes, kind, columns, rows_inner), _THREADS
            )
            sums[:] = found

        return multiply
    return _multiply_intrinsic(kind, columns, rows_inner)


def _product(lanes: list[Any], kind: str, columns: int, rows_inner: bool) -> list[Any]:
    a_at, b_at, _ = lanes[0]
    a = _operand(a_at, kind, _ROWS, rows_inner)
    b = _operand(b_at, kind, columns, rows_inner)
    product = a @ b.T
    results = []
    for thread, (_, _, sums) in enumerate(lanes):
        row, column = thread // 32 * 16 + thread % 32 // 4, thread % 4 * 2
        spread = product.reshape(_ROWS, columns // 8, 8)[[row, row + 8], :, column : column + 2]
        results.append(sums + spread.transpose(1, 0, 2).ravel())
    return results


def _operand(at: Any, kind: str, rows: int, rows_inner: bool) -> np.ndarray[Any, Any]:
    """The numbers of an operand, [row][reduction]."""
    start, layout = at
    leading, stride = (layout >> 16 & 0x3FFF) << 4, (layout >> 32 & 0x3FFF) << 4
    if rows_inner:
        elements = [
            [_swizzled(start, r // 64 * leading + p // 8 * stride + p % 8 * 128 + r % 64 * 2, 2)
             for p in range(16)]
            for r in range(rows)
        ]  # fmt: skip
        words = np.array(elements, np.uint16).view(np.int32)
    else:
        chunks = [
            [_swizzled(start, r // 8 * stride + r % 8 * 128 + 16 * c, 16) for c in range(2)]
            for r in range(rows)
        ]
        words = np.array(chunks, np.uint8).reshape(rows, 32).view(np.int32)
    return as_numbers(words, kind)


def _swizzled(start: Any, offset: int, size: int) -> Any:
    """What stands ``offset`` bytes on before the chunks change places."""
    address = int(start) + offset
    moved = address ^ (address >> 7 & 7) << 4
    at = start + (moved - int(start))
    return at.read(np.uint16)[0] if size == 2 else at.read(np.uint8, size)


def _multiply_intrinsic(kind: str, columns: int, rows_inner: bool) -> Any:
    from numba.cuda.extending import intrinsic

    count = columns // 2
    depth = 8 if kind == "tf32" else 16
    registers = ", ".join(f"${i}" for i in range(count))
    turned = "" if kind == "tf32" else (", 1, 1" if rows_inner else ", 0, 0")
    # The operands after the sums: as many inputs tied to the outputs, then the descriptors.
    text = (
        f"wgmma.mma_async.sync.aligned.m64n{columns}k{depth}.f32.{kind}.{kind} {{{registers}}},"
        f" ${2 * count}, ${2 * count + 1}, 1, 1, 1{turned};"
    )
    constraints = ",".join(["=f"] * count + [str(i) for i in range(count)] + ["l", "l"])
    real = ir.FloatType()
    asm_type = ir.FunctionType(
        ir.LiteralStructType([real] * count), [real] * count + [ir.IntType(64)] * 2
    )

    @intrinsic
    def multiply(typing_context: Any, sums: Any, a: Any, b: Any) -> Any:
        """The product, begun."""

        def codegen(context: Any, builder: ir.IRBuilder, signature: Any, values: Any) -> ir.Value:
            data = context.make_array(signature.args[0])(context, builder, values[0]).data
            places = [builder.gep(data, [ir.IntType(64)(i)]) for i in range(count)]
            held = [builder.load(place) for place in places]
            called = ir.InlineAsm(asm_type, text, constraints, side_effect=True)
            result = builder.call(called, [*held, values[1], values[2]], attrs=("convergent",))
            for i, place in enumerate(places):
                builder.store(builder.extract_value(result, i), place)
            return context.get_dummy_value()

        return types.void(sums, types.int64, types.int64), codegen

    return multiply
