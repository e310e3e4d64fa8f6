"""Runs the census on the whole suite and measures what the outside can see."""

from __future__ import annotations

import asyncio
import json
import platform
import time
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headworks_client import JobSnapshot, JobState, SchedulerClient
from headworks_core.errors import NotFound
from rich.console import Console

from headworks_devkit.demo.example import Example
from headworks_devkit.demo.permits import PermitCount
from headworks_devkit.demo.report import DeadLetter, Events, Report, count_states, percentile, pickup_ms
from headworks_devkit.demo.subscriber import subscribed
from headworks_devkit.demo.view import progress_view
from headworks_devkit.otlp_sink import exporting_to, otlp_sink, own_spans
from headworks_devkit.processes import ChildFailed
from headworks_devkit.suite import Listener, Plan, Suite, free_addresses, running_suite
from headworks_devkit.traces import Traces
from headworks_devkit.waiting import wait_until

WORKERS = 2
SLOTS = 24
"""Per worker. More would mostly wait for permits and be refused."""
SETTLE_S = 10.0
"""How long the last states and spans may take to be seen."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run of the demo gave."""

    report: Report
    rows: Sequence[Any]
    """The census: one row an area."""
    traces: Traces


class Demo:
    """One run."""

    def __init__(self, example: Example, console: Console, log_folder: Path) -> None:
        self._example = example
        self._console = console
        self._log_folder = log_folder
        self._permits = PermitCount()
        self._traces = Traces()
        self._died: list[ChildFailed] = []
        self._work: asyncio.Task[Outcome] | None = None

    async def run(self) -> Outcome:
        """Start everything, take the census, stop everything. Raises ChildFailed when a process dies meanwhile."""
        with own_spans(self._traces, service="census"):
            async with otlp_sink(self._traces) as endpoint, self._suite(endpoint) as suite:
                self._work = asyncio.create_task(self._measure(suite), name="census")
                try:
                    return await self._work
                except asyncio.CancelledError:
                    if self._died:
                        raise self._died[0] from None
                    raise
                finally:
                    self._work.cancel()
                    await asyncio.wait([self._work])

    @asynccontextmanager
    async def _suite(self, endpoint: str) -> AsyncIterator[Suite]:
        plan = Plan(
            rules=self._example.rules,
            tasks=self._example.tasks,
            workers=WORKERS,
            slots=SLOTS,
            import_from=[self._example.root],
            env=exporting_to(endpoint),
        )
        self._log_folder.mkdir(parents=True, exist_ok=True)
        for old in self._log_folder.glob("*.log"):
            old.unlink()
        listener = Listener(self._on_line, lambda step: self._console.print(f"... {step}", style="dim"), self._on_death)
        async with running_suite(plan, free_addresses(), listener) as suite:
            yield suite

    def _on_line(self, name: str, line: str) -> None:
        self._permits.hear(line)
        with (self._log_folder / f"{name}.log").open("a") as log:
            log.write(f"{line}\n")

    def _on_death(self, died: ChildFailed, _: float) -> None:
        self._died.append(died)
        if self._work is not None:
            self._work.cancel()

    async def _measure(self, suite: Suite) -> Outcome:
        files = self._example.files
        self._console.print(f"... census of {len(files):,} files", style="dim")
        async with (
            subscribed(suite.kafka.bootstrap) as subscriber,
            SchedulerClient(suite.addresses.scheduler) as client,
        ):
            with progress_view(self._console, self._permits, len(files)) as view:
                census = self._example.census(window=WORKERS * SLOTS, on_end=view.on_end)
                begun = time.perf_counter()
                rows = await census.take(files)
                duration_s = time.perf_counter() - begun
            jobs = await final_states(client, census.jobs)
            events = await subscriber.heard_of([job.name for job in jobs])
        await self._settled_traces()
        report = self._report(suite, census.jobs, jobs, events, duration_s, rows)
        return Outcome(report, rows, self._traces)

    async def _settled_traces(self) -> None:
        with suppress(TimeoutError):  # the report says how many are complete
            await wait_until(
                lambda: len(self._traces.complete()) == len(self._traces.begun()), SETTLE_S, what="spans", period_s=0.1
            )

    def _report(
        self,
        suite: Suite,
        submitted: Collection[str],
        jobs: Sequence[JobSnapshot],
        events: Events,
        duration_s: float,
        rows: Sequence[Any],
    ) -> Report:
        states, permits = count_states(jobs), self._permits.total()
        waits = [wait for wait in map(pickup_ms, jobs) if wait is not None]
        return Report(
            jobs_submitted=len(submitted),
            jobs_succeeded=states[JobState.SUCCEEDED],
            jobs_dead=states[JobState.DEAD],
            jobs_cancelled=states[JobState.CANCELLED],
            jobs_lost=len(submitted) - len(jobs),
            events_received=events.unique + events.duplicate,
            events_unique=events.unique,
            events_duplicate=events.duplicate,
            events_missing=events.missing,
            traces_complete=len(self._traces.complete()),
            traces_sampled=len(self._traces.begun()),
            permits_allowed=permits.allowed,
            permits_denied=permits.denied,
            pickup_p50_ms=round(percentile(waits, 0.50), 3),
            pickup_p99_ms=round(percentile(waits, 0.99), 3),
            jobs_per_s=round(len(jobs) / duration_s, 1),
            duration_s=round(duration_s, 3),
            redis=f"{suite.redis.name} at {suite.redis.address}",
            kafka=f"{suite.kafka.name} at {suite.kafka.bootstrap}",
            python=platform.python_version(),
            files=sum(row.files for row in rows),
            lines=sum(row.lines for row in rows),
            dead_letters=tuple(_dead_letter(job) for job in jobs if job.state is JobState.DEAD),
        )


async def final_states(client: SchedulerClient, names: Sequence[str]) -> list[JobSnapshot]:
    """What the scheduler says of the jobs that have ended, each once; those that have not are left out."""
    ended: dict[str, JobSnapshot] = {}
    with suppress(TimeoutError, NotFound):
        async with asyncio.timeout(SETTLE_S):
            async for job in client.watch(names, terminal_only=True):
                ended[job.name] = job
    return list(ended.values())


def _dead_letter(job: JobSnapshot) -> DeadLetter:
    arguments = json.loads(job.submission.payload or b"{}")
    path, failure = str(arguments.get("path", job.name)), job.failure
    if failure is None:
        return DeadLetter(path, "UNKNOWN", "")
    return DeadLetter(path, failure.category, f"{failure.error_class}: {failure.message}")
