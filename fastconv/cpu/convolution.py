"""Plans: one pass of one geometry on arrays of given strides, compiled and ready to run."""

from __future__ import annotations

import functools
from importlib import import_module
from types import ModuleType
from typing import NamedTuple, Protocol

from fastconv.cpu import simd, threads, vast
from fastconv.cpu.operands import Operands
from fastconv.cpu.program import Array, Program, Stages, Step
from fastconv.cpu.views import Workspace
from fastconv.geometry import ConvGeometry
from fastconv.lowering import (
    Lowered,
    clipped,
    lower_forward,
    lower_input_gradient,
    subsampled,
    trimmed,
)

_SERIAL_MULTIPLY_ADDS = 1 << 20  # below this, waking a second thread costs more than it saves

# The modules with `correlate` and with `weight_gradient`: one line an algorithm. Imported when a
# plan first needs them, so that importing fastconv stays quick. A module of an algorithm that
# cannot do every pass has `refusal`, which says why, and `cycles`, an estimate for "auto". One
# whose steps are no kernels returns a `Runnable` of its own in place of steps.
_MODULES = {
    "direct": ("direct", "direct_gradient"),
    "im2col": ("im2col", "im2col"),
    "col2im": ("col2im", "col2im"),
    "winograd": ("winograd", "winograd_gradient"),
    "depthwise": ("depthwise", "depthwise_gradient"),
    "listed": ("listed", "listed"),
    "fft": ("fft", "fft"),
}
ALGORITHMS = tuple(_MODULES)
_TRANSFORMED_TAPS = 100  # with fewer, a product of spectra never pays: SciPy is not imported
_EXACT = (
    "direct",
    "im2col",
    "col2im",
    "listed",
)  # no more than products and sums: for integers too
_TRIMMED = ("direct", "im2col")  # that take passes as `trimmed` leaves them
_COARSE = ("winograd", "fft")  # that round more coarsely, which `options(winograd=False)` forbids


class Runnable(Protocol):
    """What runs a pass: a `Program`, or an algorithm's own way."""

    workspace: int  #: bytes that a run takes at its peak
    serial: bool  #: whether one thread runs it, however many there are

    def run(self, x: Array, w: Array, y: Array, bias: Array) -> None:
        """Compute the pass of source ``x`` and weights, or output gradient, ``w`` into ``y``."""

    def stages(self) -> Stages:
        """The name of each stage, what it was made for, its units, and bytes a thread."""


class Plan(NamedTuple):
    """A pass ready to run, and what it does."""

    algorithm: str
    program: Runnable


class Made(NamedTuple):
    """What a plan is made of: the algorithm, its steps or what runs it, and its multiply-adds."""

    algorithm: str
    steps: list[Step] | Runnable
    multiply_adds: int

    def plan(self, space: Workspace) -> Plan:
        """The plan, of steps whose memory is that of ``space``."""
        if not isinstance(self.steps, list):
            return Plan(self.algorithm, self.steps)
        serial = is_small(self.multiply_adds)
        return Plan(self.algorithm, Program(self.steps, space.size, serial))


def make_plan(
    pass_name: str, g: ConvGeometry, arrays: Operands, algorithm: str, winograd: bool = True
) -> Plan:
    """The plan of a pass: "forward", "weight_gradient" or "input_gradient".

    ``winograd``: whether "auto" may choose an algorithm that rounds more coarsely.
    """
    space = Workspace()
    return plan_steps(pass_name, g, arrays, algorithm, winograd, space).plan(space)


def plan_steps(
    pass_name: str,
    g: ConvGeometry,
    arrays: Operands,
    algorithm: str,
    winograd: bool,
    space: Workspace,
) -> Made:
    """What `make_plan` makes a program of."""
    low = _lowered(pass_name, g)
    if algorithm == "auto":
        algorithm = _chosen(pass_name, low, arrays, winograd)
    elif reason := _refusal(algorithm, pass_name, low, arrays):
        others = [name for name in ALGORITHMS if not _refusal(name, pass_name, low, arrays)]
        raise ValueError(
            f"algorithm {algorithm!r} {reason}; for this call it must be one of "
            f"{', '.join(map(repr, ('auto', *others)))}"
        )
    module = _module(algorithm, pass_name)
    make = module.weight_gradient if pass_name == "weight_gradient" else module.correlate
    left = trimmed(low) if algorithm in _TRIMMED else low
    is_vast = left is not low
    made: list[Step] | Runnable
    if is_vast and pass_name == "weight_gradient":
        made = vast.weight_gradient(make, g.weight_shape, left, arrays, space)
        made += _mending(pass_name, g, left, arrays, space, multiplies=False)
        return Made(algorithm, made, left.multiply_adds)
    low, moves = subsampled(left)
    seen = zip(arrays.x[2:], moves, strict=True)
    near = arrays._replace(x=(*arrays.x[:2], *(stride * move for stride, move in seen)))
    made = make(low, near, space, space.slots)
    if isinstance(made, list) and algorithm not in _COARSE:
        skips = getattr(module, "skips_padding", None)
        multiplies = low.needs_padding and not (skips and skips(low, arrays))
        # Of vast padding only a part is left, too little for a forward pass.
        multiplies = multiplies and not (is_vast and pass_name == "forward")
        made = [*made, *_mending(pass_name, g, low, arrays, space, multiplies)]
    return Made(algorithm, made, low.multiply_adds)


