"""Where hits are counted: in Redis, or in this process."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

from headworks_core import scripts
from headworks_core.errors import Unavailable

from headworks_limiter.envoy.windows import Count, Hit, count
from headworks_limiter.store.memory import MAX_STATES, States, wall_clock_us
from headworks_limiter.store.patience import within

JSON = json.JSONEncoder(separators=(",", ":"))


class RedisCounters:
    """Counts by `store/scripts/envoy.lua`."""

    def __init__(self, redis: scripts.Runs, *, timeout_s: float, now_us: Callable[[], int] | None = None) -> None:
        """`now_us` is for tests; without it the server's clock decides."""
        self._redis = redis
        self._timeout_s = timeout_s
        self._now_us = now_us
        self._count = scripts.load("headworks_limiter.store", "envoy")

    async def count(self, hits: Sequence[Hit], *, traceparent: str = "") -> list[Count]:
        """Count in this order, in one atomic step; all of one cell. Raises Unavailable: the outcome is unknown."""
        keys: dict[str, int] = {}
        flat: list[int] = []
        for hit in hits:
            flat += (keys.setdefault(hit.key, len(keys) + 1), hit.unit.seconds, hit.hits, int(hit.negative))
        now_us = "" if self._now_us is None else self._now_us()
        call = self._count(self._redis, list(keys), (now_us, JSON.encode(flat)), traceparent=traceparent)
        try:
            reply = await within(self._timeout_s, call)
        except TimeoutError as error:
            raise Unavailable("the store did not answer in time") from error
        return [Count(reply[at], reply[at + 1]) for at in range(0, len(reply), 2)]


class MemoryCounters:
    """Counts in this process, by the pure function: for a single limiter without Redis.

    Beyond `max_states` counters the one that was used least recently is forgotten.
    """

    def __init__(self, *, max_states: int = MAX_STATES, now_us: Callable[[], int] = wall_clock_us) -> None:
        self._states = States(max_states)
        self._now_us = now_us

    async def count(self, hits: Sequence[Hit], *, traceparent: str = "") -> list[Count]:
        """Count in this order, in one atomic step."""
        now_s = self._now_us() // 1_000_000
        return [self._count(hit, now_s) for hit in hits]

    def _count(self, hit: Hit, now_s: int) -> Count:
        counted, state = count(self._states.get(hit.key), hit, now_s)
        if state is not None:
            self._states.keep({hit.key: state})
        return counted
