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
    """A Numba type: ``count`` vectors of ``lanes`` sums of what is called ``bits``.

    ``dtype`` is the sums' type; ``pairs`` tells whether they are sums over pairs of bfloat16.
    """

    def __init__(self, bits: types.IntegerLiteral, lanes: int, count: int) -> None:
        self.dtype, self.lanes, self.count = scalar_of(bits), lanes, count
        self.pairs = bits.literal_value == PAIRS
        super().__init__(name=f"Tile({bits.literal_value}, {lanes}, {count})")

    @property
    def factor(self) -> ir.Type:
        """The LLVM type of the scalars and of the lanes that are multiplied."""
        return I32 if self.pairs else llvm_scalar(self.dtype)


@register_model(Tile)
class _TileModel(models.PrimitiveModel):  # type: ignore[misc]
    def __init__(self, dmm: Any, fe_type: Tile) -> None:
        vector = ir.VectorType(llvm_scalar(fe_type.dtype), fe_type.lanes)
        super().__init__(dmm, fe_type, ir.ArrayType(vector, fe_type.count))


#: What tiles compute in, by the number ``bits``: 32 and 64 are floats of so many bits, these two
#: integers of 64 bits, and pairs of bfloat16, whose two products are added to one float32. Of each,
#: ``bits // 8`` is the size in bytes.
INT64, PAIRS = 65, 33


def lowest(bits: int) -> int:
    """The bits, as an integer, of what no number is less than: minus infinity, but of integers."""
    if bits == INT64:
        return -(1 << 63)
    return -(1 << (52 if bits == 64 else 23))


_SCALARS = {32: types.float32, PAIRS: types.float32, 64: types.float64, INT64: types.int64}

_PAIRS_PROBE = """
define <16 x bfloat> @probe(<16 x float> %a) {
  %x = fptrunc <16 x float> %a to <16 x bfloat>
  ret <16 x bfloat> %x
}
"""


def _multiplies_pairs() -> bool:
    """Whether the processor that Numba compiles for multiplies pairs of bfloat16."""
    if binding.llvm_version_info[0] < 17 or VECTOR_BITS < 512:
        return False  # earlier versions name the instruction's operands otherwise
    machine = cpu_target.target_context.codegen()._tm
    return "vcvtneps2bf16" in machine.emit_assembly(binding.parse_assembly(_PAIRS_PROBE))


MULTIPLIES_PAIRS = _multiplies_pairs()


class _BFloat(ir.Type):  # type: ignore[misc]
    """LLVM's bfloat, which llvmlite lacks."""

    def _to_string(self) -> str:
        return "bfloat"


_BFLOAT = _BFloat()


def llvm_scalar(dtype: types.Type) -> ir.Type:
    """The LLVM type of an element."""
    return {types.float32: ir.FloatType(), types.float64: ir.DoubleType()}.get(dtype, I64)


def scalar_of(bits: types.IntegerLiteral) -> types.Type:
    """The Numba type of what tiles compute in."""
    return _SCALARS[bits.literal_value]


def size_of(dtype: types.Type) -> int:
    """Bytes of an element."""
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
    names = {ir.FloatType(): "f32", ir.DoubleType(): "f64"}
    return f"v{vector.count}{names.get(vector.element) or str(vector.element)}"


def add(b: ir.IRBuilder, x: ir.Value, y: ir.Value) -> ir.Value:
    """X + y; integers wrap."""
    return b.add(x, y) if x.type.element == I64 else b.fadd(x, y)


def multiply_add(b: ir.IRBuilder, x: ir.Value, y: ir.Value, z: ir.Value) -> ir.Value:
    """X * y + z, fused where the processor can; integers wrap."""
    if x.type.element == I64:
        return b.add(b.mul(x, y), z)
    # fmuladd, not fma: without an FMA unit the latter is a call into libm for every lane.
    signature = ir.FunctionType(x.type, [x.type] * 3)
    name = f"llvm.fmuladd.{_suffix(x.type)}"
    return b.call(cgutils.get_or_insert_function(b.module, signature, name), [x, y, z])


def at_least(b: ir.IRBuilder, value: ir.Value, floor: ir.Value) -> ir.Value:
    """The larger of a scalar or vector and the number whose bits the integer ``floor`` holds.

    NaN stays NaN: it is not below the floor, and one instruction says so. Integers are signed.
    """
    vector = isinstance(value.type, ir.VectorType)
    scalar = value.type.element if vector else value.type
    bits = b.trunc(floor, I32) if isinstance(scalar, ir.FloatType) else floor
    least = b.bitcast(bits, scalar)
    if vector:
        least = splat(b, least, value.type.count)
    compare = b.icmp_signed if scalar == I64 else b.fcmp_ordered
    return b.select(compare(">", least, value), least, value)


def dot_pairs(b: ir.IRBuilder, x: ir.Value, y: ir.Value, z: ir.Value) -> ir.Value:
    """Z plus, in each lane, both products of two pairs of bfloat16: x and y are 32-bit integers.

    Denormal numbers count as zeros, and sums below float32's normal range become zeros.
    """
    pairs = ir.VectorType(_BFLOAT, 2 * z.type.count)
    signature = ir.FunctionType(z.type, [z.type, pairs, pairs])
    name = f"llvm.x86.avx512bf16.dpbf16ps.{32 * z.type.count}"
    function = cgutils.get_or_insert_function(b.module, signature, name)
    return b.call(function, [z, b.bitcast(x, pairs), b.bitcast(y, pairs)])


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
