"""Settings for a block of code: worker threads, Winograd, and TF32 on a GPU."""

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
    tf32: bool = False


_DEFAULTS = Settings()
_settings = ContextVar("fastconv_settings", default=_DEFAULTS)


def current() -> Settings:
    """Return the settings that hold in the calling context."""
    return _settings.get()


def options(
    threads: int | None = None, winograd: bool | None = None, tf32: bool | None = None
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
    tf32 : bool, optional
        Whether convolutions of float32 device arrays may round their factors to TF32,
        10 bits of fraction for float32's 23, and so use the GPU's tensor cores. Sums are
        float32 all the same. Outside any block: False.

    Raises
    ------
    TypeError
        If ``threads`` is no integer, or ``winograd`` or ``tf32`` no bool.
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
    if tf32 is not None:
        tf32 = flag(tf32, "tf32")
    return _changed(threads, winograd, tf32)


@contextmanager
def _changed(threads: int | None, winograd: bool | None, tf32: bool | None) -> Iterator[None]:
    outer = current()
    inner = Settings(
        threads=outer.threads if threads is None else threads,
        winograd=outer.winograd if winograd is None else winograd,
        tf32=outer.tf32 if tf32 is None else tf32,
    )
    token = _settings.set(inner)
    try:
        yield
    finally:
        _settings.reset(token)
