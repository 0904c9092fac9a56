"""Memory kept between calls, for compiled code that has no interpreter: what `Pool` is in Python.

A pool is some 64-bit words: how many bytes it keeps, whose turn it is to go, and the addresses of
the blocks kept, 0 where there is none. A thread owns a block from when it has exchanged its address
for a 0. Before a block stand its size, and where it was allocated.
"""

from __future__ import annotations

from fastconv.cpu import simd
from fastconv.cpu.always import njit

_KEPT, _TURN, _BLOCKS = range(3)
HEAD = _BLOCKS  #: words of a pool before those of its blocks
_MOST_BYTES = 1 << 28  # that a pool keeps
_BEFORE = 16  # bytes before a block
_LINE = 64


@njit
def _size(block):
    return simd.word(block - _BEFORE, 0)


@njit
def _free(block):
    simd.free(simd.word(block - _BEFORE, 1))


@njit
def _place(pool, i):
    return pool + 8 * (_BLOCKS + i)


@njit
def _next_place(pool, count):
    return _place(pool, simd.add_at_once(pool + 8 * _TURN, 1) & count - 1)


@njit
def _add_bytes(pool, number):
    """Add to the bytes that are kept; how many they are then."""
    return simd.add_at_once(pool + 8 * _KEPT, number) + number


@njit
def take(pool, count, size, most):
    """The address of a block on a cache line, or 0: one of ``size`` to ``most`` bytes, or new.

    ``count`` is how many blocks the pool keeps: a power of 2, here and below.
    """
    for i in range(count):
        place = _place(pool, i)
        if simd.word(place, 0):
            block = simd.exchange(place, 0)
            if block:
                held = _size(block)
                if size <= held <= most:
                    _add_bytes(pool, -held)
                    return block
                if not simd.replace_zero(place, block):  # another thread was quicker
                    _add_bytes(pool, -held)
                    give_back(pool, count, block)
    start = simd.allocate(size + _BEFORE + _LINE)
    if start == 0:
        return 0
    block = start + _BEFORE + _LINE - 1 & ~(_LINE - 1)
    simd.poke(block - _BEFORE, size)
    simd.poke(block - _BEFORE + 8, start)
    return block


@njit
def give_back(pool, count, block):
    """Keep a block for later, in place of others if need be."""
    size = _size(block)
    kept = _add_bytes(pool, size)
    for _ in range(count):
        if kept <= _MOST_BYTES:
            break
        kept = _let_go(pool, _next_place(pool, count), 0)
    if kept > _MOST_BYTES:
        _add_bytes(pool, -size)
        _free(block)
        return
    for i in range(count):
        place = _place(pool, i)
        if simd.word(place, 0) == 0 and simd.replace_zero(place, block):
            return
    _let_go(pool, _next_place(pool, count), block)


@njit
def _let_go(pool, place, successor):
    """Free the block at a place, if there is one, for a successor or 0; how many bytes are kept."""
    block = simd.exchange(place, successor)
    if block == 0:
        return _add_bytes(pool, 0)
    kept = _add_bytes(pool, -_size(block))
    _free(block)
    return kept


@njit
def drain(pool, count):
    """Free what is kept."""
    for i in range(count):
        _let_go(pool, _place(pool, i), 0)
