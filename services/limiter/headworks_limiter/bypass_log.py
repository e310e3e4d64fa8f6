"""Says in the log who is let past the rules: at once, and then at most once a minute for each bypass."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import structlog

from headworks_limiter.domain.bypass import Bypass

log = structlog.get_logger(__name__)

PERIOD_S = 60.0
MAX_KNOWN = 1_000


@dataclass(slots=True)
class _Said:
    next_at_s: float
    since: int = 0


class BypassLog:
    """One line says how many requests there were since the one before. No descriptor is ever in it."""

    def __init__(self, clock_s: Callable[[], float]) -> None:
        """`clock_s` is monotonic."""
        self._clock_s = clock_s
        self._said: dict[tuple[str, str], _Said] = {}

    def used(self, bypass: Bypass) -> None:
        """One request was let through."""
        now_s, key = self._clock_s(), (bypass.namespace, bypass.name)
        said = self._said.get(key)
        if said is None:
            if len(self._said) >= MAX_KNOWN:  # names come and go with changed rules
                self._said.clear()
            said = self._said[key] = _Said(now_s)
        said.since += 1
        if now_s >= said.next_at_s:
            log.warning("limiter.let_through", namespace=key[0], bypass=key[1], requests=said.since)
            said.next_at_s, said.since = now_s + PERIOD_S, 0
