"""Tensors as the arrays that fastconv takes, and back: the same memory, under PyTorch's threads."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
import torch

from ..options import Block, Settings, current


def array_of(tensor: Any) -> Any:
    """A tensor's memory as fastconv takes it: a NumPy array, or on a GPU the tensor itself."""
    plain = tensor.detach()
    if plain.is_cuda:
        return plain
    # NumPy has no bfloat16.
    return (plain.view(torch.uint16) if plain.dtype is torch.bfloat16 else plain).numpy()


def kernels_of(weight: Any) -> Any:
    """The array of a convolution's weight, in C order on the host.

    Winograd's transform of 512 x 512 channels_last kernels takes 5 ms longer, a copy of them 1.
    """
    array = array_of(weight)
    return array if weight.is_cuda else np.ascontiguousarray(array)


def tensor_of(array: Any, like: Any) -> Any:
    """A result as a tensor: the other way of `array_of`."""
    if like.is_cuda:
        return array
    tensor = torch.from_numpy(array)
    return tensor.view(torch.bfloat16) if like.dtype is torch.bfloat16 else tensor


def options_for(tensor: Any) -> AbstractContextManager[None]:
    """Options for a call on such tensors: the caller's, with no more threads than PyTorch has."""
    if tensor.is_cuda:
        return nullcontext()
    return Block(_settings(current(), torch.get_num_threads(), tensor.dtype is torch.bfloat16))


@lru_cache
def _settings(now: Settings, threads: int, bits: bool) -> Settings:
    most = threads if now.threads is None else min(threads, now.threads)
    return replace(now, threads=most, bfloat16_bits=bits)
