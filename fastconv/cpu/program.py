"""Programs: the compiled kernels of one call, in order, and the two loops that run them.

A kernel is a C function ``kernel(args, x, w, y, bias, workspace, slot, slots)`` of eight 64-bit
integers: the address of its own constants (sizes, strides, tables), five array addresses, and its
share of the work. It has a number of *units* that geometry fixes; slot ``i`` of ``n`` takes units
``i * units // n`` to ``(i + 1) * units // n``. Units never depend on the number of slots and no two
write the same place, so any number of threads gives the same bits.

All kernels share that signature, so one parallel driver, compiled once, runs them all.
"""

from __future__ import annotations

import ctypes
import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numba import prange, types
from numba.core.ccallback import CFunc

from fastconv.cpu import simd, threads, workspaces
from fastconv.cpu.always import compiling, njit
from fastconv.cpu.kernel_cache import KernelCache, kept_on_disk

Array: TypeAlias = np.ndarray[Any, Any]
#: of each stage: its kernel's name, what that was made for, units, and bytes a thread
Stages: TypeAlias = tuple[tuple[str, dict[str, int], int, int], ...]

_ARGUMENTS = (types.int64,) * 8


@functools.cache
def entry(function: Any) -> Callable[..., Any]:
    """A compiled function as a callable that takes Python objects by their addresses.

    It is what Numba calls once it has found out its arguments' types, which here costs more than
    the call.
    """
    signature = (simd.Object(),) * function.py_func.__code__.co_argcount
    function.compile(signature)
    made: Callable[..., Any] = function.overloads[signature].entry_point
    return made


def c_function(function: Callable[..., Any], arguments: tuple[Any, ...], result: Any) -> Any:
    """A function as a C function of these Numba types, compiled or loaded from disk."""
    made: Any = CFunc(function, (arguments, result), locals={}, options={"nopython": True})
    made._cache = KernelCache(function)
    with compiling():
        made.compile()
    return made


@dataclass(frozen=True, slots=True)
class Kernel:
    """A compiled kernel, and what keeps it alive."""

    name: str
    constants: tuple[tuple[str, int], ...]  #: what its factory was given, by name
    fields: tuple[str, ...]  #: the names of the 64-bit constants that it reads
    address: int
    function: CFunc


_kernels: dict[tuple[Callable[..., Any], tuple[int, ...]], Kernel] = {}


def compiled(factory: Callable[..., Any], *constants: int) -> Kernel:
    """The kernel that ``factory(*constants)`` returns, compiled once or loaded from disk.

    ``factory.fields`` names the 64-bit constants that the kernel reads at its first argument.
    """
    kernel = _kernels.get((factory, constants))
    if kernel is None:
        with threads.preparing:  # what another thread compiles meanwhile need not be, again
            kernel = _kernels.get((factory, constants))
            if kernel is None:
                kernel = _kernels[factory, constants] = _compiled(factory, constants)
    return kernel


def _compiled(factory: Callable[..., Any], constants: tuple[int, ...]) -> Kernel:
    kernel = c_function(factory(*constants), _ARGUMENTS, types.void)
    given = inspect.signature(factory).bind(*constants).arguments
    name = f"{factory.__module__.rpartition('.')[2]}.{factory.__name__}"
    fields = factory.fields  # type: ignore[attr-defined]
    return Kernel(name, tuple(given.items()), fields, kernel.address, kernel)


