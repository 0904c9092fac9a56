"""Compiled kernels on disk: PTX files named by a hash of all that they depend on."""

from __future__ import annotations

import functools
import hashlib
import os
import tempfile
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import llvmlite
import numba
from numba import config
from numba.misc.appdirs import AppDirs


def load(kernel: str) -> str | None:
    """The PTX kept for a kernel with this description."""
    for folder in _folders():
        with suppress(OSError):
            return (folder / _name(kernel)).read_text()
    return None


def save(kernel: str, text: str) -> str:
    """Keep a kernel's PTX in the first place that can be written, and return it."""
    for folder in _folders():
        with suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            # Written aside and renamed, so that no other process reads half a file.
            handle, path = tempfile.mkstemp(dir=folder, suffix=".part")
            with os.fdopen(handle, "w") as file:
                file.write(text)
            Path(path).replace(folder / _name(kernel))
            break
    return text


def _folders() -> tuple[Path, ...]:
    """Where Numba itself would keep kernels: the folder chosen, or the package's, or the user's."""
    if config.CACHE_DIR:
        return (Path(config.CACHE_DIR) / "fastconv-ptx",)
    users = AppDirs(appname="numba", appauthor=False).user_cache_dir
    return Path(__file__).parent / "__pycache__", Path(users) / "fastconv-ptx"


def _name(kernel: str) -> str:
    digest = hashlib.sha256(f"{_versions()} {kernel}".encode()).hexdigest()
    return f"{digest[:32]}.ptx"


@functools.cache
def _versions() -> str:
    """The compilers' versions and a hash of every source file of this backend."""
    sources = hashlib.sha256()
    for path in sorted(Path(__file__).parent.rglob("*.py")):
        sources.update(path.read_bytes())
    toolkit = [_version(name) for name in ("numba-cuda", "nvidia-nvvm", "cuda-toolkit")]
    return f"{numba.__version__} {llvmlite.__version__} {toolkit} {sources.hexdigest()}"


def _version(package: str) -> str:
    with suppress(PackageNotFoundError):
        return version(package)
    return ""
