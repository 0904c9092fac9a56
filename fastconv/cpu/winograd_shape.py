"""What a pass is to Winograd: tiles, and the images, channels and taps that they are made of.

Minimal filters want neighbouring taps on neighbouring pixels. Three rearrangements give them that,
and cost nothing but tables:

- dilation d: every d-th pixel is an image of its own, d * d of them, each with a plain kernel;
- stride s, forward: the s * s phases of the padded source are so many more source channels, each
  with the taps that fall on it;
- stride s, transposed: the s * s phases of the target are so many more target channels, each with
  the taps that reach it.

Along each axis a tile has as many points as cover the image with the fewest products: 9 targets of
3 taps take three tiles of five points or three of six.

A wide image is cut into pieces whose tiles stay in the first-level cache while they are mapped.
"""

from __future__ import annotations

from typing import NamedTuple

from fastconv.cpu.operands import Operands
from fastconv.lowering import AxisPart, Correlation, Lowered

_MOST_DILATION = 64  # beyond the image's own extent: one pixel each, and tables of all of them
MOST_TAPS = 5  # along an axis: beyond, a tile of six points is one pixel
_POINTS = (6, 5, 4)  # that a map can have; more would round too coarsely
_ACROSS = 48  # tiles side by side at most


class Axis(NamedTuple):
    """One axis: ``step`` targets of a tile by so many ``points``, from ``taps`` neighbours."""

    taps: int
    points: int
    step: int
    tiles: int  #: to cover an image
    stride: int  #: phases of the source
    dilation: int


class Shape(NamedTuple):
    """The tiles of a pass."""

    high: Axis
    wide: Axis
    pieces: int  #: that each row is cut into
    across: int  #: tiles of a piece
    images: int
    source_channels: int  #: per group, phases counted
    phases: int  #: of the target

    @property
    def area(self) -> int:
        """Points of a tile."""
        return self.high.points * self.wide.points

    @property
    def strips(self) -> int:
        """Rows of tiles, of all images."""
        return self.images * self.high.tiles

    @property
    def points(self) -> tuple[int, int]:
        """Points along each axis."""
        return self.high.points, self.wide.points

    @property
    def steps(self) -> tuple[int, int]:
        """Targets of a tile along each axis."""
        return self.high.step, self.wide.step

    @property
    def taps(self) -> tuple[int, int]:
        """Taps along each axis."""
        return self.high.taps, self.wide.taps


def planar(low: Lowered, arrays: Operands) -> tuple[Lowered, Operands]:
    """A pass along one axis as one along two, of which the first has a single pixel."""
    if len(low.source) != 1:
        return low, arrays
    still = AxisPart(0, 1, 1, 1, ((0, 0),))
    parts = tuple(Correlation((still, *part.axes)) for part in low.parts)
    low = low._replace(
        source=(1, *low.source), before=(0, *low.before), padded=(1, *low.padded), parts=parts
    )
    extents = low.padded[1], len(low.parts[-1].axes[1].taps), low.parts[-1].counts[1]
    x, w, y = (
        (*s[:2], s[2] * extent, s[2])
        for s, extent in zip((arrays.x, arrays.w, arrays.y), extents, strict=True)
    )
    return low, arrays._replace(x=x, w=w, y=y)


def refusal(low: Lowered) -> str | None:
    """Why a pass cannot be done, as the rest of a sentence, or None."""
    if len(low.source) > 2:
        return "needs one or two spatial axes"
    for i in range(len(low.source)):
        axes = [part.axes[i] for part in low.parts]
        if any(not axis.taps or axis.length == 0 for axis in axes):
            return "needs a kernel no shorter than its stride"
    shapes = [_measured(low, i) for i in range(len(low.source))]
    if any(taps > MOST_TAPS for taps, _, _ in shapes):
        return f"needs at most {MOST_TAPS} taps a stride phase along each axis"
    if all(taps == 1 for taps, _, _ in shapes):
        return "needs more than one tap a stride phase"
    lengths = [max(part.axes[i].length for part in low.parts) for i in range(len(low.source))]
    if any(d > max(n, _MOST_DILATION) for (_, _, d), n in zip(shapes, lengths, strict=True)):
        return f"needs a dilation within the image, or of at most {_MOST_DILATION}"
    strided = len(low.parts) > 1 or any(stride > 1 for _, stride, _ in shapes)
    if strided and any(dilation > 1 for _, _, dilation in shapes):
        return "needs stride 1 or dilation 1"
    if strided and low.groups > 1:
        return "needs stride 1 or one group"
    return None


def _measured(low: Lowered, i: int) -> tuple[int, int, int]:
    """Taps, source phases and dilation along an axis."""
    axes = [part.axes[i] for part in low.parts]
    offsets = sorted({o for axis in axes for _, o in axis.taps})
    # Taps of several phases may lie anywhere; those of one, at equal distances.
    gap = offsets[1] - offsets[0] if len(offsets) > 1 and len(low.parts) == 1 else 1
    move = axes[0].move if max(axis.length for axis in axes) > 1 else 1
    if move > 1:
        # A dilated kernel's taps on phases of a stride are no neighbours: refused.
        kernel = len(axes[0].taps)
        return (-(-kernel // move) if kernel >= move else MOST_TAPS + 1), move, gap
    span = (offsets[-1] - offsets[0]) // gap + 1
    return span, 1, gap


def shape_of(low: Lowered) -> Shape:
    """The tiles that take the fewest multiplications."""
    axes = []
    for i in range(2):
        taps, stride, dilation = _measured(low, i)
        count = max(-(-part.axes[i].length // dilation) for part in low.parts)
        points = min(
            (n for n in (_POINTS if taps > 1 else (1,)) if n >= taps + (taps > 1)),
            key=lambda n, taps=taps, count=count: n * -(-count // (n + 1 - taps)),  # type: ignore[misc]
        )
        step = points + 1 - taps
        axes.append(Axis(taps, points, step, -(-count // step), stride, dilation))
    high, wide = axes
    pieces = -(-wide.tiles // _ACROSS)
    return Shape(
        high=high,
        wide=wide,
        pieces=pieces,
        across=-(-wide.tiles // pieces),
        images=low.N * high.dilation * wide.dilation * pieces,
        source_channels=low.source_channels * high.stride * wide.stride,
        phases=len(low.parts),
    )
