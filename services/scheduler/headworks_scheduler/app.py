"""The composition root of the scheduler: the one place that knows all its parts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace

import structlog
from headworks.scheduler.v1.admin_service_pb2_grpc import add_AdminServiceServicer_to_server
from headworks.scheduler.v1.scheduler_service_pb2_grpc import add_SchedulerServiceServicer_to_server
from headworks.worker.v1.worker_service_pb2_grpc import add_WorkerServiceServicer_to_server
from headworks_core.batching import MicroBatcher
from headworks_core.cells import Meta, join
from headworks_core.errors import Unavailable
from headworks_core.fitness import StoreFitness
from headworks_core.loops import every, forever, running
from headworks_core.metrics import Metrics
from headworks_core.monitor import monitoring
from headworks_core.names import job_of_ref
from headworks_core.readiness import Readiness
from headworks_core.scripts import commands
from headworks_core.serving import bind, grpc_server
from headworks_core.store import check_permissions, check_server, redis_client, starting
from redis.asyncio import Redis

from headworks_scheduler.admin import AdminServicer
from headworks_scheduler.dispatcher import Dispatcher
from headworks_scheduler.domain.jobs import Submitted
from headworks_scheduler.janitor import Janitor
from headworks_scheduler.listing import Listing
from headworks_scheduler.notices import Notices
from headworks_scheduler.queues import Queues, load_queues
from headworks_scheduler.reaper import Reaper
from headworks_scheduler.reconciler import Reconciler
from headworks_scheduler.redriving import Redriving
from headworks_scheduler.relay import Relay
from headworks_scheduler.results import ResultRecorder
from headworks_scheduler.servicer import Bundle, SchedulerServicer, SubmitFlush, weight
from headworks_scheduler.sessions import SessionOptions, WorkerServicer
from headworks_scheduler.settings import Settings
from headworks_scheduler.sinks.kafka import KafkaOptions, KafkaSink
from headworks_scheduler.store.jobs import BATCH_MAX, JobStore, StoreOptions
from headworks_scheduler.store.lag import LagReader
from headworks_scheduler.store.lists import ListStore
from headworks_scheduler.store.reconciling import ReconcileStore
from headworks_scheduler.store.redrives import RedriveStore
from headworks_scheduler.store.stats import StatsStore
from headworks_scheduler.submission import SubmissionReader
from headworks_scheduler.telemetry import Parts, StoreView, add_metrics
from headworks_scheduler.timers import Timers
from headworks_scheduler.views import expired_failure, poison_failure
from headworks_scheduler.watching import WatchHub
from headworks_scheduler.workers import worker_registry

log = structlog.get_logger(__name__)

SWEEP_S = 5.0
PROBE_S = 1.0
PROBE_TIMEOUT_S = 2.0
DEAF_S = (
    15.0  # without a word, or an answer to a ping, from the subscription; a sweep makes good what is missed so long
)
COMMANDS = {"EVALSHA", "SUBSCRIBE", "BLPOP", "XREAD", "SCAN", *commands("headworks_scheduler.store")}
JANITOR_S = 1.0
RECONCILER_S = 0.25  # for about 250 jobs or entries of indexes
API_BYTES = 16 << 20  # largest message: a batch of submits
WORKER_BYTES = 8 << 20  # largest message: a batch of results


@dataclass(frozen=True, slots=True)
class Ports:
    """Where a running scheduler listens."""

    api: int
    worker: int
    monitor: str = ""
    """Address of /metrics; empty: nowhere."""


class ReplicaListener:
    """Gives each notice to the part that it concerns."""

    def __init__(
        self, dispatcher: Dispatcher, workers: WorkerServicer, hub: WatchHub, timers: Sequence[Timers]
    ) -> None:
        self._dispatcher = dispatcher
        self._workers = workers
        self._hub = hub
        self._timers = timers
        self.listening = asyncio.Event()
        """The subscription has begun, at least once."""

    async def on_wake(self, queue: str) -> None:
        """There is work."""
        await self._dispatcher.wake(queue)

    def on_cancel(self, cell: int, ref: str, lease_id: int) -> None:
        """A lease served here should be cancelled."""
        self._workers.cancel(job_of_ref(ref, cell), lease_id)

    def on_changed(self, cell: int, refs: Sequence[str]) -> None:
        """Watched jobs have changed."""
        self._hub.changed(cell, refs)

    def on_timer(self, cell: int) -> None:
        """A timer is now the earliest."""
        self._timers[cell].notice()

    def on_unsure(self) -> None:
        """Notices may have been missed."""
        self.listening.set()
        self._dispatcher.unsure()
        self._hub.unsure()
        for timers in self._timers:
            timers.notice()


def _micros(seconds: float) -> int:
    return round(seconds * 1_000_000)


def _store_options(settings: Settings, queues: Queues) -> StoreOptions:
    return StoreOptions(
        replica=settings.replica_id,
        lease_us=_micros(settings.lease_s),
        delivery_us=_micros(settings.delivery_s),
        retention_us=_micros(settings.retention_s),
        finished_max=settings.finished_max,
        outbox_max=settings.outbox_max,
        lost_max=settings.lost_leases_max,
        queues=[queue for queue in queues.all() if queue.retention_us or queue.max_finished],
        poison=poison_failure(),
        expired=expired_failure(),
    )


def _session_options(settings: Settings) -> SessionOptions:
    """A worker beats three times within the shorter of the two lease lengths."""
    heartbeat_s = min(settings.delivery_s, settings.lease_s) / 3
    return SessionOptions(
        replica=settings.replica_id,
        lease_s=settings.lease_s,
        heartbeat_s=heartbeat_s,
        attach_timeout_s=settings.attach_timeout_s,
    )


@asynccontextmanager
async def scheduler_app(settings: Settings) -> AsyncIterator[Ports]:
    """A running scheduler; yields its ports. Raises ServiceError when it cannot start."""
    queues = load_queues(settings.queues_file)
    async with AsyncExitStack() as stack:
        redis = await stack.enter_async_context(redis_client(settings.redis_url, timeout_s=settings.redis_timeout_s))
        listening = await stack.enter_async_context(redis_client(settings.redis_url, timeout_s=None, connections=2))
        with starting(settings.redis_url):
            server = await check_server(redis, durable=True)
            await check_permissions(redis, COMMANDS, key="{hw:0}:leases", channel="{hw:0}:timers")
            meta = await join(redis, Meta(cells=settings.cells, events=settings.events))
        store = JobStore(redis, meta, _store_options(settings, queues))
        dispatcher = Dispatcher(store, queues)
        hub = WatchHub()
        recorder = ResultRecorder(store, meta.cells, max_result_bytes=settings.max_payload_bytes)
        session_options = _session_options(settings)
        period_s = 3 * session_options.heartbeat_s
        registry = await stack.enter_async_context(worker_registry(redis, meta, settings.replica_id, period_s=period_s))
        workers = WorkerServicer(queues, dispatcher, store, recorder, registry, session_options)
        timers = [Timers(store, cell) for cell in range(meta.cells)]
        listener = ReplicaListener(dispatcher, workers, hub, timers)
        background = _background(settings, redis, store, meta, listener, listening)
        await stack.enter_async_context(_loops(background, Janitor(store, meta.cells), dispatcher, timers))
        submits: MicroBatcher[Bundle, list[Submitted]] = MicroBatcher(
            SubmitFlush(store), max_items=BATCH_MAX, window_s=0.001, weigh=weight
        )
        await stack.enter_async_context(submits)
        reader = SubmissionReader(max_payload_bytes=settings.max_payload_bytes)
        listing = Listing(ListStore(redis, meta), meta, queues)
        redriving = Redriving(RedriveStore(redis, meta, outbox_max=settings.outbox_max), meta, queues)
        servicer = SchedulerServicer(store, meta, queues, reader, listing, redriving, hub, submits)
        stats = StatsStore(redis, meta)
        admin = AdminServicer(queues, stats, registry, retention_us=_micros(settings.retention_s))
        await _until_listening(listener, settings.redis_timeout_s)
        readiness = _readiness(redis, background.notices)
        parts = Parts(store, queues, dispatcher, workers, background.reaper, background.reconciler, background.relay)
        metrics = _metrics(settings, parts, stats, LagReader(redis, meta))
        monitor = await stack.enter_async_context(
            monitoring(settings.metrics_address, metrics, lambda: readiness.faults)
        )
        ports = await _serve(stack, settings, servicer, admin, workers, hub, readiness)
        log.info(
            "scheduler.serving", api=ports.api, worker=ports.worker, metrics=monitor, store=server, queues=len(queues)
        )
        yield replace(ports, monitor=monitor)


async def _until_listening(listener: ReplicaListener, timeout_s: float) -> None:
    """Nobody is served before this replica hears of changes."""
    try:
        async with asyncio.timeout(timeout_s):
            await listener.listening.wait()
    except TimeoutError:
        raise Unavailable("the store did not confirm the subscription in time") from None


async def _serve(
    stack: AsyncExitStack,
    settings: Settings,
    servicer: SchedulerServicer,
    admin: AdminServicer,
    workers: WorkerServicer,
    hub: WatchHub,
    readiness: Readiness,
) -> Ports:
    """Open both ports; the API closes last, so that workers' results can still be watched."""
    api_port, api_health = await stack.enter_async_context(
        grpc_server(
            [bind(add_SchedulerServiceServicer_to_server, servicer), bind(add_AdminServiceServicer_to_server, admin)],
            address=settings.address,
            grace_s=settings.shutdown_grace_s,
            max_message_bytes=API_BYTES,
            drain=hub.close,
        )
    )
    worker_port, worker_health = await stack.enter_async_context(
        grpc_server(
            [bind(add_WorkerServiceServicer_to_server, workers)],
            address=settings.worker_address,
            grace_s=1.0,
            max_message_bytes=WORKER_BYTES,
            drain=lambda: workers.drain(timeout_s=settings.shutdown_grace_s),
        )
    )
    await readiness.begin(worker_health, api_health)
    await stack.enter_async_context(running(every(PROBE_S, readiness.probe, name="readiness")))
    stack.callback(readiness.end)
    return Ports(api_port, worker_port)


