"""The geometries the tests run, and each pass of them by fastconv and by the oracle."""

import zlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache, partial
from typing import Any

import by_taps
import naive
import numpy as np
import pytest
from arrays import DTYPES, LAYOUTS, Array, integers
from covering import Row, graded

import fastconv

PASSES = ("forward", "weight_gradient", "input_gradient")
ALGORITHMS = ("direct", "im2col")
WITH_AUTO = ("auto", *ALGORITHMS)


@dataclass(frozen=True)
class Case:
    """One convolution: sizes as PyTorch names them, padding as (before, after) pairs."""

    n: int
    c: int
    k: int
    groups: int
    input: tuple[int, ...]
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    pads: tuple[tuple[int, int], ...]
    dilation: tuple[int, ...]
    bias: bool = False

    @property
    def rank(self) -> int:
        return len(self.input)

    @property
    def input_shape(self) -> tuple[int, ...]:
        return (self.n, self.c, *self.input)

    @property
    def weight_shape(self) -> tuple[int, ...]:
        return (self.k, self.c // self.groups, *self.kernel)

    @property
    def output_shape(self) -> tuple[int, ...]:
        return (self.n, self.k, *naive.output_size(*self.window))

    @property
    def window(self) -> tuple[Any, Any, Any, Any, Any]:
        return self.input, self.kernel, self.stride, self.pads, self.dilation

    @property
    def how(self) -> tuple[Any, Any, Any, Any]:
        """Stride, padding, dilation and groups, in the order of PyTorch's arguments."""
        return self.stride, self.pads, self.dilation, self.groups

    def __str__(self) -> str:
        sizes = "x".join(map(str, self.input))
        kernel = "x".join(map(str, self.kernel))
        pads = ",".join(f"{before}:{after}" for before, after in self.pads)
        stride, gap = (",".join(map(str, values)) for values in (self.stride, self.dilation))
        channels = f"{self.c}-{self.k}/{self.groups}"
        return f"{self.n}x{channels}@{sizes}*{kernel}:s{stride}:p{pads}:d{gap}" + "b" * self.bias


def operands(case: Case, which: str, seed: int = 0) -> tuple[Array, ...]:
    """Return the arrays a pass reads, as small integers; a bias comes last, if there is one."""
    rng = np.random.default_rng([seed, zlib.crc32(str(case).encode())])
    draw = partial(integers, rng)
    if which == "forward":
        bias = (draw((case.k,)),) if case.bias else ()
        return draw(case.input_shape), draw(case.weight_shape), *bias
    if which == "weight_gradient":
        return draw(case.input_shape), draw(case.output_shape)
    return draw(case.weight_shape), draw(case.output_shape)


def result_shape(case: Case, which: str) -> tuple[int, ...]:
    """Return the shape of what a pass computes."""
    return {
        "forward": case.output_shape,
        "weight_gradient": case.weight_shape,
        "input_gradient": case.input_shape,
    }[which]


def oracle(case: Case, which: str, a: Array, b: Array, bias: Array | None = None) -> Array:
    """Run a pass by plain sums in float64."""
    if which == "forward":
        return by_taps.forward(a, b, bias, *case.how)
    if which == "weight_gradient":
        return by_taps.weight_gradient(a, b, case.kernel, *case.how)
    return by_taps.input_gradient(a, b, case.input, *case.how)


def compute(
    case: Case, which: str, a: Array, b: Array, bias: Array | None = None, **keywords: Any
) -> Array:
    """Run a pass by fastconv's public function of the case's rank."""
    name = f"conv{case.rank}d"
    if which == "forward":
        run: Callable[..., Array] = getattr(fastconv, name)
        return run(a, b, bias, *case.how, **keywords)
    if which == "weight_gradient":
        return getattr(fastconv, f"{name}_weight")(a, case.weight_shape, b, *case.how, **keywords)
    return getattr(fastconv, f"{name}_input")(case.input_shape, a, b, *case.how, **keywords)


def able(case: Case, which: str, algorithm: str, layout: str = "channels_first") -> bool:
    """Whether an algorithm does not refuse a pass of floating-point numbers."""
    how = dict(zip(("stride", "padding", "dilation", "groups"), case.how, strict=True))
    how |= {"direction": which, "layout": "NHWC" if layout == "channels_last" else "NCHW"}
    try:
        fastconv.explain(case.input_shape, case.weight_shape, **how, algorithm=algorithm)
    except ValueError:
        return False
    return True


@lru_cache(maxsize=64)
def solved(case: Case, which: str) -> tuple[tuple[Array, ...], Array]:
    """Return the operands of a pass and the oracle's exact result, computed once."""
    given = operands(case, which)
    return given, oracle(case, which, *given)


def same(value: int, rank: int) -> tuple[int, ...]:
    """Return `value` for each axis."""
    return (value,) * rank


def simple(
    n: int,
    c: int,
    k: int,
    size: tuple[int, ...],
    kernel: tuple[int, ...],
    *,
    groups: int = 1,
    stride: int = 1,
    pad: int = 0,
    dilation: int = 1,
    bias: bool = False,
) -> Case:
    """Return a case with the same stride, padding and dilation on every axis."""
    rank = len(size)
    pads = ((pad, pad),) * rank
    steps, gaps = same(stride, rank), same(dilation, rank)
    return Case(n, c, k, groups, size, kernel, steps, pads, gaps, bias)


def _case(row: Row) -> Case:
    c, k, groups = row["channels"]
    how = (row["stride"], row["pads"], row["dilation"])
    return Case(row["n"], c, k, groups, row["input"], row["kernel"], *how, row["bias"])


def _allowed(row: Row) -> bool:
    return all(_case(row).output_shape[2:])


# Around the widths of a vector (8 and 16 lanes) and of a few of them; groups of every kind.
_CHANNELS = (
    *((1, 1, 1), (3, 15, 1), (15, 16, 1), (16, 17, 1), (17, 24, 1), (24, 31, 1), (31, 33, 1)),
    *((33, 3, 1), (33, 33, 1), (1, 33, 1), (6, 4, 2), (34, 30, 2), (32, 64, 2), (45, 48, 3)),
    *((24, 24, 24), (33, 33, 33), (3, 3, 3), (8, 24, 8), (30, 20, 10)),
)
_GRID: dict[int, dict[str, tuple[Any, ...]]] = {
    1: {
        "channels": _CHANNELS[::3],
        "input": ((1,), (7,), (16,), (17,), (33,), (100,)),
        "kernel": ((1,), (2,), (3,), (8,)),
        "stride": ((1,), (2,), (3,)),
        "dilation": ((1,), (2,), (5,)),
        "pads": (((0, 0),), ((1, 1),), ((0, 3),), ((9, 9),)),
    },
    2: {
        "channels": _CHANNELS,
        "input": (
            *((7, 7), (14, 14), (13, 17), (5, 33), (1, 16), (19, 1), (3, 8), (4, 9), (6, 10)),
            *((2, 11), (9, 12), (8, 13), (11, 15), (10, 28)),
        ),
        "kernel": ((1, 1), (2, 2), (3, 3), (1, 7), (4, 3), (5, 5), (6, 1)),
        "stride": ((1, 1), (2, 2), (1, 2), (3, 1), (4, 3)),
        "dilation": ((1, 1), (2, 2), (1, 3), (4, 1)),
        "pads": (
            *(((0, 0), (0, 0)), ((1, 1), (1, 1)), ((2, 2), (3, 3))),
            *(((0, 1), (2, 0)), ((3, 1), (0, 4)), ((7, 7), (7, 7))),
        ),
    },
    3: {
        "channels": _CHANNELS[1::4],
        "input": ((1, 7, 9), (3, 4, 17), (5, 6, 8), (2, 1, 16)),
        "kernel": ((1, 1, 1), (3, 3, 3), (2, 1, 3)),
        "stride": ((1, 1, 1), (2, 2, 2), (1, 3, 2)),
        "dilation": ((1, 1, 1), (1, 2, 2), (2, 1, 1)),
        "pads": (((0, 0),) * 3, ((1, 1),) * 3, ((0, 2), (3, 1), (1, 0))),
    },
}


# Channels fill the lanes of vectors, whatever the pixels and taps that a tile walks over.
APART = (("channels", "input"), ("channels", "kernel"))


@cache
def _grids(rank: int) -> tuple[list[tuple[Case, str, str, str]], ...]:
    memory = tuple((dtype, layout) for dtype in DTYPES for layout in LAYOUTS)
    common = {"n": (1, 2, 5), "bias": (False, True), "memory": memory, "which": PASSES}
    # A seed whose rows take few kernels.
    parts = graded(_GRID[rank] | common, _allowed, APART, seed=1)
    return tuple([(_case(row), *row["memory"], row["which"]) for row in rows] for rows in parts)


def grid(rank: int) -> list[tuple[Case, str, str, str]]:
    """Return (case, dtype, layout, pass) so that each pair of settings meets in one of them.

    All but those of `APART`, which meet in `long_grid`.
    """
    return _grids(rank)[0]


def long_grid(rank: int) -> list[tuple[Case, str, str, str]]:
    """Return more of the same, for a long run."""
    return _grids(rank)[1]


def parameters(
    settings: Mapping[str, Sequence[Any]],
    case_of: Callable[[Row], Case],
    allowed: Callable[[Row], bool],
    apart: Collection[tuple[str, str]] = APART,
    seed: int = 0,
) -> list[Any]:
    """Return pytest's parameters (case, dtype, layout, pass) for all rows of such settings."""
    parts = graded(settings, allowed, apart, seed)
    return [
        pytest.param(*values, id="-".join(map(str, values)), marks=marks)
        for rows, marks in zip(parts, ((), pytest.mark.slow), strict=True)
        for values in ((case_of(row), *row["memory"], row["which"]) for row in rows)
    ]


EDGES = {
    "one channel to more than a vector holds": simple(2, 1, 19, (9, 53), (3, 3), pad=1, bias=True),
    "kernel larger than the image": simple(2, 5, 7, (3, 4), (7, 9), pad=4),
    "kernel as large as the image": simple(2, 17, 9, (7, 6), (7, 6), bias=True),
    "padding larger than the kernel": simple(1, 3, 4, (4, 5), (3, 3), pad=11),
    "output that reads padding alone": simple(1, 3, 4, (1, 1), (1, 1), pad=5, stride=5),
    "dilation larger than the image": simple(2, 4, 3, (5, 5), (3, 3), pad=9, dilation=9),
    "stride larger than the kernel": simple(2, 3, 5, (17, 19), (2, 3), stride=5),
    "stride larger than the image": simple(2, 3, 5, (3, 4), (3, 3), stride=9, pad=1),
    "one pixel, one channel": simple(1, 1, 1, (1, 1), (1, 1)),
    "one by one kernel": simple(3, 40, 70, (9, 9), (1, 1), bias=True),
    "one by one kernel, stride 2": simple(2, 33, 17, (14, 15), (1, 1), stride=2),
    "one row": simple(2, 16, 16, (1, 37), (1, 3)),
    "one column": simple(2, 16, 16, (37, 1), (3, 1)),
    "large kernel": simple(1, 1, 1, (21, 26), (15, 15), pad=7),
    "stem": simple(1, 3, 24, (29, 29), (7, 7), stride=2, pad=3),
    "28 wide": simple(2, 24, 20, (28, 28), (3, 3), pad=1, bias=True),
    "56 wide": simple(1, 32, 48, (56, 56), (3, 3), pad=1),
    "one by one kernel, few channels to many": simple(2, 19, 45, (9, 11), (1, 1)),
    "one by one kernel, few channels to many, stride 2": simple(
        3, 32, 70, (8, 9), (1, 1), stride=2
    ),
    "one by one kernel, many channels": simple(2, 300, 90, (11, 11), (1, 1)),
    "one by one kernel, very many channels": simple(1, 1700, 20, (5, 7), (1, 1), bias=True),
    "one by one kernel, mostly padding": simple(2, 20, 17, (7, 7), (1, 1), stride=2, pad=3),
    "many channels, few pixels": simple(2, 130, 67, (4, 4), (3, 3), pad=1),
    "depthwise 7x7": simple(2, 19, 19, (14, 14), (7, 7), pad=3, groups=19),
    "depthwise 3x3, stride 2": simple(2, 33, 33, (15, 15), (3, 3), pad=1, stride=2, groups=33),
    "24 channels, 24 groups": simple(2, 24, 24, (6, 6), (3, 3), groups=24, pad=1),
    "grouped and dilated": simple(2, 12, 18, (11, 10), (3, 3), groups=3, pad=2, dilation=2),
    "groups of 8 channels": simple(2, 32, 32, (9, 20), (3, 3), groups=4, pad=1, bias=True),
    "groups of 4 channels": simple(2, 12, 12, (7, 31), (2, 3), groups=3, pad=2, stride=2),
    "groups of 8 channels, one axis": simple(2, 24, 24, (37,), (4,), groups=3, pad=3),
    "grouped, three axes": simple(2, 6, 9, (4, 5, 6), (3, 2, 3), groups=3, pad=1),
}
