"""Programs: the kernels of one call in order, compiled, kept on disk and launched.

A kernel is the plain function that a factory returns. Its arguments are 64-bit integers: the
addresses ``x, w, y, bias, workspace, table``, then sizes by name. It is compiled to PTX for the
compute capability it first runs on; the driver assembles the PTX and keeps what it assembled.
In Numba's simulator the same function runs as it is, on simulated addresses.
"""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numba import cuda, types

from . import driver, ptx_files
from .ptx.instruction import SIMULATED
from .tables import Tables

Table: TypeAlias = np.ndarray[Any, np.dtype[np.int32]]
Capability: TypeAlias = tuple[int, int]
Grid: TypeAlias = tuple[int, int, int]

_OLDER_TARGETS: Capability = (9, 0)
_OLDER_PTX = "8.0"  # of CUDA 12.0, which all these targets and instructions came with or before
_ADDRESSES = ("x", "w", "y", "bias", "workspace", "table")


def _dotted(capability: Capability) -> str:
    return f"{capability[0]}.{capability[1]}"


class Assembly(NamedTuple):
    """A kernel as PTX text, and the name of its entry."""

    entry: str
    text: str


@dataclass(frozen=True, eq=False)  # known by identity, which `compiled` keeps
class Kernel:
    """A kernel for one choice of its factory's constants."""

    name: str
    constants: tuple[tuple[str, int | str], ...]
    function: Callable[..., None]
    sizes: tuple[str, ...]  #: names of its integer arguments
    threads: int  #: of a block
    blocks: int  #: that should fit on one multiprocessor: bounds the registers
    needs: Capability  #: the least compute capability
    only: bool  #: whether it holds for that capability's own instructions alone (as sm_90a)

    def assembly(self, capability: Capability) -> Assembly:
        """The kernel's PTX, from disk or compiled now. Needs no GPU."""
        if capability < self.needs:
            raise RuntimeError(
                f"{self.name} needs a GPU of compute capability {_dotted(self.needs)} or later, "
                f"got {_dotted(capability)}"
            )
        target = self.needs if self.only else capability
        described = f"{self.name} {self.constants} {target} {self.only}"
        text = ptx_files.load(described) or ptx_files.save(described, self._compiled(target))
        entry = re.search(r"\.entry\s+(\w+)", text)
        if entry is None:
            raise RuntimeError(f"{self.name} was compiled to PTX without an entry")
        return Assembly(entry[1], text)

    def _compiled(self, capability: Capability) -> str:
        arguments = (types.int64,) * (len(_ADDRESSES) + len(self.sizes))
        text, _ = cuda.compile_ptx(self.function, arguments, cc=capability)
        # What Numba has no words for: the launch bounds, and vectors in dynamic shared memory.
        text = re.sub(r"(\.extern \.shared \.align) \d+", r"\1 16", text)
        bounds = f".maxntid {self.threads}, 1, 1\n.minnctapersm {self.blocks}\n"
        text = re.sub(r"(\.entry[^{]*)\{", rf"\1{bounds}{{", text, count=1)
        if self.only:
            text = re.sub(r"(\.target sm_\d+)", r"\1a", text, count=1)
        if capability <= _OLDER_TARGETS:
            # The instructions are older than the compiler: older drivers may take them too.
            text = re.sub(r"\.version \d+\.\d+", f".version {_OLDER_PTX}", text, count=1)
        return str(text)

    @functools.cached_property
    def _simulated(self) -> Any:
        return cuda.jit(self.function)

    def simulate(self, grid: Grid, shared: int, arguments: Sequence[Any]) -> None:
        """Run in Numba's simulator."""
        with driver.fast_switching():
            self._simulated[grid, self.threads, 0, shared](*arguments)


class Blocks(NamedTuple):
    """How a factory wants its kernels launched."""

    threads: int
    per_multiprocessor: int = 1
    needs: Capability = (8, 0)
    only: bool = False


