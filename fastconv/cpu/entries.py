"""Calls from compiled code: found, run and counted by functions that need no interpreter.

A user's compiled function has no Python objects to look for, and in a parallel loop no
interpreter's lock either. It hands over 64-bit words that tell the call, and gets the address of an
entry: a plan that is ready, and the words that it is for. Any number of threads look for entries
while one, in Python, adds them: a table's slot is written once, its hash last, and never moves.
When a table is full, or its plans are to be forgotten, Python puts an empty one in its place. The
old one and its entries live on until every call that may have seen them has ended: for that, calls
under way are counted.

`protocol` names the words.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable
from typing import Any

from numba import types

from fastconv.cpu import protocol, simd, spaces
from fastconv.cpu.always import njit
from fastconv.cpu.program import c_function, run_steps
from fastconv.cpu.protocol import SYMBOL

MOST = 1024  #: entries of a table
_SLOTS = 4 * MOST
TABLE_WORDS = 2 * _SLOTS  #: of each slot: a hash, and the address of its entry
_TRIES = 8
_ODD = 0x1E3779B97F4A7C15
_ANY = 1 << 62  # a workspace may have more than it needs


def stripe(data: int) -> int:
    """Which of the counts of calls under way counts one, by where its caller's stack is."""
    page = data >> 12  # stacks of threads may lie any power of 2 apart
    return (page ^ page >> 5 ^ page >> 10 ^ page >> 15) & protocol.MOST_STRIPES - 1


_stripe = njit(stripe)


@njit
def _under_way(state, data):
    """The address of the count in which a call counts."""
    return state + 8 * (protocol.STRIPES + protocol.LINE * _stripe(data))


@njit
def _hash(block, n):
    """A hash of ``n`` words, which is not 0."""
    even = odd = n
    for i in range(0, n - 1, 2):  # two sums, which do not wait for each other
        even = even * _ODD + simd.word(block, i)
        odd = odd * _ODD + simd.word(block, i + 1)
    total = (even * _ODD + odd + simd.word(block, n - 1)) * _ODD
    return (total ^ total >> 29) * _ODD | 1


@njit
def _slot(table, hashed, attempt):
    """The address of the slot to try."""
    return table + 16 * ((hashed >> 40) + attempt & _SLOTS - 1)


@njit
def _is_for(entry, block, n):
    """Whether an entry is for the call of these words."""
    differs = simd.word(entry, protocol.WORDS) ^ n
    if differs == 0:
        for i in range(n):
            differs |= simd.word(entry, protocol.KEY + i) ^ simd.word(block, i)
    return differs == 0


@njit
def _overlap(entry, data):
    """Whether the result may share memory with an operand, going by where each begins and ends."""
    y = simd.word(data, protocol.Y)
    low = y + simd.word(entry, protocol.EXTENTS + 2 * protocol.Y)
    high = y + simd.word(entry, protocol.EXTENTS + 2 * protocol.Y + 1)
    for place in (protocol.X, protocol.W, protocol.BIAS):
        start = simd.word(data, place)
        begin = start + simd.word(entry, protocol.EXTENTS + 2 * place)
        end = start + simd.word(entry, protocol.EXTENTS + 2 * place + 1)
        if begin < high and low < end:
            return True
    return False


def _find(block, n, schema, characters):
    """Answer a call with its entry, or 0; one that is found counts as under way until it has run.

    ``block`` is the address of ``n`` words and of the call's data behind them.
    """
    state = simd.symbol(SYMBOL)
    data = block + 8 * n
    under_way = _under_way(state, data)
    simd.add_at_once(under_way, 1)
    told = simd.word(state, protocol.TOLD)
    if simd.word(told, 0) and simd.word(data, protocol.CALLER) == protocol.HOLDS_LOCK:
        planning = simd.context_integer(simd.word(state, protocol.VARIABLE))
    else:
        planning = simd.word(told, 1)
    simd.poke(block + 8 * protocol.PLANNING, planning)
    hashed = _hash(block, n)
    table = simd.published(state + 8 * protocol.TABLE)
    found = 0
    for attempt in range(_TRIES):
        slot = _slot(table, hashed, attempt)
        there = simd.published(slot)
        if there == 0:
            break
        if there == hashed and _is_for(simd.word(slot, 1), block, n):
            found = simd.word(slot, 1)
            break
    given = simd.word(data, protocol.Y) != 0
    if found == 0 or (given and _overlap(found, data)):
        simd.poke(data + 8 * protocol.ANSWER, 0)
        simd.ask(simd.word(state, protocol.MISSING), (block, n, schema, characters))
        found = simd.word(data, protocol.ANSWER)
    simd.poke(data + 8 * protocol.ANSWER, found)
    if found == 0:
        simd.add_at_once(under_way, -1)
    return 0


