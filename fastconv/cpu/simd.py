"""Vector instructions as Numba intrinsics: the only file that knows llvmlite.

Addresses are plain integers, in bytes, and need no alignment. Sizes that decide what code is emitted (``bits``, ``lanes``,
``m``, ``vectors`` ...) must reach an intrinsic as integer literals: in a kernel they are integer
free variables of the factory's closure, which Numba types as literals and keys its disk cache by.

A :class:`Tile` is a block of vector registers carried through a loop as one value. LLVM splits it
into its vectors, so as long as it fits the register file it never touches memory.
"""

from __future__ import annotations

from typing import Any

from llvmlite import binding, ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, models, register_model

_I1, _I8, _I32, _I64 = (ir.IntType(n) for n in (1, 8, 32, 64))


def _host_vector_bits() -> int:
    """Width in bits of the vector registers that Numba compiles for."""
    from numba.core.registry import cpu_target

    codegen = cpu_target.target_context.codegen()
    features = set((codegen._get_host_cpu_features() or "").split(","))
    name = codegen._get_host_cpu_name()
    if not features & {"+avx", "+avx2", "+avx512f"} and name != "generic":
        features |= _features_implied_by(name)
    if "+avx512f" in features:
        return 512
    return 256 if "+avx2" in features and "+fma" in features else 128


def _features_implied_by(cpu_name: str) -> set[str]:
    """The vector features LLVM enables for a CPU name given without a feature list."""
    level = {
        "haswell": 2, "broadwell": 2, "skylake": 2, "x86-64-v3": 2, "znver1": 2, "znver2": 2,
        "znver3": 2, "skylake-avx512": 3, "cascadelake": 3, "icelake-server": 3,
        "sapphirerapids": 3, "x86-64-v4": 3, "znver4": 3, "znver5": 3,
    }.get(cpu_name, 0)
    return {"+avx2", "+fma"} if level == 2 else {"+avx512f", "+avx2", "+fma"} if level else set()


VECTOR_BITS = _host_vector_bits()


class Tile(types.Type):
    """A Numba type: ``count`` vectors of ``lanes`` elements of ``dtype``."""

    def __init__(self, dtype: types.Type, lanes: int, count: int) -> None:
        self.dtype, self.lanes, self.count = dtype, lanes, count
        super().__init__(name=f"Tile({dtype}, {lanes}, {count})")


@register_model(Tile)
class _TileModel(models.PrimitiveModel):
    def __init__(self, dmm: Any, fe_type: Tile) -> None:
        vector = ir.VectorType(_llvm_scalar(fe_type.dtype), fe_type.lanes)
        super().__init__(dmm, fe_type, ir.ArrayType(vector, fe_type.count))


def _llvm_scalar(dtype: types.Type) -> ir.Type:
    return ir.FloatType() if dtype == types.float32 else ir.DoubleType()


def _scalar(bits: types.IntegerLiteral) -> types.Type:
    return types.float32 if bits.literal_value == 32 else types.float64


def _size(dtype: types.Type) -> int:
    return int(dtype.bitwidth) // 8


def _pointer(b: ir.IRBuilder, address: ir.Value, pointee: ir.Type) -> ir.Value:
    return b.inttoptr(address, pointee.as_pointer())


def _splat(b: ir.IRBuilder, scalar: ir.Value, lanes: int) -> ir.Value:
    vector = ir.VectorType(scalar.type, lanes)
    undefined = ir.Constant(vector, ir.Undefined)
    first = b.insert_element(undefined, scalar, _I32(0))
    return b.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(_I32, lanes), [0] * lanes))


def _shuffle(b: ir.IRBuilder, x: ir.Value, y: ir.Value, picks: list[int]) -> ir.Value:
    return b.shuffle_vector(x, y, ir.Constant(ir.VectorType(_I32, len(picks)), picks))


def _suffix(vector: ir.VectorType) -> str:
    return f"v{vector.count}f{32 if isinstance(vector.element, ir.FloatType) else 64}"


