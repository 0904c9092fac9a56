"""Reals that are hard to add up, by name: what error bounds are tried on."""

from collections.abc import Callable

import numpy as np
from arrays import Array

Draw = Callable[[np.random.Generator, tuple[int, ...]], Array]


def _normal(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    return rng.standard_normal(shape)


def _alternating(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Neighbours that all but cancel."""
    signs = np.where(np.indices(shape).sum(axis=0) % 2, 1.0, -1.0)
    return signs * (1 + 1e-3 * rng.random(shape))


def _alike(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """A pattern of signs, the same in all channels, whose roundings all go one way."""
    return np.broadcast_to(rng.uniform(1, 2) * rng.choice([-1.0, 1.0], shape[2:]), shape)


DRAWS: dict[str, Draw] = {
    "normal": _normal,
    "large mean": lambda rng, shape: 100 + _normal(rng, shape),
    "ReLU-like": lambda rng, shape: np.maximum(_normal(rng, shape), 0),
    "wide range": lambda rng, shape: _normal(rng, shape) * 10 ** rng.uniform(-6, 6, shape),
    "a few outliers": lambda rng, shape: (
        np.where(rng.random(shape) < 0.01, 1e4, 1) * rng.random(shape)
    ),
    "all equal": lambda rng, shape: np.full(shape, 1 / 3),
    "alternating": _alternating,
    "alike channels": _alike,
}
