"""Elements of one type written as another, a vector or a scalar at a time."""

from __future__ import annotations

from llvmlite import binding, ir
from numba import types
from numba.core.registry import cpu_target
from numba.extending import intrinsic

from fastconv.cpu.simd.emit import I32, as_pointer, literals

#: The types an array may have, by the numbers that intrinsics know them by: their place here.
ELEMENTS = (
    *("float32", "float64", "float16", "bfloat16"),
    *("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
)


def element_bytes(name: str) -> int:
    """Bytes of an element of one of `ELEMENTS`."""
    return int(name.lstrip("bfloatuin")) // 8


_F16C_PROBE = """
define <4 x float> @probe(<4 x half> %a) {
  %x = fpext <4 x half> %a to <4 x float>
  ret <4 x float> %x
}
"""


def _converts_halves() -> bool:
    """Whether the processor that Numba compiles for converts float16 itself."""
    machine = cpu_target.target_context.codegen()._tm
    return "vcvtph2ps" in machine.emit_assembly(binding.parse_assembly(_F16C_PROBE))


_HALVES = _converts_halves()


PLAIN, NEGATED, RAISED = range(3)  #: what else `convert` does


@intrinsic(prefer_literal=True)
def convert(typingctx, target, source, kind, made, lanes, how):
    """Write the ``lanes`` elements at ``source`` as elements of another type at ``target``.

    ``kind`` and ``made`` are numbers of `ELEMENTS`: the same one; a half and float32; or integers,
    which are extended or cut. float32 is rounded to a half to nearest even, and NaN stays NaN.
    ``how`` is `PLAIN`; or `NEGATED`, with the sign of floats changed; or `RAISED`, with integers
    that came out negative at zero.
    """
    if not literals(kind, made, lanes, how):
        return None
    read, written = (ELEMENTS[number.literal_value] for number in (kind, made))
    n = lanes.literal_value

    def codegen(context, b, signature, args):
        element = _stored(read)
        loaded = element if n == 1 else ir.VectorType(element, n)
        value = b.load(as_pointer(b, args[1], loaded), align=1)
        value = _converted(b, value, read, written)
        if how.literal_value == NEGATED:
            value = b.fneg(value)
        elif how.literal_value == RAISED and not written.startswith("u"):
            zero = ir.Constant(value.type, None)
            value = b.select(b.icmp_signed("<", value, zero), zero, value)
        b.store(value, as_pointer(b, args[0], value.type), align=1)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, kind, made, lanes, how), codegen


def _stored(name: str) -> ir.Type:
    """How an element lies in memory: bfloat16, which llvmlite lacks, and halves as their bits."""
    floats = {"float32": ir.FloatType(), "float64": ir.DoubleType()}
    return floats.get(name, ir.IntType(8 * element_bytes(name)))


def _like(value: ir.Value, element: ir.Type) -> ir.Type:
    """The scalar or vector of ``element`` with as many lanes as ``value``."""
    if isinstance(value.type, ir.VectorType):
        return ir.VectorType(element, value.type.count)
    return element


def _constant(value: ir.Value, number: float) -> ir.Value:
    """``number`` in every lane of ``value``."""
    if isinstance(value.type, ir.VectorType):
        return ir.Constant(value.type, [number] * value.type.count)
    return ir.Constant(value.type, number)


def _converted(b: ir.IRBuilder, value: ir.Value, read: str, written: str) -> ir.Value:
    if read == written:
        return value
    if read in _WIDEN and written == "float32":
        return _WIDEN[read](b, value)
    if written in _ROUND and read == "float32":
        return _ROUND[written](b, value)
    if "int" not in read or "int" not in written:
        raise ValueError(f"no conversion from {read} to {written}")
    result = _like(value, _stored(written))
    wider = _stored(written).width > _stored(read).width
    extend = b.zext if read.startswith("u") else b.sext
    return extend(value, result) if wider else b.trunc(value, result)


