"""Trials of a fuzz run: one call each, as plain data, and the strategies that draw them.

Kernels are made for tile sizes, so a trial's channels and extents come from short lists: any of
them may meet any other, and all the kernels that they need are still few enough to compile.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from arrays import COMPLEX, DTYPES, INTEGERS
from bordered import MODES, without_padding
from cases import PASSES, Case, result_shape
from guard_pages import Placement
from hypothesis import strategies as st
from scipy_cases import shapes as image_and_kernel

BFLOAT16 = ("bfloat16", "bfloat16_bits")  #: of ml_dtypes, and as bits in uint16
EVERY_DTYPE = (*DTYPES, "float16", *BFLOAT16, *INTEGERS, *COMPLEX)
GRADIENTS = ("weight_gradient", "per_sample_gradient")
EVERY_PASS = (*PASSES, "per_sample_gradient", "transposed", "unfold", "fold")


@dataclass(frozen=True)
class Trial:
    """A call on arrays that lie as the placements say, the last of them the result's.

    ``which`` is a pass, or "unfold" or "fold". The result goes into the last array if that is
    ``given``, else into a new one.
    """

    case: Case
    which: str
    dtype: str
    algorithm: str
    placements: tuple[Placement, ...]
    given: bool = True
    mode: str = "zeros"
    activation: str | None = None
    threads: int = 1
    nopython: bool = False

    @property
    def itemsize(self) -> int:
        """Bytes of an element."""
        return element_type(self.dtype).itemsize


def element_type(dtype: str) -> np.dtype[Any]:
    """The NumPy dtype of a trial's."""
    if dtype == "bfloat16":
        import ml_dtypes

        return np.dtype(ml_dtypes.bfloat16)
    return np.dtype("uint16" if dtype == "bfloat16_bits" else dtype)


def shapes(case: Case, which: str) -> list[tuple[int, ...]]:
    """The shapes of a call's operands, and of its result."""
    taps, pixels = int(np.prod(case.kernel)), int(np.prod(case.output_shape[2:]))
    columns = (case.n, case.c * taps, pixels)
    if which in ("unfold", "fold"):
        return [case.input_shape, columns] if which == "unfold" else [columns, case.input_shape]
    if which in GRADIENTS:
        made = case.weight_shape
        if which == "per_sample_gradient":
            made = (case.n, *made)
        return [case.input_shape, case.output_shape, made]
    if which in ("input_gradient", "transposed"):
        bias = [(case.c,)] if case.bias and which == "transposed" else []
        return [case.weight_shape, case.output_shape, *bias, case.input_shape]
    bias = [(case.k,)] if case.bias else []
    return [case.input_shape, case.weight_shape, *bias, result_shape(case, "forward")]


@dataclass(frozen=True)
class Space:
    """What trials are drawn from."""

    channels: tuple[tuple[int, int, int], ...]  #: C, K and groups
    extents: dict[int, tuple[int, ...]]  #: by rank
    kernels: dict[int, tuple[tuple[int, ...], ...]]
    dtypes: tuple[str, ...]
    ranks: tuple[int, ...] = (1, 2, 2, 2, 3)
    strides: tuple[int, ...] = (1, 1, 2, 3)
    dilations: tuple[int, ...] = (1, 1, 2, 3)
    pads: tuple[int, ...] = (0, 1, 2, 5)
    threads: tuple[int, ...] = (1, 2)


NARROW = Space(
    channels=((3, 17, 1), (4, 6, 2), (5, 5, 5)),
    extents={2: (5,)},
    kernels={2: ((3, 3), (1, 1))},
    dtypes=("float32",),
    ranks=(2,),
    strides=(1, 1, 2),
    dilations=(1, 1, 2),
    pads=(0, 1),
)
WIDE = Space(
    channels=(
        *((1, 1, 1), (1, 3, 1), (3, 1, 1), (2, 33, 1), (5, 7, 1), (8, 16, 1), (16, 8, 1)),
        *((17, 16, 1), (31, 33, 1), (48, 65, 1), (130, 4, 1), (4, 6, 2), (34, 32, 2), (9, 3, 3)),
        *((32, 16, 4), (3, 3, 3), (8, 24, 8), (24, 8, 8), (17, 17, 17), (33, 33, 33)),
    ),
    extents={1: (1, 2, 7, 16, 33, 70), 2: (1, 2, 3, 5, 8, 13, 19), 3: (1, 2, 4, 6)},
    kernels={
        1: ((1,), (2,), (3,), (5,), (8,), (21,)),
        2: ((1, 1), (1, 2), (2, 2), (3, 3), (3, 1), (1, 5), (2, 3), (5, 5), (4, 4), (7, 7)),
        3: ((1, 1, 1), (2, 2, 2), (3, 3, 3), (1, 2, 3), (2, 1, 1)),
    },
    dtypes=EVERY_DTYPE,
    strides=(1, 1, 1, 2, 2, 3, 5, 30),
    dilations=(1, 1, 1, 2, 3, 11),
    pads=(0, 0, 1, 1, 2, 3, 7, 12),
)


