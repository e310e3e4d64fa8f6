"""Permits without a round trip: quota leases that are spent in this process."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections import deque
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass, replace
from time import monotonic
from types import TracebackType
from typing import Protocol, Self

from headworks_core.errors import InvalidArgument, Reason, ServiceError, Unavailable

from headworks_client.backoff import Backoff
from headworks_client.decisions import Decision, Refusal, RuleStatus
from headworks_client.granting import Lease
from headworks_client.lease_size import Bounds, Pace
from headworks_client.purse import Held, Purse

log = logging.getLogger(__name__)

KEEP_S = 1.0
"""A lease is taken for so much longer than it is spent from, so that what is left gets back in time."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.05, 1.0
"""Between tries while the limiter cannot be asked; the first also after a refusal that does not say how long."""
MOST_S = 599.0
MOST_PERMITS = 1_000_000_000
TIMER_S = 0.001


class Leasing(Protocol):
    """Where leases come from: a LimiterClient."""

    def lease_quota(
        self, namespace: str, descriptors: Mapping[str, str], permits: int, *, duration_s: float, request_id: str
    ) -> Awaitable[Lease]:
        """Take up to so many permits in advance."""

    def return_quota(self, lease_id: str, spent: int) -> Awaitable[None]:
        """End a lease of which so many permits were spent."""


@dataclass(frozen=True, slots=True)
class QuotaCounts:
    """What has become of permits so far; `leased` is the sum of the other four."""

    leases: int
    leased: int
    spent: int
    returned: int
    lost: int
    """Given back too late, or without hearing that it worked."""
    outstanding: int
    """On lease, or on their way back."""


@dataclass(slots=True, eq=False)
class _Waiter:
    """A caller for whom there are too few permits at hand."""

    permits: int
    give_up_at: float
    decision: asyncio.Future[Decision]


