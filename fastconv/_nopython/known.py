"""The table in which compiled code finds entries, and their lives."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np

from ..cpu import entries, protocol
from .plans import Entry


class _Generation:
    """A table and the entries in it."""

    def __init__(self) -> None:
        self.table = np.zeros(entries.TABLE_WORDS, np.int64)
        self.entries: dict[tuple[int, ...], Entry] = {}
        self.seen_by = set(range(protocol.MOST_STRIPES))  # stripes whose calls may have seen it


class Known:
    """Entries by what tells calls from each other. One thread at a time.

    Parameters
    ----------
    block : int
        The address of the block that compiled code knows by its name.
    """

    def __init__(self, block: int) -> None:
        self._block = block
        self._functions = entries.functions()
        self._by_address: dict[int, Entry] = {}  # of every generation
        # All that a call may still see; the last one is where entries are added. A signal's handler
        # may end each method at any step: what is published is never missing here.
        self._generations = [_Generation()]
        self._publish_table()
        self._publish(protocol.ALLOCATOR, self._functions.new_result)
        self._publish(protocol.ALLOCATOR + 2, self._functions.free_result)
        self._publish(protocol.ALLOCATOR + 3, block)
        self._publish(protocol.LARGE, self._functions.large)
        self._publish(protocol.RUN, self._functions.run)
        self.find_compiled = self._functions.find_entry  #: as compiled code finds an entry

    def take_over(self) -> None:
        """Let compiled code find entries by itself."""
        self._publish(protocol.FIND, self._functions.find)

    def __len__(self) -> int:
        """How many entries are in memory, those included that calls under way still have."""
        return len(self._by_address)

    def get(self, key: tuple[int, ...]) -> Entry | None:
        """The entry of a call, if there is one."""
        return self._generations[-1].entries.get(key)

    def at(self, address: int) -> Entry:
        """The entry at an address."""
        return self._by_address[address]

    def add(self, key: tuple[int, ...], entry: Entry, data: int) -> None:
        """Let compiled code find an entry, among the latest ones.

        ``data`` is the address of those of the call that it is for.
        """
        if len(self._generations[-1].entries) >= entries.MOST:
            self._generations.append(_Generation())
        if len(self._generations) > 1:
            self._sweep(entries.stripe(data))
        now = self._generations[-1]
        now.entries[key] = self._by_address[entry.address] = entry
        self._functions.insert(now.table.ctypes.data, entry.address)

    def forget(self) -> None:
        """Let compiled code find none, and free the workspaces that it keeps."""
        self._generations.append(_Generation())
        self._sweep()
        self._functions.drain()

    def alone(self) -> None:
        """No call is under way: the threads whose calls were have stayed behind at a fork."""
        state = words_at(self._block, protocol.STATE_WORDS)
        for place in range(protocol.STRIPES, protocol.STATE_WORDS, protocol.LINE):
            state[place] = 0

    def _sweep(self, own: int | None = None) -> None:
        """Free entries of earlier generations that no call can still have.

        A call counts in one of several stripes from before it reads the table until it has run. A
        stripe that is found empty after a table was replaced will not see that table again. In the
        stripe ``own`` counts the call that is being answered, and has no entry yet.
        """
        self._publish_table()
        counts = words_at(self._block, protocol.STATE_WORDS)[protocol.STRIPES :: protocol.LINE]
        empty = {i for i, count in enumerate(counts) if count == (i == own)}
        *retired, now = self._generations
        for generation in retired:
            generation.seen_by -= empty
            if not generation.seen_by:
                for entry in generation.entries.values():
                    self._by_address.pop(entry.address, None)
        self._generations = [*(old for old in retired if old.seen_by), now]

    def _publish_table(self) -> None:
        self._publish(protocol.TABLE, self._generations[-1].table.ctypes.data)

    def _publish(self, place: int, number: int) -> None:
        self._functions.publish(self._block + 8 * place, number)


def words_at(address: int, count: int) -> Any:
    """The 64-bit integers at an address, to be read and written."""
    return (ctypes.c_int64 * count).from_address(address)
