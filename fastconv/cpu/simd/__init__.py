"""Vector instructions as Numba intrinsics: the only folder that knows llvmlite.

Addresses are plain integers, in bytes, and need no alignment. Sizes that decide what code is
emitted (``bits``, ``lanes``, ``m``, ``vectors`` ...) must reach an intrinsic as integer literals:
in a kernel they are integer free variables of the factory's closure, which Numba types as literals
and keys its disk cache by.

Elements of memory and of tiles go by numbers too: `ELEMENTS` counts the types that arrays may have,
``bits`` is what tiles compute in: 32, 64, `INT64` or `PAIRS`.

A `Tile` is a block of vector registers carried through a loop as one value. LLVM splits it into its
vectors, so as long as it fits the register file it never touches memory.
"""

from fastconv.cpu.simd.conversions import (
    ELEMENTS,
    NEGATED,
    PLAIN,
    RAISED,
    convert,
    element_bytes,
)
from fastconv.cpu.simd.emit import (
    INT64,
    MULTIPLIES_PAIRS,
    PAIRS,
    VECTOR_BITS,
    Tile,
    lowest,
)
from fastconv.cpu.simd.memory import (
    call,
    clear_bytes,
    copy_bytes,
    lookup,
    peek,
    poke,
    prefetch,
    prefetch_line,
    prefetch_target,
    progression,
    shifted,
    word,
    words,
)
from fastconv.cpu.simd.minimal_filters import (
    FILTER,
    OUTPUT,
    POINTS,
    SIGNAL,
    map_line,
    map_outputs,
    map_taps,
)
from fastconv.cpu.simd.objects import (
    Object,
    address_of,
    integer_value,
    list_item,
    list_length,
    object_at,
    stack,
    tuple_item,
    tuple_length,
)
from fastconv.cpu.simd.open_slides import slide_gradient_inside, slide_inside
from fastconv.cpu.simd.phases import (
    every,
    split,
    weave,
)
from fastconv.cpu.simd.slides import (
    slide,
    slide_gradient,
)
from fastconv.cpu.simd.stores import (
    copy_pairs,
    copy_vector,
    store_columns,
    store_lines,
    store_rows,
    store_windows,
    transpose_block,
    zip_vectors,
)
from fastconv.cpu.simd.tiles import (
    add_folded,
    add_rows,
    add_sums,
    add_tile,
    inner,
    load_tile,
    outer,
    raised,
    repeat_columns,
    repeat_rows,
    store_tile,
    zeros,
)

__all__ = [
    "ELEMENTS",
    "FILTER",
    "INT64",
    "MULTIPLIES_PAIRS",
    "NEGATED",
    "OUTPUT",
    "PAIRS",
    "PLAIN",
    "POINTS",
    "RAISED",
    "SIGNAL",
    "VECTOR_BITS",
    "Object",
    "Tile",
    "add_folded",
    "add_rows",
    "add_sums",
    "add_tile",
    "address_of",
    "call",
    "clear_bytes",
    "convert",
    "copy_bytes",
    "copy_pairs",
    "copy_vector",
    "element_bytes",
    "every",
    "inner",
    "integer_value",
    "list_item",
    "list_length",
    "load_tile",
    "lookup",
    "lowest",
    "map_line",
    "map_outputs",
    "map_taps",
    "object_at",
    "outer",
    "peek",
    "poke",
    "prefetch",
    "prefetch_line",
    "prefetch_target",
    "progression",
    "raised",
    "repeat_columns",
    "repeat_rows",
    "shifted",
    "slide",
    "slide_gradient",
    "slide_gradient_inside",
    "slide_inside",
    "split",
    "stack",
    "store_columns",
    "store_lines",
    "store_rows",
    "store_tile",
    "store_windows",
    "transpose_block",
    "tuple_item",
    "tuple_length",
    "weave",
    "word",
    "words",
    "zeros",
    "zip_vectors",
]