def _multiply_add(b: ir.IRBuilder, x: ir.Value, y: ir.Value, z: ir.Value) -> ir.Value:
    # fmuladd, not fma: without an FMA unit the latter is a call into libm for every lane.
    signature = ir.FunctionType(x.type, [x.type] * 3)
    name = f"llvm.fmuladd.{_suffix(x.type)}"
    return b.call(cgutils.get_or_insert_function(b.module, signature, name), [x, y, z])


def _prefix_mask(b: ir.IRBuilder, lanes: int, valid: ir.Value) -> ir.Value:
    """The mask whose first ``valid`` lanes are on."""
    iota = ir.Constant(ir.VectorType(_I32, lanes), list(range(lanes)))
    # Clamp first: a 64-bit count cut to 32 bits must not wrap into a small one.
    top = _I64(lanes)
    clamped = b.select(b.icmp_signed("<", valid, top), valid, top)
    return b.icmp_signed("<", iota, _splat(b, b.trunc(clamped, _I32), lanes))


def _masked_load(b: ir.IRBuilder, address: ir.Value, vector: ir.VectorType, mask: ir.Value) -> Any:
    pointer = _pointer(b, address, vector)
    signature = ir.FunctionType(vector, [pointer.type, _I32, mask.type, vector])
    function = cgutils.get_or_insert_function(
        b.module, signature, f"llvm.masked.load.{_suffix(vector)}.p0"
    )
    return b.call(function, [pointer, _I32(1), mask, ir.Constant(vector, None)])


def _masked_store(b: ir.IRBuilder, value: ir.Value, address: ir.Value, mask: ir.Value) -> None:
    pointer = _pointer(b, address, value.type)
    signature = ir.FunctionType(ir.VoidType(), [value.type, pointer.type, _I32, mask.type])
    function = cgutils.get_or_insert_function(
        b.module, signature, f"llvm.masked.store.{_suffix(value.type)}.p0"
    )
    b.call(function, [value, pointer, _I32(1), mask])


def _transposed(b: ir.IRBuilder, rows: list[ir.Value]) -> list[ir.Value]:
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
                rows[i] = _shuffle(b, x, y, low)
                rows[i + distance] = _shuffle(b, x, y, high)
        distance //= 2
    return rows


def _literals(*arguments: Any) -> bool:
    return all(isinstance(a, types.IntegerLiteral) for a in arguments)


# ---------------------------------------------------------------------------------- tiles


@intrinsic(prefer_literal=True)
def zeros(typingctx, bits, lanes, count):  # type: ignore[no-untyped-def]
    """A tile of ``count`` vectors of zeros."""
    if not _literals(bits, lanes, count):
        return None
    tile = Tile(_scalar(bits), lanes.literal_value, count.literal_value)

    def codegen(context, b, signature, args):  # type: ignore[no-untyped-def]
        return ir.Constant(context.get_value_type(tile), None)

    return tile(bits, lanes, count), codegen


@intrinsic(prefer_literal=True)
def load_tile(typingctx, address, bits, lanes, count):  # type: ignore[no-untyped-def]
    """The tile of ``count`` vectors that lie one after the other at ``address``."""
    if not _literals(bits, lanes, count):
        return None
    tile = Tile(_scalar(bits), lanes.literal_value, count.literal_value)

    def codegen(context, b, signature, args):  # type: ignore[no-untyped-def]
        array = context.get_value_type(tile)
        step = tile.lanes * _size(tile.dtype)
        value = ir.Constant(array, ir.Undefined)
        for i in range(tile.count):
            pointer = _pointer(b, b.add(args[0], _I64(i * step)), array.element)
            value = b.insert_value(value, b.load(pointer, align=1), i)
        return value

    return tile(address, bits, lanes, count), codegen


