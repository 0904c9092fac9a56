"""Workspaces of programs, kept between calls."""

import numpy as np

from fastconv._pool import Bytes, Pool

MOST_BYTES = 1 << 28  #: that are kept in all
MOST = 16  #: workspaces that are kept

NONE: Bytes = np.empty(0, np.uint8)  #: for programs that need no workspace

_pool = Pool(MOST_BYTES, MOST)
give_back = _pool.give_back
kept_bytes = _pool.kept_bytes
forget = _pool.forget


def take(size: int) -> Bytes:
    """A workspace of ``size`` bytes or more, for one call: kept from another, or new."""
    return _pool.take(size) if size else NONE
