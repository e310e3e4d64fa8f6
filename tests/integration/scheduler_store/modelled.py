"""What the model keeps of a job, and what a script publishes."""

from __future__ import annotations

from dataclasses import dataclass, field

from headworks_scheduler.domain.jobs import NewJob, State
from headworks_scheduler.domain.order import Ready

WAITING = (State.SCHEDULED, State.READY)
TERMINAL = (State.SUCCEEDED, State.DEAD, State.CANCELLED)


@dataclass
class Job:
    """One job; times in us, 0 or empty for what it does not have."""

    new: NewJob
    created: int
    state: State = State.SCHEDULED
    due: int = 0
    expires: int = 0
    seq: int = 0
    gen: int = 1
    attempts: int = 0
    failures: int = 0
    lost: int = 0
    undelivered: int = 0
    events: int = 0
    lease: int = 0
    lease_ends: int = 0
    beat: int = 0
    worker: str = ""
    replica: str = ""
    started: int = 0
    finished: int = 0
    progress: bytes = b""
    cancel: bool = False
    failure: bytes = b""
    result: bytes | None = None
    content_type: str = ""
    watch: list[str] = field(default_factory=list)

    @property
    def queue(self) -> str:
        """Its queue's name."""
        return self.new.queue.name

    @property
    def ref(self) -> str:
        """As the store knows it."""
        return f"{self.new.tenant}/{self.queue}/{self.new.tail}"

    @property
    def place(self) -> Ready:
        """Where it stands when it is ready."""
        return Ready(self.new.level, self.new.tenant, self.new.lane, self.seq, self.new.tail)


@dataclass
class Told:
    """What one script call publishes."""

    woken: list[str] = field(default_factory=list)
    """Queues of which one waiter, if there is any, hears "wake"."""
    cancels: list[tuple[str, str]] = field(default_factory=list)
    """Replica, and the text that it hears."""
    changed: dict[str, list[str]] = field(default_factory=dict)
    """By replica, the jobs that it is told of."""
    timers: list[int] = field(default_factory=list)
    """Times that became the earliest."""