def _readiness(redis: Redis, notices: Notices) -> Readiness:
    """Kafka is none of it: while it is away events wait, and callers lose nothing."""

    async def subscription() -> str:
        return f"silent for {notices.silent_s:.0f} s" if notices.silent_s > DEAF_S else ""

    fitness = StoreFitness(redis, durable=True, timeout_s=PROBE_TIMEOUT_S)
    return Readiness({"store": fitness, "subscription": subscription})


def _metrics(settings: Settings, parts: Parts, stats: StatsStore, lag: LagReader) -> Metrics:
    metrics = Metrics("headworks-scheduler", settings.replica_id)
    view = StoreView(stats, lag if parts.relay else None, [queue.name for queue in parts.queues.all()])
    add_metrics(metrics, parts, view)
    return metrics


@dataclass(frozen=True, slots=True)
class Background:
    """What runs without being asked."""

    notices: Notices
    reaper: Reaper
    reconciler: Reconciler
    relay: Relay | None


def _background(
    settings: Settings, redis: Redis, store: JobStore, meta: Meta, listener: ReplicaListener, listening: Redis
) -> Background:
    notices = Notices(listening, meta, settings.replica_id, listener)
    relay = None
    if meta.events == "kafka":
        sink = KafkaSink(KafkaOptions(settings.kafka_bootstrap, settings.kafka_topic, stall_s=settings.kafka_timeout_s))
        relay = Relay(redis, settings.redis_url, meta, sink, settings.replica_id)
    reaper = Reaper(
        store,
        meta.cells,
        grace_s=settings.reconnect_grace_s,
        period_s=min(1.0, settings.delivery_s / 5, settings.lease_s / 5),
    )
    reconciler = Reconciler(ReconcileStore(redis, meta, lease_us=_micros(settings.lease_s)), meta.cells)
    return Background(notices, reaper, reconciler, relay)


def _loops(
    background: Background, janitor: Janitor, dispatcher: Dispatcher, timers: Sequence[Timers]
) -> AbstractAsyncContextManager[None]:
    return running(
        forever(background.notices.run, name="notices"),
        forever(dispatcher.run, name="dispatcher"),
        forever(background.reaper.run, name="reaper"),
        every(SWEEP_S, dispatcher.sweep, name="sweep"),
        *([forever(background.relay.run, name="relay")] if background.relay else []),
        every(JANITOR_S, janitor.step, name="janitor"),
        every(RECONCILER_S, background.reconciler.step, name="reconciler"),
        *[forever(of_cell.run, name=f"timers of cell {cell}") for cell, of_cell in enumerate(timers)],
    )