def reads(*fields: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Declare, on a kernel factory, the names of the constants its kernel reads, in order."""

    def mark(factory: Callable[..., Any]) -> Callable[..., Any]:
        factory.fields = fields  # type: ignore[attr-defined]
        return factory

    return mark


class Step:
    """A kernel with its number of units and its constants.

    A constant is an integer, an integer array, passed by address, or another step that the kernel
    calls for some of its units, passed as the address of its kernel's and its constants' addresses.
    Several such steps are passed as the address of a table of those.
    """

    __slots__ = (
        *("_tables", "constants", "entry", "kernel", "slot_bytes", "table", "told", "twin"),
        "units",
    )

    def __init__(self, kernel: Kernel, units: int, constants: Mapping[str, Constant]) -> None:
        if set(kernel.fields) != set(constants):
            raise TypeError(f"kernel reads {kernel.fields}, got {tuple(constants)}")
        self.kernel = kernel
        self.told = kernel  #: what does the work, where ``kernel`` only hands it on
        self.twin: Step | None = None  #: the step that this one is, run on operands elsewhere
        self.units = units
        tables = {
            name: np.array([_word(step) for step in value], dtype=np.int64)
            for name, value in constants.items()
            if isinstance(value, tuple)
        }
        self.constants = dict(constants)  #: their memory is read by address
        self._tables = tables
        constants = {**constants, **tables}
        self.table = np.array([_word(constants[name]) for name in kernel.fields], dtype=np.int64)
        #: bytes of the workspace that belong to one slot alone
        self.slot_bytes = sum(int(_word(constants[name])) for name in _OWN if name in constants)
        #: where its kernel and its constants are, for a kernel that calls it
        self.entry = np.array([kernel.address, self.table.ctypes.data], dtype=np.int64)


_COPIES = ("conversion.convert_rows", "borders.pad_rows", "borders.fold_rows")  # made in rounds
_OWN = ("scratch_bytes", "columns_bytes")  # constants that tell what each slot has of its own


def _word(constant: Constant) -> int:
    if isinstance(constant, Step):
        return int(constant.entry.ctypes.data)
    if isinstance(constant, tuple):
        raise TypeError("a tuple of steps is passed as a table of their addresses")
    if isinstance(constant, np.ndarray):
        if constant.dtype != np.int64 or not constant.flags.c_contiguous:
            raise TypeError(f"kernels read tables of contiguous int64, got {constant.dtype}")
        return int(constant.ctypes.data)
    return int(constant)


Constant: TypeAlias = int | np.integer[Any] | Array | Step | tuple[Step, ...]


class Program:
    """Steps ready to run, any number of times and from several threads at once."""

    def __init__(self, steps: Sequence[Step], workspace: int, serial: bool) -> None:
        self.workspace = workspace and workspace + 63  #: bytes of scratch memory a run needs
        self.steps = tuple(steps)
        self._table = np.array(
            [(s.kernel.address, s.table.ctypes.data, s.units) for s in steps], dtype=np.int64
        ).reshape(len(steps), 3)
        self.serial = serial
        self._most = threads.most()  # what the steps' scratch was sized for
        self._serially = functools.partial(entry(_run_serial), self._table)

    def stages(self) -> Stages:
        """The name of each step's kernel, what it was made for, its units, and bytes a thread.

        Steps that run again, for other images, are told once.
        """
        told: list[tuple[str, dict[str, int], int, int]] = []
        for step in {id(step.twin or step): step for step in self.steps}.values():
            stage = step.told.name, dict(step.told.constants), step.units, step.slot_bytes
            if step.told.name not in _COPIES or stage not in told:
                told.append(stage)
        return tuple(told)

    def run(self, x: Array, w: Array, y: Array, bias: Array) -> None:
        """Run every step in order, on as many threads as the caller allows."""
        if not self.workspace and self.serial:
            self._serially(x, w, y, bias, workspaces.NONE)
            return
        workspace = workspaces.take(self.workspace)
        try:
            self._run(x, w, y, bias, workspace)
        finally:  # a signal's handler may raise as soon as a kernel returns
            workspaces.give_back(workspace)

    def _run(self, x: Array, w: Array, y: Array, bias: Array, workspace: Array) -> None:
        if self.serial or not self.run_on_threads(*map(id, (x, w, y, bias, workspace))):
            self._serially(x, w, y, bias, workspace)

    def run_on_threads(self, x: int, w: int, y: int, bias: int, workspace: int) -> bool:
        """Run on several threads, if there are; say so. Arguments are array objects' addresses."""
        # Asking for the threads also starts them, which a parallel driver from the cache relies on.
        slots = min(threads.allowed(), self._most)
        if slots == 1:
            return False
        table, count = self.table
        _run_parallel(table, count, x, w, y, bias, workspace, slots)
        return True

    @property
    def table(self) -> tuple[int, int]:
        """The address of the table of steps, for `run_steps`, and how many they are."""
        return self._table.ctypes.data, len(self.steps)


# `x.ctypes.data` costs a microsecond, as much as a whole small convolution. An array object holds
# its data pointer right behind its object header, so compiled code reads it from there.
_PROBE = np.empty(1)
ARRAY_DATA = next(
    i
    for i in range(2, 8)
    if int.from_bytes((ctypes.c_char * 8).from_address(id(_PROBE) + 8 * i).raw, "little")
    == _PROBE.ctypes.data
)


@njit
def _data(array):
    """The address of an array object's first element."""
    return simd.word(array, ARRAY_DATA)


@njit
def run_steps(steps, count, x, w, y, bias, workspace):
    """Run steps in order on this thread; ``workspace`` is on a cache line."""
    for i in range(count):
        kernel, args = simd.word(steps, 3 * i), simd.word(steps, 3 * i + 1)
        simd.call(kernel, (args, x, w, y, bias, workspace, 0, 1))


@njit(nogil=True)
def _run_serial(table, x, w, y, bias, workspace):
    table = simd.address_of(table)
    steps, count = _data(table), simd.word(simd.word(table, ARRAY_DATA + 2), 0)
    x, w, y = _data(simd.address_of(x)), _data(simd.address_of(w)), _data(simd.address_of(y))
    bias = _data(simd.address_of(bias))
    workspace = (_data(simd.address_of(workspace)) + 63) & ~63
    run_steps(steps, count, x, w, y, bias, workspace)


@njit(nogil=True, parallel=True)
def _run_parallel(steps, count, x, w, y, bias, workspace, most):
    x, w, y, bias = _data(x), _data(w), _data(y), _data(bias)
    workspace = (_data(workspace) + 63) & ~63
    for i in range(count):
        kernel, args = simd.word(steps, 3 * i), simd.word(steps, 3 * i + 1)
        slots = min(most, simd.word(steps, 3 * i + 2))
        if slots == 1:
            simd.call(kernel, (args, x, w, y, bias, workspace, 0, 1))
        else:
            for slot in prange(slots):
                simd.call(kernel, (args, x, w, y, bias, workspace, slot, slots))


kept_on_disk(_run_serial)
kept_on_disk(_run_parallel)