@intrinsic(prefer_literal=True)
def repeat_rows(typingctx, address, bits, lanes, m, vectors):  # type: ignore[no-untyped-def]
    """A tile of ``m`` rows, each the ``vectors`` vectors that lie at ``address``."""
    if not _literals(bits, lanes, m, vectors):
        return None
    rows, columns = m.literal_value, vectors.literal_value
    tile = Tile(_scalar(bits), lanes.literal_value, rows * columns)

    def codegen(context, b, signature, args):  # type: ignore[no-untyped-def]
        array = context.get_value_type(tile)
        step = tile.lanes * _size(tile.dtype)
        value = ir.Constant(array, ir.Undefined)
        for j in range(columns):
            pointer = _pointer(b, b.add(args[0], _I64(j * step)), array.element)
            vector = b.load(pointer, align=1)
            for i in range(rows):
                value = b.insert_value(value, vector, i * columns + j)
        return value

    return tile(address, bits, lanes, m, vectors), codegen


@intrinsic(prefer_literal=True)
def repeat_columns(typingctx, address, bits, lanes, m, vectors):  # type: ignore[no-untyped-def]
    """A tile of ``m`` rows of ``vectors`` vectors, row ``i`` filled with scalar ``i`` at ``address``."""
    if not _literals(bits, lanes, m, vectors):
        return None
    rows, columns = m.literal_value, vectors.literal_value
    tile = Tile(_scalar(bits), lanes.literal_value, rows * columns)

    def codegen(context, b, signature, args):  # type: ignore[no-untyped-def]
        scalar, size = _llvm_scalar(tile.dtype), _size(tile.dtype)
        value = ir.Constant(context.get_value_type(tile), ir.Undefined)
        for i in range(rows):
            pointer = _pointer(b, b.add(args[0], _I64(i * size)), scalar)
            vector = _splat(b, b.load(pointer, align=1), tile.lanes)
            for j in range(columns):
                value = b.insert_value(value, vector, i * columns + j)
        return value

    return tile(address, bits, lanes, m, vectors), codegen


@intrinsic
def add_tile(typingctx, tile, address):  # type: ignore[no-untyped-def]
    """``tile`` plus the vectors that lie one after the other at ``address``."""

    def codegen(context, b, signature, args):  # type: ignore[no-untyped-def]
        value, size = args[0], _size(tile.dtype)
        for i in range(tile.count):
            vector = b.extract_value(value, i)
            pointer = _pointer(b, b.add(args[1], _I64(i * tile.lanes * size)), vector.type)
            total = b.fadd(vector, b.load(pointer, align=1))
            value = b.insert_value(value, total, i)
        return value

    return tile(tile, types.int64), codegen


@intrinsic
def store_tile(typingctx, tile, address):  # type: ignore[no-untyped-def]
    """Write the vectors of ``tile`` one after the other at ``address``."""

    def codegen(context, b, signature, args):  # type: ignore[no-untyped-def]
        step = tile.lanes * _size(tile.dtype)
        for i in range(tile.count):
            vector = b.extract_value(args[0], i)
            pointer = _pointer(b, b.add(args[1], _I64(i * step)), vector.type)
            b.store(vector, pointer, align=1)
        return context.get_dummy_value()

    return types.void(tile, address), codegen


# --------------------------------------------------------------------------- multiply-adds


