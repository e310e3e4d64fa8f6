"""Who watches which jobs through this replica."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from headworks_core.errors import Reason, Unavailable

Key = tuple[int, str]
"""Cell and ref."""


class Watch:
    """One caller's interest in some jobs."""

    def __init__(self) -> None:
        self._changed: set[Key] = set()
        self._event = asyncio.Event()
        self._closed = False

    def close(self) -> None:
        """Nothing more will be told."""
        self._closed = True
        self._event.set()

    def mark(self, keys: Iterable[Key]) -> None:
        """These may have changed."""
        self._changed.update(keys)
        self._event.set()

    async def changed(self) -> set[Key]:
        """Waits for changes; those since the last call, merged. Unavailable (SHUTTING_DOWN) once it is closed."""
        await self._event.wait()
        if self._closed and not self._changed:
            raise Unavailable("this replica is going away", reason=Reason.SHUTTING_DOWN)
        if not self._closed:
            self._event.clear()
        keys, self._changed = self._changed, set()
        return keys


class WatchHub:
    """Spreads what the store publishes to the watches of this replica."""

    def __init__(self) -> None:
        self._watches: dict[Key, set[Watch]] = {}
        self._closed = False

    async def close(self) -> None:
        """End all watches, present and future ones: whoever watches goes on at another replica."""
        self._closed = True
        for watch in {watch for watches in self._watches.values() for watch in watches}:
            watch.close()

    @contextmanager
    def watching(self, keys: Iterable[Key]) -> Iterator[Watch]:
        """A watch on `keys` while the block runs."""
        watch, wanted = Watch(), list(keys)
        for key in wanted:
            self._watches.setdefault(key, set()).add(watch)
        if self._closed:
            watch.close()
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
