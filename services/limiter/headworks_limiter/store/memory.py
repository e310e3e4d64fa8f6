"""Buckets in this process: for a single limiter without Redis, and for whoever wants to try rules out."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence

from headworks_limiter.domain.ask import Ask, Verdict
from headworks_limiter.domain.decision import Answer, Mode, decide

RECORD_US = 600_000_000
MAX_STATES = 1_000_000


def wall_clock_us() -> int:
    """This machine's clock, in microseconds since the epoch."""
    return time.time_ns() // 1000


class States:
    """States by key; the one that was used least recently is forgotten when there are too many."""

    def __init__(self, max_states: int) -> None:
        self._max_states = max_states
        self._states: OrderedDict[str, str] = OrderedDict()

    def __len__(self) -> int:
        return len(self._states)

    def get(self, key: str) -> str | None:
        """The state; None: unused, or forgotten."""
        return self._states.get(key)

    def drop(self, key: str) -> bool:
        """Forget it; whether there was anything."""
        return self._states.pop(key, None) is not None

    def keep(self, states: Mapping[str, str]) -> None:
        """Write them down."""
        for key, state in states.items():
            self._states[key] = state
            self._states.move_to_end(key)
        while len(self._states) > self._max_states:
            self._states.popitem(last=False)


class MemoryBuckets:
    """Decides as `store/redis.py` does, by the pure functions; grants are recorded for ten minutes.

    All is gone when the process ends, and nothing is shared between processes. Beyond `max_states` buckets and records
    the one that was used least recently is forgotten: a bucket is full again then.
    """

    def __init__(self, *, max_states: int = MAX_STATES, now_us: Callable[[], int] = wall_clock_us) -> None:
        self._states = States(max_states)
        self._now_us = now_us

    def __len__(self) -> int:
        return len(self._states)

    async def decide(self, asks: Sequence[Ask], *, traceparent: str = "") -> list[Verdict]:
        """Decide in this order, in one atomic step."""
        now_us = self._now_us()
        return [self.decide_at(ask, now_us) for ask in asks]

    async def reset(self, keys: Sequence[str]) -> int:
        """Make these buckets full again; how many were not."""
        return sum(self._states.drop(key) for key in keys)

    def decide_at(self, ask: Ask, now_us: int) -> Verdict:
        """Decide as if it were `now_us`."""
        known = [(self._states.get(bucket.key), bucket.rule.params) for bucket in ask.buckets]
        recalled = self._recall(ask, now_us)
        if recalled is not None or ask.mode is Mode.RECALL:
            answer, permits = recalled or (Answer.UNRECORDED, 0)
            _, outcomes, _ = decide(known, 0, Mode.LOOK, now_us)
            return Verdict(answer, permits, ask.buckets, outcomes, shadows=ask.shadows)
        answer, outcomes, after = decide(known, ask.permits, ask.mode, now_us, ask.shadows)
        if answer is not Answer.ALLOWED or ask.mode is not Mode.TAKE:
            return Verdict(answer, 0, ask.buckets, outcomes, shadows=ask.shadows)
        self._states.keep({bucket.key: state for bucket, state in zip(ask.buckets, after, strict=True) if state})
        if ask.record:
            self._states.keep({ask.record: f"{now_us + RECORD_US}:{ask.permits}:{ask.fingerprint}"})
        return Verdict(answer, ask.permits, ask.buckets, outcomes, shadows=ask.shadows)

    def _recall(self, ask: Ask, now_us: int) -> tuple[Answer, int] | None:
        """What the request's id already has, and the permits granted."""
        record = self._states.get(ask.record) if ask.record else None
        if record is None:
            return None
        deadline, permits, owner = record.split(":")
        if now_us >= int(deadline):
            return None
        return (Answer.REPLAYED if owner == ask.fingerprint else Answer.REUSED), int(permits)
