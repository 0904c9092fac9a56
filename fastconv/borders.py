"""What lies beyond an image's border: zeros, or the image itself, as ``padding_mode`` says.

The modes are those of PyTorch's convolution modules. A padded place shows one place of the image,
so a table along each axis says everything.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ._arguments import one_of, plural

MODES = ("zeros", "reflect", "replicate", "circular")


def checked_mode(
    mode: object, image: Sequence[int], pads: Sequence[tuple[int, int]], name: str
) -> str:
    """Return a padding mode that an image of these sizes allows; "zeros" if nothing is padded.

    ``name`` is what messages call the image.
    """
    chosen = one_of(mode, "padding_mode", MODES)
    if chosen == "zeros" or not any(map(any, pads)):
        return "zeros"
    for size, (before, after) in zip(image, pads, strict=True):
        most = {"reflect": size - 1, "circular": size}.get(chosen)
        if most is not None and max(before, after) > most:
            raise ValueError(
                f"padding must be at most {max(most, 0)} at each end of an axis of "
                f"{plural(size, 'pixel')} for padding_mode={chosen!r}, got {(before, after)} "
                f"for {name} of spatial sizes {tuple(image)}"
            )
        if size == 0 and (before or after):
            raise ValueError(
                f"{name} must have no empty axis for padding_mode={chosen!r}, "
                f"got spatial sizes {tuple(image)}"
            )
    return chosen


def shown(mode: str, size: int, before: int, after: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """The place along an axis of ``size`` that each padded place shows.

    Examples
    --------
    >>> shown("reflect", 4, 2, 1)
    array([2, 1, 0, 1, 2, 3, 2])
    >>> shown("replicate", 4, 2, 1)
    array([0, 0, 0, 1, 2, 3, 3])
    >>> shown("circular", 4, 2, 1)
    array([2, 3, 0, 1, 2, 3, 0])
    """
    at = np.arange(-before, size + after, dtype=np.int64)
    if mode == "reflect":
        mirrored = np.abs(at)
        return np.where(mirrored < size, mirrored, 2 * (size - 1) - mirrored)
    return np.clip(at, 0, size - 1) if mode == "replicate" else at % size
