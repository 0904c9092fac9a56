"""Calls on NumPy arrays: checked, and run by the plans of the CPU backend."""

from __future__ import annotations

from functools import lru_cache, partial
from math import prod
from typing import Any, NamedTuple

import numpy as np

from . import _results, calls, options, tuning
from ._arguments import one_of, shown
from ._arrays import Array, checked_array, checked_bias, checked_like, checked_out
from ._dtypes import element_of, narrowed, summed_in, widened
from ._host_arrays import viewed
from ._results import empty, new
from .cpu import columns, convolution, elements, samples, threads, workspaces
from .cpu.convolution import Plan, Runnable
from .cpu.elements import Arrays
from .geometry import ConvGeometry

ALGORITHMS = ("auto", *convolution.ALGORITHMS)

_PLANS_KEPT = 1024
# The order in which `calls` knows the operands of a kind of call.
_OPERANDS = {
    "conv": ("input", "weight"),
    "conv_transpose": ("input", "weight"),
    "weight_gradient": ("input", "grad_output"),
    samples.PASS: ("input", "grad_output"),
    "input_gradient": ("grad_output", "weight"),
}
_OF_WEIGHTS = ("weight_gradient", samples.PASS)  # passes whose results are as weights are


class HostCall:
    """One call on NumPy arrays: the operands' shapes make a geometry, ``run`` does a pass."""

    algorithms: tuple[str, ...] = ALGORITHMS

    def __init__(
        self,
        kind: str,
        arrays: dict[str, Any],
        bias: Any,
        out: Any,
        stream: object,
        arguments: tuple[Any, ...],
    ) -> None:
        self._kind, self._arrays, self._bias, self._out = kind, arrays, bias, out
        self._stream, self._arguments = stream, arguments

    def repeat(self) -> tuple[Any, ...] | None:
        """The result of a call seen before on arrays that are not NumPy's own; else None.

        NumPy's own are looked for in `calls` first, which takes less time than this object.
        """
        given = (*self._arrays.values(), self._bias)
        if all(array is None or type(array) is np.ndarray for array in given):
            return None
        views = self._arrays = {name: viewed(array, name) for name, array in self._arrays.items()}
        if self._bias is not None:
            self._bias = viewed(self._bias, "bias")
        operands = _OPERANDS.get(self._kind)
        if operands is None or self._out is not None or self._stream is not None:
            return None
        a, b = (views[name] for name in operands)
        rank, *settings, algorithm, extra = self._arguments
        how = options.current().planning
        call = self._kind, how, a, b, self._bias, rank, tuple(settings), algorithm, extra
        ready = calls.known.find(*call)
        return None if ready is None else (ready(a, b, self._bias),)

    def operands(self) -> tuple[Array, ...]:
        """The arrays, checked to be of one dtype; a bias comes later."""
        first, *others = self._arrays
        given = dict(self._arrays)
        reference = self._arrays[first] = checked_array(given[first], first)
        for name in others:
            self._arrays[name] = checked_like(given[name], name, reference, first)
        if self._stream is not None:
            raise TypeError(
                f"stream must be None for NumPy arrays, which no stream computes, "
                f"got {shown(self._stream)}"
            )
        return tuple(self._arrays.values())

    def run(
        self,
        pass_name: str,
        g: ConvGeometry,
        source: str,
        weights: str,
        algorithm: str,
        activation: str | None = None,
    ) -> Array:
        """Check what only the geometry tells, and return the result of a pass."""
        checked = self.checked(pass_name, g, source, weights, algorithm, activation)
        made = compute(checked)
        if self._out is not None:
            return self._out
        given, result, bias = self._arrays[source], checked.result, checked.bias
        plain = bias is None or bias.flags.c_contiguous
        if made is not None and plain and self._kind != "backward":
            # Later calls like this one go straight to the program that this one ran.
            zeros = None if pass_name in _OF_WEIGHTS else checked.start
            ready = calls.ReadyCall(made, result, zeros)
            how, w = options.current().planning, checked.w
            rank, *settings, _, extra = self._arguments
            calls.known.remember(
                ready, self._kind, how, given, w, bias, rank, tuple(settings), algorithm, extra
            )
        return result

    def checked(
        self,
        pass_name: str,
        g: ConvGeometry,
        source: str,
        weights: str,
        algorithm: str,
        activation: str | None = None,
    ) -> Pass:
        """Check what only the geometry tells: a pass that can be computed, and where it goes."""
        given, w = self._arrays[source], self._arrays[weights]
        reference = next(iter(self._arrays.values()))
        bias = checked_bias(self._bias, g.C if pass_name == "input_gradient" else g.K, reference)
        algorithm = one_of(algorithm, "algorithm", self.algorithms)
        if activation is not None and reference.dtype.kind == "c":
            raise TypeError(
                f"activation must be None for {reference.dtype} arrays, "
                f"as complex numbers have no order, got {activation!r}"
            )
        batched = given.ndim == g.rank + 2
        x = given if batched else given[np.newaxis]
        y = self._target(pass_name, g, x, bias, batched)
        conjugated = self._conjugated(source, weights) if x.dtype.kind == "c" else ""
        result = y if batched else y[0]
        return Pass(pass_name, g, x, w, y, result, bias, algorithm, activation, conjugated)

    def bias_gradient(self, source: str) -> Array:
        """The sum over batch and pixels of an output gradient."""
        dy = self._arrays[source]
        # Summed as widely as can be: a float32 sum over the strided axes would round at each step.
        total: Array = widened(dy).sum(axis=(0, *range(2, dy.ndim)), dtype=summed_in(dy.dtype))
        return narrowed(total, dy.dtype)

    def unfold(self, g: ConvGeometry) -> Array:
        """The columns of the images."""
        x = self._arrays["input"]
        made = columns.unfold(g, x.reshape(g.input_shape))
        return made.reshape(*x.shape[:-3], g.K, prod(g.output))

    def fold(self, g: ConvGeometry) -> Array:
        """The images that the columns add up to."""
        x = self._arrays["input"]
        made = columns.fold(g, x.reshape(columns.columns_shape(g)))
        return made.reshape(*x.shape[:-2], *g.input_shape[1:])

    def _conjugated(self, source: str, weights: str) -> str:
        """Of which operand the complex conjugate is meant: in a gradient, not of what came in."""
        if self._kind in ("conv", "conv_transpose"):
            return ""
        return "x" if weights == "grad_output" else "w"

    def keep(self) -> None:
        """Nothing is left to keep: each pass has kept itself."""

    def _target(
        self, pass_name: str, g: ConvGeometry, x: Array, bias: Array | None, batched: bool
    ) -> Array:
        """``out`` with a batch axis, checked, or a new array."""
        shape = result_shape(pass_name, g)
        if self._out is None:
            return empty(shape, x.dtype) if pass_name in _OF_WEIGHTS else new(shape, x)
        operands = self._arrays if bias is None else {**self._arrays, "bias": bias}
        out = checked_out(self._out, shape if batched else shape[1:], operands)
        return out if batched else out[np.newaxis]