@intrinsic(prefer_literal=True)
def outer(typingctx, tile, rows, offset, pitch, fixed, m, b_rows, b_offset, vectors):  # type: ignore[no-untyped-def]
    """One rank-1 update: scalars times vectors.

    Row ``(r, i)`` of the tile is the scalar at ``rows[r] + offset + i * pitch``, for each address of
    the tuple ``rows`` and ``i < m``. Column ``(q, j)`` is vector ``j`` at ``b_rows[q] + b_offset``, for
    each address of the tuple ``b_rows`` and ``j < vectors``. Their product is added to vector
    ``row * columns + column`` of ``tile``. A ``pitch`` known when compiling costs no register: it is
    given as ``fixed``, which is 0 otherwise.
    """
    if not _literals(fixed, m, vectors):
        return None
    count, dtype, lanes, size = m.literal_value, tile.dtype, tile.lanes, _size(tile.dtype)
    known = fixed.literal_value
    columns = [(q, j) for q in range(len(b_rows)) for j in range(vectors.literal_value)]
    if len(rows) * count * len(columns) != tile.count:
        raise ValueError(f"{len(rows)} x {count} x {len(columns)} is no tile of {tile.count} vectors")

    def codegen(context, b, signature, args):  # type: ignore[no-untyped-def]
        value, bases, shift, step, _, _, b_bases, b_shift, _ = args
        scalar = _llvm_scalar(dtype)
        vector = ir.VectorType(scalar, lanes)

        def load(q, j):  # type: ignore[no-untyped-def]
            start = b.add(b.extract_value(b_bases, q), b_shift)
            return b.load(_pointer(b, b.add(start, _I64(j * lanes * size)), vector), align=1)

        right = [load(q, j) for q, j in columns]
        for r in range(len(rows)):
            base = b.add(b.extract_value(bases, r), shift)
            for i in range(count):
                distance = _I64(i * known) if known else b.mul(step, _I64(i))
                pointer = _pointer(b, b.add(base, distance), scalar)
                left = _splat(b, b.load(pointer, align=1), lanes)
                for j, column in enumerate(right):
                    k = (r * count + i) * len(right) + j
                    total = _multiply_add(b, left, column, b.extract_value(value, k))
                    value = b.insert_value(value, total, k)
        return value

    signature = tile(
        tile, rows, types.int64, types.int64, fixed, m, b_rows, types.int64, vectors
    )
    return signature, codegen


@intrinsic(prefer_literal=True)
def inner(typingctx, tile, a, b_rows, valid, masked):  # type: ignore[no-untyped-def]
    """One step of dot products: vectors times vectors.

    ``tile[i * len(b_rows) + j] += vector(a[i]) * vector(b_rows[j])`` for the addresses in the two
    tuples. With ``masked`` 1 only the first ``valid`` lanes are read, the others count as zero.
    """
    if not _literals(masked):
        return None
    dtype, lanes, size = tile.dtype, tile.lanes, _size(tile.dtype)

    def codegen(context, b, signature, args):  # type: ignore[no-untyped-def]
        value, left, right, count, _ = args
        vector = ir.VectorType(_llvm_scalar(dtype), lanes)
        mask = _prefix_mask(b, lanes, count) if masked.literal_value else None

        def load(addresses, i):  # type: ignore[no-untyped-def]
            address = b.extract_value(addresses, i)
            if mask is not None:
                return _masked_load(b, address, vector, mask)
            return b.load(_pointer(b, address, vector), align=1)

        columns = [load(right, j) for j in range(len(b_rows))]
        for i in range(len(a)):
            row = load(left, i)
            for j, column in enumerate(columns):
                k = i * len(columns) + j
                total = _multiply_add(b, row, column, b.extract_value(value, k))
                value = b.insert_value(value, total, k)
        return value

    return tile(tile, a, b_rows, types.int64, masked), codegen


@intrinsic
def add_sums(typingctx, tile, address):  # type: ignore[no-untyped-def]
    """Add the sum over the lanes of each vector of ``tile`` to the scalars at ``address``."""

    def codegen(context, b, signature, args):  # type: ignore[no-untyped-def]
        size = _size(tile.dtype)
        for i in range(tile.count):
            vector = b.extract_value(args[0], i)
            width = tile.lanes // 2
            while width:
                low = _shuffle(b, vector, vector, list(range(width)))
                high = _shuffle(b, vector, vector, list(range(width, 2 * width)))
                vector = b.fadd(low, high)
                width //= 2
            pointer = _pointer(b, b.add(args[1], _I64(i * size)), _llvm_scalar(tile.dtype))
            total = b.fadd(b.load(pointer, align=1), b.extract_element(vector, _I32(0)))
            b.store(total, pointer, align=1)
        return context.get_dummy_value()

    return types.void(tile, address), codegen


