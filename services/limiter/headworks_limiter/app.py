"""The limiter, put together; the one place that knows all its parts."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any, NamedTuple

import structlog
from headworks.limiter.v1.admin_service_pb2_grpc import add_LimiterAdminServiceServicer_to_server
from headworks.limiter.v1.limiter_service_pb2_grpc import add_LimiterServiceServicer_to_server
from headworks_core import cells
from headworks_core.envoy.process import Tls, inside_envoy
from headworks_core.loops import every, forever, running
from headworks_core.metrics import Metrics
from headworks_core.monitor import monitoring
from headworks_core.readiness import Check, Readiness
from headworks_core.scripts import commands
from headworks_core.servers import OneServer, Servers, ServersFitness, check_servers, open_servers
from headworks_core.serving import bind, grpc_server
from headworks_core.store import check_permissions, starting

from headworks_limiter.admin import LimiterAdminServicer
from headworks_limiter.buckets import Buckets
from headworks_limiter.decider import MAX_FLIGHTS, Decider
from headworks_limiter.envoy.counters import MemoryCounters, RedisCounters
from headworks_limiter.envoy.counting import Counters
from headworks_limiter.envoy.service import envoy_services
from headworks_limiter.newcomers import Newcomers
from headworks_limiter.published import PublishedRules, RuleVersions
from headworks_limiter.requests import RequestReader
from headworks_limiter.rule_admin import RuleAdmin
from headworks_limiter.rulebook import RuleBook
from headworks_limiter.rules_in_use import RulesInUse
from headworks_limiter.servicer import LimiterServicer
from headworks_limiter.settings import Settings
from headworks_limiter.store import rule_versions
from headworks_limiter.store.breaker import Breaker, Breakers
from headworks_limiter.store.local import LocalBuckets
from headworks_limiter.store.memory import MemoryBuckets
from headworks_limiter.store.memory_rule_versions import MemoryRuleVersions
from headworks_limiter.store.redis import RedisBuckets
from headworks_limiter.store.rule_versions import RedisRuleVersions
from headworks_limiter.store.size import Count, StoreSize, keys_in
from headworks_limiter.telemetry import (
    add_lease_metrics,
    add_metrics,
    add_reservation_metrics,
    add_rule_metrics,
)
from headworks_limiter.wire import CODECS

log = structlog.get_logger(__name__)

START_TIMEOUT_S = 5.0
MAX_MESSAGE_BYTES = 4 << 20
PROBE_S = 0.5
LOOK_S = 0.5  # between two looks for rules that the API has put: half of what they may take to be everywhere
VERSIONS_TIMEOUT_S = 2.0
RULES = "rules"  # the health service that says whether the rules in use are those of the file
HASH_COMMANDS = {"HGET", "HMGET", "HGETALL", "HSET", "HSETNX", "HDEL"}
OWN_COMMANDS = {"EVAL", "EVALSHA", "PING", "INFO", "HGETALL", "HSETNX", "HGET", "HMGET", "MULTI", "EXEC", "DBSIZE"}
COMMANDS = OWN_COMMANDS | commands("headworks_limiter.store")
KEY_TAIL = ":lim:"
CONNECTIONS = 32
WITHIN_ENVOY = "headworks_limiter.within_envoy:application"

Serve = Callable[..., AbstractAsyncContextManager[Any]]
"""`grpc_server`, or what stands for it."""
Reloading = Callable[..., AbstractAsyncContextManager[None]]
"""Calls its arguments when the rules should be read again, while the block runs."""


@asynccontextmanager
async def limiter_app(settings: Settings) -> AsyncIterator[int]:
    """A running limiter, in this process or inside Envoy; yields its port. Resources close in reverse order.

    Raises RulesError, FailedPrecondition (the store does not fit), Unavailable (nor answers) or OSError (the address);
    from inside Envoy all of these but the last come as FailedPrecondition.
    """
    if settings.front == "grpc":
        async with limiter(settings, grpc_server, _on_hangup) as port:
            yield port
        return
    tls = Tls(settings.tls_cert, settings.tls_key, settings.tls_client_ca)
    told, grace_s = settings.model_dump_json(exclude_unset=True), settings.shutdown_grace_s
    async with (
        inside_envoy(WITHIN_ENVOY, told, address=settings.address, tls=tls, grace_s=grace_s) as running,
        _on_hangup(running.reload),
    ):
        log.info("limiter.listening", port=running.port, front=settings.front, tls=bool(tls.cert), envoy=running.pid)
        yield running.port


@asynccontextmanager
async def limiter(settings: Settings, serve: Serve, reloading: Reloading) -> AsyncIterator[int]:
    """The limiter's parts behind a front. Raises as `limiter_app`."""
    book = RuleBook(settings.rules_file)
    async with _store(settings) as store:
        in_use = await _rules(book, store.versions)
        breaker = _breaker(store)
        local = LocalBuckets(replicas=settings.replicas)
        async with (
            _decider(settings, store, breaker, local) as decider,
            envoy_services(settings, store.counters, store.meta, breaker) as envoys,
        ):
            newcomers = Newcomers(settings.max_new_buckets_per_minute)
            reader = RequestReader(in_use.rules, store.meta, newcomers=newcomers)
            servicer = LimiterServicer(reader, decider)
            admin = LimiterAdminServicer(
                reader, decider, RuleAdmin(in_use, store.versions), replica=settings.replica_id
            )
            async with serve(
                [
                    bind(add_LimiterServiceServicer_to_server, servicer, CODECS),
                    bind(add_LimiterAdminServiceServicer_to_server, admin),
                    *(envoy.registered for envoy in envoys),
                ],
                address=settings.address,
                grace_s=settings.shutdown_grace_s,
                max_message_bytes=MAX_MESSAGE_BYTES,
                drain=servicer.drain,
            ) as (port, health):
                readiness = Readiness({"store": _as_rules_want(in_use, store.check)})
                metrics = Metrics("headworks-limiter", settings.replica_id)
                add_metrics(metrics, decider, breaker, local)
                add_rule_metrics(metrics, decider.counters, in_use, newcomers, StoreSize(store.keys))
                add_lease_metrics(metrics, servicer.leases)
                add_reservation_metrics(metrics, decider.reservations)
                for envoy in envoys:
                    envoy.add_metrics(metrics)

                async def changed() -> None:
                    servicer.use(in_use.rules)
                    await health.set(RULES, in_use.current)

                in_use.tell(changed)
                await health.set(RULES, in_use.current)
                await readiness.begin(health)
                async with (
                    monitoring(settings.metrics_address, metrics, lambda: readiness.faults) as monitor,
                    running(
                        every(PROBE_S, readiness.probe, name="readiness"),
                        forever(in_use.follow_file, name="rules"),
                        every(LOOK_S, in_use.look, name="rules of the API"),
                        decider.reservations.follow(lambda: reader.platforms),
                        *(envoy.follow(health) for envoy in envoys),
                    ),
                    reloading(book.ask, *(envoy.reload for envoy in envoys)),
                ):
                    serving = {"namespaces": len(in_use.rules.namespaces), "cells": store.meta.cells}
                    log.info("limiter.serving", port=port, metrics=monitor, **serving)
                    yield port


