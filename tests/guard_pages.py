"""Arrays that end, or begin, at a page of memory that must not be touched: a read there crashes."""

import ctypes
import mmap

import numpy as np
from arrays import Array

_PAGE = mmap.PAGESIZE
_PROT_NONE = 0


def beside_guard_page(values: Array, *, at_end: bool) -> Array:
    """Return a copy of `values` whose last byte (or first) lies beside a forbidden page."""
    room = -(-values.nbytes // _PAGE) * _PAGE
    memory = mmap.mmap(-1, room + 2 * _PAGE)
    start = _PAGE + (room - values.nbytes if at_end else 0)
    array = np.frombuffer(memory, values.dtype, values.size, start).reshape(values.shape)
    array[...] = values
    address = array.__array_interface__["data"][0] - start
    for page in (address, address + _PAGE + room):
        _forbid(page)
    return array


def _forbid(address: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mprotect(ctypes.c_void_p(address), ctypes.c_size_t(_PAGE), _PROT_NONE):
        raise OSError(ctypes.get_errno(), "mprotect failed")
