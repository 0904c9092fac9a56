"""What the intrinsics are emitted with: LLVM types, pointers, masks and shuffles."""

from __future__ import annotations

from typing import Any

from llvmlite import binding, ir
from numba import types
from numba.core import cgutils, config
from numba.core.registry import cpu_target
from numba.extending import models, register_model

I1, I8, I32, I64 = (ir.IntType(n) for n in (1, 8, 32, 64))

_PROBE = """
define void @probe(<16 x float>* %a) {
  %x = load <16 x float>, <16 x float>* %a
  %y = fadd <16 x float> %x, %x
  store <16 x float> %y, <16 x float>* %a
  ret void
}
"""


def _vector_bits() -> int:
    """The width in bits of the widest vectors of the processor that Numba compiles for."""
    if config.CPU_NAME is None and config.CPU_FEATURES is None and config.ENABLE_AVX:
        present = binding.get_host_cpu_features()
        return 512 if present.get("avx512f") else 256 if present.get("avx2") else 128
    # What the settings leave of a processor, only LLVM knows: see what it makes of a vector.
    assembly = cpu_target.target_context.codegen()._tm.emit_assembly(binding.parse_assembly(_PROBE))
    return 512 if "zmm" in assembly else 256 if "ymm" in assembly else 128


VECTOR_BITS = _vector_bits()


class Tile(types.Type):  # type: ignore[misc]
    """A Numba type: ``count`` vectors of ``lanes`` elements of ``dtype``."""

    def __init__(self, dtype: types.Type, lanes: int, count: int) -> None:
        self.dtype, self.lanes, self.count = dtype, lanes, count
        super().__init__(name=f"Tile({dtype}, {lanes}, {count})")


@register_model(Tile)
class _TileModel(models.PrimitiveModel):  # type: ignore[misc]
    def __init__(self, dmm: Any, fe_type: Tile) -> None:
        vector = ir.VectorType(llvm_scalar(fe_type.dtype), fe_type.lanes)
        super().__init__(dmm, fe_type, ir.ArrayType(vector, fe_type.count))


def llvm_scalar(dtype: types.Type) -> ir.Type:
    """The LLVM type of a Numba float."""
    return ir.FloatType() if dtype == types.float32 else ir.DoubleType()


def scalar_of(bits: types.IntegerLiteral) -> types.Type:
    """The Numba float of a number of bits."""
    return types.float32 if bits.literal_value == 32 else types.float64


def size_of(dtype: types.Type) -> int:
    """Bytes of a Numba float."""
    return int(dtype.bitwidth) // 8


def as_pointer(b: ir.IRBuilder, address: ir.Value, pointee: ir.Type) -> ir.Value:
    """An address as a pointer."""
    return b.inttoptr(address, pointee.as_pointer())


def splat(b: ir.IRBuilder, scalar: ir.Value, lanes: int) -> ir.Value:
    """A vector with the same scalar in every lane."""
    vector = ir.VectorType(scalar.type, lanes)
    undefined = ir.Constant(vector, ir.Undefined)
    first = b.insert_element(undefined, scalar, I32(0))
    return b.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(I32, lanes), [0] * lanes))


def shuffle(b: ir.IRBuilder, x: ir.Value, y: ir.Value, picks: list[int]) -> ir.Value:
    """The lanes ``picks`` of two vectors laid end to end."""
    return b.shuffle_vector(x, y, ir.Constant(ir.VectorType(I32, len(picks)), picks))


def _suffix(vector: ir.VectorType) -> str:
    return f"v{vector.count}f{32 if isinstance(vector.element, ir.FloatType) else 64}"


def multiply_add(b: ir.IRBuilder, x: ir.Value, y: ir.Value, z: ir.Value) -> ir.Value:
    """X * y + z, fused where the processor can."""
    # fmuladd, not fma: without an FMA unit the latter is a call into libm for every lane.
    signature = ir.FunctionType(x.type, [x.type] * 3)
    name = f"llvm.fmuladd.{_suffix(x.type)}"
    return b.call(cgutils.get_or_insert_function(b.module, signature, name), [x, y, z])


def at_least(b: ir.IRBuilder, value: ir.Value, floor: ir.Value) -> ir.Value:
    """The larger of a scalar or vector and the float whose bits the integer ``floor`` holds.

    NaN stays NaN: it is not below the floor, and one instruction says so.
    """
    vector = isinstance(value.type, ir.VectorType)
    scalar = value.type.element if vector else value.type
    bits = b.trunc(floor, I32) if isinstance(scalar, ir.FloatType) else floor
    least = b.bitcast(bits, scalar)
    if vector:
        least = splat(b, least, value.type.count)
    return b.select(b.fcmp_ordered(">", least, value), least, value)


def prefix_mask(b: ir.IRBuilder, lanes: int, valid: ir.Value) -> ir.Value:
    """The mask whose first ``valid`` lanes are on."""
    iota = ir.Constant(ir.VectorType(I32, lanes), list(range(lanes)))
    # Clamp first: a 64-bit count cut to 32 bits must not wrap into a small one.
    top = I64(lanes)
    clamped = b.select(b.icmp_signed("<", valid, top), valid, top)
    return b.icmp_signed("<", iota, splat(b, b.trunc(clamped, I32), lanes))


def masked_load(b: ir.IRBuilder, address: ir.Value, vector: ir.VectorType, mask: ir.Value) -> Any:
    """A vector whose lanes outside ``mask`` are not read and zero."""
    pointer = as_pointer(b, address, vector)
    signature = ir.FunctionType(vector, [pointer.type, I32, mask.type, vector])
    function = cgutils.get_or_insert_function(
        b.module, signature, f"llvm.masked.load.{_suffix(vector)}.p0"
    )
    return b.call(function, [pointer, I32(1), mask, ir.Constant(vector, None)])


def masked_store(b: ir.IRBuilder, value: ir.Value, address: ir.Value, mask: ir.Value) -> None:
    """Store the lanes of ``value`` inside ``mask``."""
    pointer = as_pointer(b, address, value.type)
    signature = ir.FunctionType(ir.VoidType(), [value.type, pointer.type, I32, mask.type])
    function = cgutils.get_or_insert_function(
        b.module, signature, f"llvm.masked.store.{_suffix(value.type)}.p0"
    )
    b.call(function, [value, pointer, I32(1), mask])


def transposed(b: ir.IRBuilder, rows: list[ir.Value]) -> list[ir.Value]:
    """Transpose a square block held in registers, by log2(n) rounds of pairwise interleaving."""
    n = len(rows)
    distance = n // 2
    while distance:
        # Rows i and i + distance swap the halves of each 2 * distance wide group of columns.
        low, high = [], []
        for lane in range(n):
            swap = lane & distance
            low.append(n + lane - distance if swap else lane)
            high.append(n + lane if swap else lane + distance)
        for i in range(n):
            if not i & distance:
                x, y = rows[i], rows[i + distance]
                rows[i] = shuffle(b, x, y, low)
                rows[i + distance] = shuffle(b, x, y, high)
        distance //= 2
    return rows


def literals(*arguments: Any) -> bool:
    """Whether all arguments are integer literals."""
    return all(isinstance(a, types.IntegerLiteral) for a in arguments)
