"""Arrays that make mistakes show: integer values, poisoned outputs, guard zones, odd strides."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]

DTYPES = ("float32", "float64")
HALVES = ("float16", "bfloat16")
INTEGERS = tuple(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64))
COMPLEX = ("complex64", "complex128")
LAYOUTS = ("channels_first", "channels_last")

# An odd number of elements, so that what lies between two guard zones is not aligned to a vector.
GUARD = 1027


def integers(rng: np.random.Generator, shape: tuple[int, ...], dtype: str = "float64") -> Array:
    """Return small integers as floats: sums of their products are exact, so `==` compares them."""
    return rng.integers(-4, 5, shape).astype(dtype)


def bfloat16_bits(values: Array) -> NDArray[np.uint16]:
    """Return numbers rounded to bfloat16, to nearest even, as their bits."""
    near = np.float32(values)
    bits = near.view(np.uint32).astype(np.uint64)
    rounded = (bits + 0x7FFF + (bits >> 16 & 1)) >> 16
    return np.where(np.isnan(near), 0x7FC0, rounded).astype(np.uint16)


def from_bfloat16_bits(bits: NDArray[np.uint16]) -> NDArray[np.float32]:
    """Return the numbers that these bits of bfloat16 are."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


def channels_last(a: Array) -> Array:
    """Return `a`, same shape and values, with its channel axis (axis 1) contiguous in memory."""
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(a, 1, -1)), -1, 1)


def is_channels_last(a: Array) -> bool:
    """Whether the memory order of `a` is (N, *spatial, C)."""
    return np.moveaxis(a, 1, -1).flags.c_contiguous


class Arena:
    """Hands out arrays that lie between two guard zones of NaN, and finds stray writes.

    A value read from a guard zone spoils the result it goes into; a value written into one, or
    into an input, is found by `check`.
    """

    def __init__(self) -> None:
        self._outputs: list[tuple[NDArray[np.uint8], NDArray[np.uint8]]] = []
        self._inputs: list[tuple[NDArray[np.uint8], NDArray[np.uint8]]] = []

    def place(self, values: Array, dtype: str, layout: str = "channels_first") -> Array:
        """Return a copy of `values` that a call may read and must not change."""
        array, buffer = _carve(values.shape, dtype, layout)
        array[...] = values
        memory = buffer.view(np.uint8)
        self._inputs.append((memory, memory.copy()))
        return array

    def output(self, shape: tuple[int, ...], dtype: str, layout: str = "channels_first") -> Array:
        """Return an array full of NaN that a call must overwrite, and nothing beside it."""
        array, buffer = _carve(shape, dtype, layout)
        for zone in (buffer[:GUARD], buffer[-GUARD:]):
            memory = zone.view(np.uint8)
            self._outputs.append((memory, memory.copy()))
        return array

    def check(self) -> None:
        """Fail if a guard zone or an input has changed."""
        for now, before in self._inputs:
            assert np.array_equal(now, before), "an input or the memory around it was written to"
        for now, before in self._outputs:
            assert np.array_equal(now, before), "written outside the output"


def _carve(shape: tuple[int, ...], dtype: str, layout: str) -> tuple[Array, Array]:
    """Return an array of NaN in the middle of a larger buffer of NaN, and that buffer.

    Integers, which have no NaN, get a number that is no result of the tests.
    """
    size = int(np.prod(shape))
    kind = np.dtype(dtype)
    poison = np.iinfo(kind).max - 2 if kind.kind in "iu" else np.nan
    buffer = np.full(size + 2 * GUARD, poison, kind)
    middle = buffer[GUARD : GUARD + size]
    if layout == "channels_last" and len(shape) > 2:
        return np.moveaxis(middle.reshape(shape[0], *shape[2:], shape[1]), -1, 1), buffer
    return middle.reshape(shape), buffer


def _sliced(a: Array) -> Array:
    """Every second element of each axis of a larger array; NaN lies in between."""
    larger = np.full([2 * size + 1 for size in a.shape], np.nan, a.dtype)
    view = larger[tuple(slice(1, None, 2) for _ in a.shape)]
    view[...] = a
    return view


def _cropped(a: Array) -> Array:
    """A window of a larger image, as a crop of a photograph is; NaN lies around it."""
    larger = np.full([*a.shape[:2], *(size + 5 for size in a.shape[2:])], np.nan, a.dtype)
    view = larger[:, :, *(slice(2, -3) for _ in a.shape[2:])]
    view[...] = a
    return view


def _transposed(a: Array) -> Array:
    """The axes in memory in an order that is neither channels first nor channels last."""
    order = (*range(2, a.ndim), 1, 0)
    return np.ascontiguousarray(a.transpose(order)).transpose(np.argsort(order))


def _reversed(a: Array) -> Array:
    """Negative strides on every axis."""
    backwards = tuple(slice(None, None, -1) for _ in a.shape)
    return np.ascontiguousarray(a[backwards])[backwards]


def _reversed_channels_last(a: Array) -> Array:
    """The channel axis innermost in memory, and backwards, as BGR images seen as RGB are."""
    return channels_last(a[:, ::-1])[:, ::-1]


def _cropped_channels_last(a: Array) -> Array:
    """A window of a larger image whose channel axis is the contiguous one."""
    larger = np.full([a.shape[0], *(s + 3 for s in a.shape[2:]), a.shape[1]], np.nan, a.dtype)
    view = np.moveaxis(larger[:, *(slice(1, -2) for _ in a.shape[2:])], -1, 1)
    view[...] = a
    return view


def _broadcast(a: Array) -> Array:
    """Stride 0 on the first axis; the values of `a` past the first are not kept."""
    return np.broadcast_to(a[:1], a.shape)


def _broadcast_image(a: Array) -> Array:
    """Stride 0 on every axis, as `np.ones(1)` stretched to a shape, or a gradient of a sum, has."""
    return np.broadcast_to(a.reshape(-1)[:1], a.shape)


def _read_only(a: Array) -> Array:
    copy = a.copy()
    copy.flags.writeable = False
    return copy


def _unaligned(a: Array) -> Array:
    """Elements that do not start at a multiple of their size, as fields of packed records do."""
    memory = np.zeros(a.nbytes + 1, np.uint8)
    view = memory[1:].view(a.dtype).reshape(a.shape)
    view[...] = a
    return view


VIEWS: dict[str, Callable[[Array], Array]] = {
    "sliced": _sliced,
    "cropped": _cropped,
    "transposed": _transposed,
    "reversed": _reversed,
    "channels_last": channels_last,
    "reversed_channels_last": _reversed_channels_last,
    "cropped_channels_last": _cropped_channels_last,
    "broadcast": _broadcast,
    "broadcast_image": _broadcast_image,
    "fortran": np.asfortranarray,
    "read_only": _read_only,
    "unaligned": _unaligned,
}
