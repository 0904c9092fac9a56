"""PTX instructions as functions that kernels call: the only folder that knows inline assembly."""

from .arithmetic import divide, magic_of, round_tf32, within
from .bulk import (
    aligned_1024,
    barrier_expect,
    barrier_start,
    barrier_started,
    barrier_wait,
    copy_bulk,
    fence_async,
)
from .elements import KINDS, Kind
from .instruction import SIMULATED, inline
from .matrix import (
    MULTIPLY,
    load_matrices,
    load_matrices_turned,
    load_shared_register,
    round_register_tf32,
    store2_shared_f32,
)
from .memory import (
    copy_async,
    copy_commit,
    copy_waits,
    load4_i32,
    load4_shared_i32,
    load_i32,
    shared_memory,
    store4_shared_i32,
)
from .simulated import Pointer
from .warpgroup import (
    descriptor,
    layout_of,
    warpgroup_commit,
    warpgroup_fence,
    warpgroup_multiply,
    warpgroup_wait_0,
    warpgroup_wait_1,
)

__all__ = [
    "KINDS",
    "MULTIPLY",
    "SIMULATED",
    "Kind",
    "Pointer",
    "aligned_1024",
    "barrier_expect",
    "barrier_start",
    "barrier_started",
    "barrier_wait",
    "copy_async",
    "copy_bulk",
    "copy_commit",
    "copy_waits",
    "descriptor",
    "divide",
    "fence_async",
    "inline",
    "layout_of",
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
    "warpgroup_commit",
    "warpgroup_fence",
    "warpgroup_multiply",
    "warpgroup_wait_0",
    "warpgroup_wait_1",
    "within",
]
