"""The passes with all their derivatives, as the public functions call them.

PyTorch's operators written in Python know reverse mode and vmap, which is all that eager code and
torch.compile need. torch.func.grad and forward mode want an ``autograd.Function``, which has the
same formulas and takes twice an operator's time to call.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from . import batching, derivatives
from .derivatives import Passes
from .operators import library

_NAMES = Passes._fields

OPERATORS = Passes(*(getattr(torch.ops.fastconv, name).default for name in _NAMES))


def _function(name: str) -> Any:
    """An ``autograd.Function`` around an operator; what its derivatives run is such functions."""

    def late(rule: Callable[..., Any]) -> Any:
        return staticmethod(lambda *arguments: rule(FUNCTIONS, *arguments))

    members = {
        "forward": staticmethod(getattr(OPERATORS, name)),
        "setup_context": staticmethod(getattr(derivatives, f"save_{name}")),
        "backward": late(getattr(derivatives, f"derive_{name}")),
        "jvp": late(getattr(derivatives, f"follow_{name}")),
        "vmap": late(getattr(batching, f"batch_{name}")),
    }
    function: Any = type(name, (torch.autograd.Function,), members)
    return function.apply


FUNCTIONS = Passes(*map(_function, _NAMES))


def _late(rule: Callable[..., Any]) -> Callable[..., Any]:
    """A derivative of passes fit for where it runs, which may be another transform."""
    return lambda *arguments: rule(passes(), *arguments)


for _name in _NAMES:
    _operator = f"fastconv::{_name}"
    torch.library.register_autograd(
        _operator,
        _late(getattr(derivatives, f"derive_{_name}")),
        setup_context=getattr(derivatives, f"save_{_name}"),
        lib=library,
    )
    _rule = partial(getattr(batching, f"batch_{_name}"), OPERATORS)
    torch.library.register_vmap(_operator, _rule, lib=library)


def passes() -> Passes:
    """The three passes, fit for the transforms that the caller is in."""
    if not transformed():
        return OPERATORS
    if torch.compiler.is_compiling():
        raise NotImplementedError(
            "fastconv.torch inside torch.func's transforms or forward mode cannot be compiled: "
            "put torch.compile inside the transform"
        )
    return FUNCTIONS


@torch.compiler.assume_constant_result
def transformed() -> bool:
    """Whether the caller is in a transform of torch.func or in forward mode."""
    active = torch._C._are_functorch_transforms_active()
    return bool(active or torch.autograd.forward_ad._current_level >= 0)
