"""The limiter, put together; the one place that knows all its parts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog
from headworks.limiter.v1.limiter_service_pb2_grpc import add_LimiterServiceServicer_to_server
from headworks_core import cells
from headworks_core.fitness import StoreFitness
from headworks_core.loops import every, running
from headworks_core.metrics import Metrics
from headworks_core.monitor import monitoring
from headworks_core.readiness import Readiness
from headworks_core.scripts import commands
from headworks_core.serving import bind, grpc_server
from headworks_core.store import check_permissions, check_server, redis_client, starting

from headworks_limiter import rules
from headworks_limiter.decider import MAX_FLIGHTS, Decider
from headworks_limiter.requests import RequestReader
from headworks_limiter.rules import Rules
from headworks_limiter.servicer import LimiterServicer
from headworks_limiter.settings import Settings
from headworks_limiter.store.breaker import Breaker
from headworks_limiter.store.local import LocalBuckets
from headworks_limiter.store.redis import RedisBuckets
from headworks_limiter.telemetry import add_metrics
from headworks_limiter.wire import CODECS

log = structlog.get_logger(__name__)

START_TIMEOUT_S = 5.0
MAX_MESSAGE_BYTES = 4 << 20
PROBE_S = 0.5
COMMANDS = {"EVALSHA", *commands("headworks_limiter.store")}
CONNECTIONS = 32


@asynccontextmanager
async def limiter_app(settings: Settings) -> AsyncIterator[int]:
    """A running limiter; yields its port. Resources close in reverse order.

    Raises RulesError, FailedPrecondition (the store does not fit), Unavailable (nor answers) or OSError (the address).
    """
    loaded = _load_rules(settings)
    meta = await _join_store(settings)
    timeout_s = settings.redis_timeout_ms / 1000
    async with redis_client(settings.redis_url, timeout_s=None, connections=CONNECTIONS) as redis:
        buckets = RedisBuckets(redis, timeout_s=timeout_s)
        async with asyncio.timeout(START_TIMEOUT_S):
            await buckets.prepare(MAX_FLIGHTS)
        breaker = Breaker(asyncio.get_running_loop().time)
        local = LocalBuckets(replicas=settings.replicas)
        async with Decider(buckets, local, breaker) as decider:
            servicer = LimiterServicer(RequestReader(loaded, meta), decider)
            async with grpc_server(
                [bind(add_LimiterServiceServicer_to_server, servicer, CODECS)],
                address=settings.address,
                grace_s=settings.shutdown_grace_s,
                max_message_bytes=MAX_MESSAGE_BYTES,
                drain=servicer.drain,
            ) as (port, health):
                fitness = StoreFitness(redis, durable=False, timeout_s=max(timeout_s, PROBE_S))
                readiness = Readiness({} if loaded.outlive_the_store else {"store": fitness})
                metrics = Metrics("headworks-limiter", settings.replica_id)
                add_metrics(metrics, decider, breaker, local)
                await readiness.begin(health)
                async with (
                    monitoring(settings.metrics_address, metrics, lambda: readiness.faults) as monitor,
                    running(every(PROBE_S, readiness.probe, name="readiness")),
                ):
                    namespaces = len(loaded.namespaces)
                    log.info("limiter.serving", port=port, metrics=monitor, namespaces=namespaces, cells=meta.cells)
                    yield port


def _load_rules(settings: Settings) -> Rules:
    if not settings.rules_file:
        log.warning("rules.none", reason="no rules file is set up, so every namespace is unknown")
        return Rules()
    return rules.load(settings.rules_file)


async def _join_store(settings: Settings) -> cells.Meta:
    async with redis_client(settings.redis_url, timeout_s=START_TIMEOUT_S, connections=1) as redis:
        with starting(settings.redis_url):
            server = await check_server(redis, durable=False)
            await check_permissions(redis, COMMANDS, key="{hw:0}:lim:", channel="")
            meta = await cells.join(redis, cells.Meta(cells=settings.cells, events=""))
    log.info("store.joined", server=server, cells=meta.cells)
    return meta