def _insert(table, entry):
    """Make an entry known, if there is a slot for it. One thread at a time."""
    hashed = _hash(entry + 8 * protocol.KEY, simd.word(entry, protocol.WORDS))
    for attempt in range(_TRIES):
        slot = _slot(table, hashed, attempt)
        if simd.word(slot, 0) == 0:
            simd.poke(slot + 8, entry)
            simd.publish(slot, hashed)
            return 1
    return 0


@njit
def _run_here(entry, data):
    """Run an entry's steps on this thread."""
    steps, count = simd.word(entry, protocol.TABLE_OF_STEPS), simd.word(entry, protocol.STEPS)
    x, w, y = simd.word(data, protocol.X), simd.word(data, protocol.W), simd.word(data, protocol.Y)
    bias, workspace = simd.word(data, protocol.BIAS), simd.word(data, protocol.WORKSPACE)
    run_steps(steps, count, x, w, y, bias, workspace)


@njit
def _ask_for_work(entry, data):
    """What Python answers to a call that it is to run."""
    simd.poke(data + 8 * protocol.ANSWER, protocol.FAILED)
    simd.ask(simd.word(simd.symbol(SYMBOL), protocol.WORK), (entry, data))
    return simd.word(data, protocol.ANSWER)


def _run(entry, data):
    """Fill the result of a call and end its being under way: 0, or 1 and an error in its data."""
    state = simd.symbol(SYMBOL)
    how, size = simd.word(entry, protocol.HOW), simd.word(entry, protocol.SPACE)
    done = protocol.DONE
    starved = simd.word(data, protocol.Y) == 0
    if how == protocol.PYTHON and not starved:
        done = _ask_for_work(entry, data)
    elif not starved:
        if simd.word(data, protocol.BIAS) == 0:
            simd.poke(data + 8 * protocol.BIAS, simd.word(entry, protocol.ZEROS))
        workspace = pool = 0
        if size:
            pool = state + 8 * protocol.WORKSPACES
            workspace = spaces.take(pool, protocol.MOST_WORKSPACES, size, _ANY)
            simd.poke(data + 8 * protocol.WORKSPACE, workspace)
        starved = size and workspace == 0
        if not starved:
            alone = how == protocol.ALONE or simd.word(data, protocol.CALLER) != protocol.HOLDS_LOCK
            done = protocol.UNDONE if alone else _ask_for_work(entry, data)
            if done == protocol.UNDONE:
                _run_here(entry, data)
        if workspace:
            spaces.give_back(pool, protocol.MOST_WORKSPACES, workspace)
    if starved:
        done = protocol.FAILED
        simd.poke(data + 8 * protocol.ERROR, protocol.STARVED)
        simd.poke(data + 8 * protocol.MESSAGE, 0)
    simd.add_at_once(_under_way(state, data), -1)
    return done == protocol.FAILED


def _large(size):
    """The address of Numba's record of ``size`` new bytes, or 0; it gives them back by itself."""
    allocator = simd.symbol(SYMBOL) + 8 * protocol.ALLOCATOR
    return simd.managed_memory(size, allocator)


def _new_result(size, state):
    """Memory for a large result: a block much longer would be lost to others while that lives."""
    pool = state + 8 * protocol.RESULTS
    return spaces.take(pool, protocol.MOST_RESULTS, size, size + (size >> 3))


def _free_result(block, state):
    """Keep the memory of a large result that is gone."""
    spaces.give_back(state + 8 * protocol.RESULTS, protocol.MOST_RESULTS, block)
    return 0


def _drain():
    """Free the memory that is kept."""
    state = simd.symbol(SYMBOL)
    spaces.drain(state + 8 * protocol.WORKSPACES, protocol.MOST_WORKSPACES)
    spaces.drain(state + 8 * protocol.RESULTS, protocol.MOST_RESULTS)
    return 0


def _publish(address, number):
    """Write a number that threads which are in compiled code look at."""
    simd.publish(address, number)
    return 0


class Functions:
    """The functions here as C functions, compiled or loaded from disk: addresses and callables."""

    def __init__(self) -> None:
        self._kept = [
            c_function(function, (types.int64,) * function.__code__.co_argcount, types.int64)
            for function in (
                *(_find, _insert, _drain, _publish),
                *(_run, _large, _new_result, _free_result),
            )
        ]
        self.find_entry, self.insert, self.drain, self.publish = map(_callable, self._kept[:4])
        self.find = self._kept[0].address
        self.run, self.large, self.new_result, self.free_result = (
            made.address for made in self._kept[4:]
        )
        # Arrays that outlive all modules give their memory back by these functions.
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._kept))


def _callable(made: Any) -> Callable[..., int]:
    # The interpreter's lock is kept: none of these takes long, nor waits.
    arguments = (ctypes.c_int64,) * made.__wrapped__.__code__.co_argcount
    called: Callable[..., int] = ctypes.PYFUNCTYPE(ctypes.c_int64, *arguments)(made.address)
    return called


@functools.cache
def functions() -> Functions:
    """The functions here, made when they are first asked for."""
    return Functions()
