"""A call from nopython code, checked and planned as one from Python: an entry for compiled code."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from operator import mul
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.array_utils import byte_bounds

from .. import host, operations
from .._arrays import Array
from .._results import new
from ..cpu import protocol
from ..cpu.program import Program
from ..geometry import ConvGeometry
from .forms import Schema, array_at


class _PlannedCall(host.HostCall):
    """A call that is checked, and not run."""

    def run(
        self,
        pass_name: str,
        g: ConvGeometry,
        source: str,
        weights: str,
        algorithm: str,
        activation: str | None = None,
    ) -> Any:
        """The pass that would be run."""
        return self.checked(pass_name, g, source, weights, algorithm, activation)


def checked_pass(schema: Schema, given: dict[str, Any]) -> host.Pass:
    """The pass that a public function would compute, given these arguments by name."""
    kind, rank, algorithm = schema.kind, schema.rank, given["algorithm"]
    names: tuple[str, ...] = ("input", "weight", "grad_output")
    arrays = {name: given[name] for name in names if name in given}
    call = _PlannedCall(kind, arrays, given.get("bias"), given["out"], given["stream"], ())
    order = ("stride", "padding", "dilation", "groups", "padding_mode")
    steps: operations.Settings = tuple(given[name] for name in order)
    if kind == "conv":
        made = operations.checked_conv(call, rank, steps, given["activation"], algorithm)
    elif kind == "conv_transpose":
        stride, padding, dilation, groups, mode = steps
        settings = stride, padding, given["output_padding"], groups, dilation, mode
        made = operations.checked_conv_transpose(call, rank, settings, algorithm)
    elif kind == "weight_gradient":
        size = given["weight_size"]
        made = operations.checked_weight_gradient(call, kind, rank, size, steps, algorithm)
    else:
        size = given["input_size"]
        made = operations.checked_input_gradient(call, rank, size, steps, algorithm)
    return made


class _Place(NamedTuple):
    """How an array lies in memory, wherever that is."""

    dtype: str
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def at(self, address: int) -> Array:
        """The array; an unaligned one as `checked_array` makes it."""
        array = array_at(address, self.dtype, self.shape, self.strides, True)
        return array if array.flags.aligned else array.copy()


def _place(array: Array) -> _Place:
    return _Place(array.dtype.str, array.shape, array.strides)


class Entry:
    """A plan that is ready for one kind of call, which ``key`` tells from others.

    Attributes
    ----------
    words : ndarray
        What compiled code reads, as `protocol` says.
    key : sequence of int
    program : Program or None
        What compiled code runs, alone or on threads. Without one, `fill` has NumPy arrays computed.
    """

    def __init__(self, schema: Schema, given: dict[str, Any], key: Sequence[int]) -> None:
        checked = checked_pass(schema, given)
        nowhere: Any = None
        self._how = checked._replace(x=nowhere, w=nowhere, y=nowhere, result=nowhere, bias=nowhere)
        x, w, bias, out = (given[name] for name, _ in schema.forms[:4])
        result = checked.result if out is None else out
        y = _place(result)
        # An array of one pixel has its channels contiguous and is one in C order, too; then only
        # the latter is known of a result's type.
        self._moved = schema.contiguous and out is None and not result.flags.c_contiguous
        if self._moved:
            y = y._replace(strides=_c_strides(result))
        self._places = {protocol.X: _place(x), protocol.W: _place(w), protocol.Y: y}
        if bias is not None:
            self._places[protocol.BIAS] = _place(bias)
        made = checked.program()
        plain = all(array is None or array.flags.aligned for array in (x, w, bias))
        plain = plain and (bias is None or bias.flags.c_contiguous) and not self._moved
        self.program = made if isinstance(made, Program) and plain else None
        zeros = checked.bias is None and checked.name != "weight_gradient"
        self._zeros = checked.start if zeros else None
        extents = [number for array in (x, w, result, bias) for number in _extent(array)]
        told = [*_padded(y.shape), *_padded(y.strides), result.nbytes, *self._run(), *extents]
        self.words = np.array([*told, len(key), *key], np.int64)
        self.key = key

    @property
    def address(self) -> int:
        """Where compiled code finds the words."""
        return int(self.words.ctypes.data)

    def _run(self) -> tuple[int, int, int, int, int]:
        """The words from `protocol.TABLE_OF_STEPS` to `protocol.HOW`."""
        if self.program is None:
            return 0, 0, 0, 0, protocol.PYTHON
        zeros = 0 if self._zeros is None else int(self._zeros.ctypes.data)
        how = protocol.ALONE if self.program.serial else protocol.THREADS
        return (*self.program.table, self.program.workspace, zeros, how)

    def fill(self, addresses: Sequence[int]) -> None:
        """Fill a result in Python, given where X, W, Y and BIAS are."""
        arrays = {number: place.at(addresses[number]) for number, place in self._places.items()}
        x, w, result = (arrays[number] for number in (protocol.X, protocol.W, protocol.Y))
        if x.ndim == self._how.g.rank + 1:
            x, result = x[np.newaxis], result[np.newaxis]
        y = new(result.shape, x) if self._moved else result
        bias = arrays.get(protocol.BIAS)
        host.compute(self._how._replace(x=x, w=w, y=y, result=y, bias=bias))
        if self._moved:
            result[...] = y


def _c_strides(array: Array) -> tuple[int, ...]:
    steps = accumulate((array.itemsize, *reversed(array.shape[1:])), mul)
    return tuple(reversed(tuple(steps)))


def _padded(numbers: tuple[int, ...]) -> list[int]:
    return [*numbers, *[0] * (protocol.MOST_AXES - len(numbers))]


def _extent(array: Array | None) -> tuple[int, int]:
    """How many bytes from its address an array begins and ends."""
    if array is None:
        return 0, 0
    low, high = byte_bounds(array)
    start = array.ctypes.data
    return low - start, high - start
