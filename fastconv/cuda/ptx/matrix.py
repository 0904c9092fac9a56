"""The tensor cores' instructions for one warp, and the loads that feed them.

Lane L of a warp holds parts of each matrix, named here by row and column, or by row and byte:

- ``load_matrices``: four matrices of 8 rows x 16 bytes. Lane L gives the address of row L % 8 of
  matrix L // 8. Register i of lane L is row L // 4, bytes 4 (L % 4) .. + 3 of matrix i.
- ``load_matrices_turned``: the same for 8 x 8 elements of 16 bits, transposed on the way: register
  i of lane L is column L // 4, rows 2 (L % 4) and + 1 of matrix i.
- A, 16 rows x 32 bytes of the reduction: registers 0 and 1 are rows L // 4 and L // 4 + 8 at bytes
  4 (L % 4) .. + 3; registers 2 and 3 the same rows, 16 bytes on.
- B, 8 columns x 32 bytes: register 0 is column L // 4 at bytes 4 (L % 4) .. + 3; register 1 the
  same, 16 bytes on.
- The sums, 16 rows x 8 columns of float32: 0 and 1 are row L // 4, columns 2 (L % 4) and + 1; 2 and
  3 are row L // 4 + 8.

32 bytes are 16 elements of float16 or bfloat16, or 8 of TF32, which is a float32 whose last 13
bits are ignored. Layouts: "PTX ISA", sections on ldmatrix and mma.sync.m16n8k16 and .m16n8k8.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .instruction import instruction
from .simulated import from_bfloat16, to_tf32, together

_LANES = range(32)


@instruction("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {$0, $1, $2, $3}, [$4];", "r", "rrrr")
def load_matrices(address: Any) -> Any:
    """Four 8 x 16-byte matrices, a row's address from each lane."""
    return together(address, lambda addresses: _matrices(addresses, turned=False))


@instruction("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {$0, $1, $2, $3}, [$4];", "r", "rrrr")
def load_matrices_turned(address: Any) -> Any:
    """Four 8 x 8 matrices of 16-bit elements, transposed."""
    return together(address, lambda addresses: _matrices(addresses, turned=True))


def _matrices(addresses: list[Any], *, turned: bool) -> Sequence[Any]:
    rows = np.stack([address.read(np.uint16, 8) for address in addresses]).reshape(4, 8, 8)
    if turned:
        rows = rows.transpose(0, 2, 1)
    words = np.ascontiguousarray(rows).view(np.int32)  # [matrix][row][word]
    return [tuple(words[:, lane // 4, lane % 4]) for lane in _LANES]


_MMA = (
    "mma.sync.aligned.{shape}.row.col.f32.{kind}.{kind}.f32 {{$0, $1, $2, $3}},"
    " {{$4, $5, $6, $7}}, {{$8, $9}}, {{$10, $11, $12, $13}};"
)


@instruction(_MMA.format(shape="m16n8k16", kind="f16"), "rrrrrrffff", "ffff", pure=True)
def multiply_f16(
    a0: Any, a1: Any, a2: Any, a3: Any, b0: Any, b1: Any, c0: Any, c1: Any, c2: Any, c3: Any
) -> Any:
    """Sums + A B of float16: 16 x 16 by 16 x 8."""
    return _multiply("f16", (a0, a1, a2, a3), (b0, b1), (c0, c1, c2, c3))


@instruction(_MMA.format(shape="m16n8k16", kind="bf16"), "rrrrrrffff", "ffff", pure=True)
def multiply_bf16(
    a0: Any, a1: Any, a2: Any, a3: Any, b0: Any, b1: Any, c0: Any, c1: Any, c2: Any, c3: Any
) -> Any:
    """Sums + A B of bfloat16: 16 x 16 by 16 x 8."""
    return _multiply("bf16", (a0, a1, a2, a3), (b0, b1), (c0, c1, c2, c3))


@instruction(_MMA.format(shape="m16n8k8", kind="tf32"), "rrrrrrffff", "ffff", pure=True)
def multiply_tf32(
    a0: Any, a1: Any, a2: Any, a3: Any, b0: Any, b1: Any, c0: Any, c1: Any, c2: Any, c3: Any
) -> Any:
    """Sums + A B of TF32: 16 x 8 by 8 x 8."""
    return _multiply("tf32", (a0, a1, a2, a3), (b0, b1), (c0, c1, c2, c3))


MULTIPLY = {"f16": multiply_f16, "bf16": multiply_bf16, "tf32": multiply_tf32}


def as_numbers(words: np.ndarray[Any, Any], kind: str) -> np.ndarray[Any, Any]:
    """The float32 values of rows of 32-bit registers."""
    words = np.ascontiguousarray(words)
    if kind == "f16":
        return words.view(np.float16).astype(np.float32)
    if kind == "bf16":
        return from_bfloat16(words.view(np.uint16))
    # The tensor cores drop the bits that TF32 lacks.
    return (words.view(np.uint32) & np.uint32(0xFFFFE000)).view(np.float32)


def _multiply(kind: str, a: Any, b: Any, c: Any) -> Any:
    def work(lanes: list[Any]) -> Sequence[Any]:
        rows = np.empty((16, 8), np.int32)
        columns = np.empty((8, 8), np.int32)
        sums = np.empty((16, 8), np.float32)
        for lane, (a, b, c) in enumerate(lanes):
            row, word = lane // 4, lane % 4
            for i in range(4):
                rows[row + i % 2 * 8, word + i // 2 * 4] = a[i]
                sums[row + i // 2 * 8, 2 * word + i % 2] = c[i]
            for i in range(2):
                columns[row, word + i * 4] = b[i]
        sums += as_numbers(rows, kind) @ as_numbers(columns, kind).T
        return [
            tuple(sums[lane // 4 + i // 2 * 8, 2 * (lane % 4) + i % 2] for i in range(4))
            for lane in _LANES
        ]

    return together((a, b, c), work)


@instruction("{ .reg .b32 t; mov.b32 t, $1; cvt.rna.tf32.f32 $0, t; }", "r", "r", pure=True)
def round_register_tf32(register: Any) -> Any:
    """A register that holds a float32, rounded to the nearest TF32."""
    return to_tf32(np.array([register], np.int32).view(np.float32)).view(np.int32)[0]


@instruction("ld.shared.b32 $0, [$1];", "r", "r")
def load_shared_register(address: Any) -> Any:
    """One 32-bit register of shared memory."""
    return address.read(np.int32)[0]


@instruction("st.shared.v2.f32 [$0], {$1, $2};", "rff")
def store2_shared_f32(address: Any, a: Any, b: Any) -> None:
    """Two float32 into shared memory."""
    address.write([a, b], np.float32)
