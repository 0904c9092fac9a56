"""What the CUDA tests run: geometries, element kinds and layouts, and arrays in device memory."""

from typing import Any, NamedTuple

import by_taps
import numpy as np
from arrays import Array, channels_last
from cases import Case, operands, result_shape, simple
from covering import Row, pairwise

from fastconv.geometry import ConvGeometry, forward_geometry

CASES = {
    "plain": simple(2, 3, 5, (5, 6), (3, 3), pad=1, bias=True),
    "one by one": simple(3, 8, 9, (4, 5), (1, 1), bias=True),
    "one by one, stride 2": simple(2, 9, 8, (5, 6), (1, 1), stride=2),
    "one pixel, one channel": simple(1, 1, 1, (1, 1), (1, 1), bias=True),
    "one output": simple(2, 9, 8, (3, 3), (3, 3), bias=True),
    "stride 2": simple(2, 4, 6, (7, 6), (3, 3), pad=1, stride=2),
    "stride beyond the kernel": simple(1, 3, 3, (8, 7), (2, 2), stride=3, bias=True),
    "dilation": Case(1, 9, 4, 1, (7, 8), (2, 3), (1, 1), ((2, 1), (0, 3)), (2, 1), bias=True),
    "stride and dilation": simple(1, 2, 3, (7, 8), (3, 2), pad=2, stride=2, dilation=2),
    "asymmetric": Case(2, 3, 4, 1, (5, 4), (2, 3), (2, 1), ((2, 0), (0, 3)), (1, 2), bias=True),
    "padding beyond the kernel": simple(1, 2, 3, (3, 4), (2, 2), pad=5),
    "kernel larger than the image": simple(1, 5, 7, (2, 3), (4, 5), pad=2),
    "groups": simple(2, 6, 4, (5, 6), (3, 3), groups=2, pad=1, bias=True),
    "groups of 8": simple(1, 16, 16, (4, 3), (2, 2), groups=2, pad=1),
    "groups with tails": simple(1, 18, 6, (3, 4), (2, 1), groups=2, bias=True),
    "17 channels": simple(1, 17, 5, (3, 4), (2, 2), pad=1),
    "several tiles": simple(2, 4, 33, (6, 7), (2, 2), pad=1, bias=True),
    "several tiles of pairs": simple(1, 5, 3, (4, 5), (3, 3), pad=1),
    "several slices": simple(1, 36, 3, (3, 3), (2, 2), bias=True),
    "1-D": simple(3, 4, 6, (19,), (5,), groups=2, pad=2, stride=2, bias=True),
    "1-D, long": simple(1, 1, 2, (150,), (3,), pad=1),
    "3-D": Case(
        1, 2, 3, 1, (3, 4, 3), (2, 2, 3), (1, 2, 1), ((1, 1), (0, 1), (1, 1)), (1, 1, 1), bias=True
    ),
    "3-D, stride 2": simple(1, 8, 9, (4, 4, 3), (3, 2, 2), pad=1, stride=2),
    "depthwise": simple(2, 3, 3, (6, 7), (3, 3), pad=1, groups=3, bias=True),
    "depthwise, stride 2": simple(1, 4, 4, (9, 8), (3, 3), pad=1, stride=2, groups=4),
    "depthwise, two targets": simple(1, 3, 6, (6, 5), (3, 2), pad=1, groups=3, bias=True),
    "depthwise, large kernel": simple(1, 2, 2, (7, 9), (5, 5), pad=2, dilation=2, groups=2),
    "depthwise, 3-D": simple(1, 2, 2, (3, 4, 5), (2, 3, 3), pad=1, groups=2),
}
SMALL = ("plain", "stride 2", "groups", "several tiles", "depthwise")
KINDS = ("f32", "f64", "f16", "bf16", "tf32")
LAYOUTS = ("channels_first", "channels_last", "odd", "unaligned")
ALGORITHMS = ("im2col", "direct", "columns")
PASSES = ("forward", "weight_gradient", "input_gradient")

_DTYPES = {
    "f32": "float32",
    "f64": "float64",
    "f16": "float16",
    "bf16": "uint16",
    "tf32": "float32",
}
_ALIGNMENT = 256  # what a device's allocations have


class Setting(NamedTuple):
    """One run of a pass."""

    name: str  #: of the case
    which: str
    kind: str
    layout: str
    algorithm: str

    def __str__(self) -> str:
        return "-".join(self)