# ----------------------------------------------------------------------------------- stores


@intrinsic(prefer_literal=True)
def store_rows(typingctx, tile, rows, pitch, m, vectors, valid, masked):  # type: ignore[no-untyped-def]
    """Write row ``(r, i)`` of ``tile``, its ``vectors`` vectors in a row, at ``rows[r] + i * pitch``.

    With ``masked`` 1 only the first ``valid`` elements of each row are written.
    """
    if not _literals(m, vectors, masked):
        return None
    count, columns = m.literal_value, vectors.literal_value

    def codegen(context, b, signature, args):  # type: ignore[no-untyped-def]
        bases = cgutils.unpack_tuple(b, args[1], len(rows))
        places = [
            (base, i, (r * count + i) * columns) for r, base in enumerate(bases) for i in range(count)
        ]
        _store_vectors(b, args[0], tile, places, args[2], columns, args[5], masked.literal_value)
        return context.get_dummy_value()

    return types.void(tile, rows, types.int64, m, vectors, types.int64, masked), codegen


@intrinsic(prefer_literal=True)
def store_windows(typingctx, tile, rows, pitch, m, vectors, valid, masked):  # type: ignore[no-untyped-def]
    """Write column ``q`` of row ``i`` of ``tile``, ``vectors`` vectors, at ``rows[q] + i * pitch``.

    With ``masked`` 1 only the first ``valid`` elements of each column are written.
    """
    if not _literals(m, vectors, masked):
        return None
    count, columns = m.literal_value, vectors.literal_value

    def codegen(context, b, signature, args):  # type: ignore[no-untyped-def]
        bases = cgutils.unpack_tuple(b, args[1], len(rows))
        places = [
            (base, i, (i * len(rows) + q) * columns)
            for i in range(count)
            for q, base in enumerate(bases)
        ]
        _store_vectors(b, args[0], tile, places, args[2], columns, args[5], masked.literal_value)
        return context.get_dummy_value()

    return types.void(tile, rows, types.int64, m, vectors, types.int64, masked), codegen


def _store_vectors(  # type: ignore[no-untyped-def]
    b, value, tile, places, pitch, columns, valid, masked
):
    """Store ``columns`` vectors from tile vector k on at base + i * pitch, for each (base, i, k)."""
    lanes, size = tile.lanes, _size(tile.dtype)
    masks = [
        _prefix_mask(b, lanes, b.sub(valid, _I64(j * lanes))) for j in range(columns if masked else 0)
    ]
    for base, i, first in places:
        address = b.add(base, b.mul(pitch, _I64(i)))
        for j in range(columns):
            vector = b.extract_value(value, first + j)
            place = b.add(address, _I64(j * lanes * size))
            if masked:
                _masked_store(b, vector, place, masks[j])
            else:
                b.store(vector, _pointer(b, place, vector.type), align=1)


@intrinsic(prefer_literal=True)
def store_columns(typingctx, tile, rows, lane_pitch, m, vectors):  # type: ignore[no-untyped-def]
    """Write ``tile`` transposed: lane ``l`` of rows ``(r, 0 .. m - 1)`` side by side.

    Element ``(r, i)`` of lane ``l`` (counted through all ``vectors``) goes to address
    ``rows[r] + l * lane_pitch + i * itemsize``.
    """
    if not _literals(m, vectors):
        return None
    count, columns, lanes, size = m.literal_value, vectors.literal_value, tile.lanes, _size(tile.dtype)

    def codegen(context, b, signature, args):  # type: ignore[no-untyped-def]
        value, bases, pitch = args[:3]
        vector = ir.VectorType(_llvm_scalar(tile.dtype), lanes)
        blank = ir.Constant(vector, ir.Undefined)
        for r in range(len(rows)):
            base = b.extract_value(bases, r)
            for j in range(columns):
                for first in range(0, count, lanes):
                    filled = min(lanes, count - first)
                    block = [
                        b.extract_value(value, (r * count + first + i) * columns + j)
                        if i < filled
                        else blank
                        for i in range(lanes)
                    ]
                    mask = ir.Constant(
                        ir.VectorType(_I1, lanes), [int(i < filled) for i in range(lanes)]
                    )
                    for lane, column in enumerate(_transposed(b, block)):
                        shift = b.mul(pitch, _I64(j * lanes + lane))
                        address = b.add(b.add(base, shift), _I64(first * size))
                        if filled == lanes:
                            b.store(column, _pointer(b, address, vector), align=1)
                        else:
                            _masked_store(b, column, address, mask)
        return context.get_dummy_value()

    return types.void(tile, rows, lane_pitch, m, vectors), codegen


