"""What the store publishes to this replica: wake-ups, cancellations, changes of watched jobs, new timers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from headworks_core.cells import Meta
from redis.asyncio import Redis

SILENCE_S = 15.0  # then the connection is asked whether it still lives


class Listener(Protocol):
    """Who hears the notices."""

    async def on_wake(self, queue: str) -> None:
        """A queue has work, and only this replica was told."""

    def on_cancel(self, cell: int, ref: str, lease_id: int) -> None:
        """A lease that this replica serves should be cancelled."""

    def on_changed(self, cell: int, refs: Sequence[str]) -> None:
        """Jobs that are watched through this replica have changed."""

    def on_timer(self, cell: int) -> None:
        """A timer of the cell is now the earliest."""

    def on_unsure(self) -> None:
        """Notices may have been missed: the subscription is new."""


class Notices:
    """One subscription for all cells, on a connection of its own."""

    def __init__(self, redis: Redis, meta: Meta, replica: str, listener: Listener) -> None:
        """`redis` must not have a socket timeout."""
        self._redis = redis
        self._listener = listener
        self._replica_channels = {f"{meta.prefix(cell)}:replica:{replica}": cell for cell in range(meta.cells)}
        self._timer_channels = {f"{meta.prefix(cell)}:timers": cell for cell in range(meta.cells)}
        self._verbs: dict[str, Callable[[int, list[str]], Awaitable[None] | None]] = {
            "wake": lambda _, words: listener.on_wake(words[0]),
            "cancel": lambda cell, words: listener.on_cancel(cell, words[0], int(words[1])),
            "changed": listener.on_changed,
        }

    async def run(self) -> None:
        """Listen until cancelled; ends with an error when the connection is lost."""
        async with self._redis.pubsub() as subscription:
            await subscription.subscribe(*self._replica_channels, *self._timer_channels)
            self._listener.on_unsure()
            while True:
                message = await subscription.get_message(ignore_subscribe_messages=True, timeout=SILENCE_S)
                if message is None:
                    async with asyncio.timeout(SILENCE_S):
                        await subscription.ping()
                elif message["type"] == "message":
                    await self._hear(message["channel"].decode(), message["data"].decode())

    async def _hear(self, channel: str, text: str) -> None:
        if channel in self._timer_channels:
            self._listener.on_timer(self._timer_channels[channel])
            return
        verb, *words = text.split(" ")
        heard = self._verbs[verb](self._replica_channels[channel], words)
        if heard is not None:
            await heard
