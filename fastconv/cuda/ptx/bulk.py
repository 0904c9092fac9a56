"""The copy engine (sm_90): one thread starts a copy of a block, and a barrier counts its bytes.

A barrier of this kind lies in 8 bytes of shared memory. It goes through phases; each ends when its
one arrival and all the bytes that the arrival announced have come. A waiter names the parity of the
phase that it waits for, 0 for the first.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from .instruction import instruction


@instruction("mbarrier.init.shared::cta.b64 [$0], 1;", "r")
def barrier_start(barrier: Any) -> None:
    """Make a barrier whose phases take one arrival."""
    barrier.write([0], np.uint64)


@instruction("fence.mbarrier_init.release.cluster;", "")
def barrier_started() -> None:
    """Let the copy engine see the barriers that this thread has made."""


@instruction("mbarrier.arrive.expect_tx.shared::cta.b64 _, [$0], $1;", "rr")
def barrier_expect(barrier: Any, size: Any) -> None:
    """Arrive, and announce ``size`` bytes."""
    low = int(barrier.read(np.uint64)[0])
    barrier.write([low + (int(size) << 32)], np.uint64)


@instruction(
    "{ .reg .pred done; AGAIN: mbarrier.try_wait.parity.shared::cta.b64 done, [$0], $1;"
    " @!done bra AGAIN; }",
    "rr",
)
def barrier_wait(barrier: Any, parity: Any) -> None:
    """Wait until the phase of this parity has ended."""
    while int(barrier.read(np.uint64)[0]) & 1 == int(parity):
        time.sleep(0)


@instruction(
    "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [$0], [$1], $2, [$3];",
    "rlrr",
)
def copy_bulk(shared: Any, source: Any, size: Any, barrier: Any) -> None:
    """Start copying ``size`` bytes, a multiple of 16, of which the barrier is told."""
    for at in range(0, int(size), 16):
        (shared + at).write((source + at).read(np.uint8, 16), np.uint8)
    state = int(barrier.read(np.uint64)[0])
    expected = (state >> 32) - int(size)
    phases = (state & 0xFFFFFFFF) + (expected == 0)
    barrier.write([phases + (expected << 32)], np.uint64)


@instruction("fence.proxy.async.shared::cta;", "")
def fence_async() -> None:
    """Let the tensor cores and the copy engine see what this thread wrote to shared memory."""


@instruction(
    "{ .reg .b32 t; add.u32 t, $1, 1023; and.b32 $0, t, 0xfffffc00; }", "r", "r", pure=True
)
def aligned_1024(address: Any) -> Any:
    """The next shared address that is a multiple of 1024."""
    return address + -int(address) % 1024
