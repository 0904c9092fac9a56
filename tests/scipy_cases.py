"""Arrays for the functions with SciPy's signatures: shapes, dtypes and layouts."""

from collections.abc import Callable

import numpy as np
from arrays import VIEWS, Arena, Array
from hypothesis import strategies as st

# Kernels are made for others, too: the fewer, the less there is to compile.
DTYPES = ("uint8", "int32", "float32", "float64", "complex64")
LAYOUTS: dict[str, Callable[[Array], Array]] = {
    "plain": np.copy,
    **{name: VIEWS[name] for name in ("reversed", "fortran", "unaligned", "read_only")},
    "other byte order": lambda values: values.astype(values.dtype.newbyteorder()),
}


def small(shape: tuple[int, ...], dtype: str, seed: int = 0) -> Array:
    """Small integers of a dtype: any sums of their products are exact."""
    rng = np.random.default_rng([seed, *shape])
    low = 0 if np.dtype(dtype).kind in "bu" else -4
    values = rng.integers(low, 5, shape)
    if np.dtype(dtype).kind == "c":
        return (values + 1j * rng.integers(low, 5, shape)).astype(dtype)
    return values.astype(dtype)


def guarded(arena: Arena, values: Array) -> Array:
    """Real floats between guard zones of NaN, which would spoil what is read past the ends."""
    if values.dtype.name in ("float32", "float64") and values.size:
        return arena.place(values, values.dtype.name)
    return values


@st.composite
def shapes(draw: st.DrawFn, most_ranks: int = 4) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Draw the shapes of an image and of a kernel, either of which may be the larger one."""
    rank = draw(st.integers(1, most_ranks))
    most = {1: 40, 2: 12, 3: 6, 4: 4, 5: 3}[rank]
    sizes = st.tuples(*[st.integers(1, most)] * rank)
    return draw(sizes), draw(sizes)
