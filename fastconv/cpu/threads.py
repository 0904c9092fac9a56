"""Threads: which layer runs Numba's parallel loops, how many workers a call may use, and when none.

Of Numba's three layers only tbb may be entered by several Python threads and used again after a
fork. fastconv makes tbb findable; where it is missing, calls that the layer could not survive run
on the calling thread alone, with the same results.
"""

from __future__ import annotations

import ctypes
import os
import sys
import threading
from pathlib import Path

import numba

from fastconv.options import current


def _load_tbb() -> None:
    """Load the tbb wheel's library by path: it lies in a folder that the loader does not search."""
    names = {"linux": ("lib/libtbb.so.12",), "win32": ("Library/bin/tbb12.dll",)}
    for name in names.get(sys.platform, ()):
        path = Path(sys.prefix) / name
        if path.exists():
            try:
                # Global, so that Numba's own module finds its symbols.
                ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL)
            except OSError:
                return


_load_tbb()

_forked = False
_one_at_a_time = threading.Lock()


def _after_fork() -> None:
    global _forked, _one_at_a_time
    _forked = True
    _one_at_a_time = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def most() -> int:
    """The most workers that any call can use."""
    return int(numba.config.NUMBA_NUM_THREADS)


def allowed() -> int:
    """The workers that a call made here and now may use."""
    limit = current().threads
    # A layer of one worker is better never started: at the end of a process that has forked,
    # Numba's tbb waits for that worker for ever.
    if limit == 1 or most() == 1:
        return 1
    granted = int(numba.get_num_threads())
    if _forked and numba.threading_layer() != "tbb":
        return 1  # a parent's OpenMP or workqueue threads did not follow into this process
    return granted if limit is None else min(limit, granted)


def layer() -> str:
    """The name of what runs parallel loops, which this starts; "none" where nothing does."""
    if most() == 1:
        return "none"
    numba.get_num_threads()
    return str(numba.threading_layer())


def enter() -> bool:
    """Whether a parallel loop may start now; if so, `leave` must follow it."""
    return numba.threading_layer() != "workqueue" or _one_at_a_time.acquire(blocking=False)


def leave() -> None:
    """The parallel loop that `enter` allowed has ended."""
    if numba.threading_layer() == "workqueue":
        _one_at_a_time.release()
