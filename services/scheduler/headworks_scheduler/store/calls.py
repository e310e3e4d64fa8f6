"""Calls of the scheduler's scripts, each for one cell."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from headworks_core.cells import Meta
from headworks_core.scripts import Argument, load
from redis.asyncio import Redis


class Calls:
    """Runs scripts of this package by name; raises Unavailable or ResourceExhausted for a store that fails."""

    def __init__(
        self, redis: Redis, meta: Meta, names: Sequence[str], *, now_us: Callable[[], int] | None = None
    ) -> None:
        """`now_us` is for tests; without it the Redis server's clock decides."""
        self.meta = meta
        self._redis = redis
        self._now_us = now_us
        self._scripts = {name: load("headworks_scheduler.store", name) for name in names}

    def __call__(self, name: str, cell: int, args: Sequence[Argument], traceparent: str = "") -> Awaitable[Any]:
        """Run one script."""
        now_us: Argument = "" if self._now_us is None else self._now_us()
        keys = [self.meta.prefix(cell)]
        return self._scripts[name](self._redis, keys, [now_us, *args], traceparent=traceparent)


def fields_of(flat: Sequence[bytes]) -> dict[str, bytes]:
    """A hash from field, value, ..."""
    return {name.decode(): value for name, value in zip(flat[::2], flat[1::2], strict=True)}
