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

for _name in _NAMES:
    _operator = f"fastconv::{_name}"
    torch.library.register_autograd(
        _operator,
        partial(getattr(derivatives, f"derive_{_name}"), OPERATORS),
        setup_context=getattr(derivatives, f"save_{_name}"),
        lib=library,
    )
    _rule = partial(getattr(batching, f"batch_{_name}"), OPERATORS)
    torch.library.register_vmap(_operator, _rule, lib=library)


def passes() -> Passes:
    """The three passes, fit for the transforms that the caller is in."""
    if torch.compiler.is_compiling():
        return OPERATORS
    transformed = torch._C._are_functorch_transforms_active() or _in_forward_mode()
    return FUNCTIONS if transformed else OPERATORS


def _in_forward_mode() -> bool:
    return bool(torch.autograd.forward_ad._current_level >= 0)
