"""The benchmark's layers: the tables in ``shapes/`` read into one kind of row."""

import csv
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path

from fastconv.geometry import ConvGeometry, forward_geometry

SHAPES = Path(__file__).parent / "shapes"
SUITES = ("resnet50", "deepbench_train", "mobilenet_v1_dw", "everyday")
SHORT_SUITE = "short"  # a few layers of each kind, from all of them
DTYPES = ("float16", "bfloat16", "float32", "float64")
DEFAULT_BATCH = 8  # for the tables of layers that name no batch size
MEMORY_BUDGET = 2 * 2**30  # bytes for ours and one peer's arrays together

# A few layers of each kind: what `python -m bench` and `pytest bench` run unasked.
SHORT = {
    "resnet50": (1, 2, 4, 6, 8, 13, 18),
    "mobilenet_v1_dw": (1,),
    "everyday": (1, 2, 5, 10),
}
SMOKE_CHANNELS = 20  # more than a vector of 16, and no multiple of one
SMOKE_GROUPS = 4  # of five channels each, where a layer is grouped but not depthwise
SMOKE_PIXELS = 12


@dataclass(frozen=True, slots=True)
class Layer:
    """One convolution layer; ``count`` is how often its network has it."""

    name: str
    dtype: str
    N: int
    C: int
    H: int
    W: int
    K: int
    R: int
    S: int
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    groups: int
    count: int
    note: str = ""

    @property
    def geometry(self) -> ConvGeometry:
        """Every size of the layer, as fastconv derives it."""
        return forward_geometry(
            (self.N, self.C, self.H, self.W),
            (self.K, self.C // self.groups, self.R, self.S),
            self.stride,
            self.padding,
            self.dilation,
            self.groups,
            2,
        )

    @property
    def kind(self) -> str:
        """What sort of layer this is: reports give each sort a line of its own."""
        if self.groups > 1:
            return "depthwise" if self.groups == self.C else "grouped"
        if self.R * self.S == 1:
            return "1x1"
        plain = self.stride == self.dilation == (1, 1)
        return "3x3, stride 1" if plain and self.R == self.S == 3 else "other"

    def reduction(self, pass_name: str) -> int:
        """How many products one element of the pass's result sums, at most."""
        taps = self.R * self.S
        lengths = {
            "forward": self.C // self.groups * taps,
            "weight": self.N * prod(self.geometry.output),
            "input": self.K // self.groups * taps,
        }
        return lengths[pass_name]

    def nbytes(self) -> int:
        """An estimate for ours and a peer's: both arrays, both results, a staged copy each."""
        itemsize = 8 if self.dtype == "float64" else 4
        image = (self.H + 2 * self.padding[0]) * (self.W + 2 * self.padding[1])
        return itemsize * 4 * self.N * (self.C * image + self.K * prod(self.geometry.output))

    def __str__(self) -> str:
        text = f"{self.C}->{self.K} {self.R}x{self.S} @ {self.H}x{self.W}, N={self.N}"
        for word, pair in (("stride", self.stride), ("dilation", self.dilation)):
            if pair != (1, 1):
                text += f", {word} {pair[0] if pair[0] == pair[1] else pair}"
        return text + (f", {self.groups} groups" if self.groups > 1 else "")


def _pair(row: dict[str, str], one: str, two: tuple[str, str], default: int) -> tuple[int, int]:
    """A value for both axes from column ``one``, or for each axis from the columns ``two``."""
    first = row.get(two[0], row.get(one, default))
    second = row.get(two[1], row.get(one, default))
    return int(first), int(second)


def _layer(row: dict[str, str], batch: int | None) -> Layer:
    return Layer(
        name=row["name"],
        dtype=row.get("dtype", "float32"),
        N=batch or int(row.get("N", DEFAULT_BATCH)),
        C=int(row["C"]),
        H=int(row["H"]),
        W=int(row["W"]),
        K=int(row["K"]),
        R=int(row["R"]),
        S=int(row["S"]),
        stride=_pair(row, "stride", ("stride_h", "stride_w"), 1),
        padding=_pair(row, "pad", ("pad_h", "pad_w"), 0),
        dilation=_pair(row, "dilation", ("dilation_h", "dilation_w"), 1),
        groups=int(row.get("groups", 1)),
        count=int(row.get("count", 1)),
    )


def within_memory(layer: Layer, budget: int = MEMORY_BUDGET) -> Layer:
    """``layer`` with N halved until it fits the budget, and a note that says so."""
    small = layer
    while small.nbytes() > budget and small.N > 1:
        small = replace(small, N=small.N // 2)
    if small.N == layer.N:
        return layer
    note = f"N={small.N} instead of {layer.N}, to stay within {budget / 2**30:.1f} GiB"
    return replace(small, note=note)


def read_suite(
    name: str, batch: int | None = None, budget: int = MEMORY_BUDGET
) -> tuple[Layer, ...]:
    """The layers of one of `SUITES`, or the short one, with batch size ``batch`` if given."""
    if name == SHORT_SUITE:
        return short_suite(batch)
    if name not in SUITES:
        raise ValueError(f"suite: got {name!r}, needs one of {', '.join(SUITES)}")
    with (SHAPES / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(line for line in file if not line.startswith("#"))
        return tuple(within_memory(_layer(row, batch), budget) for row in rows)


def short_suite(batch: int | None = None) -> tuple[Layer, ...]:
    """A few layers of each kind."""
    return tuple(
        layer
        for suite, numbers in SHORT.items()
        for number, layer in enumerate(read_suite(suite, batch), start=1)
        if number in numbers
    )


def smoke_suite() -> tuple[Layer, ...]:
    """The everyday layers and a strided 3x3, shrunk: the same geometry, computed in no time."""
    strided = read_suite("mobilenet_v1_dw")[1]
    return tuple(shrunk(layer) for layer in (*read_suite("everyday"), strided))


def shrunk(layer: Layer) -> Layer:
    """``layer`` with two images, few channels and few pixels, all else as it was."""
    depthwise = layer.groups == layer.C
    groups = min(layer.groups, SMOKE_CHANNELS if depthwise else SMOKE_GROUPS)
    C, K = (
        max(1, min(channels // layer.groups, SMOKE_CHANNELS // groups)) * groups
        for channels in (layer.C, layer.K)
    )
    H, W = (
        min(size, dilation * (kernel - 1) + 1 + SMOKE_PIXELS)
        for size, kernel, dilation in zip(
            (layer.H, layer.W), (layer.R, layer.S), layer.dilation, strict=True
        )
    )
    return replace(layer, N=min(layer.N, 2), C=C, K=K, H=H, W=W, groups=groups)
