"""Asks for permits before something is done, and waits for them where that is soon enough."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Literal, Protocol

from headworks_core.errors import Reason, ServiceError, Unavailable

from headworks_client.decisions import Decision
from headworks_client.limiter import LimiterClient
from headworks_client.refusals import LimitExceeded
from headworks_client.sync import SyncLimiterClient

OnUnavailable = Literal["allow", "deny"]
SHORTEST_WAIT_S = 0.001

log = logging.getLogger(__name__)


class _Ask(Protocol):
    def __call__(
        self, namespace: str, descriptors: Mapping[str, str], permits: int | None, /
    ) -> Awaitable[Decision]: ...


class Gate:
    """What must be passed before something is done. Any number may wait at a time; who comes first is not said."""

    def __init__(
        self,
        ask: _Ask,
        sleep: Callable[[float], Awaitable[None]],
        namespace: str,
        *,
        max_wait_s: float,
        on_unavailable: OnUnavailable,
    ) -> None:
        if not max_wait_s >= 0:
            raise ValueError(f"max_wait_s: 0 or more, not {max_wait_s}")
        if on_unavailable not in ("allow", "deny"):
            raise ValueError(f"on_unavailable: allow or deny, not {on_unavailable}")
        self._ask = ask
        self._sleep = sleep
        self._namespace = namespace
        self._max_wait_s = max_wait_s
        self._on_unavailable = on_unavailable

    async def enter(self, descriptors: Mapping[str, str], permits: int | None) -> None:
        """Return when the permits were taken, or (no descriptors; no limiter, and `allow`) are not needed.

        Waits as long as refusals say, `max_wait_s` in all, and for the turn that a leaky_bucket rule gives.
        Raises LimitExceeded; Unavailable (no limiter, and `deny`).
        """
        if not descriptors:
            return
        give_up_at = time.monotonic() + self._max_wait_s
        while True:
            try:
                decision = await self._ask(self._namespace, descriptors, permits)
            except ServiceError as error:
                self._undecided(error)
                return
            if decision.allowed:
                if decision.wait_s > 0:  # a leaky_bucket rule has said when
                    await self._sleep(decision.wait_s)
                return
            wait_s = max(decision.retry_after_s, SHORTEST_WAIT_S)
            if decision.retry_after_s <= 0 or time.monotonic() + wait_s > give_up_at:
                raise LimitExceeded.of(decision)
            await self._sleep(wait_s)

    def _undecided(self, error: ServiceError) -> None:
        if error.reason is Reason.PERMITS_EXCEED_LIMIT:  # asking again would never help
            raise LimitExceeded(error.message) from None
        log.warning("the limiter did not decide: %s (%s)", error.message, self._on_unavailable)
        if self._on_unavailable == "deny":
            raise Unavailable("the limiter cannot be asked") from error


def gate(client: LimiterClient, namespace: str, *, max_wait_s: float, on_unavailable: OnUnavailable) -> Gate:
    """A gate whose waits let other tasks run."""
    return Gate(client.consume, asyncio.sleep, namespace, max_wait_s=max_wait_s, on_unavailable=on_unavailable)


def blocking_gate(
    client: SyncLimiterClient, namespace: str, *, max_wait_s: float, on_unavailable: OnUnavailable
) -> Gate:
    """A gate whose coroutines block instead of suspending: for `blocking.run`."""

    async def ask(namespace: str, descriptors: Mapping[str, str], permits: int | None, /) -> Decision:
        return client.consume(namespace, descriptors, permits)

    async def sleep(seconds: float) -> None:
        time.sleep(seconds)  # noqa: ASYNC251 - it is meant to block

    return Gate(ask, sleep, namespace, max_wait_s=max_wait_s, on_unavailable=on_unavailable)
