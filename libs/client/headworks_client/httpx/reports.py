"""Tells the limiter in the background what upstreams answered. Never slows a caller down, never fails a call."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

from headworks_core.errors import ServiceError

from headworks_client.limiter import LimiterClient
from headworks_client.sync import SyncLimiterClient

CAPACITY = 256
"""Reports that wait to be told; what comes beyond that is dropped and counted."""
LAST_WORDS_S = 1.0
"""How long closing waits for what has not been told."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an upstream answered; `status` 0 is no answer."""

    descriptors: Mapping[str, str]
    status: int
    headers: Mapping[str, str]
    latency_s: float

    @property
    def says_something(self) -> bool:
        """Whether it is about limits or health, beyond that all is well."""
        return bool(self.headers) or self.status in {0, 408, 420, 429} or self.status >= 500

    @property
    def says_nothing(self) -> bool:
        """Whether not even that: the request was at fault."""
        return not self.says_something and self.status >= 400


class Reports:
    """Those that wait, and how many have come to what."""

    def __init__(self, namespace: str) -> None:
        self._namespace = namespace
        self._waiting: deque[Outcome] = deque()
        self.told = 0
        self.failed = 0
        """Those that the limiter did not take, or could not be told."""
        self.dropped = 0

    def _keep(self, outcome: Outcome) -> bool:
        if len(self._waiting) < CAPACITY:
            self._waiting.append(outcome)
            return True
        if not self.dropped:
            log.warning("outcomes come faster than the limiter can be told; some are dropped")
        self.dropped += 1
        return False

    def _drop_all(self) -> None:
        self.dropped += len(self._waiting)
        self._waiting.clear()

    def _failed(self, error: Exception) -> None:
        self.failed += 1
        if isinstance(error, ServiceError):
            log.info("an outcome was not told: %s", error.message)
        else:
            log.error("an outcome could not be told", exc_info=error)


class AsyncReports(Reports):
    """For one event loop."""

    def __init__(self, client: LimiterClient, namespace: str) -> None:
        super().__init__(namespace)
        self._client = client
        self._changed = asyncio.Event()
        self._work: asyncio.Task[None] | None = None
        self._ending = False

    def put(self, outcome: Outcome) -> None:
        """Tell it soon."""
        if self._keep(outcome):
            self._changed.set()
            if self._work is None:
                self._work = asyncio.get_running_loop().create_task(self._run(), name="headworks-outcomes")

    async def close(self) -> None:
        """Tell what waits, for at most LAST_WORDS_S; the rest is dropped."""
        work, self._work = self._work, None
        if work is None:
            return
        self._ending = True
        self._changed.set()
        await asyncio.wait([work], timeout=LAST_WORDS_S)
        work.cancel()
        await asyncio.wait([work])
        self._drop_all()

    async def _run(self) -> None:
        while True:
            while self._waiting:
                await self._tell(self._waiting.popleft())
            if self._ending:
                return
            self._changed.clear()
            await self._changed.wait()

    async def _tell(self, outcome: Outcome) -> None:
        try:
            await self._client.report_outcome(
                self._namespace, outcome.descriptors, outcome.status, outcome.headers, latency_s=outcome.latency_s
            )
            self.told += 1
        except Exception as error:  # whatever it is: nobody else will tell the next one
            self._failed(error)


class SyncReports(Reports):
    """For threads; a thread of its own does the telling."""

    def __init__(self, client: SyncLimiterClient, namespace: str) -> None:
        super().__init__(namespace)
        self._client = client
        self._changed = threading.Condition()
        self._work: threading.Thread | None = None
        self._ending = False

    def put(self, outcome: Outcome) -> None:
        """Tell it soon."""
        with self._changed:
            if self._keep(outcome):
                self._changed.notify()
                if self._work is None:
                    self._work = threading.Thread(target=self._run, name="headworks-outcomes", daemon=True)
                    self._work.start()

    def close(self) -> None:
        """Tell what waits, for at most LAST_WORDS_S; the rest is dropped."""
        with self._changed:
            self._ending = True
            self._changed.notify()
        if self._work is not None:
            self._work.join(LAST_WORDS_S)
        with self._changed:
            self._drop_all()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._ending)
                if not self._waiting:
                    return
                outcome = self._waiting.popleft()
            self._tell(outcome)

    def _tell(self, outcome: Outcome) -> None:
        try:
            self._client.report_outcome(
                self._namespace, outcome.descriptors, outcome.status, outcome.headers, latency_s=outcome.latency_s
            )
            self.told += 1
        except Exception as error:  # whatever it is: nobody else will tell the next one
            self._failed(error)
