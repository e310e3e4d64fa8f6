"""Whether the store is what a service can work with, for as long as the service runs."""

from __future__ import annotations

import asyncio
import time

import structlog
from redis.asyncio import Redis

from headworks_core.errors import FailedPrecondition, ServiceError
from headworks_core.store import answers, check_server, store_errors

log = structlog.get_logger(__name__)

LOOK_S = 2.0


class StoreFitness:
    """Asks the store whether it answers, and every LOOK_S whether it is still one that `check_server` lets us start
    with: somebody may have switched eviction on, or made it a replica."""

    def __init__(self, redis: Redis, *, durable: bool, timeout_s: float, alone: bool = True) -> None:
        """`durable` and `alone` as in `check_server`; `timeout_s` bounds each question."""
        self._redis = redis
        self._durable = durable
        self._alone = alone
        self._timeout_s = timeout_s
        self._look_at = time.monotonic() + LOOK_S
        self._fault = ""

    async def __call__(self) -> str:
        """What is wrong with it, in a few words; empty: nothing."""
        if not await answers(self._redis, timeout_s=self._timeout_s):
            self._look_at = 0.0  # another server may come back
            return "does not answer"
        if self._fault or time.monotonic() >= self._look_at:
            try:
                await self._look()
            except (ServiceError, TimeoutError) as error:
                return f"does not say what it is: {error}"
            self._look_at = time.monotonic() + LOOK_S
        return self._fault

    async def _look(self) -> None:
        fault = ""
        try:
            with store_errors():
                async with asyncio.timeout(self._timeout_s):
                    await check_server(self._redis, durable=self._durable, alone=self._alone)
        except FailedPrecondition as error:
            fault = error.message
        if fault and fault != self._fault:
            log.error("store.unsuitable", fault=fault)
        elif self._fault and not fault:
            log.warning("store.suitable")
        self._fault = fault
