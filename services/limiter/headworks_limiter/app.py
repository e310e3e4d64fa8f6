"""The limiter, put together; the one place that knows all its parts."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import NamedTuple

import structlog
from headworks.limiter.v1.admin_service_pb2_grpc import add_LimiterAdminServiceServicer_to_server
from headworks.limiter.v1.limiter_service_pb2_grpc import add_LimiterServiceServicer_to_server
from headworks_core import cells
from headworks_core.loops import every, forever, running
from headworks_core.metrics import Metrics
from headworks_core.monitor import monitoring
from headworks_core.readiness import Check, Readiness
from headworks_core.scripts import commands
from headworks_core.servers import OneServer, Servers, ServersFitness, check_servers, open_servers
from headworks_core.serving import bind, grpc_server
from headworks_core.store import starting

from headworks_limiter.admin import LimiterAdminServicer
from headworks_limiter.decider import MAX_FLIGHTS, Buckets, Decider
from headworks_limiter.requests import RequestReader
from headworks_limiter.rulebook import RuleBook
from headworks_limiter.servicer import LimiterServicer
from headworks_limiter.settings import Settings
from headworks_limiter.store.breaker import Breaker, Breakers
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
OWN_COMMANDS = {"EVAL", "EVALSHA", "PING", "INFO", "HGETALL", "HSETNX", "MULTI", "EXEC"}
COMMANDS = OWN_COMMANDS | commands("headworks_limiter.store")
KEY_TAIL = ":lim:"
CONNECTIONS = 32


@asynccontextmanager
async def limiter_app(settings: Settings) -> AsyncIterator[int]:
    """A running limiter; yields its port. Resources close in reverse order.

    Raises RulesError, FailedPrecondition (the store does not fit), Unavailable (nor answers) or OSError (the address).
    """
    book = RuleBook(settings.rules_file)
    async with _store(settings) as store:
        breaker = _breaker(store)
        local = LocalBuckets(replicas=settings.replicas)
        async with Decider(store.buckets, local, breaker, enabled=settings.enabled) as decider:
            reader = RequestReader(book.rules, store.meta)
            servicer = LimiterServicer(reader, decider)
            admin = LimiterAdminServicer(reader, decider)
            async with grpc_server(
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
                    _reloading_on_signal(book),
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
    servers: Servers | None = None


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
    async with AsyncExitStack() as stack:
        with starting(settings.redis_url):
            opening = open_servers(settings.redis_url, timeout_s=None, connections=CONNECTIONS)
            servers = await stack.enter_async_context(opening)
        buckets = RedisBuckets(servers, timeout_s=timeout_s)
        async with asyncio.timeout(START_TIMEOUT_S):
            await _prepare(buckets, servers)
        yield _Store(buckets, meta, ServersFitness(servers, timeout_s=max(timeout_s, PROBE_S)), servers)


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


def _as_rules_want(book: RuleBook, fitness: Check) -> Check:
    """The store's faults, while no rule has an answer of its own for when the store cannot be asked."""

    async def check() -> str:
        return "" if book.rules.outlive_the_store else await fitness()

    return check


@asynccontextmanager
async def _reloading_on_signal(book: RuleBook) -> AsyncIterator[None]:
    """SIGHUP reads the rules again, where this is the thread that signals come to."""
    loop = asyncio.get_running_loop()
    try:
        loop.add_signal_handler(signal.SIGHUP, book.ask)
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
            meta = await cells.join(servers.home(cells.META), cells.Meta(cells=settings.cells_wanted, events=""))
    log.info("store.joined", server=said, servers=len(servers.all()), cells=meta.cells)
    return meta
