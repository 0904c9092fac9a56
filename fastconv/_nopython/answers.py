"""What Python answers to compiled code: an entry for a call that is new, and threads for one.

The functions that compiled code calls get the interpreter's lock from ctypes, on whatever thread
they are called, and never raise: an error goes into the call's data, and compiled code raises it.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np
from llvmlite import binding

from .. import options
from ..cpu import protocol
from ..cpu.program import ARRAY_DATA
from . import forms
from .plans import Entry

Result = TypeVar("Result")

_WORD = 8
_FOREIGN = "machine code for another version of fastconv: remove Numba's cache of the caller"
_DONE, _ALONE, _TOLD = 0, 1, 4  # what `protocol.WORK` returns: see `cpu.entries`


def _words(address: int, count: int) -> Any:
    return (ctypes.c_int64 * count).from_address(address)


class _Generation:
    """A table of known calls, and its entries."""

    def __init__(self, words: int) -> None:
        self.table = np.zeros(words, np.int64)
        self.entries: dict[tuple[int, ...], Entry] = {}
        self.seen_by = set(range(protocol.MOST_STRIPES))  # stripes whose calls may have seen it


def _callback(function: Callable[..., int], arguments: int) -> Any:
    return ctypes.CFUNCTYPE(ctypes.c_int64, *(ctypes.c_int64,) * arguments)(function)


class Answers:
    """The block that compiled code knows by its name, and what it asks Python for."""

    def __init__(self) -> None:
        memory = (ctypes.c_int64 * (protocol.STATE_WORDS + protocol.LINE))()
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(memory))  # for as long as the process lives
        self._block = ctypes.addressof(memory) + 63 & ~63
        self._state = _words(self._block, protocol.STATE_WORDS)
        self._lock = threading.RLock()
        self._entries: dict[int, Entry] = {}  # all that any generation has, by their addresses
        self._retired: list[_Generation] = []
        self._now: _Generation | None = None  # None until compiled code first asks
        self._callbacks = {
            protocol.FIND: _callback(self._first, 4),
            protocol.MISSING: _callback(self._missing, 4),
            protocol.WORK: _callback(self._work, 2),
        }
        for place, callback in self._callbacks.items():
            self._state[place] = ctypes.cast(callback, ctypes.c_void_p).value
        self._state[protocol.VARIABLE] = id(options.planning)
        self._state[protocol.TOLD] = ctypes.addressof(options.told)
        binding.add_symbol(protocol.SYMBOL, self._block)
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._after_fork)

    def forget(self) -> None:
        """Forget all entries, and free what no call under way may still read; free workspaces."""
        with self._lock:
            if self._now is None:
                return
            self._start_generation()
            self._functions.drain()
            self._sweep()

    def kept(self) -> int:
        """How many entries are in memory, those to be freed included."""
        return len(self._entries)

    def _first(self, block: int, n: int, schema: int, characters: int) -> int:
        """The answer to a process' first call: from then on, compiled code looks itself."""
        with _errors_to(_words(block + _WORD * n, protocol.DATA_WORDS)):
            self._install()
            return self._functions.find_entry(block, n, schema, characters)
        return 0

    def _install(self) -> None:
        """Let compiled functions take over."""
        from ..cpu import entries  # all that compiles

        with self._lock:
            if self._now is None:
                self._functions = entries.functions()
                self._table_words, self._most = entries.TABLE_WORDS, entries.MOST
                self._start_generation()
                self._publish(protocol.RUN, self._functions.run)
                self._publish(protocol.FIND, self._functions.find)

    def _publish(self, place: int, number: int) -> None:
        self._functions.publish(self._block + _WORD * place, number)

    def _start_generation(self) -> None:
        if self._now is not None:
            self._retired.append(self._now)
        self._now = _Generation(self._table_words)
        self._publish(protocol.TABLE, self._now.table.ctypes.data)

    def _sweep(self) -> None:
        """Free entries of earlier generations that no call can still have.

        A call counts in one of several stripes from before it reads the table until it has run. A
        stripe that is found empty after a table was replaced will not see that table again.
        """
        counts = self._state[protocol.STRIPES :: protocol.LINE]
        for generation in self._retired:
            generation.seen_by -= {i for i, count in enumerate(counts) if count == 0}
            if not generation.seen_by:
                for entry in generation.entries.values():
                    del self._entries[entry.address]
        self._retired = [generation for generation in self._retired if generation.seen_by]

    def _missing(self, block: int, n: int, schema: int, characters: int) -> int:
        """The address of an entry for a call that compiled code does not know; 0 for an error."""
        data = _words(block + _WORD * n, protocol.DATA_WORDS)
        with _errors_to(data):
            key = tuple(_words(block, n))
            text = ctypes.string_at(schema, characters).decode()
            if key[protocol.SCHEMA] != forms.key(text):
                raise RuntimeError(_FOREIGN)
            with self._lock:
                return _as_called(key, data, self._entry, key, forms.read(text), data).address
        return 0

    def _entry(self, key: tuple[int, ...], schema: forms.Schema, data: Any) -> Entry:
        """The entry for a call: a new one, or one that has no place in the table."""
        known = self._now.entries.get(key)
        out = data[protocol.Y] != 0
        if known is not None and not out:
            return known
        arrays = (protocol.X, protocol.W, protocol.BIAS, protocol.Y)
        present = (data[place] for place, (_, form) in zip(arrays, schema.forms) if form)
        made = Entry(schema, forms.values(schema, iter(key[protocol.FIRST :]), present), key)
        if known is not None:  # which had to be checked: a result that may overlap an operand
            return known
        if len(self._now.entries) >= self._most:
            self._start_generation()
        self._now.entries[key] = self._entries[made.address] = made
        self._functions.insert(self._now.table.ctypes.data, made.address)
        self._sweep()
        return made

    def _work(self, address: int, data_at: int) -> int:
        """Run an entry, or say that the caller must do so on its own thread."""
        data = _words(data_at, protocol.DATA_WORDS)
        with _errors_to(data):
            entry = self._entries[address]
            if entry.program is None:
                key = entry.words[protocol.KEY :]
                _as_called(key, data, entry.fill, data[: protocol.BIAS + 1])
                return _DONE
            # Programs read an operand's address where an array object has it.
            places = (protocol.X, protocol.W, protocol.Y, protocol.BIAS, protocol.WORKSPACE)
            objects = (data_at + _WORD * (place - ARRAY_DATA) for place in places)
            return _DONE if entry.program.run_on_threads(*objects) else _ALONE
        return _TOLD

    def _after_fork(self) -> None:
        self._lock = threading.RLock()  # a thread that is gone may have held it


def _as_called(
    key: Sequence[int], data: Any, function: Callable[..., Result], *arguments: Any
) -> Result:
    """Call a function under the settings of a call from compiled code.

    Without the interpreter's lock it may be in a parallel loop of the caller's: it gets no threads.
    """
    if data[protocol.LOCKED]:
        return function(*arguments)
    return options.run_alone(int(key[protocol.PLANNING]), function, *arguments)


@contextmanager
def _errors_to(data: Any) -> Iterator[None]:
    """Write an error into a call's data, for compiled code to raise it."""
    try:
        yield
    except BaseException as error:
        kinds = (i for i, kind in enumerate(protocol.ERRORS) if isinstance(error, kind))
        number, message = next(kinds, None), str(error)
        if number is None:
            number = protocol.ERRORS.index(RuntimeError)
            message = f"{type(error).__name__}: {message}"
        text = ctypes.py_object(message)
        ctypes.pythonapi.Py_IncRef(text)  # for the one who raises it
        data[protocol.ERROR], data[protocol.MESSAGE] = number, id(message)


answers = Answers()
