"""Token bucket: `limit` tokens come at once every `period_us`, up to `burst` of them are kept.

Source: Turner, "New directions in communications (or which way to the information age?)", 1986, filled at intervals as
by Envoy's token bucket (max_tokens, tokens_per_fill, fill_interval). Where tokens come one by one instead, the rule is
gcra. The intervals begin with the first token taken from a full bucket.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from headworks_limiter.domain.outcome import RuleOutcome

MAX_FILLING_US = 2**51 - 1
"""An empty bucket is full again within this time, some 71 years, so that Lua counts exactly until then."""


@dataclass(frozen=True, slots=True)
class TokenBucket:
    """The thresholds of one rule."""

    limit: int
    period_us: int
    burst: int

    @property
    def capacity(self) -> int:
        """Permits a full bucket holds."""
        return self.burst

    @property
    def kind(self) -> str:
        """What of it makes its buckets others."""
        return "token_bucket"

    @property
    def thresholds(self) -> tuple[str | int, ...]:
        """As the script takes them."""
        return "token_bucket", self.limit, self.period_us, self.burst, 0

    @property
    def exact(self) -> bool:
        """Whether the script can compute with these thresholds without rounding."""
        return -(-self.burst // self.limit) * self.period_us <= MAX_FILLING_US

    def share(self, replicas: int) -> Self:
        """The part of one replica among `replicas` that cannot see each other; at least one permit."""
        return type(self)(max(1, self.limit // replicas), self.period_us, max(1, self.burst // replicas))


def take(state: str | None, permits: int, params: TokenBucket, now_us: int) -> tuple[RuleOutcome, str | None]:
    """Take `permits` (0 to the burst; 0 only looks), if the bucket has them; otherwise the state stays as it is.

    A state is `at:taken`: how many tokens were missing at the microsecond `at`, when the last ones had come. None is a
    full bucket. While the clock is behind `at` no token comes, so stepping back never grants. A changed limit applies
    at once to the tokens already taken.
    """
    at, taken = _read(state, params, now_us)
    missing = permits - (params.burst - taken)
    if missing > 0:
        return _outcome(params, at, taken, now_us, at + _fills(missing, params) * params.period_us - now_us), state
    if permits == 0:
        return _outcome(params, at, taken, now_us, 0), state
    taken += permits
    return _outcome(params, at, taken, now_us, 0), f"{at}:{taken}"


def settle(state: str | None, more: int, params: TokenBucket, start_us: int, now_us: int) -> str | None:
    """The state when a grant of `start_us` cost so many permits more, or if negative fewer, than it took.

    Tokens that have come since cannot come back, nor more be taken than the bucket holds.
    """
    at, taken = _read(state, params, now_us)
    if more < 0:
        come = -(-max(0, now_us - start_us) // params.period_us) * params.limit
        more = min(0, more + come)
    taken = min(params.burst, max(0, taken + more))
    return f"{at}:{taken}"


def _read(state: str | None, params: TokenBucket, now_us: int) -> tuple[int, int]:
    if state is None:
        return now_us, 0
    at, taken = map(int, state.split(":"))
    taken = min(taken, params.burst)
    if now_us >= at:
        fills = min((now_us - at) // params.period_us, _fills(taken, params))
        at, taken = at + fills * params.period_us, max(0, taken - fills * params.limit)
    return (at, taken) if taken else (now_us, 0)


def _fills(tokens: int, params: TokenBucket) -> int:
    """How many times tokens have to come until so many have."""
    return -(-tokens // params.limit)


def _outcome(params: TokenBucket, at: int, taken: int, now_us: int, retry_after_us: int) -> RuleOutcome:
    reset_after_us = at + _fills(taken, params) * params.period_us - now_us
    return RuleOutcome(retry_after_us == 0, params.burst - taken, reset_after_us, retry_after_us)
