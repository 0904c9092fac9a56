"""What Winograd's error is a multiple of."""

import numpy as np
from arrays import Array
from cases import Case


def magnitude(case: Case, which: str, given: tuple[Array, ...]) -> float:
    """The most that products of one factor's largest elements and all of the other's add up to."""
    first, second, *bias = (np.abs(values.astype("float64")) for values in given)
    axes = tuple(range(2, 2 + case.rank))
    if which == "forward":
        pairs = zip(
            _groups(first.max(axes), case, 1), _groups(second.sum(axes), case, 0), strict=True
        )
        largest = max((x @ w.T).max() for x, w in pairs)
    elif which == "input_gradient":
        pairs = zip(
            _groups(second.max(axes), case, 1), _groups(first.sum(axes), case, 0), strict=True
        )
        largest = max((dy @ w).max() for dy, w in pairs)
    else:
        largest = (first.max(axes).T @ second.sum(axes)).max()
    return float(largest + (bias[0].max() if bias else 0))


def _groups(values: Array, case: Case, axis: int) -> list[Array]:
    return np.split(values, case.groups, axis)
