"""Signals that wait: for what neither Numba nor Python's threads survive being left half done."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

Handler = Callable[[int, Any], Any]


@contextmanager
def signals_wait() -> Iterator[None]:
    """Have handlers of signals that come within this block run after it.

    A handler may raise, as that of Ctrl-C does, between any two steps of Python code: in the middle
    of a compilation that has ended processes. Python runs handlers in its main thread alone.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: dict[int, None] = {}
    handlers: list[tuple[int, Handler]] = []
    for number in map(int, signal.valid_signals()):
        handler = signal.getsignal(number)
        if callable(handler):
            handlers.append((number, handler))
    try:
        for number, _ in handlers:
            signal.signal(number, lambda number, frame: came.update({number: None}))
        yield
    finally:
        _restore(handlers)
        _raise(list(came))


def _restore(handlers: list[tuple[int, Handler]]) -> None:
    """Give all handlers back, though one may run, and raise, as soon as it is there."""
    if handlers:
        number, handler = handlers.pop()
        try:
            signal.signal(number, handler)
        finally:
            _restore(handlers)


def _raise(numbers: list[int]) -> None:
    if numbers:
        try:
            signal.raise_signal(numbers.pop(0))
        finally:
            _raise(numbers)
