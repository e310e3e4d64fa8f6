"""The janitor: forgets finished jobs whose retention is over, in bounded steps."""

from __future__ import annotations

from headworks_scheduler.store.jobs import BATCH_MAX, JobStore


class Janitor:
    """The finished jobs of all cells."""

    def __init__(self, store: JobStore, cells: int) -> None:
        self._store = store
        self._cells = cells

    async def step(self) -> int:
        """Forget what is due now; how many jobs that were."""
        forgotten = 0
        for cell in range(self._cells):
            while True:
                deleted = await self._store.forget(cell)
                forgotten += deleted
                if deleted < BATCH_MAX:
                    break
        return forgotten
