"""What the plain kernels share: how a number becomes indices, and how a block adds up.

The host's half names a kernel's integers (`divisor`, `along`); the device's half uses them.
"""

from __future__ import annotations

from collections.abc import Sequence

from fastconv.lowering import Correlation, Lowered

from .planning import Table, tap_places, three, words
from .ptx import divide, inline, magic_of


def divisor(name: str, value: int) -> dict[str, int]:
    """The integers by which a kernel divides by ``value``: itself, a factor and a shift."""
    magic, shift = magic_of(value)
    return {name: value, f"{name}_magic": magic, f"{name}_shift": shift}


def along(name: str, values: Sequence[int], missing: int) -> dict[str, int]:
    """One integer for each of D, H and W: ``name_d``, ``name_h`` and ``name_w``."""
    d, h, w = three(tuple(values), missing)
    return {f"{name}_d": d, f"{name}_h": h, f"{name}_w": w}


def tap_table(low: Lowered, part: Correlation, weights: tuple[int, ...]) -> Table:
    """A row for each tap: its shifts in D, H and W from a source position, its weight's offset."""
    before = three(low.before, 0)
    shifts = [three(offsets, 0) for _, offsets in part.taps]
    moved = [[s - b for s, b in zip(shift, before, strict=True)] for shift in shifts]
    return words([[*m, at] for m, at in zip(moved, tap_places(part, weights), strict=True)])


def threads_for(work: int, most: int) -> int:
    """Threads of a block that goes through ``work`` items: a power of two, at least a warp."""
    return max(32, min(most, 1 << (work - 1).bit_length())) if work > 0 else 32


def pixel_sizes(low: Lowered, part: Correlation) -> dict[str, int]:
    """What takes a number of a part's pixels to D, H and W, and from there into the source."""
    _, H, W = three(part.counts, 1)
    return {
        **divisor("plane", H * W),
        **divisor("row", W),
        **along("move", [axis.move for axis in part.axes], 1),
        **along("extent", low.source, 1),
    }


def target_sizes(part: Correlation, y: tuple[int, ...]) -> dict[str, int]:
    """Offset of a part's first pixel in one channel of the target, and steps from it to others."""
    pairs = list(zip(part.axes, y[2:], strict=True))
    start = sum(axis.start * step for axis, step in pairs)
    return {"y_start": start, **along("y", [axis.step * step for axis, step in pairs], 0)}


@inline
def split(value, size, magic, shift):
    """``value // size`` and ``value % size`` of 0 <= value < 2**31."""
    quotient = divide(value, magic, shift)
    return quotient, value - quotient * size


@inline
def advance(image, pixel, images_on, pixels_on, pixels):
    """A pixel of a batch moved on by so many images and pixels, in an image of ``pixels``."""
    image += images_on
    pixel += pixels_on
    if pixel >= pixels:
        image += 1
        pixel -= pixels
    return image, pixel


@inline
def block_sums(scratch, values, count, thread, threads, lanes, meet):
    """Add up ``count`` values of every thread over the threads of a lane, in a fixed order.

    Threads ``lane``, ``lane + lanes``, ... belong together, powers of two of them. The sums are
    left in ``scratch[i, lane]``, a shared array of ``count`` rows of ``threads``; all threads see
    them. ``meet`` is ``cuda.syncthreads``, which the simulator knows in the kernel's module alone.
    """
    for i in range(count):
        scratch[i, thread] = values[i]
    half = threads // 2
    while half >= lanes:
        meet()
        if thread < half:
            for i in range(count):
                scratch[i, thread] += scratch[i, thread + half]
        half //= 2
    meet()
