"""The tiles that blocks may compute, in one table for each kind of core, and the choice of one.

Beside each stands how near it comes to the cores' peak once there is work for all of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, TypeVar

from .planning import ceil_div

MULTIPROCESSORS = 132  # of the GPU that plans are made for: they depend on geometry alone

# Multiply-adds a second that each kind of core may reach on an H100: how long a product takes
# beside its sums' traffic.
SPEED = {"simt": 22e12, "tf32": 120e12, "tensor": 220e12, "hopper": 330e12}

_Tile = TypeVar("_Tile", "SimtTile", "TensorTile", "HopperTile")


class SimtTile(NamedTuple):
    """Warps of a block along the rows and the columns, and columns of lanes in a warp.

    A lane has 8 rows and 8 columns. Few columns of lanes suit few target channels, many suit few
    rows; float64 has no registers for either.
    """

    warp_rows: int
    warp_columns: int
    lane_columns: int = 4

    @property
    def rows(self) -> int:
        """Rows of a block's tile."""
        return 8 * (32 // self.lane_columns) * self.warp_rows

    @property
    def columns(self) -> int:
        """Columns of a block's tile."""
        return 8 * self.lane_columns * self.warp_columns

    @property
    def threads(self) -> int:
        """Threads of a block."""
        return 32 * self.warp_rows * self.warp_columns


class TensorTile(NamedTuple):
    """Warps of a block, products of 16 x 16 in each warp's part, and stages."""

    warp_rows: int
    warp_columns: int
    row_blocks: int
    column_blocks: int
    stages: int

    @property
    def rows(self) -> int:
        """Rows of a block's tile."""
        return self.warp_rows * self.row_blocks * 16

    @property
    def columns(self) -> int:
        """Columns of a block's tile."""
        return self.warp_columns * self.column_blocks * 16

    @property
    def threads(self) -> int:
        """Threads of a block."""
        return 32 * self.warp_rows * self.warp_columns


class HopperTile(NamedTuple):
    """Warpgroups of a block, 64 rows each, that share the columns; and stages."""

    warpgroups: int
    columns: int
    stages: int

    @property
    def rows(self) -> int:
        """Rows of a block's tile."""
        return 64 * self.warpgroups


SIMT = {
    SimtTile(2, 4): 1.0,
    SimtTile(2, 2): 0.95,
    SimtTile(4, 1): 0.85,
    SimtTile(2, 1): 0.75,
    SimtTile(1, 1): 0.5,
}
SIMT_NARROW = {SimtTile(2, 1, lane_columns=2): 0.5, SimtTile(2, 1, lane_columns=1): 0.35}
SIMT_GRADIENT = {
    SimtTile(2, 4): 1.0,
    SimtTile(1, 4): 0.85,
    SimtTile(1, 2): 0.7,
    SimtTile(1, 1): 0.5,
}
SIMT_GRADIENT_FLAT = {SimtTile(1, 1, lane_columns=8): 0.4}

TENSOR = {
    TensorTile(2, 2, 4, 4, 3): 1.0,
    TensorTile(4, 1, 2, 4, 3): 0.8,
    TensorTile(2, 2, 2, 2, 3): 0.65,
    TensorTile(4, 1, 2, 2, 3): 0.6,
}
TENSOR_GRADIENT = {
    TensorTile(2, 2, 4, 4, 4): 1.0,
    TensorTile(2, 2, 2, 4, 4): 0.8,
    TensorTile(2, 2, 2, 2, 4): 0.6,
}
TENSOR_DEPTH = {"f16": 32, "bf16": 32, "tf32": 16}  #: pixels of a slice of the weight gradient

HOPPER = {
    HopperTile(2, 256, 4): 1.0,
    HopperTile(2, 128, 4): 0.85,
    HopperTile(2, 64, 4): 0.65,
    HopperTile(2, 32, 4): 0.4,
    HopperTile(2, 16, 4): 0.22,
}
HOPPER_GRADIENT = {
    HopperTile(2, 256, 4): 1.0,
    HopperTile(2, 128, 4): 0.85,
    HopperTile(1, 256, 4): 0.75,
    HopperTile(1, 128, 4): 0.6,
    HopperTile(1, 64, 4): 0.4,
}


def simt_depth(shape: SimtTile, kind: str) -> int:
    """Pairs or pixels of a slice: what a thread holds of one must fit into its registers."""
    depth = 4 if kind == "f64" else 8
    return depth if shape.lane_columns >= 4 else depth // 2


def quickest(
    choices: Mapping[_Tile, float],
    rows: int,
    columns: int,
    groups: int,
    *,
    is_split: bool = False,
) -> _Tile:
    """The tile that takes the least time: blocks of a multiprocessor x area / efficiency.

    A product that is split among blocks keeps all multiprocessors busy whatever its tiles.
    """

    def time(tile: _Tile) -> float:
        blocks = ceil_div(rows, tile.rows) * ceil_div(columns, tile.columns) * groups
        share = blocks / MULTIPROCESSORS if is_split else ceil_div(blocks, MULTIPROCESSORS)
        return share * tile.rows * tile.columns / choices[tile]

    return min(choices, key=time)
