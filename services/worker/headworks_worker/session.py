"""The worker's session, on threads of its own, so that heartbeats go out whatever handlers do.

One thread reads; the request iterator that gRPC consumes on another is the only writer. It sends what the ledger has,
as soon as it has it: what gathers while a message is on its way goes out in the next. Handlers stay on the event loop.
Why: docs/adr/0005-worker-threads.md.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol

import grpc
import structlog
from headworks.scheduler.v1 import job_pb2
from headworks.worker.v1 import session_pb2 as pb
from headworks.worker.v1.worker_service_pb2_grpc import WorkerServiceStub
from headworks_client.backoff import Backoff
from headworks_client.channel import channel_options, target_of
from headworks_client.durations import to_seconds

from headworks_worker.attempts import Stop
from headworks_worker.ledger import Ended, Key, Ledger, SessionCounters

log = structlog.get_logger(__name__)

PROTOCOL = 1
ATTACH_S = 5.0  # that the scheduler has to answer Attach
LEAVE_S = 1.0  # that acknowledgements on their way get when a session is left for another
STABLE_S = 5.0  # a session that lasted so long makes the next reconnect quick again
PINGS_MISSED = 3
WATCH_S = 2.0


class Handlers(Protocol):
    """Who runs jobs. Called on the session's thread; must not wait."""

    def assigned(self, jobs: Sequence[pb.Assignment]) -> None:
        """Start these, in this order."""
        ...

    def stop(self, keys: Sequence[Key], why: Stop) -> None:
        """Stop these, if they still run."""
        ...


class _Turn:
    """One call of `Session`, from Attach to its end. Guarded by the session's lock."""

    def __init__(self, now: float) -> None:
        self.began = now
        self.deaf_at = now + ATTACH_S
        self.ping_s = ATTACH_S / PINGS_MISSED
        self.attached = False
        self.leave_at: float | None = None
        self.over = False
        self.deaf = False
        self.call: grpc.RpcContext | None = None
        self.watchdog: threading.Timer | None = None


