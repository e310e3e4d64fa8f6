"""What happened in one epoch, as everybody outside the services saw it: plain records, one JSON line each.

All times are seconds since the epoch on this machine's clock, which Valkey, the handlers and the driver share.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

R = TypeVar("R")

START, DONE, FAIL, STOP = "start", "done", "fail", "stop"
"""What a handler says of itself; a stop's detail is why it was stopped."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule of the limiter, for the judge."""

    name: str
    algorithm: str
    limit: int
    per_s: float
    burst: int = 0


@dataclass(frozen=True, slots=True)
class Meta:
    """What the judge has to know of the run."""

    seed: int
    epoch: int
    lost_max: int
    delivery_s: float
    """The shortest time that a lease lasts, whoever holds it."""
    settle_s: float
    """How long after a fault jobs may still go back to their lanes because of it."""
    rules: tuple[Rule, ...] = ()


@dataclass(slots=True)
class Submitted:
    """A job that was submitted, until it was acknowledged or the load ended."""

    name: str
    kind: str
    sent_at: float
    tenant: str = "a"
    queue: str = "q"
    level: int = 5
    lane: str = ""
    in_turn: bool = False
    """Sent by one who waits for each acknowledgement, without delay: its lane's order is judged."""
    max_attempts: int = 5
    expires: bool = False
    acked_at: float | None = None
    refused: str = ""
    """The reason of a definite refusal."""
    unknown: int = 0
    """Tries whose outcome is not known."""


@dataclass(frozen=True, slots=True)
class Cancelled:
    """Somebody asked to cancel a job; whatever the answer was, it may have been done."""

    name: str
    at: float
    outcome: str


@dataclass(frozen=True, slots=True)
class Handled:
    """A line of a handler."""

    at: float
    what: str
    job: str
    lease: int
    attempt: int
    worker: str
    epoch: int
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Heard:
    """A record of the events' topic, duplicates included, in the order of its partition."""

    at: float
    job: str
    sequence: int
    transition: str
    generation: int
    attempt: int
    id: str


@dataclass(frozen=True, slots=True)
class Granted:
    """Permits of one bucket that were granted at some time between the two; `id` is the request's."""

    rule: str
    asked_at: float
    answered_at: float
    permits: int
    id: str


@dataclass(frozen=True, slots=True)
class Fault:
    """What was done to the system, and when it was undone."""

    kind: str
    target: str
    began: float
    ended: float
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Final:
    """A job as the API describes it at rest; also what a watcher was told."""

    name: str
    state: str
    attempts: int = 1
    failures: int = 0
    lost: int = 0
    undelivered: int = 0
    generation: int = 1
    lease_id: int = 0
    category: str = ""
    error_class: str = ""
    result_lease: int = 0
    """The lease of the handler whose result it is; 0 without one."""

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.state in ("SUCCEEDED", "DEAD", "CANCELLED")


@dataclass(frozen=True, slots=True)
class Complaint:
    """What somebody outside saw that must never be."""

    at: float
    who: str
    what: str


@dataclass(slots=True)
class History:
    """Everything of one epoch."""

    meta: Meta
    submitted: list[Submitted] = field(default_factory=list)
    cancelled: list[Cancelled] = field(default_factory=list)
    handled: list[Handled] = field(default_factory=list)
    heard: list[Heard] = field(default_factory=list)
    granted: list[Granted] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    final: list[Final] = field(default_factory=list)
    told: list[Final] = field(default_factory=list)
    """What watchers were told as the end of a job."""
    complaints: list[Complaint] = field(default_factory=list)
    leftovers: list[str] = field(default_factory=list)
    """What was not at rest when it should have been, in words; empty is well."""

    def save(self, folder: Path) -> None:
        """Write it, a file a kind of record."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "meta.json").write_text(json.dumps(dataclasses.asdict(self.meta), indent=1))
        (folder / "leftovers.json").write_text(json.dumps(self.leftovers, indent=1))
        for name in _KINDS:
            with (folder / f"{name}.jsonl").open("w") as file:
                for record in getattr(self, name):
                    file.write(json.dumps(dataclasses.asdict(record)) + "\n")


_KINDS: dict[str, type] = {
    "submitted": Submitted,
    "cancelled": Cancelled,
    "handled": Handled,
    "heard": Heard,
    "granted": Granted,
    "faults": Fault,
    "final": Final,
    "told": Final,
    "complaints": Complaint,
}


def load(folder: Path) -> History:
    """Read what `save` wrote. Raises OSError, ValueError."""
    raw: dict[str, Any] = json.loads((folder / "meta.json").read_text())
    raw["rules"] = tuple(Rule(**rule) for rule in raw["rules"])
    history = History(Meta(**raw), leftovers=json.loads((folder / "leftovers.json").read_text()))
    for name, kind in _KINDS.items():
        getattr(history, name).extend(_records(folder / f"{name}.jsonl", kind))
    return history


def _records(path: Path, kind: type[R]) -> list[R]:
    with path.open() as file:
        return [kind(**json.loads(line)) for line in file]