def result_shape(pass_name: str, g: ConvGeometry) -> tuple[int, ...]:
    """The shape of what a pass computes."""
    return {
        "forward": g.output_shape,
        "weight_gradient": g.weight_shape,
        "input_gradient": g.input_shape,
        samples.PASS: (g.N, *g.weight_shape),
    }[pass_name]


class Pass(NamedTuple):
    """A pass whose arguments are checked: operands with a batch axis, and where its result goes.

    ``x`` is the source, ``w`` the weights or the output gradient; ``result`` is ``y`` as the caller
    gets it, without a batch axis where the source has none.
    """

    name: str
    g: ConvGeometry
    x: Array
    w: Array
    y: Array
    result: Array
    bias: Array | None
    algorithm: str
    activation: str | None
    conjugated: str

    @property
    def start(self) -> Array:
        """What sums start from: the bias, contiguous, or zeros; something unread in a gradient."""
        if self.name in _OF_WEIGHTS:
            return self.y
        if self.bias is None:
            return _zeros(self.y.shape[1], self.y.dtype)
        return np.ascontiguousarray(self.bias)

    def program(self) -> Runnable | None:
        """What computes the pass, unless there is nothing to compute."""
        if not self.x.size or not self.y.size:
            return None
        strides = self.x.strides, self.w.strides, self.y.strides
        arrays = Arrays(element_of(self.x.dtype), *strides, self.conjugated, self.activation)
        algorithm = self.algorithm
        if algorithm == "auto" and options.current().autotune:
            operands = self.x, self.w, self.y, self.start
            algorithm = _timed(self.name, self.g, arrays, operands)
        return plan(self.name, self.g, arrays, algorithm, options.current().winograd).program


def compute(checked: Pass) -> Runnable | None:
    """Fill the array of a pass; return the program that did, unless there was none to compute."""
    program = checked.program()
    if program is None:
        checked.y[...] = 0  # a sum over no images
    else:
        program.run(checked.x, checked.w, checked.y, checked.start)
    return program


def _timed(
    pass_name: str, g: ConvGeometry, arrays: Arrays, operands: tuple[Array, Array, Array, Array]
) -> str:
    """The algorithm that was fastest when it was timed: before, or now, on these very arrays."""
    winograd = options.current().winograd
    arrays = arrays._replace(activation=None)  # which costs the same in all
    if pass_name == samples.PASS:
        names = elements.candidates(*samples.one_sample(g, arrays), winograd)
    else:
        names = elements.candidates(pass_name, g, arrays, winograd)
    what = f"{pass_name} {g} {arrays} {threads.allowed()} {names}"
    choice = tuning.remembered(what, names)
    if choice is None:
        programs = {name: plan(pass_name, g, arrays, name, winograd).program for name in names}
        runs = {name: partial(made.run, *operands) for name, made in programs.items()}
        choice = tuning.fastest(runs)
        tuning.remember(what, choice)
    return choice


@lru_cache(maxsize=_PLANS_KEPT)
def plan(pass_name: str, g: ConvGeometry, arrays: Arrays, algorithm: str, winograd: bool) -> Plan:
    """The plan of a pass on such arrays: made when it is first asked for."""
    if pass_name == samples.PASS:
        return samples.make_plan(g, arrays, algorithm, winograd)
    return elements.make_plan(pass_name, g, arrays, algorithm, winograd)


@lru_cache(maxsize=64)
def _zeros(length: int, dtype: np.dtype[Any]) -> Array:
    return np.zeros(length, dtype)


def forget() -> None:
    """Forget all plans and known calls, and free the memory kept between calls."""
    plan.cache_clear()
    _zeros.cache_clear()
    calls.forget()
    tuning.forget()
    workspaces.forget()
    _results.forget()
