"""vmap: a batch of calls as one call, with the batch folded into one of the convolution's axes.

The three tensors of a convolution share three axes in pairs: input and output the images N, weight
and output the channels K, input and weight the channels C. Where the result and one operand have a
batch, it joins the axis that these two share; where all three have one, it becomes groups.
"""

# ruff: noqa: A002 - PyTorch calls an argument input

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .derivatives import Passes

X, W, Y = "xwy"  #: input, weight, output: or gradients with respect to them

# Where each tensor has the axis that is shared.
_SHARED = {
    frozenset((X, Y)): {X: 0, Y: 0},
    frozenset((W, Y)): {W: 0, Y: 1},
    frozenset((X, W)): {X: 1, W: 1},
}
_GROUPED = {X: 1, W: 0, Y: 1}


class _Fold:
    """Which axis of each tensor the batch joins: before all of it, or in each of its groups."""

    def __init__(self, batched: set[str], size: int, groups: int) -> None:
        grouped = len(batched) == 3
        self.groups = groups * size if grouped else groups
        self._axes = _GROUPED if grouped else _SHARED[frozenset(batched)]
        self._size = size
        # Channels that the groups cut have a batch in each group.
        self._parts = {
            name: groups if axis == _GROUPED[name] and not grouped else 1
            for name, axis in self._axes.items()
        }

    def fold(self, name: str, tensor: Any, batch_axis: int | None) -> Any:
        """The tensor with its batch in one of its own axes."""
        if batch_axis is None:
            return tensor
        axis, parts = self._axes[name], self._parts[name]
        moved = tensor.movedim(batch_axis, axis)
        cut = moved.unflatten(axis + 1, (parts, moved.shape[axis + 1] // parts))
        return cut.movedim(axis, axis + 1).flatten(axis, axis + 2)

    def fold_size(self, name: str, shape: Sequence[int]) -> list[int]:
        """The shape of such a tensor, from that of one of the batch."""
        folded = list(shape)
        folded[self._axes[name]] *= self._size
        return folded

    def unfold(self, name: str, tensor: Any) -> Any:
        """A result with its batch as an axis of its own, the first."""
        axis, parts = self._axes[name], self._parts[name]
        each = tensor.shape[axis] // (parts * self._size)
        cut = tensor.unflatten(axis, (parts, self._size, each)).movedim(axis + 1, 0)
        return cut.flatten(axis + 1, axis + 2)


def _fold(info: Any, groups: int, result: str, **axes: int | None) -> _Fold:
    batched = {name for name, axis in axes.items() if axis is not None}
    return _Fold({result, *batched}, info.batch_size, groups)


def batch_convolution(
    passes: Passes,
    info: Any,
    in_dims: Sequence[Any],
    input: Any,
    weight: Any,
    bias: Any,
    *settings: Any,
) -> tuple[Any, int]:
    """Return a batch of convolutions, and which axis the batch is."""
    convolution = passes.convolution
    (x, w, b), (*sizes, groups, algorithm) = in_dims[:3], settings
    apart = None if bias is None or (w is None and b is None) else bias  # added afterwards
    joined = bias if apart is None else None
    if x is None and w is None:
        y = convolution(input, weight, joined, *settings).unsqueeze(0)
    else:
        fold = _fold(info, groups, Y, x=x, w=w)
        operands = fold.fold(X, input, x), fold.fold(W, weight, w)
        y = fold.unfold(Y, convolution(*operands, joined, *sizes, fold.groups, algorithm))
    if apart is None:
        return y, 0
    rows = apart.unsqueeze(0) if b is None else apart.movedim(b, 0)
    return y + rows.reshape(rows.shape[0], 1, rows.shape[1], *(1,) * (y.ndim - 3)), 0


def batch_input_gradient(
    passes: Passes,
    info: Any,
    in_dims: Sequence[Any],
    input_size: Sequence[int],
    weight: Any,
    grad_output: Any,
    *settings: Any,
) -> tuple[Any, int]:
    """Return a batch of input gradients, and which axis the batch is."""
    (_, w, y), (*sizes, groups, algorithm) = in_dims[:3], settings
    fold = _fold(info, groups, X, w=w, y=y)
    operands = fold.fold(W, weight, w), fold.fold(Y, grad_output, y)
    size = fold.fold_size(X, input_size)
    result = passes.input_gradient(size, *operands, *sizes, fold.groups, algorithm)
    return fold.unfold(X, result), 0


def batch_weight_gradient(
    passes: Passes,
    info: Any,
    in_dims: Sequence[Any],
    input: Any,
    weight_size: Sequence[int],
    grad_output: Any,
    *settings: Any,
) -> tuple[Any, int]:
    """Return a batch of weight gradients, and which axis the batch is."""
    (x, _, y), (*sizes, groups, algorithm) = in_dims[:3], settings
    fold = _fold(info, groups, W, x=x, y=y)
    size = fold.fold_size(W, weight_size)
    operands = fold.fold(X, input, x), size, fold.fold(Y, grad_output, y)
    result = passes.weight_gradient(*operands, *sizes, fold.groups, algorithm)
    return fold.unfold(W, result), 0
