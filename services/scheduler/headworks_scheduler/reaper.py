"""The reaper: takes jobs from workers whose lease has ended.

It waits one reconnect grace after its own start and after every failure of the store, so that an outage of all
schedulers, or of Redis, re-runs nothing that a worker still holds.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable

import structlog
from headworks_core.errors import ServiceError

from headworks_scheduler.store.jobs import BATCH_MAX, JobStore

log = structlog.get_logger(__name__)


class Reaper:
    """The lease indexes of all cells."""

    def __init__(
        self,
        store: JobStore,
        cells: int,
        *,
        grace_s: float,
        period_s: float,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._cells = cells
        self._grace_s = grace_s
        self._period_s = period_s
        self._monotonic = monotonic
        self._not_before = monotonic() + grace_s
        self.counters: Counter[str] = Counter()
        """Leases that ended, by what they were; the names are those of `Reaped`."""

    async def run(self) -> None:
        """Reap until cancelled."""
        while True:
            await asyncio.sleep(max(self._period_s, self._not_before - self._monotonic()))
            try:
                await self.step()
            except ServiceError as error:
                self._not_before = self._monotonic() + self._grace_s
                log.warning("reaper.store_failed", error=str(error), pause_s=self._grace_s)

    async def step(self) -> None:
        """Reap every cell once, completely."""
        for cell in range(self._cells):
            while True:
                reaped = await self._store.reap(cell)
                if reaped.ended:
                    self.counters.update(reaped._asdict())
                    log.warning("reaper.leases_ended", cell=cell, **reaped._asdict())
                if reaped.ended < BATCH_MAX:
                    break
