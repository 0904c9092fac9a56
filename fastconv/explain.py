"""What a call would do, and why: the plan of a convolution, told without running it."""

from dataclasses import dataclass, replace
from math import prod

import numpy as np
from numpy.typing import DTypeLike

from . import host, options
from ._arguments import Ints, Padding, flag, one_of, sizes
from ._arrays import checked_dtype
from ._dtypes import element_of
from .cpu import samples, threads
from .cpu.elements import Arrays
from .geometry import ConvGeometry, forward_geometry

DIRECTIONS = ("forward", "weight_gradient", "input_gradient")
LAYOUTS = ("NCHW", "NHWC")


@dataclass(frozen=True, slots=True)
class Stage:
    """One kernel of a plan.

    Attributes
    ----------
    name : str
        The kernel, as module.function.
    constants : dict of str to int
        What it was compiled for: lanes, tile sizes and the like.
    units : int
        Pieces of work, set by the geometry, that threads share out.
    thread_bytes : int
        Bytes of scratch memory for each thread.
    """

    name: str
    constants: dict[str, int]
    units: int
    thread_bytes: int


@dataclass(frozen=True, slots=True)
class Explanation:
    """What one pass of one geometry does.

    Attributes
    ----------
    direction, algorithm : str
    geometry : ConvGeometry
    stages : tuple of Stage
        The kernels in the order they run; those called correlate do the arithmetic.
    threads : int
        Threads that the call would use.
    flops : int
        Twice the multiply-adds of the pass.
    bytes : int
        Bytes of the two operands and of the result: what must be moved at least.
    workspace : int
        Bytes of memory that the call takes at its peak, beside its arguments and its result:
        each thread's share included, for as many threads as there are. Much of it is kept for
        the next call; `fastconv.clear_cache` frees it.
    """

    direction: str
    algorithm: str
    geometry: ConvGeometry
    stages: tuple[Stage, ...]
    threads: int
    flops: int
    bytes: int
    workspace: int

    @property
    def intensity(self) -> float:
        """Flops for each byte that must be moved."""
        return self.flops / self.bytes

    def roofline(self, peak: float, bandwidth: float) -> float:
        """Return the most GFLOP/s that a machine allows this pass.

        Parameters
        ----------
        peak : float
            The machine's peak in GFLOP/s.
        bandwidth : float
            Its memory bandwidth in GB/s.

        Returns
        -------
        float
            The lower of the two roofs: Williams, Waterman and Patterson, "Roofline: an
            insightful visual performance model", 2009.
        """
        return min(peak, self.intensity * bandwidth)

    def __str__(self) -> str:
        g = self.geometry
        lines = [
            f"{self.direction} by {self.algorithm}: "
            f"{g.input_shape} * {g.weight_shape} -> {g.output_shape}",
            f"  {self.flops / 1e9:.3f} GFLOP, {self.bytes / 1e6:.2f} MB moved at least "
            f"({self.intensity:.1f} flops a byte), {self.workspace / 1e6:.2f} MB of workspace",
            f"  on {self.threads} thread{'s' if self.threads > 1 else ''}:",
        ]
        for stage in self.stages:
            made_for = ", ".join(f"{name} {value}" for name, value in stage.constants.items())
            lines.append(f"    {stage.name} ({made_for}), {stage.units} units")
        return "\n".join(lines)