@intrinsic(prefer_literal=True)
def transpose_block(typingctx, source, source_pitch, height, target, target_pitch, width, bits, lanes):  # type: ignore[no-untyped-def]
    """Transpose a block of ``height`` x ``width`` elements, of which ``lanes`` x ``lanes`` are taken.

    Rows lie ``source_pitch`` apart at ``source``; each becomes a column at ``target``, whose rows lie
    ``target_pitch`` apart. Nothing outside the block is read or written.
    """
    if not _literals(bits, lanes):
        return None
    n = lanes.literal_value

    def codegen(context, b, signature, args):  # type: ignore[no-untyped-def]
        start, step, rows, out, out_step, columns = args[:6]
        vector = ir.VectorType(_llvm_scalar(_scalar(bits)), n)
        zero = _I64(0)

        def mask(index, bound, length):  # type: ignore[no-untyped-def]
            inside = b.icmp_signed("<", _I64(index), bound)
            return _prefix_mask(b, n, b.select(inside, length, zero))

        block = [
            _masked_load(b, b.add(start, b.mul(step, _I64(i))), vector, mask(i, rows, columns))
            for i in range(n)
        ]
        for i, column in enumerate(_transposed(b, block)):
            address = b.add(out, b.mul(out_step, _I64(i)))
            _masked_store(b, column, address, mask(i, columns, rows))
        return context.get_dummy_value()

    return types.void(*[types.int64] * 6, bits, lanes), codegen


# ----------------------------------------------------------------------- memory and calls


@intrinsic(prefer_literal=True)
def peek(typingctx, address, bits):  # type: ignore[no-untyped-def]
    """The scalar of ``bits`` bits at ``address``."""
    if not _literals(bits):
        return None
    dtype = _scalar(bits)

    def codegen(context, b, signature, args):  # type: ignore[no-untyped-def]
        return b.load(_pointer(b, args[0], _llvm_scalar(dtype)), align=1)

    return dtype(types.int64, bits), codegen


@intrinsic
def poke(typingctx, address, value):  # type: ignore[no-untyped-def]
    """Write the floating-point scalar ``value`` at ``address``."""

    def codegen(context, b, signature, args):  # type: ignore[no-untyped-def]
        b.store(args[1], _pointer(b, args[0], args[1].type), align=1)
        return context.get_dummy_value()

    return types.void(types.int64, value), codegen


@intrinsic(prefer_literal=True)
def copy_vector(typingctx, target, source, valid, bits, lanes):  # type: ignore[no-untyped-def]
    """Copy one vector, of its elements at most ``valid``."""
    if not _literals(bits, lanes):
        return None
    n = lanes.literal_value

    def codegen(context, b, signature, args):  # type: ignore[no-untyped-def]
        vector = ir.VectorType(_llvm_scalar(_scalar(bits)), n)
        mask = _prefix_mask(b, n, args[2])
        _masked_store(b, _masked_load(b, args[1], vector, mask), args[0], mask)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64, bits, lanes), codegen


@intrinsic
def copy_bytes(typingctx, target, source, length):  # type: ignore[no-untyped-def]
    """Copy ``length`` bytes between addresses that do not overlap."""

    def codegen(context, b, signature, args):  # type: ignore[no-untyped-def]
        to, start = (_pointer(b, a, _I8) for a in args[:2])
        cgutils.raw_memcpy(b, to, start, args[2], 1)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), codegen