class LocalQuota:
    """Permits for one set of descriptors, spent here; made by `LimiterClient.local`, for one event loop of one process.

    One lease after the other is taken, large enough for about `target_s` at the present pace, and asked for before the
    last one is used up. What is not spent goes back: when a lease ends, and on close. Nothing is spent after a lease
    has ended, so the limits of fixed windows hold exactly; by other algorithms as much more may be admitted in an
    interval as is on lease, because it is spent later than it was taken. A process that is killed takes with it what
    it has on lease.
    """

    def __init__(
        self,
        leasing: Leasing,
        namespace: str,
        descriptors: Mapping[str, str],
        *,
        bounds: Bounds,
        duration_s: float,
    ) -> None:
        """See `LimiterClient.local`."""
        if not 0.1 <= duration_s <= MOST_S:
            raise ValueError(f"duration_s: 0.1 to {MOST_S:g}, not {duration_s}")
        self._leasing = leasing
        self._namespace = namespace
        self._descriptors = dict(descriptors)
        self._duration_s = duration_s
        self._pace = Pace(bounds)
        self._purse = Purse()
        self._first: Held | None = None
        """The lease that is spent from, down to `_low`, without a second thought."""
        self._low = 0
        self._waiting: deque[_Waiter] = deque()
        self._ahead = False
        """The next lease is wanted before anybody waits for it."""
        self._governing: RuleStatus | None = None
        self._refused_until = 0.0
        self._measured = (monotonic(), 0)
        """When the last lease came, and what had been spent by then."""
        self._leases = self._leased = self._spent = self._returned = self._lost = 0
        self._granted = Decision(True, 1, None, 0.0, None, (), False, False)
        self._changed, self._closing = asyncio.Event(), asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._work: asyncio.Task[None] | None = None
        self._returning: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._work = asyncio.get_running_loop().create_task(self._run(), name="headworks-local-quota")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give back what is left. Whoever waits gets Unavailable; a limiter that is away makes it a loss."""
        self._closing.set()
        self._changed.set()
        self._fail(Unavailable("the quota was closed"))
        if self._work is not None:
            await asyncio.wait([self._work])  # a lease that is on its way comes first, and goes back too
        if self._timer is not None:
            self._timer.cancel()
        self._give_back(self._purse.take_all())
        if self._returning:
            await asyncio.wait(self._returning)

    @property
    def counts(self) -> QuotaCounts:
        """What has become of permits so far."""
        spent = self._spent + self._purse.spent
        outstanding = self._leased - spent - self._returned - self._lost
        return QuotaCounts(self._leases, self._leased, spent, self._returned, self._lost, outstanding)

    def try_consume(self, permits: int = 1) -> bool:
        """Spend permits if they are at hand. Where they are not, they will soon be, as far as the limits allow.

        Raises ValueError for less than one permit, or absurdly many.
        """
        first = self._first
        if first is not None and 0 < permits <= first.left - self._low and monotonic() < first.until:
            first.left -= permits
            return True
        return self._spend(permits)

    async def consume(self, permits: int = 1, *, max_wait_s: float = 0.0) -> Decision:
        """Spend permits, of a new lease if need be; a refusal is waited out up to `max_wait_s`, in turn with others.

        Raises as `LimiterClient.consume`, PERMITS_EXCEED_LIMIT included, and ValueError as `try_consume`.
        """
        if self.try_consume(permits):
            return self._allowed(permits)
        if self._work is None or self._closing.is_set():
            raise Unavailable("the quota is not open")
        now = monotonic()
        if now + max_wait_s < self._refused_until:
            return self._refusal(now)
        waiter = _Waiter(permits, now + max_wait_s, asyncio.get_running_loop().create_future())
        self._waiting.append(waiter)
        self._changed.set()
        return await waiter.decision

    # -- spending

    def _spend(self, permits: int) -> bool:
        if not 1 <= permits <= MOST_PERMITS:
            raise ValueError(f"permits: 1 to {MOST_PERMITS:,}, not {permits}")
        now = monotonic()
        self._clear(now)
        spent = not self._waiting and self._purse.spend(permits, now)
        if not spent or self._purse.left(now) <= self._low:
            self._ahead, self._low = True, 0
            self._changed.set()
        return spent

    def _clear(self, now: float) -> None:
        """Give back the leases that are over."""
        self._give_back(self._purse.take_over(now))
        self._first = self._purse.first
        next_end = self._purse.next_end
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if next_end is not None and not self._closing.is_set():
            delay_s = max(0.0, next_end - now) + TIMER_S
            self._timer = asyncio.get_running_loop().call_later(delay_s, lambda: self._clear(monotonic()))

    def _serve(self) -> None:
        """Answer those who wait, in turn, as far as there are permits."""
        now = monotonic()
        self._clear(now)
        while self._waiting:
            waiter = self._waiting[0]
            if not waiter.decision.done():
                if self._governing is not None and waiter.permits > self._governing.limit:
                    waiter.decision.set_exception(_exceeds(waiter.permits, self._governing))
                elif self._purse.spend(waiter.permits, now):
                    waiter.decision.set_result(self._allowed(waiter.permits))
                else:
                    break
            self._waiting.popleft()

    def _refuse(self) -> None:
        """Answer those who do not wait until the refusal is over."""
        now = monotonic()
        for waiter in self._waiting:
            if not waiter.decision.done() and waiter.give_up_at < self._refused_until:
                waiter.decision.set_result(self._refusal(now))
        self._serve()

    def _fail(self, error: ServiceError) -> None:
        for waiter in self._waiting:
            if not waiter.decision.done():
                waiter.decision.set_exception(error)
        self._waiting.clear()

    def _allowed(self, permits: int) -> Decision:
        return self._granted if permits == 1 else replace(self._granted, permits=permits)

    def _refusal(self, now: float) -> Decision:
        wait_s = max(0.0, self._refused_until - now)
        return Decision(False, 0, Refusal.LIMITED, wait_s, self._governing, (), False, False)

    # -- leasing

    async def _run(self) -> None:
        backoff = Backoff(FIRST_PAUSE_S, LONGEST_PAUSE_S)
        while not self._closing.is_set():
            while self._waiting and self._waiting[0].decision.done():
                self._waiting.popleft()
            if not (self._waiting or self._ahead):
                self._changed.clear()
                await self._changed.wait()
                continue
            pause_s = self._refused_until - monotonic()
            if pause_s <= 0:
                pause_s = await self._try_to_lease(backoff)
            if pause_s > 0:
                await self._pause(pause_s)

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._closing.wait()
        except TimeoutError:
            pass

    async def _try_to_lease(self, backoff: Backoff) -> float:
        """Take a lease, and answer whom it answers; how long to wait before the next try, in seconds."""
        try:
            await self._lease()
        except ServiceError as error:
            self._fail(error)
            self._ahead = False
            return backoff.next_s()
        except Exception as error:  # whatever it is: nobody may wait for a task that has died
            log.exception("the local quota failed")
            self._fail(ServiceError(f"the client failed: {error!r}"))
            return LONGEST_PAUSE_S
        backoff.reset()
        return 0.0

    async def _lease(self) -> None:
        sent_at = monotonic()
        lease = await self._leasing.lease_quota(
            self._namespace,
            self._descriptors,
            self._wanted(sent_at),
            duration_s=self._duration_s + KEEP_S,
            request_id=str(uuid.uuid4()),
        )
        now = monotonic()
        self._governing = lease.governing
        self._ahead = False
        if not lease.permits:
            self._refused_until = now + (lease.retry_after_s or FIRST_PAUSE_S)
            self._refuse()
            return
        self._leases += 1
        self._leased += lease.permits
        measured_at, spent_then = self._measured
        self._measured = now, self.counts.spent
        self._pace.came(lease.permits, now - sent_at, spent=self._measured[1] - spent_then, over_s=now - measured_at)
        until = sent_at + min(lease.expires_after_s, self._duration_s)
        self._purse.add(Held(lease.lease_id, lease.permits, lease.permits, until))
        self._low = self._pace.low_mark()
        self._serve()

    def _wanted(self, now: float) -> int:
        """As many permits as the pace asks for, and at least what is waited for, though never more than allowed."""
        bounds = self._pace.bounds
        wants = [waiter.permits for waiter in self._waiting if not waiter.decision.done()]
        left = self._purse.left(now)
        size = min(bounds.most, max(self._pace.next_size(), sum(wants) - left))
        return max(size, wants[0] - left) if wants else size

    def _give_back(self, leases: Sequence[Held]) -> None:
        for held in leases:
            self._spent += held.spent
            if not held.lease_id:
                self._returned += held.left
                continue
            task = asyncio.get_running_loop().create_task(self._return(held), name="headworks-return-quota")
            self._returning.add(task)
            task.add_done_callback(self._returning.discard)

    async def _return(self, held: Held) -> None:
        try:
            await self._leasing.return_quota(held.lease_id, held.spent)
            self._returned += held.left
        except ServiceError as error:
            self._lost += held.left
            if held.left:
                log.info("%d permits were not given back: %s", held.left, error.message)


def _exceeds(permits: int, rule: RuleStatus) -> InvalidArgument:
    message = f"permits {permits:,} exceed the {rule.limit:,} that rule {rule.rule} can ever hold"
    return InvalidArgument(message, reason=Reason.PERMITS_EXCEED_LIMIT)
