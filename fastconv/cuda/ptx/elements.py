"""Element kinds: how each is read and written in global and shared memory.

float16 and bfloat16 are computed in float32, so they are widened where they are read and rounded
where they are written. Vectors of four need an address that is a multiple of their size, at most
16 bytes. Global reads go through the read-only path (``ld.global.nc``): a kernel never writes what
it reads.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numba import types

from .instruction import instruction
from .simulated import from_bfloat16, to_bfloat16

_Function = Callable[..., Any]


class Kind(NamedTuple):
    """The instructions for one kind of element; `c` stands for what it is computed in."""

    name: str
    size: int  #: bytes in global memory
    compute: Any  #: c, as Numba's type
    compute_size: int  #: bytes of c
    load: _Function  #: (address) -> c
    load_if: _Function  #: (address, wanted) -> c; 0, and nothing read, unless wanted
    load4_if: _Function  #: the same for four elements
    store: _Function  #: (address, c)
    store4: _Function  #: (address, c, c, c, c)
    load4_computed: _Function  #: four c from global memory
    load4_shared: _Function  #: four c from shared memory
    store_shared: _Function  #: (shared address, c)
    store4_shared: _Function  #: (shared address, c, c, c, c)


class _Text(NamedTuple):
    """PTX that reads or writes one element or four; A is the address, P a predicate or nothing."""

    letter: str
    dtype: Any
    load: str
    load4: str
    store: str
    store4: str


_UNPACK_F16 = "mov.b32 {h0, h1}, a; mov.b32 {h2, h3}, b;" + "".join(
    f" cvt.f32.f16 ${i}, h{i};" for i in range(4)
)
_UNPACK_BF16 = (
    "shl.b32 t, a, 16; mov.b32 $0, t; and.b32 t, a, 0xffff0000; mov.b32 $1, t;"
    " shl.b32 t, b, 16; mov.b32 $2, t; and.b32 t, b, 0xffff0000; mov.b32 $3, t;"
)
_READ_FOUR_HALVES = (
    ".reg .b32 a, b, t; .reg .b16 h0, h1, h2, h3; mov.b32 a, 0; mov.b32 b, 0;"
    " P ld.global.nc.v2.b32 {a, b}, [A];"
)


def _pack(rounding: str) -> str:
    return (
        f".reg .b32 a, b; {rounding} a, $2, $1; {rounding} b, $4, $3;"
        " st.global.v2.b32 [A], {a, b};"
    )


_TEXTS = {
    "f32": _Text(
        "f",
        np.float32,
        "mov.f32 $0, 0f00000000; P ld.global.nc.f32 $0, [A];",
        "mov.f32 $0, 0f00000000; mov.f32 $1, 0f00000000; mov.f32 $2, 0f00000000;"
        " mov.f32 $3, 0f00000000; P ld.global.nc.v4.f32 {$0, $1, $2, $3}, [A];",
        "st.global.f32 [A], $1;",
        "st.global.v4.f32 [A], {$1, $2, $3, $4};",
    ),
    "f64": _Text(
        "d",
        np.float64,
        "mov.f64 $0, 0d0000000000000000; P ld.global.nc.f64 $0, [A];",
        "".join(f"mov.f64 ${i}, 0d0000000000000000; " for i in range(4))
        + "P ld.global.nc.v2.f64 {$0, $1}, [A]; P ld.global.nc.v2.f64 {$2, $3}, [A + 16];",
        "st.global.f64 [A], $1;",
        "st.global.v2.f64 [A], {$1, $2}; st.global.v2.f64 [A + 16], {$3, $4};",
    ),
    "f16": _Text(
        "f",
        np.float16,
        ".reg .b16 h; mov.b16 h, 0; P ld.global.nc.b16 h, [A]; cvt.f32.f16 $0, h;",
        _READ_FOUR_HALVES + _UNPACK_F16,
        ".reg .b16 h; cvt.rn.f16.f32 h, $1; st.global.b16 [A], h;",
        _pack("cvt.rn.f16x2.f32"),
    ),
    "bf16": _Text(
        "f",
        np.uint16,
        ".reg .b16 h, z; mov.b16 z, 0; mov.b16 h, 0; P ld.global.nc.b16 h, [A];"
        " mov.b32 $0, {z, h};",
        _READ_FOUR_HALVES + _UNPACK_BF16,
        ".reg .b16 h; cvt.rn.bf16.f32 h, $1; st.global.b16 [A], h;",
        _pack("cvt.rn.bf16x2.f32"),
    ),
}

_WANTED = "{{ .reg .pred wanted; setp.ne.b32 wanted, {condition}, 0; {body} }}"


def _load(kind: str, count: int, *, guarded: bool) -> _Function:
    text = _TEXTS[kind]
    body = (text.load if count == 1 else text.load4).replace("A]", f"${count}]")
    body = body.replace("[A ", f"[${count} ").replace("P ld", "@wanted ld" if guarded else "ld")
    results = text.letter * count

    def read(address: Any) -> Any:
        return _widened(kind, address, count)

    def read_if(address: Any, wanted: Any) -> Any:
        if wanted:
            return _widened(kind, address, count)
        zeros = np.zeros(count, np.float64 if kind == "f64" else np.float32)
        return zeros[0] if count == 1 else tuple(zeros)

    if guarded:
        body = _WANTED.format(condition=f"${count + 1}", body=body)
        return instruction(body, "lr", results, pure=True)(read_if)
    return instruction(f"{{ {body} }}", "l", results, pure=True)(read)


def _widened(kind: str, address: Any, count: int) -> Any:
    if kind == "f64" and count == 4:  # two vectors of 16 bytes
        return (*address.read(np.float64, 2), *(address + 16).read(np.float64, 2))
    raw = address.read(_TEXTS[kind].dtype, count)
    wide = from_bfloat16(raw) if kind == "bf16" else raw
    if kind != "f64":
        wide = wide.astype(np.float32)
    return wide[0] if count == 1 else tuple(wide)


def _store(kind: str, count: int) -> _Function:
    text = _TEXTS[kind]
    body = (text.store if count == 1 else text.store4).replace("[A", "[$0")

    def write(address: Any, value: Any) -> None:
        _narrowed(kind, address, [value])

    def write4(address: Any, a: Any, b: Any, c: Any, d: Any) -> None:
        _narrowed(kind, address, [a, b, c, d])

    operands = "l" + text.letter * count
    return instruction(f"{{ {body} }}", operands)(write if count == 1 else write4)


def _narrowed(kind: str, address: Any, values: list[Any]) -> None:
    if kind == "f64" and len(values) == 4:
        address.write(values[:2], np.float64)
        (address + 16).write(values[2:], np.float64)
    elif kind == "bf16":
        address.write(to_bfloat16(np.array(values, np.float32)), np.uint16)
    else:
        with np.errstate(over="ignore"):
            address.write(np.array(values, _TEXTS[kind].dtype), _TEXTS[kind].dtype)


@instruction("ld.shared.v4.f32 {$0, $1, $2, $3}, [$4];", "r", "ffff")
def load4_shared_f32(address: Any) -> Any:
    """Four float32 of shared memory."""
    return tuple(address.read(np.float32, 4))


@instruction("ld.shared.v2.f64 {$0, $1}, [$4]; ld.shared.v2.f64 {$2, $3}, [$4 + 16];", "r", "dddd")
def load4_shared_f64(address: Any) -> Any:
    """Four float64 of shared memory."""
    return _widened("f64", address, 4)


@instruction("st.shared.f32 [$0], $1;", "rf")
def store_shared_f32(address: Any, value: Any) -> None:
    """One float32 into shared memory."""
    address.write([value], np.float32)


@instruction("st.shared.f64 [$0], $1;", "rd")
def store_shared_f64(address: Any, value: Any) -> None:
    """One float64 into shared memory."""
    address.write([value], np.float64)


@instruction("st.shared.v4.f32 [$0], {$1, $2, $3, $4};", "rffff")
def store4_shared_f32(address: Any, a: Any, b: Any, c: Any, d: Any) -> None:
    """Four float32 into shared memory."""
    address.write([a, b, c, d], np.float32)


@instruction("st.shared.v2.f64 [$0], {$1, $2}; st.shared.v2.f64 [$0 + 16], {$3, $4};", "rdddd")
def store4_shared_f64(address: Any, a: Any, b: Any, c: Any, d: Any) -> None:
    """Four float64 into shared memory."""
    _narrowed("f64", address, [a, b, c, d])


def _kind(name: str, size: int) -> Kind:
    wide = name == "f64"
    return Kind(
        name=name,
        size=size,
        compute=types.float64 if wide else types.float32,
        compute_size=8 if wide else 4,
        load=_load(name, 1, guarded=False),
        load_if=_load(name, 1, guarded=True),
        load4_if=_load(name, 4, guarded=True),
        store=_store(name, 1),
        store4=_store(name, 4),
        load4_computed=_load("f64" if wide else "f32", 4, guarded=False),
        load4_shared=load4_shared_f64 if wide else load4_shared_f32,
        store_shared=store_shared_f64 if wide else store_shared_f32,
        store4_shared=store4_shared_f64 if wide else store4_shared_f32,
    )


KINDS = {
    name: _kind(name, size) for name, size in (("f32", 4), ("f64", 8), ("f16", 2), ("bf16", 2))
}
