"""FFT convolution, all passes: for few channels and large kernels, by way of scipy.fft.

The source is cut into blocks that overlap by the kernel's reach (overlap-save), so that a block and
its spectrum stay in cache. A circular correlation of a block and the kernel is a product of
spectra; its first elements, which nothing has wrapped round into, are a block of the target. In the
weight gradient blocks of the source meet blocks of the output gradient, and their products are
added up before the one inverse transform.

In fixed blocks and added up in a fixed order, results have the same bits for any number of threads.
They round more coarsely than direct sums: the error of each is at most ``BOUND`` * eps * log2 of a
block's size, times the norm of what it sums of the one operand times the norm of the other. And
what is no finite number spoils the whole block it lies in.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from importlib import import_module
from importlib.util import find_spec
from itertools import product
from math import log2, prod
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from fastconv.cpu import threads, workspaces
from fastconv.cpu.operands import Operands
from fastconv.cpu.program import Stages
from fastconv.cpu.views import Workspace
from fastconv.cpu.waiting import signals_wait
from fastconv.lowering import AxisPart, Lowered

Array: TypeAlias = np.ndarray[Any, Any]
Spans: TypeAlias = tuple[Any, ...]  # slices, one an axis

BOUND = 2  #: see above; measured: under 1

_BLOCK_BYTES = 1 << 19  # of one channel of a block, that stay in cache with its spectrum
_SPECTRUM_BYTES = 1 << 28  # of all weights' spectra: more is refused
_PARTS = 8  # into which a weight gradient's blocks are cut, whatever the number of threads

# In the cycles of `direct.cycles`, measured on Zen 4. Transforms of several axes run through
# vectors of lines, those of one do not.
_TRANSFORM = {4: 0.2, 8: 0.29}  # an element of a real transform, for each halving of its size
_TRANSFORM_1D = {4: 0.4, 8: 0.46}
_PRODUCT = 1.0  # four bytes of an element: of a product of spectra, and of copies
_BLOCK = 90_000  # the Python that runs a block
_FRESH = 0.5  # four bytes of a transform so large that its memory is fresh from the system
_LARGE = 1 << 19  # bytes of those


@functools.cache
def _missing() -> bool:
    return find_spec("scipy") is None


def refusal(pass_name: str, low: Lowered, arrays: Operands) -> str | None:
    """Why a pass cannot be done, or None."""
    if arrays.converted:
        return "takes float32 and float64 arrays alone"
    if _missing():
        return "needs SciPy, which is not installed (pip install 'fastconv[fft]')"
    axes = low.parts[0].axes
    if len(low.parts) > 1 or any(axis.move != 1 or axis.step != 1 for axis in axes):
        return "needs a stride of 1"
    if not all(axis.taps for axis in axes):
        return "needs a tap that meets the image"
    if any(len(a.taps) > 1 and a.taps[1][1] - a.taps[0][1] != 1 for a in axes):
        return "needs a dilation of 1"
    pairs = low.groups * low.source_channels * low.target_channels
    if pairs * _blocks(low, arrays).spectrum * 2 * arrays.size > _SPECTRUM_BYTES:
        return f"is for few channels, and the spectra of {pairs} kernels take too much memory"
    return None


class Blocks(NamedTuple):
    """Blocks of ``step`` targets, transformed in ``size`` elements, ``counts`` of them an axis."""

    size: tuple[int, ...]
    step: tuple[int, ...]
    counts: tuple[int, ...]

    @property
    def spectrum(self) -> int:
        """Complex numbers in the spectrum of a real block."""
        return prod(self.size[:-1]) * (self.size[-1] // 2 + 1)


def _blocks(low: Lowered, arrays: Operands) -> Blocks:
    """The blocks that take least time, of those that stay in cache."""
    axes = low.parts[0].axes
    most = round((_BLOCK_BYTES / arrays.size) ** (1 / len(axes)))
    cuts = (
        (axis.length, len(axis.taps), _whole(axis, before, extent))
        for axis, before, extent in zip(axes, low.before, low.source, strict=True)
    )
    return _best_blocks(tuple(cuts), most, arrays.size)


def _whole(axis: AxisPart, before: int, extent: int) -> int:
    """The least size of a transform that holds an axis in one block.

    What is read past the source is zero at both ends, and one end may wrap round into the other.
    """
    taps = len(axis.taps)
    first, reads = axis.taps[0][1] - before, axis.length + taps - 1
    ahead = min(max(-first, 0), reads)
    return max(min(extent - first, reads), reads - ahead, axis.length, taps)


@functools.lru_cache(maxsize=1024)
def _best_blocks(axes: tuple[tuple[int, int, int], ...], most: int, width: int) -> Blocks:
    """The best blocks for axes of so many targets and taps, and of such a `_whole`."""
    edges = [2 ** (eighths / 8) for eighths in range(8, 8 * int(log2(most)) + 1, 2)]
    candidates = []
    for edge in (*edges, max(length + taps for length, taps, _ in axes)):
        cut = []
        for length, taps, whole in axes:
            # Blocks of much the same size, as long as the kernel at least.
            count = -(-length // max(round(edge) - taps + 1, taps))
            if count == 1 or whole <= edge:
                cut.append((_fast_length(whole), length, 1))
            else:
                step = -(-length // count)
                cut.append((_fast_length(step + taps - 1), step, count))
        blocks = Blocks(*zip(*cut, strict=True))
        transform = _transform(blocks, width)
        each = 2 * transform + _PRODUCT * prod(blocks.size) * width / 4 + _BLOCK
        cycles = prod(blocks.counts) * each + transform  # the kernel's
        candidates.append((cycles, blocks))
    return min(candidates)[1]


def _transform(blocks: Blocks, width: int) -> float:
    """Cycles of the transform of a block of elements of so many bytes."""
    size = prod(blocks.size)
    halving = (_TRANSFORM if len(blocks.size) > 1 else _TRANSFORM_1D)[width]
    fresh = _FRESH * width / 4 if size * width >= _LARGE else 0
    return size * (halving * log2(size + 1) + fresh)


def _fast_length(least: int) -> int:
    size: int = import_module("scipy.fft").next_fast_len(least, real=True)
    return size


def cycles(pass_name: str, low: Lowered, arrays: Operands) -> float:
    """About how many cycles one core takes, as `direct.cycles` counts them."""
    blocks = _blocks(low, arrays)
    pairs = low.groups * low.source_channels * low.target_channels
    channels = low.groups * (low.source_channels + low.target_channels)
    transform = _transform(blocks, arrays.size)
    multiply = _PRODUCT * prod(blocks.size) * arrays.size / 4
    each = channels * transform + pairs * multiply + _BLOCK
    return low.N * prod(blocks.counts) * each + pairs * transform


def correlate(low: Lowered, arrays: Operands, space: Workspace, most: int) -> FourierProgram:
    """The program of a forward pass or an input gradient."""
    return FourierProgram(low, arrays, _correlate, most)


def weight_gradient(low: Lowered, arrays: Operands, space: Workspace, most: int) -> FourierProgram:
    """The program of a weight gradient; ``low`` is the forward pass, ``arrays.w`` is dy."""
    return FourierProgram(low, arrays, _weight_gradient, most)


def _quiet() -> np.errstate:
    """NumPy without warnings of NaN and infinity, of which no other algorithm warns."""
    return np.errstate(over="ignore", invalid="ignore")


class FourierProgram:
    """A pass by FFT, which runs like a `Program`."""

    def __init__(
        self, low: Lowered, arrays: Operands, what: Callable[..., None], most: int
    ) -> None:
        self._fft = import_module("scipy.fft")
        self.low, self.blocks, self._what = low, _blocks(low, arrays), what
        self.activation, self.dtype = arrays.activation, np.dtype(f"f{arrays.size}")
        self.serial = False
        units = low.N * prod(self.blocks.counts)
        self.units = units if what is _correlate else min(_PARTS, units)
        self.workspace = self._bytes(min(most, self.units))

    def _bytes(self, slots: int) -> int:
        """Bytes of all arrays that a run holds at its peak, on ``slots`` threads."""
        low, size = self.low, self.dtype.itemsize
        block, spectrum = prod(self.blocks.size) * size, self.blocks.spectrum * 2 * size
        sources, targets = low.groups * low.source_channels, low.groups * low.target_channels
        pairs = sources * low.target_channels
        if self._what is _correlate:
            # A block of the source and its spectrum, the products, and a transform's own copy.
            own = sources * spectrum + max(sources * block, targets * (2 * spectrum + block))
            return slots * own + pairs * (spectrum + block)
        own = (sources + targets) * (spectrum + block)
        return slots * own + self.units * pairs * spectrum + pairs * (2 * spectrum + block)

    def stages(self) -> Stages:
        """What `Program.stages` tells, of the one stage that there is."""
        made_for = {f"block_{i}": size for i, size in enumerate(self.blocks.size)}
        own = self._bytes(1) - self._bytes(0)
        return ((f"fft.{self._what.__name__.strip('_')}", made_for, self.units, own),)

    def run(self, x: Array, w: Array, y: Array, bias: Array) -> None:
        """Compute the pass, on as many threads as the caller allows."""
        rank = len(self.blocks.size)
        x, w, y = (a[(np.newaxis,) * (rank + 2 - a.ndim)] for a in (x, w, y))
        with _quiet():
            self._what(self, x, w, y, bias)

    def each(self, work: Callable[[int], None]) -> None:
        """Do the work of every unit."""
        units = iter(range(self.units))

        def take_units() -> None:
            with _quiet():  # which the caller's thread does not hand on
                for unit in units:  # shared by all who do this
                    work(unit)

        helpers = min(threads.allowed(), self.units) - 1
        if not helpers:
            take_units()
            return
        with ThreadPoolExecutor(helpers) as pool:
            helping: list[Future[None]] = []
            with signals_wait(), suppress(RuntimeError):  # no thread to be had: fewer do it all
                helping.extend(pool.submit(take_units) for _ in range(helpers))
            take_units()
            for helper in helping:
                helper.result()

    def forwards(self, real: Array, at: Spans = ()) -> Array:
        """The spectra of real blocks, which lie ``at`` those places among zeros, or first."""
        size = self.blocks.size
        rank = len(size)
        shape = (*real.shape[:-rank], *size)
        # Memory that is kept: as much fresh from the system takes as long as half a transform.
        memory = workspaces.take(prod(shape) * self.dtype.itemsize)
        try:
            padded = memory[: prod(shape) * self.dtype.itemsize].view(self.dtype).reshape(shape)
            if real.shape != shape:
                padded.fill(0)
            padded[(..., *(at or map(slice, real.shape[-rank:])))] = real
            made: Array = self._fft.rfftn(padded, axes=range(-rank, 0))
        finally:
            workspaces.give_back(memory)
        return made

    def backwards(self, spectra: Array) -> Array:
        """The real blocks of these spectra, which are not kept."""
        size = self.blocks.size
        made: Array = self._fft.irfftn(spectra, size, axes=range(-len(size), 0), overwrite_x=True)
        return made

    def places(self, number: int) -> tuple[int, Spans]:
        """The image and the targets of a block."""
        image, block = divmod(number, prod(self.blocks.counts))
        index = np.unravel_index(block, self.blocks.counts)
        spans = zip(index, self.blocks.step, self.low.parts[0].counts, strict=True)
        return image, tuple(slice(i * s, min((i + 1) * s, length)) for i, s, length in spans)

    def source(self, x: Array, image: int, targets: Spans) -> Array:
        """The spectra of what the targets read of an image, by group and channel."""
        low, axes = self.low, self.low.parts[0].axes
        inside: list[Any] = []
        at: list[Any] = []
        for axis, before, extent, span in zip(axes, low.before, low.source, targets, strict=True):
            first = span.start + axis.taps[0][1] - before
            length = span.stop - span.start + len(axis.taps) - 1
            low_end, high_end = (min(max(e, 0), extent) for e in (first, first + length))
            inside.append(slice(low_end, high_end))
            at.append(slice(low_end - first, high_end - first))
        return self._grouped(self.forwards(x[(image, slice(None), *inside)], tuple(at)))

    def _grouped(self, spectra: Array) -> Array:
        return spectra.reshape(self.low.groups, -1, *spectra.shape[1:])


def _taps(program: FourierProgram) -> Spans:
    """The weights that a pass reads, in its order: forwards, or backwards."""
    steps = []
    for axis in program.low.parts[0].axes:
        first, last = axis.taps[0][0], axis.taps[-1][0]
        step = axis.taps[1][0] - first if len(axis.taps) > 1 else 1
        stop = last + (1 if step > 0 else -1)
        steps.append(slice(first, None if stop < 0 else stop, step))
    return tuple(steps)


def _correlate(program: FourierProgram, x: Array, w: Array, y: Array, bias: Array) -> None:
    low, rank = program.low, len(program.blocks.size)
    kernels = program.forwards(w[(slice(None), slice(None), *_taps(program))])
    np.conjugate(kernels, out=kernels)
    # As [group][target channel][source channel].
    first = low.source_channels if low.transposed else low.target_channels
    kernels = kernels.reshape(low.groups, first, *kernels.shape[1:])
    if low.transposed:
        kernels = np.swapaxes(kernels, 1, 2)
    added = bias.reshape(-1, *(1,) * rank)

    def work(number: int) -> None:
        image, targets = program.places(number)
        spectra = program.source(x, image, targets)
        alone = low.source_channels == low.target_channels == 1
        shape = (*kernels.shape[:2], *spectra.shape[2:])
        sums = spectra if alone else np.empty(shape, spectra.dtype)
        for group, k in product(range(low.groups), range(low.target_channels)):
            np.multiply(spectra[group, 0], kernels[group, k, 0], out=sums[group, k])
            for c in range(1, low.source_channels):
                sums[group, k] += spectra[group, c] * kernels[group, k, c]
        del spectra
        blocks = program.backwards(sums.reshape(-1, *sums.shape[2:]))
        valid = tuple(slice(0, span.stop - span.start) for span in targets)
        out = y[(image, slice(None), *targets)]
        np.add(blocks[(slice(None), *valid)], added, out=out)
        if program.activation == "relu":
            np.maximum(out, 0, out=out)

    program.each(work)


def _weight_gradient(program: FourierProgram, x: Array, dy: Array, dw: Array, bias: Array) -> None:
    low, blocks = program.low, program.blocks
    shape = (*blocks.size[:-1], blocks.size[-1] // 2 + 1)
    kind = np.result_type(program.dtype, np.complex64)
    pairs = (low.groups, low.target_channels, low.source_channels)
    sums = np.zeros((program.units, *pairs, *shape), kind)
    numbers = low.N * prod(blocks.counts)

    def work(unit: int) -> None:
        own = sums[unit]
        first, last = (i * numbers // program.units for i in (unit, unit + 1))
        for number in range(first, last):
            image, targets = program.places(number)
            spectra = program.source(x, image, targets)
            # Where padding was clipped, the gradient begins further on.
            parts = zip(low.parts[0].axes, targets, strict=True)
            at: Spans = tuple(slice(a.start + t.start, a.start + t.stop) for a, t in parts)
            against = program.forwards(dy[(image, slice(None), *at)])
            np.conjugate(against, out=against)
            against = against.reshape(low.groups, low.target_channels, *shape)
            for group, k, c in product(*map(range, pairs)):
                own[group, k, c] += spectra[group, c] * against[group, k]

    program.each(work)
    total = sums[0]
    for part in sums[1:]:
        total += part
    taps = tuple(slice(0, len(axis.taps)) for axis in low.parts[0].axes)
    gradients = program.backwards(total.reshape(-1, *shape))[(slice(None), *taps)]
    dw[...] = gradients.reshape(dw.shape)