@intrinsic
def clear_bytes(typingctx, target, length):  # type: ignore[no-untyped-def]
    """Set ``length`` bytes at ``target`` to zero."""

    def codegen(context, b, signature, args):  # type: ignore[no-untyped-def]
        cgutils.memset(b, _pointer(b, args[0], _I8), args[1], 0)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), codegen


@intrinsic
def word(typingctx, address, index):  # type: ignore[no-untyped-def]
    """The 64-bit integer number ``index`` of those at ``address``."""

    def codegen(context, b, signature, args):  # type: ignore[no-untyped-def]
        return b.load(b.gep(_pointer(b, args[0], _I64), [args[1]]))

    return types.int64(types.int64, types.int64), codegen


@intrinsic(prefer_literal=True)
def words(typingctx, address, count):  # type: ignore[no-untyped-def]
    """The first ``count`` 64-bit integers at ``address``, as a tuple."""
    if not _literals(count):
        return None
    result = types.UniTuple(types.int64, count.literal_value)

    def codegen(context, b, signature, args):  # type: ignore[no-untyped-def]
        pointer = _pointer(b, args[0], _I64)
        loaded = [b.load(b.gep(pointer, [_I64(i)])) for i in range(result.count)]
        return context.make_tuple(b, result, loaded)

    return result(types.int64, count), codegen


@intrinsic(prefer_literal=True)
def lookup(typingctx, base, table, first, last, count):  # type: ignore[no-untyped-def]
    """The tuple of ``base + table[min(first + i, last)]`` for ``i < count``.

    Past the end the last entry stands again: a tile that hangs over computes it twice.
    """
    if not _literals(count):
        return None
    result = types.UniTuple(types.int64, count.literal_value)

    def codegen(context, b, signature, args):  # type: ignore[no-untyped-def]
        start, entries, begin, end, _ = args
        pointer = _pointer(b, entries, _I64)
        found = []
        for i in range(result.count):
            index = b.add(begin, _I64(i))
            index = b.select(b.icmp_signed("<", index, end), index, end)
            found.append(b.add(start, b.load(b.gep(pointer, [index]))))
        return context.make_tuple(b, result, found)

    return result(types.int64, types.int64, types.int64, types.int64, count), codegen


@intrinsic(prefer_literal=True)
def progression(typingctx, start, step, count):  # type: ignore[no-untyped-def]
    """The tuple of ``start + i * step`` for ``i < count``."""
    if not _literals(count):
        return None
    result = types.UniTuple(types.int64, count.literal_value)

    def codegen(context, b, signature, args):  # type: ignore[no-untyped-def]
        terms = [b.add(args[0], b.mul(args[1], _I64(i))) for i in range(result.count)]
        return context.make_tuple(b, result, terms)

    return result(types.int64, types.int64, count), codegen


@intrinsic
def shifted(typingctx, addresses, offset):  # type: ignore[no-untyped-def]
    """The tuple of addresses with ``offset`` added to each."""

    def codegen(context, b, signature, args):  # type: ignore[no-untyped-def]
        moved = [b.add(a, args[1]) for a in cgutils.unpack_tuple(b, args[0], len(addresses))]
        return context.make_tuple(b, addresses, moved)

    return addresses(addresses, types.int64), codegen


@intrinsic
def call(typingctx, function, arguments):  # type: ignore[no-untyped-def]
    """Call the C function at address ``function`` with a tuple of 64-bit integers."""

    def codegen(context, b, signature, args):  # type: ignore[no-untyped-def]
        values = cgutils.unpack_tuple(b, args[1], len(arguments))
        prototype = ir.FunctionType(ir.VoidType(), [_I64] * len(values))
        b.call(_pointer(b, args[0], prototype), values)
        return context.get_dummy_value()

    return types.void(types.int64, arguments), codegen
