"""What Python answers to compiled code: an entry for a call that is new, and threads for one.

The functions that compiled code calls get the interpreter's lock from ctypes, on whatever thread
they are called. An error goes into the call's data, and compiled code raises it.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeVar

from llvmlite import binding

from ..cpu import protocol
from ..options import planning, run_alone, told

if TYPE_CHECKING:
    from .known import Known
    from .plans import Entry

Result = TypeVar("Result")

_FOREIGN = "machine code for another version of fastconv: remove Numba's cache of the caller"


def _callback(function: Callable[..., Any], arguments: int, result: Any = None) -> Any:
    # Best without a result: when its function is interrupted as it begins, that is any number.
    return ctypes.CFUNCTYPE(result, *(ctypes.c_int64,) * arguments)(function)


def _words(address: int, count: int) -> Any:
    return (ctypes.c_int64 * count).from_address(address)


def _lasting_block(words: int) -> int:
    """The address, on a cache line, of words that are there for as long as the process lives."""
    memory = (ctypes.c_int64 * (words + protocol.LINE))()
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(memory))
    return ctypes.addressof(memory) + 63 & ~63


class Answers:
    """The block that compiled code knows by its name, and what it asks Python for."""

    def __init__(self) -> None:
        self._block = _lasting_block(protocol.STATE_WORDS)
        self._former = _lasting_block(protocol.FIND + 1)
        self._lock = threading.RLock()
        self._known: Known | None = None  # until compiled code first asks
        self._callbacks = {
            protocol.FIND: _callback(self._first, 4),
            protocol.MISSING: _callback(self._missing, 4),
            protocol.WORK: _callback(self._work, 2),
        }
        self._refusal = _callback(_refuse, 4, ctypes.c_int64)
        _words(self._former, 1)[protocol.FIND] = ctypes.cast(self._refusal, ctypes.c_void_p).value
        binding.add_symbol(protocol.FORMER, self._former)
        state = _words(self._block, protocol.STATE_WORDS)
        for place, callback in self._callbacks.items():
            state[place] = ctypes.cast(callback, ctypes.c_void_p).value
        state[protocol.VARIABLE] = id(planning)
        state[protocol.TOLD] = ctypes.addressof(told)
        binding.add_symbol(protocol.SYMBOL, self._block)
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._after_fork)

    def forget(self) -> None:
        """Forget all plans, and free those that no call under way may have; free workspaces."""
        with self._lock:
            if self._known is not None:
                self._known.forget()

    def kept(self) -> int:
        """How many plans are in memory."""
        return 0 if self._known is None else len(self._known)

    def _ready(self) -> Known:
        """Let compiled functions take over, the first time."""
        with self._lock:
            if self._known is None:
                # Only now is anything compiled, or imported that compiles.
                self._known = import_module(f"{__package__}.known").Known(self._block)
            return self._known

    def _first(self, block: int, n: int, schema: int, characters: int) -> None:
        """Answer a process' first call: from then on, compiled code looks itself."""
        data = _words(block + 8 * n, protocol.DATA_WORDS)
        _answer(data, self._found, data, block, n, schema, characters)

    def _found(self, data: Any, block: int, n: int, schema: int, characters: int) -> int:
        known = self._ready()
        known.take_over()
        known.find_compiled(block, n, schema, characters)
        return int(data[protocol.ANSWER])

    def _missing(self, block: int, n: int, schema: int, characters: int) -> None:
        """Answer a call that compiled code does not know with the address of its entry."""
        data = _words(block + 8 * n, protocol.DATA_WORDS)
        _answer(data, self._made, data, block, n, schema, characters)

    def _made(self, data: Any, block: int, n: int, schema: int, characters: int) -> int:
        key, text = tuple(_words(block, n)), ctypes.string_at(schema, characters).decode()
        with self._lock:
            return _as_called(key, data, self._entry, key, text, data).address

    def _entry(self, key: tuple[int, ...], text: str, data: Any) -> Entry:
        """The entry for a call: a new one, or one that has no place in the table."""
        from . import forms, plans

        known = self._ready()
        entry = known.get(key)
        if entry is not None and data[protocol.Y] == 0:
            return entry
        if key[protocol.SCHEMA] != forms.key(text):
            raise RuntimeError(_FOREIGN)
        schema = forms.read(text)
        places = (protocol.X, protocol.W, protocol.BIAS, protocol.Y)
        arrays = zip(places, schema.forms[: len(places)], strict=True)
        present = (data[place] for place, (_, form) in arrays if form is not None)
        given = forms.values(schema, iter(key[protocol.FIRST :]), present)
        made = plans.Entry(schema, given, key)
        if entry is not None:  # made again only to be checked: its result may overlap an operand
            return entry
        known.add(key, made, ctypes.addressof(data))
        return made

    def _work(self, address: int, data_at: int) -> None:
        """Run an entry, or answer that the caller must do so on its own thread."""
        data = _words(data_at, protocol.DATA_WORDS)
        _answer(data, self._done, address, data_at, data)

    def _done(self, address: int, data_at: int, data: Any) -> int:
        entry = self._ready().at(address)
        if entry.program is None:
            _as_called(entry.key, data, entry.fill, data[: protocol.BIAS + 1])
            return protocol.DONE
        shared = entry.program.run_on_threads(*_array_objects(data_at))
        return protocol.DONE if shared else protocol.UNDONE

    def _after_fork(self) -> None:
        self._lock = threading.RLock()  # a thread that is gone may have held it
        if self._known is not None:
            self._known.alone()