def settings() -> tuple[list[Setting], list[Setting]]:
    """Runs of every case, in which each pair of other values meets, and more for a patient reader.

    The latter are every case and pass by every algorithm in every kind, the layout in turn.
    """
    factors = {
        "name": tuple(CASES),
        "which": PASSES,
        "kind": KINDS,
        "layout": LAYOUTS,
        "algorithm": ALGORITHMS,
    }
    # Geometry is in the tables of a plan; what elements are and where they lie, in how they are
    # fetched. All passes of a case, by every algorithm, are for a long run.
    apart = (("algorithm", "name"), ("kind", "name"), ("layout", "name"), ("name", "which"))
    rows = pairwise(factors, _worth_it, apart=apart, candidates=40)
    for i, name in enumerate(CASES):
        turn = {key: values[(i + i // 3) % len(values)] for key, values in factors.items()}
        row = {**turn, "name": name, "algorithm": ALGORITHMS[i % 3]}
        if name not in {row["name"] for row in rows}:
            rows.append(row if _worth_it(row) else {**row, "algorithm": "direct", "kind": "f32"})
    few = [Setting(**row) for row in rows]
    many = []
    for i, name in enumerate(CASES):
        for j, which in enumerate(PASSES):
            for k, kind in enumerate(KINDS):
                for m, algorithm in enumerate(ALGORITHMS):
                    layout = LAYOUTS[(i + j + k + m) % len(LAYOUTS)]
                    row = Setting(name, which, kind, layout, algorithm)
                    if row not in few and _allowed(row._asdict()):
                        many.append(row)
    return few, many


def _allowed(row: Row) -> bool:
    # TF32 is for the tensor cores alone.
    return row["kind"] != "tf32" or row["algorithm"] == "im2col"


def _worth_it(row: Row) -> bool:
    # A depthwise convolution has kernels of its own; by others it is many thin products.
    return _allowed(row) and ("depthwise" not in row["name"] or row["algorithm"] == "direct")


def geometry(case: Case) -> ConvGeometry:
    """The geometry that a case's plans are made for."""
    return forward_geometry(
        case.input_shape, case.weight_shape, case.stride, case.pads, case.dilation, case.groups,
        case.rank,
    )  # fmt: skip


def encoded(values: Array, kind: str) -> Any:
    """Numbers as the elements of a kind, rounded once; bfloat16 as its bits."""
    if kind != "bf16":
        return np.asarray(values).astype(_DTYPES[kind])
    from fastconv.cuda.ptx.simulated import to_bfloat16

    return to_bfloat16(np.asarray(values).astype(np.float32))


def decoded(elements: Any, kind: str) -> Array:
    """The numbers that elements of a kind stand for, in float64."""
    if kind != "bf16":
        return np.asarray(elements, np.float64)
    from fastconv.cuda.ptx.simulated import from_bfloat16

    return from_bfloat16(np.ascontiguousarray(elements)).astype(np.float64)


def laid_out(elements: Any, layout: str) -> Any:
    """A copy in another order in memory; what lies between elements is NaN in every kind."""
    dtype, shape = elements.dtype, elements.shape
    if layout == "channels_last" and elements.ndim > 2:
        return channels_last(elements)
    if layout == "odd":  # each second element of larger images, the last axis backwards
        larger = poison(tuple(2 * size + 1 for size in shape), dtype)
        view = larger[tuple(slice(1, None, 2) for _ in shape)][..., ::-1]
    elif layout == "unaligned":  # channels last, one element late
        last = (shape[0], *shape[2:], *shape[1:2])
        view = poison((elements.size + 1,), dtype)[1:].reshape(last)
        view = np.moveaxis(view, -1, min(1, view.ndim - 1))
    else:
        return np.ascontiguousarray(elements)
    view[...] = elements
    return view


def poison(shape: tuple[int, ...], dtype: Any) -> Any:
    """An array of NaN, of any kind: every bit is set."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    return np.full(size, 0xFF, np.uint8).view(dtype).reshape(shape)


class OnDevice:
    """A copy in device memory of an array and all that its memory holds."""

    def __init__(self, array: Any) -> None:
        from numba import cuda

        from fastconv.cuda.ptx import SIMULATED, Pointer

        whole = array
        while isinstance(whole.base, np.ndarray):
            whole = whole.base
        assert whole.flags.c_contiguous
        flat = whole.reshape(-1).view(np.uint8)
        self._offset = array.ctypes.data - whole.ctypes.data
        self._like = array
        if SIMULATED:
            room = np.empty(flat.size + _ALIGNMENT, np.uint8)
            start = -room.ctypes.data % _ALIGNMENT
            self._memory: Any = room[start : start + flat.size]
            self._memory[:] = flat
            base = self._memory.ctypes.data
            self.address: Any = Pointer(self._memory, self._offset, base)
        else:
            self._memory = cuda.to_device(flat)
            self.address = self._memory.device_ctypes_pointer.value + self._offset

    def memory(self) -> Any:
        """A copy of all its bytes, once the device is done."""
        memory = self._memory
        return memory.copy() if isinstance(memory, np.ndarray) else memory.copy_to_host()

    def elements(self, memory: Any = None) -> Any:
        """The array's elements, now or as a copy of its memory has them."""
        like, memory = self._like, self.memory() if memory is None else memory
        return np.ndarray(like.shape, like.dtype, memory.data, self._offset, like.strides)

    @property
    def steps(self) -> tuple[int, ...]:
        """Strides in elements."""
        return tuple(stride // self._like.itemsize for stride in self._like.strides)


def arguments(case: Case, which: str) -> tuple[Array, Array, Array | None]:
    """A pass' source, weights (or output gradient) and bias, as plans take them."""
    given = operands(case, which)
    if which == "input_gradient":
        return given[1], given[0], None
    return given[0], given[1], given[2] if len(given) > 2 else None


def reference(case: Case, which: str, source: Array, weights: Array, bias: Any = None) -> Array:
    """The oracle's result, for operands as plans take them."""
    if which == "forward":
        return by_taps.forward(source, weights, bias, *case.how)
    if which == "weight_gradient":
        return by_taps.weight_gradient(source, weights, case.kernel, *case.how)
    return by_taps.input_gradient(weights, source, case.input, *case.how)


def unwritten(case: Case, which: str, kind: str, layout: str) -> Any:
    """A result that is all NaN."""
    return laid_out(poison(result_shape(case, which), _DTYPES[kind]), layout)
