"""The geometry of a call, checked once: the same shapes and arguments need no second look."""

# ruff: noqa: A002 - PyTorch calls an argument input

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from ..calls import exact
from ..geometry import ConvGeometry, forward_geometry, transposed_geometry

_MOST = 1024
_known: dict[tuple[Any, ...], ConvGeometry] = {}


def forward(rank: int, input: Any, weight: Any, *settings: Any) -> ConvGeometry:
    """`forward_geometry`; settings are stride, padding, dilation and groups."""
    return _found(forward_geometry, rank, input, weight, settings)


def transposed(rank: int, input: Any, weight: Any, *settings: Any) -> ConvGeometry:
    """`transposed_geometry`; settings are stride, padding, output_padding, groups and dilation."""
    return _found(transposed_geometry, rank, input, weight, settings)


def _found(
    make: Callable[..., ConvGeometry], rank: int, input: Any, weight: Any, settings: tuple[Any, ...]
) -> ConvGeometry:
    shapes = tuple(input.shape), tuple(weight.shape)
    if torch.compiler.is_compiling():
        return make(*shapes, *settings, rank)
    key = make, rank, shapes, exact(settings)
    try:
        known = _known.get(key)
    except TypeError:  # symbols of a tracer, which have no hash
        return make(*shapes, *settings, rank)
    if known is None:
        known = make(*shapes, *settings, rank)
        if len(_known) >= _MOST:
            _known.clear()
        _known[key] = known
    return known
