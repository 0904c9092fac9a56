"""What a user's compiled function is kept on disk with, so that only this version loads it again.

A function that is compiled with ``cache=True`` has in it what calls fastconv, and Numba, which
looks at the user's own file alone, would go on loading it after an upgrade. So a witness lies
among the constants of what is compiled in, and these are kept with the machine code. Reading a
witness back under other sources is an `OSError`: to Numba the file is gone, and it compiles anew.
"""

from __future__ import annotations

from fastconv import _sources


class OutdatedError(OSError):
    """Machine code has in it what another version of fastconv had compiled into it."""


class Witness:
    """Knows the sources that it was made under, and cannot be read back under others."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return read_back, (_sources.HASH,)


def read_back(sources: str) -> Witness:
    """The witness of these sources, if they are the package's own."""
    if not sources or sources != _sources.HASH:
        raise OutdatedError("machine code for another version of fastconv")
    return WITNESS


WITNESS = Witness()
