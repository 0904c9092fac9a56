"""Constant tables in device memory: what a program's kernels look offsets up in."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Sequence
from typing import Any

import numpy as np

from . import driver
from .ptx.instruction import SIMULATED
from .ptx.simulated import Pointer

_lock = threading.Lock()


class Tables:
    """A program's tables, one per step that has one; copied to a device when first used there."""

    def __init__(self, tables: Sequence[np.ndarray[Any, Any] | None]) -> None:
        self._tables = tables
        self._placed: dict[int, list[Any]] = {}

    def addresses(self, ordinal: int) -> list[Any]:
        """Each step's table on the current device, 0 for none."""
        placed = self._placed.get(ordinal)
        if placed is None:
            with _lock:
                if ordinal not in self._placed:
                    self._placed[ordinal] = [self._place(table, ordinal) for table in self._tables]
                placed = self._placed[ordinal]
        return placed

    def _place(self, table: np.ndarray[Any, Any] | None, ordinal: int) -> Any:
        if table is None or not table.size:
            return 0
        flat = np.ascontiguousarray(table, np.int32)
        if SIMULATED:
            return Pointer.over(flat)
        address = driver.upload(flat, ordinal)
        weakref.finalize(self, driver.free, address, ordinal).atexit = False
        return address
