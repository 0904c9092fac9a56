"""Calls on device arrays: read, checked, launched on one stream; known again the next time."""

from __future__ import annotations

from functools import lru_cache
from math import prod
from typing import Any, NamedTuple

import numpy as np

from .._arguments import one_of
from .._array_interface import c_order
from ..calls import exact
from ..geometry import ConvGeometry, forward_geometry
from ..options import current as settings
from . import checks, convolution, driver, program, results, samples, streams
from .arrays import DeviceArray, Ready, read

refuse_mixed = checks.refuse_mixed

ALGORITHMS = ("auto", *convolution.ALGORITHMS)

_KEPT = 1024
_Steps = tuple[int, ...]


class Job(NamedTuple):
    """A checked pass: its program, the arguments that it reads, and the result it writes."""

    program: program.Program
    source: str
    weights: str | None
    shape: tuple[int, ...]
    strides: tuple[int, ...]  #: of the result, in bytes
    bias: program.Program | None = None  #: what lines up a bias of any stride


_known: dict[tuple[Any, ...], tuple[Job, ...]] = {}


class DeviceCall:
    """One call on device arrays.

    The public functions use it as they use `fastconv.host.HostCall`: the operands' shapes make a
    geometry, and ``run`` takes that and the names of the operands.
    """

    algorithms: tuple[str, ...] = ALGORITHMS

    def __init__(
        self,
        kind: str,
        given: dict[str, object],
        count: int,
        stream: object,
        arguments: tuple[Any, ...],
    ) -> None:
        """Read all arrays; the first ``count`` are operands, the others "bias" and "out"."""
        handle = streams.handle_of(stream)
        ready = Ready(handle, handle)
        self._arrays: dict[str, DeviceArray] = {}
        for name, array in given.items():
            one = self._arrays[name] = read(array, name, ready)
            if ready.chosen is None and one.stream is not None:
                ready = Ready(handle, one.stream)
        every = self._arrays.values()
        self._order = streams.order(handle, [array.stream for array in every])
        self._leases = [array.lease for array in every if array.lease is not None]
        self._names = tuple(given)[:count]
        self._first = self._arrays[self._names[0]]
        self._tf32 = self._first.kind == "f32" and settings().tf32
        layouts = tuple([array.known_by for array in every])
        self._key = (kind, exact(arguments), self._tf32, tuple(self._arrays), layouts)
        self._out = self._arrays.pop("out", None)
        self._jobs: list[Job | None] = []

    def repeat(self) -> tuple[Any, ...] | None:
        """The results, at once, of a call that was checked before; None for a new one."""
        jobs = _known.get(self._key)
        if jobs is None:
            return None
        if self._out is not None:
            checks.check_apart(self._out, self._arrays)
        return tuple([self._launched(job) for job in jobs])

    def operands(self) -> tuple[DeviceArray, ...]:
        """The arrays, checked to be of one dtype and on one device; a bias comes later."""
        for name, array in self._arrays.items():
            checks.check_strides(array, name)
        for name in self._names[1:]:
            checks.check_like(self._arrays[name], name, self._first, self._names[0])
        return tuple(self._arrays[name] for name in self._names)

    def run(
        self,
        pass_name: str,
        g: ConvGeometry,
        source: str,
        weights: str,
        algorithm: str,
        activation: str | None = None,
    ) -> Any:
        """Check what only the geometry tells, and return the result of a pass."""
        if activation is not None:
            raise ValueError(
                f"activation must be None for device arrays, got {activation!r}: "
                "apply it to the result with the arrays' own library"
            )
        x, w = self._arrays[source], self._arrays[weights]
        per_sample = pass_name == samples.PASS
        shape = (g.N, *g.weight_shape) if per_sample else getattr(g, _RESULTS[pass_name])
        self._check_bias(g.C if pass_name == "input_gradient" else g.K)
        algorithm = one_of(algorithm, "algorithm", self.algorithms)
        batched = x.ndim == g.rank + 2
        self._check_out(shape if batched else shape[1:])
        strides = self._result_strides(pass_name, shape, x, batched)
        steps = tuple(stride // x.itemsize for stride in strides)
        if per_sample and g.N > 1 and steps[0] != g.K * steps[1]:
            raise ValueError(
                "out must have its samples one after the other in memory for per_sample=True on "
                f"device arrays, got strides {strides} for shape {shape}"
            )
        x_steps = x.steps if batched else (0, *x.steps)
        own = (shape, strides) if batched else (shape[1:], strides[1:])
        if x.empty or 0 in shape:
            return self._without_images(*own)
        made = self._plan(pass_name, g, x_steps, w.steps, steps, algorithm)
        return self._done(Job(made, source, weights, *own, self._bias_program()))

    def bias_gradient(self, source: str) -> Any:
        """The sum over batch and pixels of an output gradient."""
        dy = self._arrays[source]
        shape = (dy.shape[1],)
        strides = (dy.itemsize,)
        if dy.empty:
            return self._without_images(shape, strides)
        made = self._plan("bias_gradient", _pixelwise(dy.shape), dy.steps, (), (1,), "auto")
        return self._done(Job(made, source, None, shape, strides))

    def unfold(self, g: ConvGeometry) -> Any:
        """The columns of the images."""
        x = self._arrays["input"]
        columns = (g.N, g.C, *g.kernel, *g.output)
        x_steps = x.steps if x.ndim == g.rank + 2 else (0, *x.steps)
        y_steps = c_order(columns)
        shape = (*x.shape[: x.ndim - 3], g.K, prod(g.output))
        return self._copied("unfold", g, shape, x_steps, y_steps)

    def fold(self, g: ConvGeometry) -> Any:
        """The images that the columns add up to."""
        x = self._arrays["input"]
        batch, (row, column) = x.steps[:-2] or (0,), x.steps[-2:]
        rows = [row * step for step in c_order((g.C, *g.kernel))]
        columns = [column * step for step in c_order(g.output)]
        shape = (*x.shape[:-2], g.C, *g.input)
        y_steps = c_order(g.input_shape)
        return self._copied("fold", g, shape, (*batch, *rows, *columns), y_steps)

    def keep(self) -> None:
        """Let a later call of the same kind repeat what this one ran."""
        jobs = tuple(job for job in self._jobs if job is not None)
        if len(jobs) == len(self._jobs):
            if len(_known) >= _KEPT:
                _known.clear()
            _known[self._key] = jobs

    def _check_bias(self, channels: int) -> None:
        bias = self._arrays.get("bias")
        if bias is None:
            return
        checks.check_like(bias, "bias", self._first, self._names[0])
        if bias.shape != (channels,):
            raise ValueError(
                f"bias must have shape ({channels},), one number per output channel, "
                f"got {bias.shape}"
            )

    def _check_out(self, shape: tuple[int, ...]) -> None:
        if self._out is not None:
            checks.check_strides(self._out, "out")
            checks.check_like(self._out, "out", self._first, self._names[0])
            checks.check_out(self._out, shape, self._arrays)

    def _result_strides(
        self, pass_name: str, shape: tuple[int, ...], x: DeviceArray, batched: bool
    ) -> tuple[int, ...]:
        """Byte strides of the result with its batch axis: those of ``out``, or as the source's."""
        if self._out is not None:
            return self._out.strides if batched else (0, *self._out.strides)
        axis = 1 if batched else 0
        # JAX's arrays have no strides of their own, and a weight's layout is always C order.
        follows = self._first.family != "jax" and pass_name not in _OF_WEIGHTS
        last = follows and x.shape[axis] > 1 and x.strides[axis] == x.itemsize
        return results.strides_of(shape, x.itemsize, channels_last=last)

    def _bias_program(self) -> program.Program | None:
        bias = self._arrays.get("bias")
        if bias is None or bias.strides == (bias.itemsize,):
            return None
        # The sum over a batch of one pixel copies it.
        g = _pixelwise((1, *bias.shape, 1))
        return self._plan("bias_gradient", g, (0, *bias.steps, 0), (), (1,), "auto")

    def _plan(
        self, pass_name: str, g: ConvGeometry, x: _Steps, w: _Steps, y: _Steps, algorithm: str
    ) -> program.Program:
        given = (*self._arrays.values(), *((self._out,) if self._out is not None else ()))
        operands = convolution.Operands(
            self._first.kind,
            x,
            w,
            y,
            driver.capability(self._first.device),
            self._tf32,
            all(array.aligned for array in given),
        )
        return _plan(pass_name, g, operands, algorithm).program

    def _copied(
        self, pass_name: str, g: ConvGeometry, shape: tuple[int, ...], x: _Steps, y: _Steps
    ) -> Any:
        size = self._first.itemsize
        strides = tuple(size * step for step in c_order(shape))
        if 0 in shape:
            return self._without_images(shape, strides)
        made = self._plan(pass_name, g, x, (), y, "auto")
        return self._done(Job(made, "input", None, shape, strides))

    def _done(self, job: Job) -> Any:
        result = self._launched(job)
        self._jobs.append(job)
        return result

    def _launched(self, job: Job) -> Any:
        """Run a job on the call's stream; nothing waits for the device."""
        stream = self._order.handle
        x, device = self._arrays[job.source], self._first.device
        w = self._arrays[job.weights].address if job.weights else 0
        with driver.current(device):
            y = self._target(job.shape, job.strides)
            self._order.before()
            bias = self._arrays["bias"].address if "bias" in self._arrays else 0
            if job.bias is None:
                job.program.run(x.address, w, y.address, bias, stream, device)
            else:
                size = self._arrays["bias"].shape[0] * x.itemsize
                scratch = driver.allocate(size, stream, device)
                job.bias.run(bias, 0, scratch, 0, stream, device)
                job.program.run(x.address, w, y.address, scratch, stream, device)
                driver.release(scratch, stream)
            return self._handed_over(y)

    def _target(self, shape: tuple[int, ...], strides: tuple[int, ...]) -> DeviceArray:
        if self._out is not None:
            return self._out
        return results.new(shape, strides, self._first, self._order.handle)

    def _without_images(self, shape: tuple[int, ...], strides: tuple[int, ...]) -> Any:
        """A result to which no image adds: empty, or zeros."""
        self._jobs.append(None)
        stream = self._order.handle
        with driver.current(self._first.device):
            y = self._target(shape, strides)
            if not y.empty:
                self._order.before()
                _clear(y, stream)
            return self._handed_over(y)

    def _handed_over(self, y: DeviceArray) -> Any:
        if self._leases:
            streams.hold(self._leases, self._order.handle)
        self._order.after()
        return results.delivered(y)


_OF_WEIGHTS = ("weight_gradient", samples.PASS)  # passes whose results are as weights are
_RESULTS = {
    "forward": "output_shape",
    "weight_gradient": "weight_shape",
    "input_gradient": "input_shape",
}


@lru_cache(maxsize=_KEPT)
def _plan(
    pass_name: str, g: ConvGeometry, operands: convolution.Operands, algorithm: str
) -> convolution.Plan:
    return convolution.make_plan(pass_name, g, operands, algorithm)


def _pixelwise(shape: tuple[int, ...]) -> ConvGeometry:
    """The geometry of a 1x1 convolution of one channel whose output has this shape."""
    rank = len(shape) - 2
    weight = (shape[1], 1, *(1,) * rank)
    return forward_geometry((shape[0], 1, *shape[2:]), weight, 1, 0, 1, 1, rank)


def _clear(y: DeviceArray, stream: int) -> None:
    """Set every element to zero, and nothing between them."""
    inner, run = y.ndim, y.itemsize
    while inner and y.strides[inner - 1] == run:
        inner -= 1
        run *= y.shape[inner]
    for index in np.ndindex(*y.shape[:inner]):
        start = sum(i * step for i, step in zip(index, y.strides, strict=False))
        program.fill_zero(y.address + start, run, stream)


def forget() -> None:
    """Forget all plans and known calls, and give back the memory kept between calls."""
    _known.clear()
    _plan.cache_clear()
    program.forget()
