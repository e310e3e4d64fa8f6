"""The reaper: takes jobs from workers whose lease has ended.

Workers need a reconnect grace after an outage to say what they hold. So nothing is taken from them until the store has
answered for a whole grace without a failure, nor for a grace after this process stood still: then the heartbeats that
came meanwhile wait to be read.
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

STOOD_STILL_S = 1.0
"""A loop that runs so late has had no time for what came meanwhile; at most half a grace."""


def boottime() -> float:
    """Seconds that go on while the machine is suspended, where the system has them."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


class Reaper:
    """The lease indexes of all cells."""

    def __init__(
        self,
        store: JobStore,
        cells: int,
        *,
        grace_s: float,
        period_s: float,
        monotonic: Callable[[], float] = boottime,
    ) -> None:
        """`monotonic` should go on while the machine is suspended."""
        self._store = store
        self._cells = cells
        self._grace_s = grace_s
        self._period_s = period_s
        self._monotonic = monotonic
        self._late_s = min(STOOD_STILL_S, grace_s / 2)
        self._not_before = monotonic() + grace_s
        self.counters: Counter[str] = Counter()
        """Leases that ended, by what they were; the names are those of `Reaped`."""

    async def run(self) -> None:
        """Reap until cancelled."""
        failing = False
        while True:
            due = self._monotonic() + self._period_s
            await asyncio.sleep(self._period_s)
            now = self._monotonic()
            if now - due > self._late_s:
                self._not_before = now + self._grace_s
                log.warning("reaper.stood_still", late_s=round(now - due, 3), pause_s=self._grace_s)
            try:
                if failing or now < self._not_before:
                    await self._store.ping()
                else:
                    await self.step()
            except ServiceError as error:
                if not failing:
                    log.warning("reaper.store_failed", error=str(error), pause_s=self._grace_s)
                failing = True
                continue
            if failing:
                failing = False
                self._not_before = self._monotonic() + self._grace_s

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
