"""Compiling what means nothing to the interpreter: vector instructions and addresses.

``NUMBA_DISABLE_JIT`` leaves all functions to the interpreter. Whoever sets it, to debug their own
functions, still has convolutions, as they have NumPy's sums.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from numba.core import config
from numba.core.compiler_lock import global_compiler_lock
from numba.core.registry import CPUDispatcher

from fastconv.cpu.waiting import signals_wait


@contextmanager
def compiling() -> Iterator[None]:
    """Let Numba compile within this block, whatever that variable says; signals wait."""
    # Other threads that compile here wait, or they would undo it.
    with signals_wait(), global_compiler_lock:
        disabled, config.DISABLE_JIT = config.DISABLE_JIT, 0
        try:
            yield
        finally:
            config.DISABLE_JIT = disabled


class _Dispatcher(CPUDispatcher):  # type: ignore[misc]
    def compile(self, sig: Any) -> Any:
        with compiling():
            return super().compile(sig)


def njit(function: Callable[..., Any] | None = None, **options: Any) -> Any:
    """`numba.njit`, always."""
    if function is None:
        return partial(njit, **options)
    return _Dispatcher(function, targetoptions={"nopython": True, "boundscheck": None, **options})