class Session:
    """Keeps the worker attached to some replica until it is closed."""

    def __init__(
        self,
        target: str,
        hello: pb.Attach,
        handlers: Handlers,
        *,
        on_ready: Callable[[bool], object],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`hello` is the Attach message without its held leases.

        `on_ready` is called on the session's thread: whether the worker is attached and hears its scheduler.
        """
        self._target = target_of(target)
        self._hello = hello
        self._handlers = handlers
        self._on_ready = on_ready
        self._clock = clock
        self._ledger = Ledger(hello.slots)
        self._changed = threading.Condition()
        self._turn: _Turn | None = None
        self._closing = False
        self._warned = False
        self._backoff = Backoff(0.05, 5.0)
        self._thread = threading.Thread(target=self._run, name="headworks-session", daemon=True)
        self._closed = threading.Event()

    @property
    def counters(self) -> SessionCounters:
        """What the sessions have seen."""
        return self._ledger.counters

    @property
    def results_waiting(self) -> int:
        """Results that were not acknowledged."""
        return self._ledger.results_waiting

    def start(self) -> None:
        """Begin to connect."""
        self._thread.start()
        threading.Thread(target=self._watch, name="headworks-session-watch", daemon=True).start()

    # -- for handlers, from any thread

    def ended(self, ends: Iterable[Ended]) -> None:
        """Handlers have ended."""
        with self._changed:
            self._ledger.ended(ends)
            self._changed.notify_all()

    def freed(self) -> None:
        """A handler whose result was reported earlier has ended."""
        with self._changed:
            self._ledger.freed()
            self._changed.notify_all()

    def progressed(self, key: Key, progress: job_pb2.Progress) -> None:
        """A handler has come further."""
        with self._changed:
            before = self._ledger.due()
            self._ledger.progressed(key, progress, self._clock())
            if self._ledger.due() < before:
                self._changed.notify_all()

    def at_risk(self, key: Key) -> bool:
        """Whether the lease has certainly run out by this process's own clock; it may still be valid, or lost."""
        with self._changed:
            return self._ledger.at_risk(key, self._clock())

    # -- the end

    def drain(self) -> None:
        """Ask for no more work."""
        with self._changed:
            self._ledger.drain()
            self._changed.notify_all()

    def close(self, *, timeout_s: float) -> bool:
        """Wait until all results are acknowledged, at most so long; then half-close and end. Whether they were."""
        with self._changed:
            settled = self._changed.wait_for(lambda: self._ledger.settled, timeout_s)
            self._closing = True
            self._closed.set()
            if self._turn is not None:
                self._turn.leave_at = self._clock()
            self._changed.notify_all()
        self._thread.join(LEAVE_S)
        if self._thread.is_alive():
            turn = self._turn
            if turn is not None:
                self._cut(turn)
            self._thread.join(LEAVE_S)
        return settled

    # -- the session's thread

    def _run(self) -> None:
        with grpc.insecure_channel(self._target, options=channel_options()) as channel:
            stub = WorkerServiceStub(channel)
            while not self._closing:
                began = self._clock()
                why = self._one_turn(stub)
                if self._clock() - began >= STABLE_S:
                    self._backoff.reset()
                self._pause(why)

    def _pause(self, why: str) -> None:
        with self._changed:
            if self._closing:
                return
            wait_s = self._backoff.next_s()
            log.warning("session.ended", why=why, held=self._ledger.held, reconnect_in_s=round(wait_s, 3))
            if self._ledger.all_at_risk(self._clock()) and not self._warned:
                self._warned = True
                log.error("leases.at_risk", held=self._ledger.held, why="no heartbeat went out within the lease time")
            self._changed.wait_for(lambda: self._closing, wait_s)

    def _one_turn(self, stub: WorkerServiceStub) -> str:
        """Attach and serve until the session ends; why it did."""
        turn = _Turn(self._clock())
        with self._changed:
            self._turn = turn
        call = stub.Session(self._requests(turn))
        with self._changed:
            turn.call = call
            if turn.over:  # closed in between
                call.cancel()
        try:
            for message in call:
                self._hear(turn, message)
            return "left" if turn.leave_at is not None else "the scheduler ended it"
        except grpc.RpcError as error:
            return "the scheduler fell silent" if turn.deaf else f"{error.code().name}: {error.details()}"
        finally:
            with self._changed:
                self._end(turn)
                self._turn = None
                self._ledger.counters.attached = False
            if turn.watchdog is not None:
                turn.watchdog.cancel()
            if turn.attached:
                self._on_ready(False)

    def _end(self, turn: _Turn) -> None:
        turn.over = True
        self._changed.notify_all()
        if turn.call is not None:
            turn.call.cancel()

    def _hear(self, turn: _Turn, message: pb.SessionResponse) -> None:
        now = self._clock()
        kind = message.WhichOneof("message")
        lost: list[Key] = []
        with self._changed:
            turn.deaf_at = now + PINGS_MISSED * turn.ping_s
            due = self._ledger.due()
            if kind == "assign":
                self._ledger.assigned(message.assign.jobs, now)
            elif kind == "ack":
                self._ledger.acked(message.ack)
            elif kind == "lease_lost":
                lost = self._ledger.lost(message.lease_lost.leases)
            elif kind == "attached":
                lost = self._ledger.attached(message.attached, now)
                turn.attached = True
                turn.ping_s = to_seconds(message.attached.ping_interval) or turn.ping_s
                turn.deaf_at = now + PINGS_MISSED * turn.ping_s
                self._warned = False
            elif kind == "drain":
                self._leave(turn, now)
            if kind in ("ack", "attached", "drain") or self._ledger.due() < due:
                self._changed.notify_all()
        if kind == "assign":
            self._handlers.assigned(message.assign.jobs)
        elif kind == "cancel":
            self._handlers.stop([(lease.job, lease.lease_id) for lease in message.cancel.leases], Stop.CANCELLED)
        elif kind == "attached":
            log.info("session.attached", replica=message.attached.replica, lost=len(lost))
            self._on_ready(True)
        if lost:
            self._handlers.stop(lost, Stop.LOST)

    def _leave(self, turn: _Turn, now: float) -> None:
        """Half-close once what is on its way is acknowledged; the other side gets a moment to do the same."""
        turn.leave_at = now + LEAVE_S
        turn.watchdog = threading.Timer(2 * LEAVE_S, self._cut, [turn])
        turn.watchdog.daemon = True
        turn.watchdog.start()

    def _watch(self) -> None:
        """End a session that hears nothing even while its writer is stuck in a message that nobody takes."""
        wait_s = 0.0
        while not self._closed.wait(wait_s):
            with self._changed:
                turn, now = self._turn, self._clock()
                wait_s = WATCH_S if turn is None else min(WATCH_S, max(turn.ping_s, turn.deaf_at - now))
                if turn is not None and not turn.over and now >= turn.deaf_at:
                    turn.deaf = True
                    self._end(turn)

    def _cut(self, turn: _Turn) -> None:
        with self._changed:
            self._end(turn)

    # -- the writer

    def _requests(self, turn: _Turn) -> Iterator[pb.SessionRequest]:
        """What is sent, while gRPC asks for more; the end of the iteration half-closes the stream."""
        attach = pb.Attach()
        attach.CopyFrom(self._hello)
        with self._changed:
            attach.held.extend(self._ledger.attach())
        yield pb.SessionRequest(attach=attach)
        while (message := self._next(turn)) is not None:
            yield message

    def _next(self, turn: _Turn) -> pb.SessionRequest | None:
        with self._changed:
            while not turn.over:
                now = self._clock()
                if now >= turn.deaf_at:
                    turn.deaf = True
                    self._end(turn)
                    return None
                wake_at = turn.deaf_at
                if turn.leave_at is not None:
                    if now >= turn.leave_at or not self._ledger.unacked:
                        return None
                    wake_at = min(wake_at, turn.leave_at)
                elif turn.attached:
                    message = self._ledger.next(now)
                    if message is not None:
                        self._changed.notify_all()  # whoever closes the session waits for Draining to be told
                        return message
                    wake_at = min(wake_at, self._ledger.due())
                self._changed.wait(wake_at - now)
            return None
