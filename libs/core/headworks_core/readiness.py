"""Whether callers should be sent here: as long as the store answers, give or take a blip."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import structlog

from headworks_core.serving import Health

log = structlog.get_logger(__name__)

FAILURES = 3
SUCCESSES = 2


class Readiness:
    """Ready until FAILURES probes in a row fail, then not until SUCCESSES in a row succeed. Alive all the time."""

    def __init__(self, answers: Callable[[], Awaitable[bool]], *healths: Health) -> None:
        """`answers` asks the store once; its verdict is told to all `healths`."""
        self._answers = answers
        self._healths = healths
        self._ready = True
        self._against = 0

    async def begin(self) -> None:
        """Ready; the store has just answered."""
        await self._tell()

    async def probe(self) -> None:
        """Ask the store once."""
        if await self._answers() is self._ready:
            self._against = 0
            return
        self._against += 1
        if self._against == (FAILURES if self._ready else SUCCESSES):
            self._ready, self._against = not self._ready, 0
            await self._tell()
            log.warning("readiness.changed", ready=self._ready)

    async def _tell(self) -> None:
        for health in self._healths:
            await health.set_ready(self._ready)