def _words(b: ir.IRBuilder, value: ir.Value) -> ir.Value:
    """The bits of float32."""
    return b.bitcast(value, _like(value, I32))


def _floats(b: ir.IRBuilder, value: ir.Value) -> ir.Value:
    """float32 of these bits."""
    return b.bitcast(value, _like(value, ir.FloatType()))


def _wide_half(b: ir.IRBuilder, value: ir.Value) -> ir.Value:
    if _HALVES:
        halves = b.bitcast(value, _like(value, ir.HalfType()))
        return b.fpext(halves, _like(value, ir.FloatType()))
    word = b.zext(value, _like(value, I32))
    sign = b.shl(b.and_(word, _constant(word, 0x8000)), _constant(word, 16))
    # Exponent and fraction in float32's places count 2**112 times too little, denormal or not.
    placed = b.shl(b.and_(word, _constant(word, 0x7FFF)), _constant(word, 13))
    floats = _floats(b, placed)
    scaled = _words(b, b.fmul(floats, _constant(floats, 2.0**112)))
    special = b.icmp_unsigned(">=", placed, _constant(word, 31 << 23))
    endless = b.or_(scaled, _constant(word, 0x7F800000))
    return _floats(b, b.or_(sign, b.select(special, endless, scaled)))


def _wide_bfloat(b: ir.IRBuilder, value: ir.Value) -> ir.Value:
    word = b.zext(value, _like(value, I32))
    return _floats(b, b.shl(word, _constant(word, 16)))


def _half(b: ir.IRBuilder, value: ir.Value) -> ir.Value:
    short = ir.IntType(16)
    if _HALVES:
        halves = b.fptrunc(value, _like(value, ir.HalfType()))
        return b.bitcast(halves, _like(value, short))
    word = _words(b, value)
    sign = b.and_(b.lshr(word, _constant(word, 16)), _constant(word, 0x8000))
    size = b.and_(word, _constant(word, 0x7FFFFFFF))
    # Denormal: adding 1/2 lets the adder round at the last bit that is kept.
    floats = _floats(b, size)
    small = b.sub(_words(b, b.fadd(floats, _constant(floats, 0.5))), _constant(word, 0x3F000000))
    odd = b.and_(b.lshr(size, _constant(word, 13)), _constant(word, 1))
    # Rounding up may carry into the exponent, and so from the largest number to infinity.
    rounded = b.add(b.add(size, _constant(word, 0xFFF - (112 << 23))), odd)
    normal = b.lshr(rounded, _constant(word, 13))
    within = b.select(b.icmp_unsigned("<", size, _constant(word, 113 << 23)), small, normal)
    nan = b.icmp_unsigned(">", size, _constant(word, 255 << 23))
    special = b.select(nan, _constant(word, 0x7E00), _constant(word, 0x7C00))
    beyond = b.icmp_unsigned(">=", size, _constant(word, 143 << 23))
    result = b.or_(sign, b.select(beyond, special, within))
    return b.trunc(result, _like(value, short))


def rounded_to_bfloat(b: ir.IRBuilder, value: ir.Value) -> ir.Value:
    """float32 rounded to bfloat16, to nearest even, as its bits."""
    # Not the processor's own instruction: that takes denormal numbers for zeros.
    word = _words(b, value)
    high = b.lshr(word, _constant(word, 16))
    odd = b.and_(high, _constant(word, 1))
    rounded = b.lshr(b.add(b.add(word, _constant(word, 0x7FFF)), odd), _constant(word, 16))
    nan = b.fcmp_unordered("uno", value, value)
    result = b.select(nan, b.or_(high, _constant(word, 0x40)), rounded)
    return b.trunc(result, _like(value, ir.IntType(16)))


_WIDEN = {"float16": _wide_half, "bfloat16": _wide_bfloat}
_ROUND = {"float16": _half, "bfloat16": rounded_to_bfloat}
