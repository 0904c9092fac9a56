"""Numba's CUDA simulator, put right where our tests depend on it."""

import sys
import threading
from typing import Any

import numpy as np
from numba import types
from numba.np import numpy_support

_lock = threading.Lock()


def share_arrays_safely() -> None:
    """Let all threads of a block get the same shared array.

    Numba's own looks an array up and then makes it, so that two threads may each make one.
    """
    from numba.cuda.simulator.kernelapi import FakeCUDAShared

    original = FakeCUDAShared.array

    def array(self: Any, shape: Any, dtype: Any, alignment: Any = None) -> Any:
        if shape == 0:  # the dynamic one
            return original(self, shape, dtype, alignment)
        if isinstance(dtype, types.Type):
            dtype = numpy_support.as_dtype(dtype)
        caller = sys._getframe(1)
        with _lock:
            line = caller.f_code.co_filename, caller.f_lineno
            if line not in self._allocations:
                self._allocations[line] = np.empty(shape, dtype)
            return self._allocations[line]

    FakeCUDAShared.array = array