def _decider(settings: Settings, store: _Store, breaker: Breaker | Breakers, local: LocalBuckets) -> Decider:
    ttl_us = settings.reservation_ttl_ms * 1_000
    return Decider(store.buckets, local, breaker, enabled=settings.enabled, reservation_ttl_us=ttl_us)


async def _rules(book: RuleBook, versions: RuleVersions) -> RulesInUse:
    """The file's rules and those that the store has."""
    published = PublishedRules(versions)
    async with asyncio.timeout(START_TIMEOUT_S):
        await published.refresh()
    return RulesInUse(book, published)


class _Store(NamedTuple):
    buckets: Buckets
    counters: Counters
    versions: RuleVersions
    keys: Count
    meta: cells.Meta
    check: Check
    servers: Servers | None = None


@asynccontextmanager
async def _store(settings: Settings) -> AsyncIterator[_Store]:
    """Where the buckets are kept: in Redis, or in this process."""
    if not settings.enabled:
        log.warning("limiter.switched_off", effect="every request that is well formed is allowed, and no store asked")
    elif settings.in_memory:
        log.warning("store.memory", effect="buckets are gone when this process ends, and no other replica sees them")
    if settings.in_memory or not settings.enabled:
        memory = MemoryBuckets()

        async def count() -> int:
            return len(memory)

        yield _Store(memory, MemoryCounters(), MemoryRuleVersions(), count, cells.Meta(events=""), _well)
        return
    meta = await _join_store(settings)
    timeout_s = settings.redis_timeout_ms / 1000
    async with AsyncExitStack() as stack:
        with starting(settings.redis_url):
            opening = open_servers(settings.redis_url, timeout_s=None, connections=CONNECTIONS)
            servers = await stack.enter_async_context(opening)
        buckets = RedisBuckets(servers, timeout_s=timeout_s)
        async with asyncio.timeout(START_TIMEOUT_S):
            await _prepare(buckets, servers)
        counters = RedisCounters(servers, timeout_s=timeout_s)
        versions = RedisRuleVersions(servers, timeout_s=max(timeout_s, VERSIONS_TIMEOUT_S))
        keys = keys_in(servers, timeout_s=timeout_s)
        fitness = ServersFitness(servers, timeout_s=max(timeout_s, PROBE_S))
        yield _Store(buckets, counters, versions, keys, meta, fitness, servers)


