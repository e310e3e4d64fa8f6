"""Worker sessions: one bidirectional stream each, with credits, heartbeats and acknowledged results."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import structlog
from headworks.worker.v1 import session_pb2 as pb
from headworks_core.context import CallContext
from headworks_core.errors import FailedPrecondition, Reason, Unavailable, Violation, invalid
from headworks_core.measures import Tally
from headworks_core.serving import MessageStream

from headworks_scheduler import session_rules as rules
from headworks_scheduler.dispatcher import Dispatcher, SessionSeat
from headworks_scheduler.domain.jobs import Beat, Claimed, Held
from headworks_scheduler.domain.matching import Order
from headworks_scheduler.outgoing import Outgoing
from headworks_scheduler.queues import Queues
from headworks_scheduler.results import ResultRecorder, split_name
from headworks_scheduler.store.jobs import BATCH_MAX, JobStore
from headworks_scheduler.workers import DRAINING, GONE, LOST, Presence, WorkerRegistry

log = structlog.get_logger(__name__)

Stream = MessageStream[pb.SessionRequest, pb.SessionResponse]


@dataclass(frozen=True, slots=True)
class SessionOptions:
    """Times of a session, in seconds."""

    replica: str
    lease_s: float = 30.0
    heartbeat_s: float = 1.5
    ping_s: float = 5.0
    write_timeout_s: float = 10.0
    attach_timeout_s: float = 10.0

    @property
    def silence_s(self) -> float:
        """How long a worker may say nothing before its session is ended."""
        return max(3 * self.heartbeat_s, 5.0)


class Session:
    """One attached worker."""

    def __init__(
        self,
        stream: Stream,
        attach: pb.Attach,
        *,
        queues: Queues,
        dispatcher: Dispatcher,
        store: JobStore,
        recorder: ResultRecorder,
        registry: WorkerRegistry,
        options: SessionOptions,
    ) -> None:
        """Raises InvalidArgument, NotFound or FailedPrecondition for an Attach that cannot be served."""
        rules.check_attach(attach, queues)
        self.worker = attach.worker
        self.slots = attach.slots
        self._stream = stream
        self._dispatcher = dispatcher
        self._store = store
        self._recorder = recorder
        self._registry = registry
        self._options = options
        self._outgoing = Outgoing()
        self._sent_away = False
        """It was asked to go elsewhere, with what it holds."""
        self.held: dict[str, int] = {}
        """Lease ids by the names of the jobs that this session has out."""
        strict = attach.order == pb.QUEUE_ORDER_STRICT
        subscriptions = [(entry.queue, entry.weight or 1) for entry in attach.queues]
        self._seat = SessionSeat(attach.worker, subscriptions, Order.STRICT if strict else Order.WEIGHTED, self._assign)
        queues_served = [name for name, _ in subscriptions]
        now = asyncio.get_running_loop().time()
        self._presence = Presence(attach.worker, queues_served, attach.tasks, attach.slots, self.held, now)

    @property
    def credit(self) -> int:
        """Free slots announced and not used."""
        return self._seat.credit

    async def run(self, held: Sequence[pb.HeldLease]) -> None:
        """Serve until the worker half-closes; raises what ended the session otherwise."""
        lost = await self._renew(held, "attach.held")
        attached = pb.Attached(replica=self._options.replica, lost=lost)
        attached.heartbeat_interval.FromMicroseconds(int(self._options.heartbeat_s * 1e6))
        attached.lease.FromMicroseconds(int(self._options.lease_s * 1e6))
        attached.ping_interval.FromMicroseconds(int(self._options.ping_s * 1e6))
        self._outgoing.control(pb.SessionResponse(attached=attached))
        self._dispatcher.attach(self._seat)
        self._registry.attached(self._presence)
        left = LOST
        try:
            async with asyncio.TaskGroup() as tasks:
                background = [tasks.create_task(self._write()), tasks.create_task(self._watch_silence())]
                await self._read()
                for task in background:
                    task.cancel()
            if self._presence.state == DRAINING and not self._sent_away and self.held:
                # A worker that leaves for good does so without any lease: what it has was on its way to it. But the end
                # of a broken connection reads like a half-close; only what still hears us has half-closed.
                await self._stream.write(pb.SessionResponse(ping=pb.Ping()))
                await self._dispatcher.give_back(self.held.items())
            left = GONE
        finally:
            self._registry.ended(self._presence, left)
            self._dispatcher.detach(self._seat)
            await self._give_up(self._outgoing.take_back())

    async def _give_up(self, unsent: Sequence[Claimed]) -> None:
        for job in unsent:
            self.held.pop(job.name, None)
        if unsent:
            await self._dispatcher.give_up(unsent)

    def drain(self) -> None:
        """Ask the worker to go elsewhere; it gets no more work here."""
        self._sent_away = True
        self._dispatcher.detach(self._seat)
        self._outgoing.control(pb.SessionResponse(drain=pb.Drain()))

    def cancel(self, name: str, lease_id: int) -> None:
        """Ask the worker to cancel a job; its next heartbeat would tell it too."""
        lease = pb.LeaseRef(job=name, lease_id=lease_id)
        self._outgoing.control(pb.SessionResponse(cancel=pb.Cancel(leases=[lease])))

    def _assign(self, jobs: list[Claimed]) -> None:
        for job in jobs:
            self.held[job.name] = job.lease_id
        self._outgoing.work(jobs)

    async def _write(self) -> None:
        """The only writer of the stream."""
        while True:
            message = await self._outgoing.next()
            try:
                async with asyncio.timeout(self._options.write_timeout_s):
                    await self._stream.write(message)
            except TimeoutError as error:
                raise Unavailable("the worker does not read its session") from error

    async def _watch_silence(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(self._options.ping_s)
            if loop.time() - self._presence.heard > self._options.silence_s:
                log.warning("session.silent", worker=self.worker, held=len(self.held))
                raise Unavailable("no heartbeat came in time", reason=Reason.HEARTBEAT_MISSED)
            self._outgoing.control(pb.SessionResponse(ping=pb.Ping()))

    async def _read(self) -> None:
        loop = asyncio.get_running_loop()
        while (message := await self._stream.read()) is not None:
            self._presence.heard = loop.time()
            kind = message.WhichOneof("message")
            if kind == "results":
                await self._on_results(message.results)
            elif kind == "heartbeat":
                await self._on_heartbeat(message.heartbeat)
            elif kind == "credit":
                rules.check_credit(message.credit.slots, "credit.slots", least=1)
                self._on_credit(message.credit.slots)
            elif kind == "draining":
                await self._on_draining()
            else:
                raise FailedPrecondition(f"unexpected message: {kind}", reason=Reason.PROTOCOL_VIOLATION)

    def _on_credit(self, slots: int) -> None:
        if not slots:  # a worker may hold more than its slots, from when it had more
            return
        if self._seat.credit + len(self.held) + slots > self.slots:
            message = f"credit for more than the {self.slots} slots of the worker"
            raise FailedPrecondition(message, reason=Reason.PROTOCOL_VIOLATION)
        self._dispatcher.credit(self._seat, slots)

    async def _on_results(self, results: pb.Results) -> None:
        rules.check_results(results, BATCH_MAX)
        for index, result in enumerate(results.results):
            if self.held.get(result.job) == result.lease_id:
                del self.held[result.job]
            else:
                rules.check_lease(result.job, result.lease_id, self._store.cells, f"results.results[{index}]")
        # The next claim need not wait for the recording, unless a job comes back, whose turn it may be.
        succeeded = sum(result.HasField("success") for result in results.results)
        comes_back = succeeded < len(results.results)
        self._presence.succeeded += succeeded
        if not comes_back:
            self._on_credit(results.credit)
        lost = await self._recorder.record(results.results)
        self._outgoing.control(pb.SessionResponse(ack=pb.Ack(batch=results.batch, lost=lost)))
        if comes_back:
            failed = sum(result.HasField("failed") for result in results.results)
            self._presence.failed += failed
            self._presence.released += len(results.results) - succeeded - failed
            self._on_credit(results.credit)

    async def _on_draining(self) -> None:
        """What the worker has not been sent yet is for others."""
        self._presence.state = DRAINING
        self._registry.changed(self._presence)
        self._dispatcher.detach(self._seat)
        await self._give_up(self._outgoing.take_back())

    async def _on_heartbeat(self, heartbeat: pb.Heartbeat) -> None:
        if len(heartbeat.held) > rules.SLOTS_MAX:
            raise invalid([Violation("heartbeat.held", f"at most {rules.SLOTS_MAX:,}")])
        lost = await self._renew(heartbeat.held, "heartbeat.held")
        for lease in lost:
            if self.held.get(lease.job) == lease.lease_id:
                del self.held[lease.job]
        if lost:
            self._outgoing.control(pb.SessionResponse(lease_lost=pb.LeaseLost(leases=lost)))

    async def _renew(self, held: Sequence[pb.HeldLease], field: str) -> list[pb.LeaseRef]:
        """Renew leases, pass on requests to cancel; those that are lost. `field` is where the message has them."""
        cells: dict[int, list[tuple[pb.HeldLease, Held]]] = {}
        for index, lease in enumerate(held):
            if self.held.get(lease.job) != lease.lease_id:
                rules.check_lease(lease.job, lease.lease_id, self._store.cells, f"{field}[{index}]")
            cell, ref = split_name(lease.job)
            progress = rules.stored_progress(lease.progress) if lease.HasField("progress") else b""
            cells.setdefault(cell, []).append((lease, Held(ref, lease.lease_id, progress)))
        lost: list[pb.LeaseRef] = []
        for cell, leases in cells.items():
            for at in range(0, len(leases), BATCH_MAX):
                lost += await self._renew_batch(cell, leases[at : at + BATCH_MAX])
        return lost

    async def _renew_batch(self, cell: int, leases: Sequence[tuple[pb.HeldLease, Held]]) -> list[pb.LeaseRef]:
        beats = await self._store.heartbeat(cell, [held for _, held in leases])
        lost: list[pb.LeaseRef] = []
        for (lease, _), beat in zip(leases, beats, strict=True):
            if beat is Beat.LOST:
                lost.append(pb.LeaseRef(job=lease.job, lease_id=lease.lease_id))
                continue
            self.held.setdefault(lease.job, lease.lease_id)
            if beat is Beat.CANCEL_REQUESTED:
                self.cancel(lease.job, lease.lease_id)
        return lost


@dataclass(frozen=True, slots=True)
class SessionMeasures:
    """The sessions of this replica, added up."""

    sessions: int
    slots: int
    credit: int
    held: int


class WorkerServicer:
    """WorkerService: every session of this replica."""

    def __init__(
        self,
        queues: Queues,
        dispatcher: Dispatcher,
        store: JobStore,
        recorder: ResultRecorder,
        registry: WorkerRegistry,
        options: SessionOptions,
    ) -> None:
        self._queues = queues
        self._dispatcher = dispatcher
        self._store = store
        self._recorder = recorder
        self._registry = registry
        self._options = options
        self._sessions: set[Session] = set()
        self.endings = Tally()
        """Ended sessions: gone (in order) or lost."""
        self._all_closed = asyncio.Event()
        self._draining = False

    async def Session(self, stream: Stream, caller: CallContext) -> None:
        """See the proto."""
        try:
            async with asyncio.timeout(self._options.attach_timeout_s):
                first = await stream.read()
        except TimeoutError:
            message = f"no Attach came within {self._options.attach_timeout_s:g} s"
            raise FailedPrecondition(message, reason=Reason.PROTOCOL_VIOLATION) from None
        if first is None or first.WhichOneof("message") != "attach":
            raise FailedPrecondition("the first message must be Attach", reason=Reason.PROTOCOL_VIOLATION)
        if self._draining:
            raise Unavailable("this replica is going away", reason=Reason.SHUTTING_DOWN)
        session = Session(
            stream,
            first.attach,
            queues=self._queues,
            dispatcher=self._dispatcher,
            store=self._store,
            recorder=self._recorder,
            registry=self._registry,
            options=self._options,
        )
        self._sessions.add(session)
        log.info("session.attached", worker=session.worker, held=len(first.attach.held), slots=first.attach.slots)
        how = "lost"
        try:
            await session.run(first.attach.held)
            how = "gone"
        finally:
            self.endings[how,] += 1
            self._sessions.discard(session)
            log.info("session.ended", worker=session.worker, held=len(session.held))
            if not self._sessions:
                self._all_closed.set()

    @property
    def measures(self) -> SessionMeasures:
        """As they are now."""
        sessions = self._sessions
        return SessionMeasures(
            len(sessions),
            sum(session.slots for session in sessions),
            sum(session.credit for session in sessions),
            sum(len(session.held) for session in sessions),
        )

    def cancel(self, name: str, lease_id: int) -> None:
        """Pass a request to cancel on to the session that has the job, if it is here."""
        for session in self._sessions:
            if session.held.get(name) == lease_id:
                session.cancel(name, lease_id)

    async def drain(self, *, timeout_s: float) -> None:
        """Ask all workers to go elsewhere and wait until they have gone."""
        self._draining = True
        if not self._sessions:
            return
        self._all_closed.clear()
        for session in self._sessions:
            session.drain()
        try:
            async with asyncio.timeout(timeout_s):
                await self._all_closed.wait()
        except TimeoutError:
            log.warning("sessions.not_drained", sessions=len(self._sessions))
