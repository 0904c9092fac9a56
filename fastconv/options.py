"""Settings for a block of code: worker threads, Winograd, autotuning, number formats."""

import ctypes
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar, copy_context
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from ._arguments import flag, integer

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Settings:
    """What calls run under; `options` says what each setting means."""

    threads: int | None = None
    winograd: bool = True
    tf32: bool = False
    autotune: bool = False
    bfloat16_bits: bool = False
    #: what the plan of a call on NumPy arrays depends on, as one number
    planning: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        flags = self.winograd, self.autotune, self.bfloat16_bits
        object.__setattr__(self, "planning", sum(flag << i for i, flag in enumerate(flags)))


_DEFAULTS = Settings()
_settings = ContextVar("fastconv_settings", default=_DEFAULTS)

# For compiled code, which reads no objects: the same, as `Settings.planning`. Threads without the
# interpreter's lock have no context: for them stand here whether there have been any settings but
# the defaults, and those of the block opened last, in whatever thread, of all that are still open.
planning = ContextVar("fastconv_planning", default=_DEFAULTS.planning)
told = (ctypes.c_int64 * 2)(0, _DEFAULTS.planning)
_open: dict[object, Settings] = {}


def current() -> Settings:
    """Return the settings that hold in the calling context."""
    return _settings.get()


def options(
    threads: int | None = None,
    winograd: bool | None = None,
    tf32: bool | None = None,
    autotune: bool | None = None,
    bfloat16_bits: bool | None = None,
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
        Whether ``algorithm="auto"`` may choose what rounds more coarsely. Winograd's algorithm
        is two to three times as fast on 3x3 kernels, up to twice on others of two to five taps
        a stride phase, errs by up to 100 eps of the sum over channels of ``max |x|`` times the
        sum of ``|w|`` (by about one on normal numbers, by more than ten only where channels
        repeat one another), and lets NaN and infinity spoil the tiles of up to 5x5 results
        that read them. The FFT is up to seven times as fast on
        large kernels of few channels (through SciPy, where that is installed), errs by eps of
        what normal numbers add up to, and lets NaN and infinity spoil all results nearby.
        Small convolutions use neither. Outside any block: True.
    tf32 : bool, optional
        Whether convolutions of float32 device arrays may round their factors to TF32,
        10 bits of fraction for float32's 23, and so use the GPU's tensor cores. Sums are
        float32 all the same. Outside any block: False.
    autotune : bool, optional
        Whether ``algorithm="auto"``, on NumPy arrays, times the algorithms that can do a
        call the first time it meets shapes, strides, dtype and number of threads, and takes
        the fastest. Choices are kept in a file for later processes. A choice by time may
        differ between machines, and results then differ by rounding. Outside any block:
        False, which chooses from the shapes alone.
    bfloat16_bits : bool, optional
        Whether NumPy arrays of uint16 hold bfloat16 numbers, bit by bit, for those who do
        without the type of ml_dtypes; results are such arrays too. Outside any block:
        False, and they hold integers.

    Raises
    ------
    TypeError
        If ``threads`` is no integer, or another setting no bool.
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
    given: dict[str, int | bool] = {}
    if threads is not None:
        given["threads"] = integer(threads, "threads", 1)
    flags = {
        "winograd": winograd,
        "tf32": tf32,
        "autotune": autotune,
        "bfloat16_bits": bfloat16_bits,
    }
    for name, value in flags.items():
        if value is not None:
            given[name] = flag(value, name)
    return _changed(given)


@contextmanager
def _changed(given: dict[str, Any]) -> Iterator[None]:
    with Block(replace(current(), **given), told=True):
        yield


class Block:
    """A block of code that runs under such settings: what `options` gives, in a microsecond.

    ``told``: whether it is a user's, and so what code without the interpreter's lock goes by.
    """

    __slots__ = ("_chosen", "_tokens", "_told")

    def __init__(self, chosen: Settings, told: bool = False) -> None:
        self._chosen, self._told = chosen, told

    def __enter__(self) -> None:
        self._tokens = _settings.set(self._chosen), planning.set(self._chosen.planning)
        if self._told:
            _open[self] = self._chosen
            _tell()

    def __exit__(self, *_: object) -> None:
        if self._told:
            del _open[self]
            _tell()
        chosen, number = self._tokens
        _settings.reset(chosen)
        planning.reset(number)


def changed(given: Mapping[str, Any] | Iterable[tuple[str, Any]]) -> Block:
    """A block of an adapter's, under the settings that hold now but for these."""
    return Block(replace(current(), **dict(given)))


def _tell() -> None:
    told[:] = [1, [_DEFAULTS, *_open.values()][-1].planning]


def run_alone(how: int, function: Callable[..., Result], *arguments: Any) -> Result:
    """Call a function under settings of which ``how`` is the planning, and on one thread."""
    flags = (bool(how >> i & 1) for i in range(3))
    winograd, autotune, bfloat16_bits = flags
    settings = Settings(
        threads=1, winograd=winograd, autotune=autotune, bfloat16_bits=bfloat16_bits
    )
    context = copy_context()
    context.run(_settings.set, settings)
    context.run(planning.set, how)
    return context.run(function, *arguments)
