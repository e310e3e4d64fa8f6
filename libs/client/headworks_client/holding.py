"""Grants that are held while something is done: renewed in time, and given back at the end."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Protocol

from headworks_core.errors import FailedPrecondition, NotFound, ServiceError

from headworks_client.backoff import Backoff
from headworks_client.decisions import Decision
from headworks_client.refusals import LimitExceeded

log = logging.getLogger(__name__)

SOONEST_S = 0.02
"""The shortest time between two tries to renew."""
FIRST_LOOK_S, LONGEST_LOOK_S = 0.02, 0.5
"""Between looks for a free slot."""
LONGEST_PROMISE_S = 3_600.0
"""As far ahead as the limiter promises permits."""
GONE = (NotFound, FailedPrecondition)
"""How the limiter says that others may hold what was held."""


class HoldLost(Exception):
    """The limiter could not be told in time that the permits are still held, so others may hold them by now."""


class Renewing(Protocol):
    """A LimiterClient."""

    def renew(self, grant_id: str) -> Awaitable[float]:
        """Hold on; for how many seconds from now."""

    def release(self, grant_id: str) -> Awaitable[bool]:
        """Give back what is held."""


class BlockingRenewing(Protocol):
    """A SyncLimiterClient."""

    def renew(self, grant_id: str) -> float:
        """Hold on; for how many seconds from now."""

    def release(self, grant_id: str) -> bool:
        """Give back what is held."""


async def entered(
    ask: Callable[[float], Awaitable[Decision]], sleep: Callable[[float], Awaitable[None]], max_wait_s: float
) -> Decision:
    """Ask, with the seconds that are left for waiting, until it is allowed. Raises LimitExceeded after `max_wait_s`.

    A slot that is given back early is found by asking again: nobody is told.
    """
    backoff, give_up_at = Backoff(FIRST_LOOK_S, LONGEST_LOOK_S), monotonic() + max_wait_s
    while True:
        left_s = max(0.0, give_up_at - monotonic())
        decision = await ask(min(left_s, LONGEST_PROMISE_S))
        if decision.allowed:
            return decision
        if not left_s or not decision.retry_after_s:
            raise LimitExceeded.of(decision)
        await sleep(min(decision.retry_after_s, backoff.next_s(), left_s))


class Hold:
    """What a decision has granted, held from `begin` to `end`; a grant that holds nothing needs neither.

    It is renewed when half of its time has passed, and given back without waiting for it.
    """

    def __init__(self, client: Renewing, decision: Decision, on_lost: Callable[[], None] | None = None) -> None:
        self._client = client
        self.decision = decision
        self.lost = False
        """Whether others may hold the permits by now; `on_lost` was called then."""
        self._on_lost = on_lost
        self._ends_at = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._renewing: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Keep it."""
        if self.decision.grant_id:
            self._ends_at = monotonic() + self.decision.grant_expires_after_s
            self._arm()

    def end(self) -> None:
        """Give it back; what comes of that is only logged."""
        if not self.decision.grant_id:
            return
        if self._timer is not None:
            self._timer.cancel()
        if self._renewing is not None:
            self._renewing.cancel()
        if not self.lost:
            _in_background(self._release())

    def _arm(self) -> None:
        delay_s = max((self._ends_at - monotonic()) / 2, SOONEST_S)
        self._timer = asyncio.get_running_loop().call_later(delay_s, self._renew_soon)

    def _renew_soon(self) -> None:
        self._renewing = asyncio.get_running_loop().create_task(self._renew(), name="headworks-renew")

    async def _renew(self) -> None:
        sent_at = monotonic()
        try:
            self._ends_at = sent_at + await self._client.renew(self.decision.grant_id)
        except GONE as error:
            self._lose(error)
        except ServiceError as error:
            if monotonic() >= self._ends_at:
                self._lose(error)
        if not self.lost:
            self._arm()

    def _lose(self, error: ServiceError) -> None:
        log.warning("grant %s is lost: %s", self.decision.grant_id, error.message)
        self.lost = True
        if self._on_lost is not None:
            self._on_lost()

    async def _release(self) -> None:
        try:
            await self._client.release(self.decision.grant_id)
        except ServiceError as error:
            log.info("grant %s was not given back, it ends by itself: %s", self.decision.grant_id, error.message)


class BlockingHold:
    """The same for code without an event loop: a thread renews what is held, and gives it back."""

    def __init__(self, client: BlockingRenewing, decision: Decision) -> None:
        self._client = client
        self.decision = decision
        self.lost = False
        """Whether others may hold the permits by now."""
        self._over = threading.Event()
        self._keeper: threading.Thread | None = None

    def begin(self) -> None:
        """Keep it."""
        if self.decision.grant_id:
            ends_at = monotonic() + self.decision.grant_expires_after_s
            self._keeper = threading.Thread(target=self._keep, args=(ends_at,), name="headworks-hold", daemon=True)
            self._keeper.start()

    def end(self, *, wait: bool = True) -> None:
        """Give it back, and `wait` until that is done; what comes of it is only logged."""
        self._over.set()
        if wait and self._keeper is not None:
            self._keeper.join()

    def _keep(self, ends_at: float) -> None:
        while not self._over.wait(max((ends_at - monotonic()) / 2, SOONEST_S)):
            sent_at = monotonic()
            try:
                ends_at = sent_at + self._client.renew(self.decision.grant_id)
            except ServiceError as error:
                if isinstance(error, GONE) or monotonic() >= ends_at:
                    log.warning("grant %s is lost: %s", self.decision.grant_id, error.message)
                    self.lost = True
                    return
        try:
            self._client.release(self.decision.grant_id)
        except ServiceError as error:
            log.info("grant %s was not given back, it ends by itself: %s", self.decision.grant_id, error.message)


_background: set[asyncio.Task[None]] = set()


def _in_background(work: Awaitable[None]) -> None:
    task: asyncio.Task[None] = asyncio.ensure_future(work)
    _background.add(task)
    task.add_done_callback(_background.discard)