def explain(
    input_shape: tuple[int, ...],
    weight_shape: tuple[int, ...],
    stride: Ints = 1,
    padding: Padding = 0,
    dilation: Ints = 1,
    groups: int = 1,
    *,
    padding_mode: str = "zeros",
    per_sample: bool = False,
    direction: str = "forward",
    dtype: DTypeLike = np.float32,
    layout: str = "NCHW",
    algorithm: str = "auto",
) -> Explanation:
    """Tell what a convolution of these sizes would do, without running it.

    The rank follows from ``weight_shape``. The kernels are compiled, or loaded, on the way.

    Parameters
    ----------
    input_shape : tuple of int
        ``(N, C, *spatial)``.
    weight_shape : tuple of int
        ``(K, C // groups, *kernel)``.
    stride, padding, dilation, groups
        As in `conv2d`.
    padding_mode : {"zeros", "reflect", "replicate", "circular"}
        As in `conv2d`.
    per_sample : bool
        Of a weight gradient: whether each sample has its own, as in `conv2d_weight`.
    direction : {"forward", "weight_gradient", "input_gradient"}
        Which pass.
    dtype : dtype
        Of the arrays, as `conv2d` takes them.
    layout : {"NCHW", "NHWC"}
        Whether pixels or channels are contiguous in memory, at any rank.
    algorithm : {"auto", "direct", "im2col", "col2im", "winograd", "depthwise", "listed", "fft"}

    Returns
    -------
    Explanation
        Printed, a few lines of text.

    Raises
    ------
    TypeError, ValueError
        As for `conv2d`; also for a ``weight_shape`` that is not 3-D, 4-D or 5-D, and for
        ``per_sample`` in another direction than "weight_gradient".

    Examples
    --------
    >>> import fastconv
    >>> plan = fastconv.explain((8, 64, 56, 56), (64, 64, 3, 3), padding=1)
    >>> plan.algorithm, plan.flops
    ('winograd', 1849688064)
    """
    direction = one_of(direction, "direction", DIRECTIONS)
    layout = one_of(layout, "layout", LAYOUTS)
    algorithm = one_of(algorithm, "algorithm", host.ALGORITHMS)
    kind = checked_dtype(dtype)
    shapes = sizes(input_shape, "input_shape"), sizes(weight_shape, "weight_shape")
    rank = len(shapes[1]) - 2
    if rank not in (1, 2, 3):
        raise ValueError(f"weight_shape must have 3, 4 or 5 sizes, got {shapes[1]}")
    names = ("input_shape", "weight_shape")
    g = forward_geometry(*shapes, stride, padding, dilation, groups, rank, names, padding_mode)
    pass_name = direction
    per_sample = flag(per_sample, "per_sample")
    if per_sample:
        if direction != "weight_gradient":
            raise ValueError(
                f"per_sample must be False unless direction is 'weight_gradient', got {direction!r}"
            )
        pass_name = samples.PASS
    x, y, w = operand_strides(g, kind.itemsize, direction, layout == "NHWC")
    strides = {
        "forward": (x, w, y),
        "weight_gradient": (x, y, w),
        samples.PASS: (x, y, (prod(g.weight_shape) * kind.itemsize, *w)),
        "input_gradient": (y, w, x),
    }[pass_name]
    # A plan needs an image; without any, nothing runs.
    planned = g if g.N else replace(g, N=1)
    winograd = options.current().winograd
    arrays = Arrays(element_of(kind), *strides)
    plan = host.plan(pass_name, planned, arrays, algorithm, winograd)
    weights = prod(g.weight_shape) * (g.N if per_sample else 1)
    elements = prod(g.input_shape) + weights + prod(g.output_shape)
    return Explanation(
        direction=direction,
        algorithm=plan.algorithm,
        geometry=g,
        stages=tuple(Stage(*stage) for stage in plan.program.stages()),
        threads=1 if plan.program.serial else threads.allowed(),
        flops=g.flops,
        bytes=elements * kind.itemsize,
        workspace=plan.program.workspace,
    )


def operand_strides(
    g: ConvGeometry, size: int, direction: str, channels_last: bool
) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """Strides of x, y and w; a result follows its source, and one channel lies in C order."""
    x_last, y_last = channels_last and g.C > 1, channels_last and g.K > 1
    if direction == "forward":
        y_last = x_last
    elif direction == "input_gradient":
        x_last = y_last
    x, y = _strides(g.input_shape, size, x_last), _strides(g.output_shape, size, y_last)
    return x, y, _strides(g.weight_shape, size, False)


def _strides(shape: tuple[int, ...], size: int, channels_last: bool) -> tuple[int, ...]:
    """Byte strides of a contiguous array."""
    axes = list(range(len(shape)))
    if channels_last:
        axes.append(axes.pop(1))
    strides = [0] * len(shape)
    for axis in reversed(axes):
        strides[axis] = size
        size *= shape[axis]
    return tuple(strides)
