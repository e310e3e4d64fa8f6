"""Envoy's service put together, where there are rules for it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from headworks_core.cells import Meta
from headworks_core.loops import forever
from headworks_core.metrics import Metrics
from headworks_core.serving import Health, Registered, bind

from headworks_limiter.envoy.answers import Manner
from headworks_limiter.envoy.counting import Counters, Counting
from headworks_limiter.envoy.rulebook import EnvoyRuleBook
from headworks_limiter.envoy.servicer import RateLimitServicer, add_to_server
from headworks_limiter.envoy.telemetry import add_metrics
from headworks_limiter.settings import Settings
from headworks_limiter.store.breaker import Breaker, Breakers

RULES = "envoy_rules"  # the health service that says whether the rules in use are those of the files


class EnvoyService:
    """The servicer and what it lives on."""

    def __init__(self, book: EnvoyRuleBook, servicer: RateLimitServicer, counting: Counting) -> None:
        self._book = book
        self._servicer = servicer
        self._counting = counting

    @property
    def registered(self) -> Registered:
        """For the server."""
        return bind(add_to_server, self._servicer)

    def add_metrics(self, metrics: Metrics) -> None:
        """Tell its numbers."""
        add_metrics(metrics, self._servicer.tallies, self._counting, self._book)

    def reload(self) -> None:
        """Read the rules now."""
        self._book.ask()

    def follow(self, health: Health) -> Coroutine[Any, Any, None]:
        """The loop that keeps the rules in use those of the files."""

        async def changed() -> None:
            self._servicer.use(self._book.domains)
            await health.set(RULES, self._book.current)

        async def follow() -> None:
            await health.set(RULES, self._book.current)
            await self._book.follow(changed)

        return forever(follow, name=RULES)


@asynccontextmanager
async def envoy_services(
    settings: Settings, store: Counters, meta: Meta, breaker: Breaker | Breakers
) -> AsyncIterator[list[EnvoyService]]:
    """One while there are rules for it, otherwise none. Raises RulesError."""
    if not settings.envoy_rules:
        yield []
        return
    book = EnvoyRuleBook(settings.envoy_rules)
    manner = Manner(
        headers=settings.envoy_headers,
        shadow=settings.envoy_shadow,
        quota=settings.envoy_quota,
        metadata=settings.envoy_metadata,
    )
    async with Counting(store, breaker) as counting:
        servicer = RateLimitServicer(book.domains, counting, meta, manner, enabled=settings.enabled)
        yield [EnvoyService(book, servicer, counting)]
