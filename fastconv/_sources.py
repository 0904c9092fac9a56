"""What this version of the package is known by: a hash of all its source files.

What is compiled depends on them in ways that nobody should have to list, so whatever is kept on
disk is kept under this hash, and another version finds nothing of it.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

_PACKAGE = Path(__file__).parent


def _hash() -> str:
    """The hash of the source files as they are now; empty where none are, as in an archive."""
    digest, found = hashlib.sha256(), False
    for folder, inner, names in os.walk(_PACKAGE):
        inner.sort()
        for name in sorted(names):
            if name.endswith(".py"):
                path = os.path.join(folder, name)
                digest.update(f"{os.path.relpath(path, _PACKAGE)}\0".encode())
                with open(path, "rb", buffering=0) as file:
                    digest.update(file.read())
                found = True
    return digest.hexdigest() if found else ""


def _hash_if_readable() -> str:
    try:
        return _hash()
    except OSError:
        return ""


#: as the files were when the package was imported; empty where nothing may be kept
HASH = _hash_if_readable()


def unchanged() -> bool:
    """Whether the files are still those that were imported: a process may outlive an upgrade."""
    return bool(HASH) and _hash_if_readable() == HASH
