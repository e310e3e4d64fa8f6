"""What the store publishes to this replica: wake-ups, cancellations, changes of watched jobs, new timers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from headworks_core.cells import Meta
from headworks_core.errors import Unavailable
from redis.asyncio import Redis

SILENCE_S = 5.0  # then the connection is asked whether it still lives; after as much again it counts as lost


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

    def __init__(
        self, redis: Redis, meta: Meta, replica: str, listener: Listener, *, silence_s: float = SILENCE_S
    ) -> None:
        """`redis` must not have a socket timeout."""
        self._redis = redis
        self._silence_s = silence_s
        self._listener = listener
        self._replica_channels = {f"{meta.prefix(cell)}:replica:{replica}": cell for cell in range(meta.cells)}
        self._heard = asyncio.get_running_loop().time()
        self._timer_channels = {f"{meta.prefix(cell)}:timers": cell for cell in range(meta.cells)}
        self._verbs: dict[str, Callable[[int, list[str]], Awaitable[None] | None]] = {
            "wake": lambda _, words: listener.on_wake(words[0]),
            "cancel": lambda cell, words: listener.on_cancel(cell, words[0], int(words[1])),
            "changed": listener.on_changed,
        }

    @property
    def silent_s(self) -> float:
        """For how long nothing was heard, not even an answer to a ping; while all is well, at most two `silence_s`."""
        return asyncio.get_running_loop().time() - self._heard

    async def run(self) -> None:
        """Listen until cancelled; ends with an error when the connection is lost, or no longer answers."""
        loop = asyncio.get_running_loop()
        async with self._redis.pubsub() as subscription:
            await subscription.subscribe(*self._replica_channels, *self._timer_channels)
            unconfirmed = len(self._replica_channels) + len(self._timer_channels)
            heard = loop.time()
            while True:
                message = await subscription.get_message(timeout=self._silence_s)
                if message is None:
                    if loop.time() - heard > 1.5 * self._silence_s:
                        raise Unavailable("the subscription has fallen silent")
                    async with asyncio.timeout(self._silence_s):
                        await subscription.ping()
                    continue
                self._heard = heard = loop.time()
                if message["type"] == "message":
                    await self._hear(message["channel"].decode(), message["data"].decode())
                elif message["type"] == "subscribe":
                    unconfirmed -= 1
                    if not unconfirmed:  # what is read from now on cannot change unheard
                        self._listener.on_unsure()

    async def _hear(self, channel: str, text: str) -> None:
        if channel in self._timer_channels:
            self._listener.on_timer(self._timer_channels[channel])
            return
        verb, *words = text.split(" ")
        heard = self._verbs[verb](self._replica_channels[channel], words)
        if heard is not None:
            await heard
