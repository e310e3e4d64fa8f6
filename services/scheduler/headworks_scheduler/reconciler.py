"""The reconciler: jobs and indexes are compared in both directions, slice by slice, and what differs is repaired.

A job's own state is the truth. Each slice is checked again and repaired in one script, so that nothing is repaired that
is only on its way. One pass reads every key of the store once; on a healthy store it finds nothing.
"""

from __future__ import annotations

from collections import Counter, deque

import structlog

from headworks_scheduler.store.reconciling import Index, ReconcileStore, Repairs

log = structlog.get_logger(__name__)


class Reconciler:
    """Walks the whole store, a slice a step."""

    def __init__(self, store: ReconcileStore, cells: int) -> None:
        self._store = store
        self._cells = cells
        self._cursor = 0
        self._pending: deque[tuple[int, deque[Index], bytes]] = deque()
        self._queues: dict[int, set[str]] = {}
        self.counters: Counter[str] = Counter()
        """Repairs by kind since the start; see reconcile.lua, reconcile_indexes.lua and reconcile_counts.lua."""
        self.passes = 0
        """How many times all has been looked at."""
        self.counts_unchecked = 0
        """Cells in the last pass that had too much in them for their counters to be checked."""

    async def step(self) -> bool:
        """Check one slice, about 250 jobs or entries; True when that ended a pass."""
        if not self._pending:
            return await self._scan()
        cell, indexes, cursor = self._pending[0]
        done, cursor, repairs = await self._store.indexes(cell, list(indexes)[:100], cursor)
        self._note(cell, repairs)
        for _ in range(done):
            indexes.popleft()
        self._pending.popleft()
        if indexes:
            self._pending.appendleft((cell, indexes, cursor))
        return False if self._pending or self._cursor else await self._end()

    async def _scan(self) -> bool:
        cursor, slices = await self._store.scan(self._cursor)
        for cell, found in slices.items():
            if found.refs:
                self._note(cell, await self._store.jobs(cell, found.refs))
            if found.indexes:
                self._pending.append((cell, deque(found.indexes), b"0"))
            self._queues.setdefault(cell, set()).update(found.queues)
        self._cursor = cursor
        return False if self._pending or cursor else await self._end()

    async def _end(self) -> bool:
        """All indexes have been repaired: count what is in them."""
        queues, self._queues, unchecked = self._queues, {}, 0
        for cell, of_cell in queues.items():
            checked, repairs = await self._store.counts(cell, of_cell)
            unchecked += not checked
            self._note(cell, repairs)
        self.counts_unchecked = unchecked
        self.passes += 1
        return True

    def _note(self, cell: int, repairs: Repairs) -> None:
        if repairs:
            self.counters.update(repairs)
            log.warning("reconciler.repaired", cell=cell, **repairs)