def _refuse(block: int, n: int, schema: int, characters: int) -> int:
    """Refuse a call from machine code that was made for a former version, and expects a result."""
    _tell(RuntimeError(_FOREIGN), _words(block + 8 * n, protocol.ANSWER))
    return 0


def _array_objects(data: int) -> list[int]:
    """Addresses where programs find those of X, W, Y, BIAS and the workspace as array objects'."""
    from ..cpu.program import ARRAY_DATA

    places = (protocol.X, protocol.W, protocol.Y, protocol.BIAS, protocol.WORKSPACE)
    return [data + 8 * (place - ARRAY_DATA) for place in places]


def _as_called(
    key: Sequence[int], data: Any, function: Callable[..., Result], *arguments: Any
) -> Result:
    """Call a function under the settings of a call from compiled code.

    Without the interpreter's lock it may be in a parallel loop of the caller's: it gets no threads.
    """
    if data[protocol.CALLER] == protocol.HOLDS_LOCK:
        return function(*arguments)
    return run_alone(key[protocol.PLANNING], function, *arguments)


def _answer(data: Any, function: Callable[..., int], *arguments: Any) -> None:
    """Have a call's data tell what a function returns, or the error that it raises."""
    try:
        answer = function(*arguments)
    except BaseException as error:
        data[protocol.ANSWER] = 0
        _tell(error, data)
    else:
        # Last: a signal's handler that ends this any earlier leaves no answer, but an error.
        data[protocol.ANSWER] = answer


def _tell(error: BaseException, data: Any) -> None:
    """Write an error into a call's data, for compiled code to raise it."""
    kinds = (i for i, kind in enumerate(protocol.ERRORS) if isinstance(error, kind))
    number, message = next(kinds, None), str(error)
    if number is None:
        number = protocol.ERRORS.index(RuntimeError)
        message = f"{type(error).__name__}: {message}"
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(message))  # for the one who raises it
    data[protocol.ERROR], data[protocol.MESSAGE] = number, id(message)
    if data[protocol.CALLER] == protocol.STRANGER:
        _show(error)  # Numba drops a parallel loop's errors


def _show(error: BaseException) -> None:
    """Hand an error to `sys.unraisablehook`, as ctypes does with what its callbacks raise."""

    def again() -> None:
        raise error

    ctypes.PYFUNCTYPE(None)(again)()


answers = Answers()
