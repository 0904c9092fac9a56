"""Compiled kernels on disk: PTX files named by a hash of all that they depend on."""

from __future__ import annotations

import functools
import hashlib
import os
import tempfile
from contextlib import suppress
from pathlib import Path

import llvmlite
import numba
from numba import config


def load(kernel: str) -> str | None:
    """The PTX kept for a kernel with this description."""
    with suppress(OSError):
        return (_folder() / _name(kernel)).read_text()
    return None


def save(kernel: str, text: str) -> str:
    """Keep a kernel's PTX if there is a place to write, and return it."""
    with suppress(OSError):
        folder = _folder()
        folder.mkdir(parents=True, exist_ok=True)
        # Written aside and renamed, so that no other process reads half a file.
        handle, path = tempfile.mkstemp(dir=folder, suffix=".part")
        with os.fdopen(handle, "w") as file:
            file.write(text)
        Path(path).replace(folder / _name(kernel))
    return text


def _folder() -> Path:
    chosen = config.CACHE_DIR
    return Path(chosen) / "fastconv-ptx" if chosen else Path(__file__).parent / "__pycache__"


def _name(kernel: str) -> str:
    digest = hashlib.sha256(f"{_versions()} {kernel}".encode()).hexdigest()
    return f"{digest[:32]}.ptx"


@functools.cache
def _versions() -> str:
    """The compilers' versions and a hash of every source file of this backend."""
    sources = hashlib.sha256()
    for path in sorted(Path(__file__).parent.rglob("*.py")):
        sources.update(path.read_bytes())
    numba_cuda = getattr(__import__("numba_cuda"), "__version__", "")
    return f"{numba.__version__} {numba_cuda} {llvmlite.__version__} {sources.hexdigest()}"