async def _prepare(buckets: RedisBuckets, servers: Servers) -> None:
    """Every server that answers; one at least must."""
    preparing = [buckets.prepare(MAX_FLIGHTS, server) for server in servers.all().values()]
    failures = await asyncio.gather(*preparing, return_exceptions=True)
    if None not in failures:
        raise next(error for error in failures if error is not None)


def _breaker(store: _Store) -> Breaker | Breakers:
    """One for each server that has cells of its own."""
    clock, servers = asyncio.get_running_loop().time, store.servers
    if servers is None or isinstance(servers, OneServer):
        return Breaker(clock)
    return Breakers(clock, lambda cell: servers.place(store.meta.prefix(cell)))


async def _well() -> str:
    return ""


def _as_rules_want(in_use: RulesInUse, fitness: Check) -> Check:
    """The store's faults, while no rule has an answer of its own for when the store cannot be asked."""

    async def check() -> str:
        return "" if in_use.rules.outlive_the_store else await fitness()

    return check


@asynccontextmanager
async def _on_hangup(*asks: Callable[[], None]) -> AsyncIterator[None]:
    """SIGHUP calls these, where this is the thread that signals come to."""
    loop = asyncio.get_running_loop()

    def ask() -> None:
        for each in asks:
            each()

    try:
        loop.add_signal_handler(signal.SIGHUP, ask)
    except (ValueError, RuntimeError, NotImplementedError):
        yield
        return
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGHUP)


async def _join_store(settings: Settings) -> cells.Meta:
    with starting(settings.redis_url):
        async with open_servers(settings.redis_url, timeout_s=START_TIMEOUT_S, connections=1) as servers:
            said = await check_servers(servers, COMMANDS, key_tail=KEY_TAIL, channel="")
            for key in (cells.META, rule_versions.KEY):
                await check_permissions(servers.home(key), HASH_COMMANDS, key=key, channel="")
            meta = await cells.join(servers.home(cells.META), cells.Meta(cells=settings.cells_wanted, events=""))
    log.info("store.joined", server=said, servers=len(servers.all()), cells=meta.cells)
    return meta
