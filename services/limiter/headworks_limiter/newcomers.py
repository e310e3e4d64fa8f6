"""A cap on the buckets that tenants begin with, so that nobody fills the store with values made up."""

from __future__ import annotations

import time
from collections.abc import Callable

from headworks_core.errors import Reason, ResourceExhausted

MINUTE_S = 60
MAX_TENANTS = 100_000


class Newcomers:
    """Counts, by tenant and minute, the buckets of descriptors that this replica does not know.

    It knows the latest 8192, so what is counted is at least what is new in the store, and may be more where callers
    come back after others: a cap belongs far above what a tenant's callers are a minute. Costs nothing for descriptors
    that are known.
    """

    def __init__(self, most: int, *, clock_s: Callable[[], float] = time.monotonic) -> None:
        """`most` buckets of a tenant a minute; 0: any number."""
        self._most = most
        self._clock_s = clock_s
        self._minute = 0
        self._counts: dict[str, int] = {}
        self.refused = 0
        """Requests that were one too many."""

    def met(self, tenant: str, buckets: int) -> None:
        """A tenant's request leads to these unknown buckets. Raises ResourceExhausted (TOO_MANY_BUCKETS)."""
        if not self._most:
            return
        now_s = self._clock_s()
        minute = int(now_s // MINUTE_S)
        if minute != self._minute or len(self._counts) >= MAX_TENANTS:
            self._minute = minute
            self._counts.clear()
        count = self._counts.get(tenant, 0) + buckets
        if count > self._most:
            self.refused += 1
            rest_s = MINUTE_S - now_s % MINUTE_S
            message = f"tenant {tenant} has begun with {self._most:,} buckets this minute, and may with no more"
            raise ResourceExhausted(message, reason=Reason.TOO_MANY_BUCKETS, retry_after_us=int(rest_s * 1_000_000) + 1)
        self._counts[tenant] = count