def _mending(
    pass_name: str, g: ConvGeometry, low: Lowered, arrays: Operands, space: Workspace,
    multiplies: bool,
) -> list[Step]:  # fmt: skip
    """The steps that set right what is made of padding beside numbers that are not finite.

    ``multiplies``: the algorithm makes products with its zeros.
    """
    again, whole = pass_name == "input_gradient", lower_forward(g)
    if arrays.bits == simd.INT64 or not (
        multiplies if again else whole.needs_padding and not multiplies
    ):
        return []
    with threads.preparing:  # late, as the algorithms are
        not_finite = import_module(f"{__package__}.not_finite")
    if again:
        return not_finite.mend_results(low, arrays, space, True)
    if pass_name == "weight_gradient":
        return not_finite.mend_weights(whole, arrays, space)
    return not_finite.mend_results(whole, arrays, space, False)


def is_small(multiply_adds: int) -> bool:
    """Whether waking a second thread would cost more than it saves."""
    return multiply_adds < _SERIAL_MULTIPLY_ADDS


def choice(pass_name: str, g: ConvGeometry, arrays: Operands, winograd: bool) -> str:
    """The algorithm that "auto" is."""
    return _chosen(pass_name, _lowered(pass_name, g), arrays, winograd)


def estimate(algorithm: str, pass_name: str, g: ConvGeometry, arrays: Operands) -> float:
    """About how many cycles a pass takes."""
    low = _lowered(pass_name, g)
    cycles: float = _module(algorithm, pass_name).cycles(pass_name, low, arrays)
    return cycles


def candidates(
    pass_name: str, g: ConvGeometry, arrays: Operands, winograd: bool
) -> tuple[str, ...]:
    """The algorithms that can do a pass, but for those that `make_plan` may not choose."""
    low = _lowered(pass_name, g)
    coarse = _coarse(low) if winograd else ()
    names = ALGORITHMS if trimmed(low) is low else ("listed", *_TRIMMED)
    allowed = (name for name in names if name not in _COARSE or name in coarse)
    return tuple(name for name in allowed if not _refusal(name, pass_name, low, arrays))


def _coarse(low: Lowered) -> tuple[str, ...]:
    """The algorithms of `_COARSE` that may pay."""
    large = max(len(part.taps) for part in low.parts) >= _TRANSFORMED_TAPS
    return _COARSE if large else tuple(name for name in _COARSE if name != "fft")


def _lowered(pass_name: str, g: ConvGeometry) -> Lowered:
    if pass_name == "input_gradient":
        return lower_input_gradient(g)
    low = lower_forward(g)
    if min(low.source_channels, low.target_channels) > 1:  # planes are padded in cache, for nothing
        low = clipped(low)
    # What no tap reads is nothing to a weight gradient.
    return low._replace(parts=low.parts[-1:]) if pass_name == "weight_gradient" else low


@functools.cache
def _module(algorithm: str, pass_name: str) -> ModuleType:
    with threads.preparing:
        return import_module(f"{__package__}.{_MODULES[algorithm][pass_name == 'weight_gradient']}")


def _refusal(algorithm: str, pass_name: str, low: Lowered, arrays: Operands) -> str | None:
    """Why ``algorithm`` cannot do a pass, as the rest of a sentence, or None."""
    if arrays.bits == simd.INT64 and algorithm not in _EXACT:
        return "computes in floating point, and the arrays hold integers"
    module = _module(algorithm, pass_name)
    if not hasattr(module, "refusal"):
        return None
    reason: str | None = module.refusal(pass_name, low, arrays)
    return reason


def _chosen(pass_name: str, low: Lowered, arrays: Operands, winograd: bool) -> str:
    """The algorithm for "auto": by the estimates of `cycles`, and measured exceptions.

    Small problems, that a caller may know the exact result of, are not worth the coarser rounding
    of a Winograd algorithm.
    """
    if not _refusal("listed", pass_name, low, arrays):
        return "listed"
    plain = "direct"
    if arrays.bits == simd.INT64 or trimmed(low) is not low:
        return plain

    def cycles(name: str) -> float:
        found: float = _module(name, pass_name).cycles(pass_name, low, arrays)
        return found

    if not _refusal("depthwise", pass_name, low, arrays):
        plain = min(("depthwise", "direct"), key=cycles)
    elif pass_name != "weight_gradient" and _prefers_columns(low, arrays):
        plain = "im2col"
    costed = plain if plain == "depthwise" else "direct"  # im2col has no estimate of its own
    # Panels that weave a strided target have always been faster than sums added to it.
    weaves = plain == "im2col" and len(low.parts) > 1
    able = not weaves and not _refusal("col2im", pass_name, low, arrays)
    if able and cycles("col2im") < cycles(costed):
        plain = costed = "col2im"
    if is_small(low.multiply_adds) or not winograd:
        return plain
    coarse = [name for name in _coarse(low) if not _refusal(name, pass_name, low, arrays)]
    best = min((costed, *coarse), key=cycles)
    return best if best in coarse else plain


def _prefers_columns(low: Lowered, arrays: Operands) -> bool:
    """Whether columns are faster than direct convolution.

    With channels last and images of 2x2 and 3x3 pixels, columns of several taps that run through
    all images are 1.15 to 1.5 times as fast (Zen 5).
    """
    shortest = max(low.parts[-1].counts) < 4 and low.target_channels >= arrays.lanes
    if arrays.channels_last and shortest and len(low.parts[-1].taps) > 1:
        return True
    suit: bool = _module("im2col", "forward").panels_suit(low, arrays)
    return suit
