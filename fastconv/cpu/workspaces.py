"""Workspaces kept between calls: fresh pages cost more than many a kernel."""

from __future__ import annotations

import os
import threading
from typing import Any, TypeAlias

import numpy as np

Bytes: TypeAlias = np.ndarray[Any, np.dtype[np.uint8]]

MOST_BYTES = 1 << 28  #: that are kept in all
MOST = 16  #: workspaces that are kept

NONE: Bytes = np.empty(0, np.uint8)  #: for programs that need no workspace

_kept: list[Bytes] = []  # the one given back last comes last
_lock = threading.Lock()


def _after_fork() -> None:
    global _lock
    _lock = threading.Lock()  # another thread of the parent may have held it


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def take(size: int) -> Bytes:
    """A workspace of ``size`` bytes or more, for one call: kept from another, or new."""
    if not size:
        return NONE
    with _lock:
        # The last one given back is the likeliest to be in cache still.
        for i in range(len(_kept) - 1, -1, -1):
            if _kept[i].size >= size:
                return _kept.pop(i)
    return np.empty(size, np.uint8)


def give_back(workspace: Bytes) -> None:
    """Keep a workspace for later calls, in place of those kept longest if need be."""
    if not 0 < workspace.size <= MOST_BYTES:
        return
    with _lock:
        _kept.append(workspace)
        while len(_kept) > MOST or kept_bytes() > MOST_BYTES:
            _kept.pop(0)


def kept_bytes() -> int:
    """Bytes of all the workspaces that are kept now."""
    return sum(workspace.size for workspace in _kept)


def forget() -> None:
    """Free the workspaces kept."""
    with _lock:
        _kept.clear()
