"""Tells device arrays from host arrays by their type; imports no library that the caller has not.

What runs a call on device arrays is imported when the first of them is seen.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import numpy as np

CUDA_DEVICES = (2, 13)  # DLPack's numbers for CUDA memory and for managed memory

_INSTALL = "run pip install 'fastconv[cuda]'"


def on_device(array: object) -> bool:
    """Whether ``array`` is a library's array in a CUDA device's memory."""
    return _question_to(type(array))(array)  # type: ignore[arg-type]


@functools.lru_cache(maxsize=256)
def _question_to(kind: type) -> Callable[[Any], bool]:
    """What tells whether an object of a type is an array in a CUDA device's memory."""
    if issubclass(kind, (np.ndarray, type(None), type)):
        return lambda array: False
    if getattr(kind, "__cuda_ndarray__", False):  # Numba's, in its simulator too
        return lambda array: True
    torch = sys.modules.get("torch")
    if issubclass(kind, getattr(torch, "Tensor", ())):
        return lambda tensor: bool(tensor.is_cuda)
    if hasattr(kind, "__dlpack_device__"):
        return _dlpack_on_device
    return _has_cuda_interface


def _has_cuda_interface(array: Any) -> bool:
    """Whether there is one: an object may have any attribute that it is asked for."""
    return isinstance(getattr(array, "__cuda_array_interface__", None), dict)


def _dlpack_on_device(array: Any) -> bool:
    try:
        return array.__dlpack_device__()[0] in CUDA_DEVICES
    except Exception:  # the reader of host memory says what is wrong with it
        return False


@functools.cache
def backend() -> ModuleType:
    """The module that runs calls on device arrays; a RuntimeError where none can run."""
    if find_spec("numba_cuda") is None:
        raise RuntimeError(f"device arrays need numba-cuda, which is not installed: {_INSTALL}")
    try:
        module = import_module("fastconv.cuda.call")
        driver = import_module("fastconv.cuda.streams")
    except Exception as error:  # a pair that does not fit fails in many ways
        raise RuntimeError(
            f"device arrays need versions of Numba and its CUDA parts that work together, and "
            f"{_versions()} do not import ({_first_line(error)}): {_INSTALL}"
        ) from error
    if problem := driver.missing_device():
        raise RuntimeError(
            f"device arrays need an NVIDIA GPU and its driver, and {problem}: "
            "install the driver, for example with sudo ubuntu-drivers install"
        )
    return module


def _versions() -> str:
    return ", ".join(
        f"{name} {_version(name)}" for name in ("numba", "numba-cuda", "cuda-bindings")
    )


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "(not installed)"


def _first_line(error: Exception) -> str:
    lines = str(error).splitlines() or [type(error).__name__]
    return lines[0]
