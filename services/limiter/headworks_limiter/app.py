"""The limiter, put together; the one place that knows all its parts."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, NamedTuple

import structlog
from headworks.limiter.v1.admin_service_pb2_grpc import add_LimiterAdminServiceServicer_to_server
from headworks.limiter.v1.limiter_service_pb2_grpc import add_LimiterServiceServicer_to_server
from headworks_core import cells
from headworks_core.envoy.process import Tls, inside_envoy
from headworks_core.fitness import StoreFitness
from headworks_core.loops import every, forever, running
from headworks_core.metrics import Metrics
from headworks_core.monitor import monitoring
from headworks_core.readiness import Check, Readiness
from headworks_core.scripts import commands
from headworks_core.serving import bind, grpc_server
from headworks_core.store import check_permissions, check_server, redis_client, starting

from headworks_limiter.admin import LimiterAdminServicer
from headworks_limiter.decider import MAX_FLIGHTS, Buckets, Decider
from headworks_limiter.requests import RequestReader
from headworks_limiter.rulebook import RuleBook
from headworks_limiter.servicer import LimiterServicer
from headworks_limiter.settings import Settings
from headworks_limiter.store.breaker import Breaker
from headworks_limiter.store.local import LocalBuckets
from headworks_limiter.store.memory import MemoryBuckets
from headworks_limiter.store.redis import RedisBuckets
from headworks_limiter.telemetry import add_metrics
from headworks_limiter.wire import CODECS

log = structlog.get_logger(__name__)

START_TIMEOUT_S = 5.0
MAX_MESSAGE_BYTES = 4 << 20
PROBE_S = 0.5
RULES = "rules"  # the health service that says whether the rules in use are those of the file
COMMANDS = {"EVALSHA", *commands("headworks_limiter.store")}
CONNECTIONS = 32
WITHIN_ENVOY = "headworks_limiter.within_envoy:application"

Serve = Callable[..., AbstractAsyncContextManager[Any]]
"""`grpc_server`, or what stands for it."""
Reloading = Callable[[Callable[[], None]], AbstractAsyncContextManager[None]]
"""Calls its argument when the rules should be read again, while the block runs."""


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
    told, grace_s = settings.model_dump_json(), settings.shutdown_grace_s
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
        breaker = Breaker(asyncio.get_running_loop().time)
        local = LocalBuckets(replicas=settings.replicas)
        async with Decider(store.buckets, local, breaker, enabled=settings.enabled) as decider:
            reader = RequestReader(book.rules, store.meta)
            servicer = LimiterServicer(reader, decider)
            admin = LimiterAdminServicer(reader, decider)
            async with serve(
                [
                    bind(add_LimiterServiceServicer_to_server, servicer, CODECS),
                    bind(add_LimiterAdminServiceServicer_to_server, admin),
                ],
                address=settings.address,
                grace_s=settings.shutdown_grace_s,
                max_message_bytes=MAX_MESSAGE_BYTES,
                drain=servicer.drain,
            ) as (port, health):
                readiness = Readiness({"store": _as_rules_want(book, store.check)})
                metrics = Metrics("headworks-limiter", settings.replica_id)
                add_metrics(metrics, decider, breaker, local, book)

                async def changed() -> None:
                    servicer.use(book.rules)
                    await health.set(RULES, book.current)

                await health.set(RULES, True)
                await readiness.begin(health)
                async with (
                    monitoring(settings.metrics_address, metrics, lambda: readiness.faults) as monitor,
                    running(
                        every(PROBE_S, readiness.probe, name="readiness"),
                        forever(lambda: book.follow(changed), name="rules"),
                    ),
                    reloading(book.ask),
                ):
                    namespaces = len(book.rules.namespaces)
                    log.info(
                        "limiter.serving", port=port, metrics=monitor, namespaces=namespaces, cells=store.meta.cells
                    )
                    yield port


class _Store(NamedTuple):
    buckets: Buckets
    meta: cells.Meta
    check: Check


@asynccontextmanager
async def _store(settings: Settings) -> AsyncIterator[_Store]:
    """Where the buckets are kept: in Redis, or in this process."""
    if not settings.enabled:
        log.warning("limiter.switched_off", effect="every request that is well formed is allowed, and no store asked")
    elif settings.in_memory:
        log.warning("store.memory", effect="buckets are gone when this process ends, and no other replica sees them")
    if settings.in_memory or not settings.enabled:
        yield _Store(MemoryBuckets(), cells.Meta(events=""), _well)
        return
    meta = await _join_store(settings)
    timeout_s = settings.redis_timeout_ms / 1000
    async with redis_client(settings.redis_url, timeout_s=None, connections=CONNECTIONS) as redis:
        buckets = RedisBuckets(redis, timeout_s=timeout_s)
        async with asyncio.timeout(START_TIMEOUT_S):
            await buckets.prepare(MAX_FLIGHTS)
        yield _Store(buckets, meta, StoreFitness(redis, durable=False, timeout_s=max(timeout_s, PROBE_S)))


async def _well() -> str:
    return ""


def _as_rules_want(book: RuleBook, fitness: Check) -> Check:
    """The store's faults, while no rule has an answer of its own for when the store cannot be asked."""

    async def check() -> str:
        return "" if book.rules.outlive_the_store else await fitness()

    return check


@asynccontextmanager
async def _on_hangup(ask: Callable[[], None]) -> AsyncIterator[None]:
    """SIGHUP asks to read the rules again, where this is the thread that signals come to."""
    loop = asyncio.get_running_loop()
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
    async with redis_client(settings.redis_url, timeout_s=START_TIMEOUT_S, connections=1) as redis:
        with starting(settings.redis_url):
            server = await check_server(redis, durable=False)
            await check_permissions(redis, COMMANDS, key="{hw:0}:lim:", channel="")
            meta = await cells.join(redis, cells.Meta(cells=settings.cells, events=""))
    log.info("store.joined", server=server, cells=meta.cells)
    return meta
