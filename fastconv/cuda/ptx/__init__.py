"""PTX instructions as functions that kernels call: the only folder that knows inline assembly."""

from .arithmetic import divide, magic_of, round_tf32, within
from .elements import KINDS, Kind
from .instruction import SIMULATED, inline
from .memory import (
    COPY_WAITS,
    copy_async,
    copy_commit,
    load4_i32,
    load4_shared_i32,
    load_i32,
    shared_memory,
    store4_shared_i32,
)
from .matrix import (
    MULTIPLY,
    load_matrices,
    load_matrices_turned,
    load_shared_register,
    round_register_tf32,
    store2_shared_f32,
)
from .simulated import Pointer

__all__ = [
    "COPY_WAITS",
    "KINDS",
    "MULTIPLY",
    "SIMULATED",
    "Kind",
    "Pointer",
    "copy_async",
    "copy_commit",
    "divide",
    "inline",
    "load4_i32",
    "load4_shared_i32",
    "load_i32",
    "load_matrices",
    "load_matrices_turned",
    "load_shared_register",
    "magic_of",
    "round_register_tf32",
    "round_tf32",
    "shared_memory",
    "store2_shared_f32",
    "store4_shared_i32",
    "within",
]
