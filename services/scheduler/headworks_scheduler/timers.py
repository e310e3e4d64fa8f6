"""Timers: delays and back-offs end, jobs expire. One task a cell that sleeps until the next one."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from headworks_scheduler.store.jobs import BATCH_MAX, JobStore

LONGEST_SLEEP_S = 5.0  # a lost notice costs no more than this


class Timers:
    """The timer index of one cell."""

    def __init__(self, store: JobStore, cell: int) -> None:
        self._store = store
        self._cell = cell
        self._earlier = asyncio.Event()

    def notice(self) -> None:
        """A timer was set that comes before all others."""
        self._earlier.set()

    async def run(self) -> None:
        """Handle timers until cancelled."""
        while True:
            self._earlier.clear()
            handled, next_us = await self._store.due(self._cell)
            if handled == BATCH_MAX:
                continue
            sleep_s = LONGEST_SLEEP_S if next_us < 0 else min(LONGEST_SLEEP_S, next_us / 1e6)
            with suppress(TimeoutError):
                async with asyncio.timeout(sleep_s):
                    await self._earlier.wait()
