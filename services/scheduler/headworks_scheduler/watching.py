"""Who watches which jobs through this replica."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

Key = tuple[int, str]
"""Cell and ref."""


class Watch:
    """One caller's interest in some jobs."""

    def __init__(self) -> None:
        self._changed: set[Key] = set()
        self._event = asyncio.Event()

    def mark(self, keys: Iterable[Key]) -> None:
        """These may have changed."""
        self._changed.update(keys)
        self._event.set()

    async def changed(self) -> set[Key]:
        """Waits for changes; those since the last call, merged."""
        await self._event.wait()
        self._event.clear()
        keys, self._changed = self._changed, set()
        return keys


class WatchHub:
    """Spreads what the store publishes to the watches of this replica."""

    def __init__(self) -> None:
        self._watches: dict[Key, set[Watch]] = {}

    @contextmanager
    def watching(self, keys: Iterable[Key]) -> Iterator[Watch]:
        """A watch on `keys` while the block runs."""
        watch, wanted = Watch(), list(keys)
        for key in wanted:
            self._watches.setdefault(key, set()).add(watch)
        try:
            yield watch
        finally:
            for key in wanted:
                others = self._watches[key]
                others.discard(watch)
                if not others:
                    del self._watches[key]

    def changed(self, cell: int, refs: Iterable[str]) -> None:
        """The store says that these jobs have changed."""
        for ref in refs:
            for watch in self._watches.get((cell, ref), ()):
                watch.mark([(cell, ref)])

    def unsure(self) -> None:
        """Messages may have been missed: every watched job may have changed."""
        for key, watches in self._watches.items():
            for watch in watches:
                watch.mark([key])
