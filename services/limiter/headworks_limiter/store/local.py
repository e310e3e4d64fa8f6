"""Buckets in this process, for rules that say `on_store_failure: local`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from headworks_limiter.domain.ask import Ask, Verdict
from headworks_limiter.domain.decision import Answer, Mode, decide
from headworks_limiter.domain.rule import Bucket, OnStoreFailure
from headworks_limiter.store.memory import States, wall_clock_us


class LocalBuckets:
    """Decides alone, with a replica's share of each limit: `limit / replicas`, rounded down, at least 1.

    So all replicas together grant at most max(limit, replicas) per period, besides what the store granted before it
    failed. What is held here cannot be released: it ends with its `ttl`. The bucket that was asked least recently is
    forgotten when there are more than `max_buckets`.
    """

    def __init__(self, *, replicas: int, max_buckets: int = 100_000, now_us: Callable[[], int] = wall_clock_us) -> None:
        self._replicas = replicas
        self._now_us = now_us
        self._states = States(max_buckets)

    def __len__(self) -> int:
        return len(self._states)

    def decide(self, ask: Ask) -> Verdict:
        """Decide by the request's `local` rules alone. More permits than a share can hold are a STORE_FAILURE."""
        buckets = [
            self._share(bucket)
            for bucket in ask.buckets
            if bucket.rule.on_store_failure is OnStoreFailure.LOCAL and not bucket.rule.shadow
        ]
        if any(ask.permits > bucket.rule.params.capacity for bucket in buckets):
            return Verdict(Answer.STORE_FAILURE, degraded=True)
        states = [(self._states.get(bucket.key), bucket.rule.params) for bucket in buckets]
        what = decide(states, ask.permits, ask.mode, self._now_us(), terms=ask.terms)
        if what.answer is Answer.ALLOWED and ask.mode is Mode.TAKE:
            self._states.keep({bucket.key: state for bucket, state in zip(buckets, what.states, strict=True) if state})
        return Verdict(what.answer, what.permits, buckets, what.outcomes, degraded=True, wait_us=what.wait_us)

    def _share(self, bucket: Bucket) -> Bucket:
        return Bucket(bucket.key, replace(bucket.rule, params=bucket.rule.params.share(self._replicas)))
