"""Compiled kernels on disk, in place of Numba's own cache.

Numba knows a function by its own file alone, and misses what that imports; its index of numbered
files is lost to a damaged file; and two processes that write at once may leave one kernel's machine
code under another kernel's number. Here a kernel is a file, known by all that decides what it is.
"""

from __future__ import annotations

import hashlib
import pickle
import sys
from collections.abc import Callable
from typing import Any

import llvmlite
import numba
import numpy as np
from numba.core.caching import NullCache
from numba.core.compiler import CompileResult
from numba.core.runtime import rtsys
from numba.core.serialize import dumps

from fastconv._kept_files import Store

store = Store("kernel")

_VERSIONS = (
    *(numba.__version__, llvmlite.__version__, np.__version__),
    *(sys.implementation.cache_tag, getattr(sys, "abiflags", "")),
)


class KernelCache(NullCache):  # type: ignore[misc]
    """What Numba asks for the machine code of one function, and gives it to."""

    def __init__(self, function: Callable[..., Any]) -> None:
        code, cells = function.__code__, function.__closure__ or ()
        held = dumps((code.co_code, tuple(cell.cell_contents for cell in cells)))
        factory = function.__qualname__.partition(".<locals>")[0]
        self._words = f"{function.__module__.rpartition('.')[2]}.{factory}"
        self._known_by = (
            *(function.__module__, function.__qualname__, code.co_firstlineno),
            hashlib.sha256(held).hexdigest(),
        )

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """The compiled function for a signature, or None."""
        # Unlike Numba's own, without `target_context.refresh()`: that imports all that a
        # compilation may need (0.1 s and more), and a compiled kernel needs only some symbols.
        rtsys.initialize(target_context)
        content = store.load(self._key(sig, target_context.codegen()), self._words)
        if content is None:
            return None
        return CompileResult._rebuild(target_context, *pickle.loads(content))

    def save_overload(self, sig: Any, cres: Any) -> None:
        """Keep a compiled function."""
        store.save(self._key(sig, cres.codegen), dumps(cres._reduce()), self._words)

    def _key(self, sig: Any, codegen: Any) -> str:
        processor = codegen.magic_tuple()
        return repr((*self._known_by, sig, processor, _VERSIONS))


def kept_on_disk(function: Any) -> None:
    """Let a compiled function find its machine code on disk."""
    function._cache = KernelCache(function.py_func)
