"""Threads: which layer runs Numba's parallel loops, how many workers a call may use, and when none.

Numba has three layers. Any number of Python threads may enter tbb and GNU's omp at once. Workqueue
ends the process when a second one enters, even where the first is in a loop of the user's own. No
layer can be relied on in a process forked after it was started: its workers have stayed behind,
perhaps with a lock of theirs held. Where several threads could end or stop a process, a call runs
on the calling thread alone, with the same results.
"""

from __future__ import annotations

import ctypes
import os
import sys
from importlib import import_module
from pathlib import Path

import numba
from numba.core.compiler_lock import global_compiler_lock

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

#: Held while kernels are compiled, their modules imported, and threads started. It is Numba's own,
#: so that there is no order of two to keep. A fork waits for it: a child that found it taken, by a
#: thread that has stayed behind, would wait for ever.
preparing = global_compiler_lock

_forked = False
_inherited = False  # whether the layer was started in a process that this one was forked from
_missing = False  # whether Numba found no layer to start


def _after_fork() -> None:
    global _forked, _inherited
    _forked, _inherited = True, _is_started()
    preparing.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=preparing.acquire,
        after_in_parent=preparing.release,
        after_in_child=_after_fork,
    )


def most() -> int:
    """The most workers that any call can use."""
    return int(numba.config.NUMBA_NUM_THREADS)


def allowed() -> int:
    """The workers that a call made here and now may use."""
    limit = current().threads
    if limit == 1 or (name := layer()) == "none":
        return 1
    # Every Python thread counts: each may enter a parallel loop that is not of this package.
    if name == "workqueue" and len(sys._current_frames()) > 1:
        return 1
    granted = int(numba.get_num_threads())
    return granted if limit is None else min(limit, granted)


def layer() -> str:
    """The name of what runs parallel loops, which this starts; "none" where nothing does."""
    if most() == 1 or _inherited:
        return "none"
    if not _is_started():
        _start()
        if _missing:
            return "none"
    name = str(numba.threading_layer())
    # What else uses OpenMP in this process may have done so before the fork.
    return "none" if _forked and name != "tbb" else name


def told() -> str:
    """When calls run on the calling thread alone, in words."""
    if most() == 1:
        return "always, as NUMBA_NUM_THREADS is 1"
    name = layer()
    if _missing:
        return "always, as Numba found no threading layer"
    return {
        "none": "always, as this process was forked",
        "workqueue": "while there is more than one Python thread, and after a fork",
        "omp": "after a fork",
        "tbb": "in a process forked after the first parallel call",
    }[name]


def _is_started() -> bool:
    try:
        numba.threading_layer()
    except ValueError:
        return False
    return True


def _start() -> None:
    """Start Numba's threads, if it has any."""
    global _missing
    with preparing:
        if _missing or _is_started():
            return
        try:
            numba.get_num_threads()
        except ValueError:  # the layer that was asked for is not there, or no layer
            _missing = True
            return
        if numba.threading_layer() == "tbb":
            # Numba has left a task there, for any worker to wake up by. Where a fork comes before
            # one has, the task is lost, and the end of the process waits for it.
            tbb = import_module("numba.np.ufunc.tbbpool")
            ctypes.CFUNCTYPE(None)(tbb.synchronize)()
