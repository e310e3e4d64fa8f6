"""Whether callers should be sent here: as long as the store answers, give or take a blip."""

from __future__ import annotations

import structlog
from headworks_core.serving import Health
from redis.asyncio import Redis
from redis.exceptions import RedisError

from headworks_limiter.store.patience import within

log = structlog.get_logger(__name__)

FAILURES = 3
SUCCESSES = 2


class Readiness:
    """Ready until FAILURES probes in a row fail, then not until SUCCESSES in a row succeed. Alive all the time."""

    def __init__(self, redis: Redis, health: Health, *, timeout_s: float) -> None:
        """`timeout_s` bounds a probe."""
        self._redis = redis
        self._timeout_s = timeout_s
        self._health = health
        self._ready = True
        self._against = 0

    async def begin(self) -> None:
        """Ready; the store has just answered."""
        await self._health.set_ready(True)

    async def probe(self) -> None:
        """Ask the store once."""
        if await self._answers() is self._ready:
            self._against = 0
            return
        self._against += 1
        if self._against == (FAILURES if self._ready else SUCCESSES):
            self._ready, self._against = not self._ready, 0
            await self._health.set_ready(self._ready)
            log.warning("readiness.changed", ready=self._ready)

    async def _answers(self) -> bool:
        try:
            await within(self._timeout_s, self._redis.execute_command("PING"))  # type: ignore[no-untyped-call]
        except (RedisError, TimeoutError):
            return False
        return True
