"""What the demo measured, for people and as build/demo.json."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from headworks_client import JobSnapshot, JobState
from rich.table import Table
from rich.text import Text

LISTED_DEAD = 20


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A file that could not be counted."""

    path: str
    category: str
    reason: str


@dataclass(frozen=True, slots=True)
class Permits:
    """What the limiter said to the workers."""

    allowed: int
    denied: int


@dataclass(frozen=True, slots=True)
class Events:
    """What the subscriber heard."""

    unique: int
    duplicate: int
    missing: int
    """Jobs that ended, but whose end it did not hear of."""


@dataclass(frozen=True, slots=True)
class Report:
    """One run of the demo. Fields are added, never renamed."""

    jobs_submitted: int
    jobs_succeeded: int
    jobs_dead: int
    jobs_cancelled: int
    jobs_lost: int
    """Submitted, but in no final state."""
    events_received: int
    events_unique: int
    events_duplicate: int
    events_missing: int
    traces_complete: int
    """Traces that span caller, limiter, scheduler, Redis, worker, Kafka and subscriber."""
    traces_sampled: int
    permits_allowed: int
    permits_denied: int
    pickup_p50_ms: float
    pickup_p99_ms: float
    jobs_per_s: float
    duration_s: float
    redis: str
    kafka: str
    python: str
    files: int
    lines: int
    dead_letters: tuple[DeadLetter, ...]

    @property
    def ok(self) -> bool:
        """Nothing was lost, and every end was heard of."""
        return self.jobs_lost == 0 and self.events_missing == 0

    def write(self, path: Path) -> None:
        """As JSON."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(dataclasses.asdict(self), indent=2, ensure_ascii=False) + "\n")


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` (0 to 1) of the values do not exceed; 0 of none."""
    ordered = sorted(values)
    return ordered[max(0, -int(-share * len(ordered) // 1) - 1)] if ordered else 0.0


def pickup_ms(job: JobSnapshot) -> float | None:
    """From the submit to the handing out, both by the store's clock; None when it was tried again or never begun."""
    if job.create_time is None or job.start_time is None or job.attempts != 1:
        return None
    return (job.start_time - job.create_time).total_seconds() * 1000


def count_states(jobs: Sequence[JobSnapshot]) -> Counter[JobState]:
    """How many jobs are in each state."""
    return Counter(job.state for job in jobs)


def numbers(report: Report) -> Table:
    """The measurements as a table."""
    table = Table(title="what happened", title_justify="left", box=None, show_header=False, pad_edge=False)
    table.add_column(style="dim")
    table.add_column()
    lost = "[green]0 lost[/green]" if not report.jobs_lost else f"[bold red]{report.jobs_lost} lost[/bold red]"
    jobs = (
        f"{report.jobs_submitted:,} submitted, {report.jobs_succeeded:,} succeeded, {report.jobs_dead:,} dead, {lost}"
    )
    table.add_row("jobs", jobs)
    table.add_row("throughput", f"{report.jobs_per_s:,.0f} jobs/s over {report.duration_s:.1f} s")
    table.add_row("pickup", f"p50 {report.pickup_p50_ms:.1f} ms, p99 {report.pickup_p99_ms:.1f} ms")
    table.add_row("permits", f"{report.permits_allowed:,} allowed, {report.permits_denied:,} denied")
    heard = f"{report.events_unique:,} unique, {report.events_duplicate:,} duplicate, {report.events_missing:,} missing"
    table.add_row("events", f"{report.events_received:,} received: {heard}")
    table.add_row("traces", f"{report.traces_complete:,} complete of {report.traces_sampled:,} sampled")
    table.add_row("redis", report.redis)
    table.add_row("kafka", report.kafka)
    return table


def dead_letters(report: Report) -> Text:
    """The files that could not be counted, and why; a line each, never wrapped."""
    text = Text.assemble(("dead letters\n", "italic"))
    listed = [(str(Path(*Path(letter.path).parts[-3:])), letter) for letter in report.dead_letters[:LISTED_DEAD]]
    width = max((len(path) for path, _ in listed), default=0)
    for path, letter in listed:
        text.append(f"{path:<{width}}  ").append(f"{letter.category:<9}  ", style="red").append(f"{letter.reason}\n")
    more = len(report.dead_letters) - LISTED_DEAD
    return text.append(f"... and {more} more\n" if more > 0 else "", style="dim")
