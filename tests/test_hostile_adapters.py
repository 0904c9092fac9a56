"""Every argument of the adapters' functions against values that no one should give it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hostile import WRONG, Index, array
from hostile_calls import Call, calls
from test_hostile import KIND, good

JAX_KIND = {
    **dict.fromkeys(("lhs", "rhs"), "any dtype"),
    **dict.fromkeys(("window_strides", "padding", "lhs_dilation", "rhs_dilation"), "integers"),
    "dimension_numbers": "word",
    **dict.fromkeys(("feature_group_count", "batch_group_count"), "integer"),
    "precision": "precision",
    "preferred_element_type": "dtype",
}


def wrong_in(call: Call, right: dict[str, Any]) -> dict[str, str]:
    """What is wrong with how a call refuses each argument, given ones of NumPy that are right."""
    return {
        f"{name}: {label}": reason
        for name, kind in call.kinds.items()
        for label, make in WRONG[kind].items()
        if (reason := call.refusal((TypeError, ValueError), **{name: make(right.get(name))}))
    }


def rank_of(function: str) -> int:
    return int(function.removeprefix("conv_transpose").removeprefix("conv")[0])


TORCH = [f"conv{transposed}{rank}d" for transposed in ("", "_transpose") for rank in (1, 2, 3)]


@pytest.mark.parametrize("function", TORCH)
def test_pytorch(function: str) -> None:
    torch = pytest.importorskip("torch")
    import fastconv.torch

    def tensors(name: str, rank: int) -> dict[str, Any]:
        given = good(name, rank)
        return {
            key: torch.from_numpy(value) if isinstance(value, np.ndarray) else value
            for key, value in given.items()
        }

    (call,) = calls(fastconv.torch, tensors, KIND, [function])
    call.run()
    assert not wrong_in(call, good(function, rank_of(function)))


DASK = ["conv1d", "conv2d", "conv3d", "conv2d_weight", "conv2d_input"]


@pytest.mark.parametrize("function", DASK)
def test_dask(function: str) -> None:
    da = pytest.importorskip("dask.array")
    import fastconv.dask

    chunked = "grad_output" if function.endswith("_input") else "input"

    def arrays(name: str, rank: int) -> dict[str, Any]:
        given = good(name, rank)
        places = [chunked, "grad_output"] if function.endswith("_weight") else [chunked]
        return {**given, **{p: da.from_array(given[p]) for p in places}, "chunks": None}

    (call,) = calls(fastconv.dask, arrays, {**KIND, "chunks": "chunks"}, [function])
    call.run().compute()
    assert not wrong_in(call, good(function, rank_of(function)))


def test_jax() -> None:
    jnp = pytest.importorskip("jax.numpy")
    import fastconv.jax

    def arrays(name: str, rank: int) -> dict[str, Any]:
        return {
            "lhs": jnp.asarray(array(1, 2, 3, 3)),
            "rhs": jnp.asarray(array(2, 2, 2, 2)),
            "window_strides": (1, 1),
            "padding": ((0, 0), (0, 0)),
            "lhs_dilation": (1, 1),
            "rhs_dilation": (1, 1),
            "dimension_numbers": None,
            "feature_group_count": 1,
            "batch_group_count": 1,
            "precision": None,
            "preferred_element_type": None,
        }

    (call,) = calls(fastconv.jax, arrays, JAX_KIND, ["conv_general_dilated"])
    call.run()
    assert not wrong_in(call, dict.fromkeys(call.kinds, array(1, 2, 3, 3)))


def test_sizes_in_pytorch_are_known_by_values_and_not_by_texts() -> None:
    """Objects of a plain ``repr`` look alike once one lies where another lay."""
    torch = pytest.importorskip("torch")
    from fastconv.torch import sizes

    class Same(Index):
        def __repr__(self) -> str:
            return "1"

    x, w = torch.zeros(1, 1, 5, 5), torch.zeros(1, 1, 2, 2)
    outputs = [sizes.forward(2, x, w, Same(stride), 0, 1, 1).output for stride in (1, 2, 1)]
    assert outputs == [(4, 4), (2, 2), (4, 4)]
