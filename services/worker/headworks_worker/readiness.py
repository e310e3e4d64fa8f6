"""Whether the worker is attached to a scheduler and hears it, passed on to its health service."""

from __future__ import annotations

import asyncio

from headworks_core.serving import Health


class Readiness:
    """The last word counts."""

    def __init__(self) -> None:
        self._ready = False
        self._changed = asyncio.Event()

    @property
    def faults(self) -> list[str]:
        """Why this worker gets no work now."""
        return [] if self._ready else ["session: no scheduler is attached, or none is heard"]

    def set(self, ready: bool) -> None:
        """It has changed."""
        self._ready = ready
        self._changed.set()

    async def tell(self, health: Health) -> None:
        """Pass changes on until cancelled."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            await health.set_ready(self._ready)
