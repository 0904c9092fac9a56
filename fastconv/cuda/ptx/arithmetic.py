"""Integer arithmetic that Numba has no short form of, and rounding."""

from __future__ import annotations

from typing import Any

import numpy as np

from .instruction import instruction
from .simulated import to_tf32


@instruction(
    "{ .reg .b64 t; mul.wide.u32 t, $1, $2; shr.u64 t, t, $3; cvt.u32.u64 $0, t; }",
    "rrr",
    "r",
    pure=True,
)
def divide(value: Any, magic: Any, shift: Any) -> Any:
    """``value // divisor`` of 0 <= value < 2**31, by what `magic_of` gives for the divisor."""
    return (int(value) * (int(magic) & 0xFFFFFFFF)) >> int(shift)


def magic_of(divisor: int) -> tuple[int, int]:
    """The factor and the shift that divide by ``divisor``.

    Granlund and Montgomery, "Division by invariant integers using multiplication", 1994: with
    2**(l-1) < d <= 2**l, the factor m = ceil(2**(31+l) / d) is off by less than one part in 2**31.
    """
    if not 1 <= divisor < 2**31:
        raise ValueError(f"divisor must be in 1 .. 2**31 - 1, got {divisor}")
    length = (divisor - 1).bit_length()
    return -(-(1 << (31 + length)) // divisor), 31 + length


@instruction("{ .reg .pred p; setp.lt.u32 p, $1, $2; selp.b32 $0, 1, 0, p; }", "rr", "r", pure=True)
def within(position: Any, size: Any) -> Any:
    """1 if 0 <= position < size, else 0."""
    return 1 if 0 <= int(position) < int(size) else 0


@instruction("{ .reg .b32 t; cvt.rna.tf32.f32 t, $1; mov.b32 $0, t; }", "f", "f", pure=True)
def round_tf32(value: Any) -> Any:
    """A float32 rounded to the nearest TF32, ties away from zero."""
    return to_tf32(np.array([value], np.float32))[0]
