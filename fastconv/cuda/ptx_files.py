"""Compiled kernels on disk: PTX files named by a hash of all that they depend on."""

from __future__ import annotations

import functools
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version

import llvmlite
import numba

from .._kept_files import Store

_store = Store("ptx")


def load(kernel: str) -> str | None:
    """The PTX kept for a kernel with this description."""
    content = _store.load(f"{_versions()} {kernel}")
    return None if content is None else content.decode()


def save(kernel: str, text: str) -> str:
    """Keep a kernel's PTX where that is possible, and return it."""
    _store.save(f"{_versions()} {kernel}", text.encode())
    return text


@functools.cache
def _versions() -> str:
    """The versions of the compilers."""
    toolkit = [_version(name) for name in ("numba-cuda", "nvidia-nvvm", "cuda-toolkit")]
    return f"{numba.__version__} {llvmlite.__version__} {toolkit}"


def _version(package: str) -> str:
    with suppress(PackageNotFoundError):
        return version(package)
    return ""
