"""A weight gradient for each sample of a batch: the steps for one sample, run for all.

Small samples, or many, are units of work, each done by one thread in its own memory. Of few large
ones each is shared out, one after the other. Either way a sample's gradient has the bits that it
has alone.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from fastconv.cpu import convolution, elements, simd, threads
from fastconv.cpu.conversion import BIAS, Place, Redirected, W, X, Y
from fastconv.cpu.convolution import Plan, Runnable
from fastconv.cpu.elements import Arrays
from fastconv.cpu.planning import UNITS
from fastconv.cpu.program import Array, Program, Stages, Step, compiled, reads
from fastconv.cpu.views import Workspace
from fastconv.geometry import ConvGeometry

PASS = "per_sample_gradient"  #: what the pass is called


def one_sample(g: ConvGeometry, arrays: Arrays) -> tuple[str, ConvGeometry, Arrays]:
    """The pass, geometry and arrays of one sample; all samples' targets are one array."""
    return "weight_gradient", replace(g, N=1), arrays._replace(y=arrays.y[1:])


def make_plan(g: ConvGeometry, arrays: Arrays, algorithm: str, winograd: bool) -> Plan:
    """The plan of all samples' weight gradients."""
    alone = one_sample(g, arrays)
    own = Workspace(slots=1)
    name, inner, multiply_adds = elements.plan_steps(*alone, algorithm, winograd, own)
    if not isinstance(inner, list):
        return Plan(name, _OneByOne(inner))
    serial = convolution.is_small(g.N * multiply_adds)
    if g.N >= UNITS or convolution.is_small(multiply_adds):
        return Plan(name, _SampleProgram(g.N, inner, own.size, arrays, serial))
    space, bias = Workspace(), Place(BIAS, 0, ())
    shared = elements.plan_steps(*alone, name, winograd, space).steps
    if not isinstance(shared, list):
        raise TypeError(f"algorithm {name!r} has no steps to share out")
    places = [_sample(n, arrays) for n in range(g.N)]
    steps: list[Step] = [Redirected(step, *place, bias) for place in places for step in shared]
    return Plan(name, Program(steps, space.size, serial))


def _sample(n: int, arrays: Arrays) -> tuple[Place, Place, Place]:
    """Where sample ``n`` of source, output gradient and target begins."""
    strides = (X, arrays.x), (W, arrays.w), (Y, arrays.y)
    x, w, y = (Place(where, n * steps[0], steps) for where, steps in strides)
    return x, w, y


@reads("units", "inner", "count", "x_step", "w_step", "y_step", "scratch", "scratch_bytes")
def each_sample() -> Any:
    """Run the ``count`` kernels of ``inner`` for each sample, in the slot's memory."""
    fields = len(each_sample.fields)  # type: ignore[attr-defined]

    def kernel(args, x, w, y, bias, workspace, slot, slots):
        (units, inner, count, x_step, w_step, y_step,
         scratch, scratch_bytes) = simd.words(args, fields)  # fmt: skip
        own = workspace + scratch + slot * scratch_bytes
        for n in range(slot * units // slots, (slot + 1) * units // slots):
            for i in range(count):
                entry = simd.word(inner, i)
                simd.call(
                    simd.word(entry, 0),
                    (simd.word(entry, 1), x + n * x_step, w + n * w_step, y + n * y_step,
                     bias, own, 0, 1),
                )  # fmt: skip

    return kernel


class _SampleProgram(Program):
    """Samples as units of work: each is one slot's."""

    def __init__(
        self, N: int, inner: list[Step], memory: int, arrays: Arrays, serial: bool
    ) -> None:
        space = Workspace()
        step = Step(
            compiled(each_sample),
            N,
            {
                "units": N,
                "inner": tuple(inner),
                "count": len(inner),
                "x_step": arrays.x[0],
                "w_step": arrays.w[0],
                "y_step": arrays.y[0],
                "scratch": space.take(memory * min(N, threads.most())),
                "scratch_bytes": memory,
            },
        )
        super().__init__([step], space.size, serial)
        self._inner = Program(inner, memory, serial=True)

    def stages(self) -> Stages:
        """The loop over samples, and what it runs."""
        return (*super().stages(), *self._inner.stages())


class _OneByOne:
    """Samples one after the other, by an algorithm whose steps are no kernels."""

    def __init__(self, inner: Runnable) -> None:
        self._inner = inner
        self.workspace, self.serial = inner.workspace, inner.serial
        self.stages = inner.stages

    def run(self, x: Array, w: Array, y: Array, bias: Array) -> None:
        """Compute each sample's weight gradient."""
        for n in range(len(x)):
            self._inner.run(x[n : n + 1], w[n : n + 1], y[n], bias)