@functools.cache
def compiled(factory: Callable[..., Any], *constants: int | str) -> Kernel:
    """The kernel that ``factory(*constants)`` describes: it returns the function and its Blocks."""
    function, blocks = factory(*constants)
    names = tuple(inspect.signature(function).parameters)
    if names[: len(_ADDRESSES)] != _ADDRESSES:
        raise TypeError(f"{factory.__qualname__} makes a kernel with arguments {names}")
    given = inspect.signature(factory).bind(*constants).arguments
    return Kernel(
        name=f"{factory.__module__.rpartition('.')[2]}.{factory.__name__}",
        constants=tuple(given.items()),
        function=function,
        sizes=names[len(_ADDRESSES) :],
        threads=blocks.threads,
        blocks=blocks.per_multiprocessor,
        needs=blocks.needs,
        only=blocks.only,
    )


@dataclass(frozen=True)
class Step:
    """One launch: a kernel, its grid, and the integers it is given.

    ``source``, ``weights`` and ``target`` say what takes the places of x, w and y: an operand of
    the call by its own letter, or the bytes into the workspace at which a staged one begins.
    """

    kernel: Kernel
    grid: Grid
    sizes: Mapping[str, int]
    shared: int = 0  #: bytes of dynamic shared memory
    table: Table | None = None
    source: str | int = "x"
    weights: str | int = "w"
    target: str | int = "y"
    target_offset: int = 0  #: bytes from the target's first element to the kernel's
    bias: bool = False  #: whether the kernel adds the call's bias

    def __post_init__(self) -> None:
        if set(self.sizes) != set(self.kernel.sizes):
            raise TypeError(f"{self.kernel.name} needs {self.kernel.sizes}, got {set(self.sizes)}")

    @functools.cached_property
    def integers(self) -> tuple[int, ...]:
        """The kernel's sizes in its own order."""
        return tuple(int(self.sizes[name]) for name in self.kernel.sizes)


class Program:
    """The launches of one pass, in order, and the scratch memory they share."""

    def __init__(self, steps: Sequence[Step], workspace: int = 0) -> None:
        self.steps, self.workspace = tuple(steps), workspace
        self._tables = Tables([step.table for step in self.steps])
        self._launches: dict[int, list[driver.Launch]] = {}

    def run(
        self,
        x: Any,
        w: Any,
        y: Any,
        bias: Any = 0,
        stream: int = 0,
        device: int | None = None,
    ) -> None:
        """Launch on the current device; addresses are of the operands' first elements.

        Nothing waits for the device. A caller who knows the current device names it.
        """
        ordinal = driver.device() if device is None else device
        tables = self._tables.addresses(ordinal)
        if not SIMULATED and ordinal not in self._launches:
            self._prepare(ordinal)
        if driver.is_captured(stream):
            _captured.append(self)
        scratch = driver.allocate(self.workspace, stream, ordinal) if self.workspace else 0
        try:
            self._start((x, w, y, bias), scratch, tables, stream, ordinal)
        finally:
            if scratch:
                driver.release(scratch, stream)

    def _start(
        self, given: tuple[Any, ...], scratch: Any, tables: list[Any], stream: int, ordinal: int
    ) -> None:
        x, w, y, bias = given
        operands = {"x": x, "w": w, "y": y}
        for i, step in enumerate(self.steps):
            source, weights, target = [
                operands[place] if type(place) is str else scratch + place
                for place in (step.source, step.weights, step.target)
            ]
            added = bias if step.bias else 0
            addresses = (source, weights, target + step.target_offset, added, scratch, tables[i])
            if SIMULATED:
                step.kernel.simulate(step.grid, step.shared, (*addresses, *step.integers))
            else:
                self._launches[ordinal][i].start(addresses, stream)

    def _prepare(self, device: int) -> None:
        """Make the launches on a device: compiled, loaded, their integers in place."""
        self._launches[device] = [
            driver.Launch(
                driver.function(step.kernel, step.shared, device),
                step.grid,
                step.kernel.threads,
                step.shared,
                len(_ADDRESSES),
                step.integers,
            )
            for step in self.steps
        ]


_captured: list[Program] = []  # graphs that are run again read these programs' tables


def fill_zero(address: Any, size: int, stream: int = 0) -> None:
    """Set ``size`` bytes to zero, in the stream's order."""
    driver.fill_zero(address, size, stream)


def forget() -> None:
    """Give unused scratch memory back to the device."""
    driver.trim()
