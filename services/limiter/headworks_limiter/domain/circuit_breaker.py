"""Circuit breaker: nothing more is let through to who fails, until a few trials have gone well.

Source: Nygard, "Release It!", 2007. Closed, it counts the answers that callers report in windows of time, and opens
when enough of them failed. Open, it refuses everything for a while. Half open, it lets a few through: if all of those
go well it closes, if one fails it opens again, and if some are never heard of it lets others through after a while.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from headworks_limiter.domain.outcome import RuleOutcome
from headworks_limiter.domain.upstream import Kind

UNLIMITED = 1_000_000_000
"""What a closed one has left: as many permits as a request may ask for."""
CLOSED, OPEN, HALF_OPEN = "closed", "open", "half"

_State = tuple[str, int, int, int]


@dataclass(frozen=True, slots=True)
class CircuitBreaker:
    """The thresholds of one rule."""

    failures: int
    """Failed answers in a hundred that open it."""
    calls: int
    """Answers a window that it takes to judge."""
    window_us: int
    open_us: int
    probes: int
    """Trials, requests of any number of permits, that have to go well."""

    @property
    def capacity(self) -> int:
        """Permits that a request may ask for."""
        return UNLIMITED

    @property
    def kind(self) -> str:
        """What of it makes its buckets others."""
        return "circuit_breaker"

    @property
    def thresholds(self) -> tuple[str | int, ...]:
        """As the script takes them."""
        return "circuit_breaker", self.failures * 1_000_000 + self.calls, self.window_us, self.open_us, self.probes

    def share(self, replicas: int) -> Self:
        """The same: each replica judges for itself."""
        return self


def take(state: str | None, permits: int, params: CircuitBreaker, now_us: int) -> tuple[RuleOutcome, str | None]:
    """Let a request through (`permits` is 0 to look), if it is closed or there are trials to be had.

    A state is `closed:start:good:failed`, `open:until:0:0` or `half:until:sent:good`; None is closed.
    """
    phase, until, sent, _ = _read(state, now_us)
    if phase == CLOSED:
        return RuleOutcome(True, UNLIMITED, 0, 0), state
    left = params.probes - sent if phase == HALF_OPEN else 0
    if left <= 0 and permits:
        return RuleOutcome(False, 0, until - now_us, until - now_us), state
    if permits == 0:
        return RuleOutcome(True, max(0, left), max(0, until - now_us), 0), state
    until = until if sent else now_us + params.open_us
    good = _read(state, now_us)[3]
    return RuleOutcome(True, left - 1, until - now_us, 0), f"{HALF_OPEN}:{until}:{sent + 1}:{good}"


def report(state: str | None, kind: Kind, latency_us: int, params: CircuitBreaker, now_us: int) -> str | None:
    """The state after an answer of this kind; what was asked to come later (OVERLOAD) is no failure."""
    phase, at, first, second = _read(state, now_us)
    failed = kind is Kind.FAILURE
    if phase == OPEN or not (failed or kind is Kind.OK):
        return state
    if phase == HALF_OPEN:
        if failed:
            return f"{OPEN}:{now_us + params.open_us}:0:0"
        return None if second + 1 >= params.probes else f"{HALF_OPEN}:{at}:{first}:{second + 1}"
    if not at or now_us >= at + params.window_us:
        at, first, second = now_us, 0, 0
    first, second = first + (not failed), second + failed
    if first + second >= params.calls and 100 * second >= params.failures * (first + second):
        return f"{OPEN}:{now_us + params.open_us}:0:0"
    return f"{CLOSED}:{at}:{first}:{second}"


def _read(state: str | None, now_us: int) -> _State:
    """The phase now, and its numbers. An open one whose time is over is half open, as are trials never heard of."""
    if state is None:
        return CLOSED, 0, 0, 0
    phase, at, first, second = state.split(":")
    if phase != CLOSED and now_us >= int(at):
        return HALF_OPEN, now_us, 0, 0
    return phase, int(at), int(first), int(second)
