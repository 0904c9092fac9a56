"""Settings for a block of code: worker threads, and whether Winograd may be chosen."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from ._arguments import flag, integer


@dataclass(frozen=True, slots=True)
class Settings:
    """What calls run under; `options` says what each setting means."""

    threads: int | None = None
    winograd: bool = True


_DEFAULTS = Settings()
_settings = ContextVar("fastconv_settings", default=_DEFAULTS)


def current() -> Settings:
    """Return the settings that hold in the calling context."""
    return _settings.get()


def options(
    threads: int | None = None, winograd: bool | None = None
) -> AbstractContextManager[None]:
    """Set how the calls inside a ``with`` block run.

    Blocks nest: a setting left out keeps the value of the enclosing block. Each thread
    and each asyncio task has settings of its own.

    Parameters
    ----------
    threads : int, optional
        The most worker threads a call may use; more than the machine offers is no
        error. Outside any block: all that Numba was given. Results have the same bits
        for every number of threads.
    winograd : bool, optional
        Whether ``algorithm="auto"`` may choose a Winograd algorithm, which rounds more
        coarsely than the others. No algorithm of this version is of that kind, so the
        setting changes nothing yet. Outside any block: True.

    Raises
    ------
    TypeError
        If ``threads`` is no integer or ``winograd`` no bool.
    ValueError
        If ``threads`` is less than 1.

    Examples
    --------
    >>> import numpy as np
    >>> import fastconv
    >>> with fastconv.options(threads=1):
    ...     y = fastconv.conv1d(np.ones((1, 1, 4)), np.ones((1, 1, 3)))
    >>> y
    array([[[3., 3.]]])
    """
    if threads is not None:
        threads = integer(threads, "threads", 1)
    if winograd is not None:
        winograd = flag(winograd, "winograd")
    return _changed(threads, winograd)


@contextmanager
def _changed(threads: int | None, winograd: bool | None) -> Iterator[None]:
    outer = current()
    inner = Settings(
        threads=outer.threads if threads is None else threads,
        winograd=outer.winograd if winograd is None else winograd,
    )
    token = _settings.set(inner)
    try:
        yield
    finally:
        _settings.reset(token)
