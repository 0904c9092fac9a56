"""Sums of products of two arrays of one rank: what the functions with SciPy's signatures share.

Each is a window of the full correlation or convolution of an image and a kernel, the image
continued past its edges: one forward pass of a single channel. What a call does to its operands
depends on shapes, strides and dtypes alone. It is settled once, in `prepare`; `calls` remembers it.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable
from math import prod
from operator import itemgetter, methodcaller
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from . import _spectra
from ._arguments import Pairs, shown
from ._arrays import Array
from ._dtypes import NAMES
from ._edges import Edges
from ._host_arrays import array_of
from ._results import empty
from ._sums import Run, planned, products
from .devices import on_device

Step: TypeAlias = Callable[[Array], Array]

_MANY = 4096  # elements that are better copied first where they do not lie side by side


class Task(NamedTuple):
    """What is asked of two arrays: places ``start`` to ``start + length`` of the full result.

    A full result has ``n + k - 1`` places an axis. Place o of a correlation sums
    ``in1[o - k + 1 + t] * in2[t]``, of a convolution ``in1[o - t] * in2[t]``.
    """

    correlates: bool
    start: tuple[int, ...]
    length: tuple[int, ...]
    mode: str = "constant"  #: how in1 is continued past its edges, as `Edges` knows it
    value: Any = 0  #: of the elements there, where the mode is "constant"
    conjugated: int = 0  #: which operand's complex conjugate is meant, 1 or 2


def checked(array: object, name: str) -> Array:
    """An array-like as a plain NumPy array, unless that would lose something."""
    if type(array) is np.ndarray:
        return array
    if issubclass(type(array), np.ma.MaskedArray):
        raise TypeError(
            f"{name} must have no mask, which sums over neighbours would lose: "
            f"fill it, for example with {name}.filled(0)"
        )
    if on_device(array):
        raise TypeError(
            f"{name} must be in the host's memory, got a device array ({type(array).__name__}): "
            "fastconv.conv1d, conv2d and conv3d take those"
        )
    return array_of(array, name)


def checked_number(value: object, name: str) -> Any:
    """A number as NumPy has it, also from an array of one; refuse anything else."""
    given = array_of(value, name)
    if given.size != 1:
        raise ValueError(f"{name} must be one number, got {shown(value)}")
    number = given.reshape(())[()]
    if given.dtype == object:  # an integer of more than 64 bits, perhaps
        try:
            return np.float64(operator.index(number))
        except (TypeError, OverflowError):
            raise _no_number(value, name) from None
    if given.dtype.kind not in "biufc" and given.dtype.name not in NAMES:
        raise _no_number(value, name)
    return number


def _no_number(value: object, name: str) -> Exception:
    return ValueError(f"{name} must be a number, got {shown(value)} ({type(value).__name__})")


def common_dtype(in1: Array, in2: Array) -> np.dtype[Any]:
    """The dtype that NumPy promotes both to, if it is bool or one that there are kernels for."""
    try:
        kind = np.promote_types(in1.dtype, in2.dtype)
    except np.exceptions.DTypePromotionError:
        kind = np.dtype(object)
    if kind.name not in NAMES and kind != np.bool_:
        raise TypeError(
            "in1 and in2 must have dtypes that promote to bool, an integer of up to 64 bits, "
            "float16, bfloat16, float32, float64, complex64 or complex128, "
            f"got {in1.dtype} and {in2.dtype}"
        )
    return kind


def prepare(in1: Array, in2: Array, dtype: np.dtype[Any], task: Task, method: str) -> Run:
    """What does a task on arrays like these; its result has the dtype.

    ``method`` is "direct" for sums of products, "fft", or "auto" for the faster of the two.
    """
    nothing = 0 in in1.shape and task.mode == "constant" and not np.any(task.value)
    if nothing or 0 in (*task.length, *in2.shape):
        return lambda in1, in2: np.zeros(task.length, dtype)
    if (joined := _joined(in1.shape, in2.shape, task)) is not None:
        shape1, shape2, inner = joined
        run = prepare(in1.reshape(shape1), in2.reshape(shape2), dtype, inner, method)
        return lambda in1, in2: run(in1.reshape(shape1), in2.reshape(shape2)).reshape(task.length)
    plan = _plan(in1.shape, in2.shape, task)
    direct = method == "direct" or dtype == np.bool_
    if not direct and (method == "fft" or _spectra.pay(plan.image, plan.kernel, plan.pads, dtype)):
        fourier = _prepared(in1, in2, dtype, task, plan, fourier=True)
        if method == "fft" or dtype.kind not in "iu":
            return fourier
        sums = _prepared(in1, in2, dtype, task, plan, fourier=False)
        return _spectra.Exact(fourier, sums, _spectra.most_exact(plan.image, plan.kernel))
    return _prepared(in1, in2, dtype, task, plan, fourier=False)


def _joined(
    shape1: tuple[int, ...], shape2: tuple[int, ...], task: Task
) -> tuple[tuple[int, ...], tuple[int, ...], Task] | None:
    """A task of fewer axes that is the same: neighbours along which in2 is one element as one."""
    axes: list[tuple[int, int, int, int]] = []
    for n, k, start, length in zip(shape1, shape2, task.start, task.length, strict=True):
        if k == 1 and length == n:
            if n == 1:
                continue
            if axes and axes[-1][1] == 1 and axes[-1][0] == axes[-1][3]:
                before = axes.pop()[0]
                n = length = n * before
        axes.append((n, k, start, length))
    axes = axes or [(1, 1, 0, 1)]
    if len(axes) == len(shape1):
        return None
    image, kernel, starts, lengths = zip(*axes, strict=True)
    return image, kernel, task._replace(start=starts, length=lengths)


class _Plan(NamedTuple):
    """Which operand is the image, which part of it is read, and how many elements past that."""

    swapped: bool
    crop: tuple[slice, ...]
    pads: Pairs
    image: tuple[int, ...]  #: what is left of the image
    kernel: tuple[int, ...]


def _plan(shape1: tuple[int, ...], shape2: tuple[int, ...], task: Task) -> _Plan:
    """The plan; where nothing but zeros continues in1, the smaller operand is the kernel."""
    zeros = task.mode == "constant" and not np.any(task.value)
    swapped = zeros and prod(shape2) > prod(shape1)
    image, kernel = (shape2, shape1) if swapped else (shape1, shape2)
    crop, pads = [], []
    for n, k, start, length in zip(image, kernel, task.start, task.length, strict=True):
        if swapped and task.correlates:  # the result is made backwards
            start = n + k - 1 - start - length
        first, last = start - k + 1, start + length
        crop.append(slice(max(first, 0), min(last, n)))
        pads.append((max(-first, 0), max(last - n, 0)))
    left = tuple(part.stop - part.start for part in crop)
    return _Plan(swapped, tuple(crop), tuple(pads), left, kernel)


class _Prepared:
    """A call that is checked and planned: steps on the operands, sums, steps on the result."""

    __slots__ = ("__weakref__", "_after", "_image", "_kernel", "_sums", "_swapped")

    def __init__(
        self,
        swapped: bool,
        image: Iterable[Step],
        kernel: Iterable[Step],
        sums: Run,
        after: Iterable[Step],
    ) -> None:
        self._swapped, self._sums = swapped, sums
        self._image, self._kernel, self._after = tuple(image), tuple(kernel), tuple(after)

    def __call__(self, in1: Array, in2: Array) -> Array:
        image, kernel = (in2, in1) if self._swapped else (in1, in2)
        for step in self._image:
            image = step(image)
        for step in self._kernel:
            kernel = step(kernel)
        result = self._sums(image, kernel)
        for step in self._after:
            result = step(result)
        return result


def _prepared(
    in1: Array, in2: Array, dtype: np.dtype[Any], task: Task, plan: _Plan, *, fourier: bool
) -> Run:
    rank = in1.ndim
    computed = _spectra.computed_in(dtype) if fourier else dtype
    if dtype == np.bool_:
        computed = np.dtype(np.int32)  # a count, that is not zero where any product is true
    steps1, steps2 = _conversion(in1, computed), _conversion(in2, computed)
    if task.conjugated and dtype.kind == "c":
        (steps1, steps2)[task.conjugated - 1].append(np.conjugate)
    image, kernel = (in2, in1) if plan.swapped else (in1, in2)
    image_steps, kernel_steps = (steps2, steps1) if plan.swapped else (steps1, steps2)
    reverse = itemgetter((slice(None, None, -1),) * rank)
    after: list[Step] = []
    if not task.correlates:
        kernel_steps.append(reverse)
    elif plan.swapped:
        after.append(reverse)
    pads = plan.pads
    if plan.image != image.shape:
        image_steps.append(itemgetter(plan.crop))
    if any(map(any, pads)) and (task.mode != "constant" or np.any(task.value)):
        # Conversion and continuation are one copy.
        image_steps = [step for step in image_steps if not isinstance(step, _Converted)]
        image_steps.append(Edges(plan.image, pads, computed, task.mode, task.value))
        pads = ((0, 0),) * rank
    if fourier and dtype.kind == "c":
        image_steps.append(_spectra.parts)
        kernel_steps.append(_spectra.mixing)
        after.insert(0, _spectra.joined)
    image, kernel = _after(image, image_steps), _after(kernel, kernel_steps)
    if fourier:
        sums = planned(image, kernel, pads, rank, "fft")
    else:
        sums = products(image, kernel, pads, task.length)
    if dtype == np.bool_:
        after.append(methodcaller("__ne__", 0))
    elif fourier and dtype.kind in "iu":
        after.append(_spectra.Rounded(dtype))
    elif computed != dtype and dtype.kind != "c":
        after.append(_Converted(dtype))
    if not (plan.swapped or image_steps or kernel_steps or after):
        return sums
    return _Prepared(plan.swapped, image_steps, kernel_steps, sums, after)


class _Converted:
    """Makes arrays of a dtype, in memory that is kept where they are large."""

    def __init__(self, dtype: np.dtype[Any]) -> None:
        self._dtype = dtype

    def __call__(self, array: Array) -> Array:
        made = empty(array.shape, self._dtype)
        made[...] = array
        return made


def _conversion(array: Array, dtype: np.dtype[Any]) -> list[Step]:
    """The step that makes an operand one that kernels read well, if there must be one."""
    scattered = array.size >= _MANY and array.strides[-1] != array.itemsize
    if array.dtype != dtype or scattered:
        return [_Converted(dtype)]
    return [] if array.flags.aligned else [np.copy]


def _after(array: Array, steps: Iterable[Step]) -> Array:
    for step in steps:
        array = step(array)
    return array
