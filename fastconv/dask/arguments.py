"""Checks of Dask arrays: their kind here, all else by the checks that NumPy arrays go through."""

from __future__ import annotations

from math import isnan
from typing import Any

import dask.array as da
import numpy as np

from fastconv._arguments import shown
from fastconv._arrays import Array, checked_array, checked_like


def stand_in(array: Any) -> Any:
    """A NumPy array of a Dask array's shape and dtype that takes no memory; others as they are."""
    if not isinstance(array, da.Array):
        return array
    return np.broadcast_to(np.zeros((), array.dtype), array.shape)


def chunked(array: object, name: str) -> da.Array:
    """Return a Dask array of NumPy blocks of known sizes; refuse anything else."""
    if not isinstance(array, da.Array):
        raise TypeError(
            f"{name} must be a dask.array.Array, got {type(array).__name__}: wrap it, "
            f"for example with dask.array.from_array({name}, chunks=...)"
        )
    if any(isnan(size) for size in array.shape):
        raise ValueError(
            f"{name} must have chunks of known sizes, got shape {array.shape}: "
            f"compute them with {name}.compute_chunk_sizes()"
        )
    checked_array(array._meta, name)
    return array


def chunks_of(chunks: Any, shape: tuple[int, ...], dtype: Any) -> Any:
    """Return the chunks of an array of some shape, in the forms that Dask knows them."""
    try:
        made = da.core.normalize_chunks(chunks, shape=shape, dtype=dtype)
        if any(size < 0 for axis in made for size in axis):
            raise ValueError("a chunk has no negative size")
        return made
    except Exception as error:  # Dask asks the chunks for much, and of much else
        raise ValueError(
            f"chunks must be what Dask can cut the shape {shape} into, got {shown(chunks)} "
            f"({type(chunks).__name__}): {_reason(error)}"
        ) from error


def whole(array: object, name: str) -> da.Array:
    """Return a Dask array as it is, a NumPy array as one of one chunk."""
    if isinstance(array, da.Array):
        return chunked(array, name)
    return da.from_array(checked_array(array, name), chunks=-1)


def same_dtype(array: da.Array, name: str, reference: da.Array, reference_name: str) -> None:
    """Refuse an array of another dtype than the reference's."""
    checked_like(stand_in(array), name, stand_in(reference), reference_name)


def no_images(array: da.Array, rank: int) -> Array:
    """A batch of no images that are otherwise such as an array's: calls on it only check."""
    return np.empty((0, *array.shape[-rank - 1 :]), array.dtype)


def _reason(error: Exception) -> str:
    return str(error).partition("\n")[0][:200]