@st.composite
def trials(draw: st.DrawFn, space: Space, which: str, algorithms: tuple[str, ...]) -> Trial:
    """Draw a trial of one pass."""
    case = draw(_cases(space, which))
    dtype = draw(st.sampled_from(space.dtypes))
    mode = "zeros"
    if which not in ("transposed", "unfold", "fold"):
        mode = draw(st.sampled_from([m for m in MODES if m == "zeros" or _allows(case, m)]))
    relu = which == "forward" and dtype not in COMPLEX and draw(st.booleans())
    *operands, result = shapes(case, which)
    given = which not in ("unfold", "fold") and draw(st.booleans())
    size = element_type(dtype).itemsize
    place = partial(_placements, size=size)
    return Trial(
        case,
        which,
        dtype,
        draw(st.sampled_from(algorithms)),
        (*(draw(place(len(s), operand=True)) for s in operands), draw(place(len(result)))),
        given,
        mode,
        "relu" if relu else None,
        draw(st.sampled_from(space.threads)),
    )


@st.composite
def _cases(draw: st.DrawFn, space: Space, which: str) -> Case:
    rank = 2 if which in ("unfold", "fold") else draw(st.sampled_from(space.ranks))
    c, k, groups = draw(st.sampled_from(space.channels))
    kernel = draw(st.sampled_from(space.kernels[rank]))
    axes = [_axis(draw, space, rank, taps) for taps in kernel]
    size, stride, pads, dilation = zip(*axes, strict=True)
    n, bias = draw(st.sampled_from((0, 1, 1, 2, 3))), draw(st.booleans())
    return Case(n, c, k, groups, size, kernel, stride, pads, dilation, bias)


def _axis(
    draw: st.DrawFn, space: Space, rank: int, taps: int
) -> tuple[int, int, tuple[int, int], int]:
    """Draw the size, stride, padding and dilation of one axis, so that it has an output."""
    size = draw(st.sampled_from(space.extents[rank]))
    stride, dilation = (draw(st.sampled_from(of)) for of in (space.strides, space.dilations))
    before, after = (draw(st.sampled_from(space.pads)) for _ in range(2))
    missing = dilation * (taps - 1) + 1 - size - before - after
    return size, stride, (before, after + max(0, missing)), dilation


def _allows(case: Case, mode: str) -> bool:
    if case.n == 0:
        return False
    most = {"reflect": -1, "circular": 0}.get(mode, max(map(max, case.pads)))
    return all(max(pad) <= n + most for n, pad in zip(case.input, case.pads, strict=True)) and all(
        without_padding(case).output_shape
    )


@st.composite
def _placements(draw: st.DrawFn, rank: int, *, size: int, operand: bool = False) -> Placement:
    """Draw how an array of so many axes lies; a result needs an element of its own for each."""
    order = tuple(range(rank))
    layout = draw(st.sampled_from(("first", "last", "any")))
    if layout == "last" and rank > 2:
        order = (0, *range(2, rank), 1)
    elif layout == "any":
        order = tuple(draw(st.permutations(order)))
    steps = (1,) * rank
    if draw(st.booleans()):
        choices = (1, 1, -1, 2, -2, 3, *((0,) if operand else ()))
        steps = tuple(draw(st.sampled_from(choices)) for _ in range(rank))
    shift = size * draw(st.sampled_from((0, 0, 1, 3, 8)))
    if operand and draw(st.integers(0, 9)) == 0:
        shift += 1  # an unaligned array
    return Placement(order, steps, draw(st.sampled_from(("end", "start"))), shift)


@dataclass(frozen=True)
class FilterTrial:
    """A call of a function with SciPy's signature on two arrays."""

    name: str
    shapes: tuple[tuple[int, ...], ...]
    dtypes: tuple[str, ...]
    placements: tuple[Placement, ...]
    how: tuple[tuple[str, Any], ...]


_FILTERS: dict[str, dict[str, tuple[Any, ...]]] = {
    "signal.correlate": {"mode": ("full", "same"), "method": ("direct",)},
    "signal.convolve": {"mode": ("full", "same"), "method": ("direct",)},
    "signal.correlate2d": {"mode": ("full", "same"), "boundary": ("fill", "wrap", "symm")},
    "signal.convolve2d": {"mode": ("full", "same"), "boundary": ("fill", "wrap", "symm")},
    "ndimage.correlate": {"mode": ("reflect", "constant", "nearest", "mirror", "wrap")},
    "ndimage.convolve": {"mode": ("reflect", "constant", "nearest", "mirror", "wrap")},
}


@st.composite
def filter_trials(draw: st.DrawFn, dtypes: tuple[str, ...]) -> FilterTrial:
    """Draw a call of a function with SciPy's signature."""
    name = draw(st.sampled_from(sorted(_FILTERS)))
    sizes = draw(image_and_kernel(4))
    if name.endswith("2d"):
        sizes = draw(image_and_kernel(2).filter(lambda drawn: len(drawn[0]) == 2))
    if name.startswith("ndimage"):  # of longer kernels SciPy reads past the image
        sizes = sizes[0], tuple(min(k, 2 * n) for n, k in zip(*sizes, strict=True))
    kinds = tuple(draw(st.sampled_from(dtypes)) for _ in sizes)
    rank = len(sizes[0])
    places = (_placements(rank, size=np.dtype(kind).itemsize, operand=True) for kind in kinds)
    how = tuple((key, draw(st.sampled_from(values))) for key, values in _FILTERS[name].items())
    return FilterTrial(name, sizes, kinds, tuple(map(draw, places)), how)
