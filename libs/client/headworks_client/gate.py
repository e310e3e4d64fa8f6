"""Asks for permits before something is done, and waits for them where that is soon enough."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Literal, Protocol

from headworks_core.errors import Reason, ServiceError, Unavailable

from headworks_client.blocking import sleeping
from headworks_client.decisions import Decision
from headworks_client.holding import LONGEST_PROMISE_S, BlockingHold, Hold
from headworks_client.limiter import LimiterClient
from headworks_client.refusals import LimitExceeded
from headworks_client.sync import SyncLimiterClient

OnUnavailable = Literal["allow", "deny"]
SHORTEST_WAIT_S = 0.001

log = logging.getLogger(__name__)


class Entered(Protocol):
    """What the permits hold while something is done."""

    def end(self) -> None:
        """It is done."""


class _Ask(Protocol):
    def __call__(
        self, namespace: str, descriptors: Mapping[str, str], permits: int | None, max_wait_s: float, /
    ) -> Awaitable[Decision]: ...


class Gate:
    """What must be passed before something is done. Who waits is promised permits in turn, where rules can promise."""

    def __init__(
        self,
        ask: _Ask,
        sleep: Callable[[float], Awaitable[None]],
        hold: Callable[[Decision], Hold | BlockingHold],
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
        self._hold = hold
        self._namespace = namespace
        self._max_wait_s = max_wait_s
        self._on_unavailable = on_unavailable

    async def enter(self, descriptors: Mapping[str, str], permits: int | None) -> Entered:
        """Return when the permits have begun, or (no descriptors; no limiter, and `allow`) are not needed.

        Waits as long as the limiter says, `max_wait_s` in all. Raises LimitExceeded; Unavailable (no limiter, and
        `deny`). What is returned must be ended.
        """
        if not descriptors:
            return FREE
        give_up_at = time.monotonic() + self._max_wait_s
        while True:
            left_s = min(max(0.0, give_up_at - time.monotonic()), LONGEST_PROMISE_S)
            try:
                decision = await self._ask(self._namespace, descriptors, permits, left_s)
            except ServiceError as error:
                self._undecided(error)
                return FREE
            if decision.allowed:
                return await self._begin(decision)
            wait_s = max(decision.retry_after_s, SHORTEST_WAIT_S)
            if decision.retry_after_s <= 0 or time.monotonic() + wait_s > give_up_at:
                raise LimitExceeded.of(decision)
            await self._sleep(wait_s)

    async def _begin(self, decision: Decision) -> Entered:
        """Hold what is held, and wait until the permits begin."""
        hold = self._hold(decision)
        hold.begin()
        try:
            if decision.wait_s > 0:
                await self._sleep(decision.wait_s)
        except BaseException:
            hold.end()
            raise
        return hold

    def _undecided(self, error: ServiceError) -> None:
        if error.reason is Reason.PERMITS_EXCEED_LIMIT:  # asking again would never help
            raise LimitExceeded(error.message) from None
        log.warning("the limiter did not decide: %s (%s)", error.message, self._on_unavailable)
        if self._on_unavailable == "deny":
            raise Unavailable("the limiter cannot be asked") from error


class _Free:
    def end(self) -> None:
        """Nothing is held."""


FREE = _Free()


def gate(client: LimiterClient, namespace: str, *, max_wait_s: float, on_unavailable: OnUnavailable) -> Gate:
    """A gate whose waits let other tasks run."""

    async def ask(
        namespace: str, descriptors: Mapping[str, str], permits: int | None, max_wait_s: float, /
    ) -> Decision:
        return await client.consume(namespace, descriptors, permits, max_wait_s=max_wait_s)

    def hold(decision: Decision) -> Hold:
        return Hold(client, decision)

    return Gate(ask, asyncio.sleep, hold, namespace, max_wait_s=max_wait_s, on_unavailable=on_unavailable)


def blocking_gate(
    client: SyncLimiterClient, namespace: str, *, max_wait_s: float, on_unavailable: OnUnavailable
) -> Gate:
    """A gate whose coroutines block instead of suspending: for `blocking.run`."""

    async def ask(
        namespace: str, descriptors: Mapping[str, str], permits: int | None, max_wait_s: float, /
    ) -> Decision:
        return client.consume(namespace, descriptors, permits, max_wait_s=max_wait_s)

    def hold(decision: Decision) -> BlockingHold:
        return BlockingHold(client, decision)

    return Gate(ask, sleeping, hold, namespace, max_wait_s=max_wait_s, on_unavailable=on_unavailable)
