"""A run: epoch after epoch of load and faults, each healed, brought to rest and judged before the next begins."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.chaos import rules
from tests.chaos.cluster import DELIVERY_S, LEASE_S, LOST_MAX, RULES, WORKERS, Cluster, cluster, now
from tests.chaos.ears import Ears, Logs, listening
from tests.chaos.faults import Injector
from tests.chaos.history import Complaint, Fault, History, Meta
from tests.chaos.judge import judge
from tests.chaos.load import Load
from tests.chaos.processes import Exit
from tests.chaos.rest import come_to_rest, read_finals
from tests.chaos.rules import Finding

CALM_S = 4.0
"""At the start of each epoch, so that order can be judged."""
READY_S = 45.0
REST_S = 60.0
"""In which everything must be over once all is well again: long enough for the slowest retries and leases."""
SIGKILL = -9

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do."""

    seed: int
    epochs: int
    faults_s: float
    """How long each epoch's faults go on."""
    rate: float = 100.0
    killer_every_s: float = 15.0
    long: bool = False
    out: Path | None = None
    """Where histories with violations go; None: nowhere."""
    keep: bool = False
    """Keep histories without violations too."""


@dataclass(slots=True)
class Totals:
    """The run so far, in numbers."""

    epochs: int = 0
    jobs: int = 0
    acknowledged: int = 0
    unknown_tries: int = 0
    attempts: int = 0
    lost_leases: int = 0
    undelivered: int = 0
    states: Counter[str] = field(default_factory=Counter)
    events: int = 0
    duplicates: int = 0
    grants: int = 0
    ordered: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    restarts: int = 0
    silence_s: float = 0.0
    """The longest time without an acknowledged submit."""
    rest_s: float = 0.0
    """The longest time from healed to at rest."""
    findings: list[tuple[int, Finding]] = field(default_factory=list)

    def add(self, history: History, findings: list[Finding]) -> None:
        """One epoch more."""
        self.epochs += 1
        self.jobs += len(history.submitted)
        self.acknowledged += sum(job.acked_at is not None for job in history.submitted)
        self.unknown_tries += sum(job.unknown for job in history.submitted)
        self.attempts += sum(line.what == "start" for line in history.handled)
        self.lost_leases += sum(final.lost for final in history.final)
        self.undelivered += sum(final.undelivered for final in history.final)
        self.states.update(final.state for final in history.final)
        self.events += len(history.heard)
        self.duplicates += len(history.heard) - len({(event.job, event.sequence) for event in history.heard})
        self.grants += len(history.granted)
        self.ordered += rules.ordered_pairs(history)
        self.faults.update(fault.kind for fault in history.faults)
        self.findings += [(history.meta.epoch, finding) for finding in findings]


class Run:
    """One run over one cluster."""

    def __init__(self, plan: Plan, running: Cluster, ears: Ears, say: Say) -> None:
        self.plan = plan
        self.totals = Totals()
        self._cluster = running
        self._ears = ears
        self._say = say
        self._logs = Logs(running.folder / "handlers")
        self._earlier: deque[set[str]] = deque(maxlen=2)
        self._exits = 0

    async def epoch(self, number: int) -> list[Finding]:
        """Load, faults, healing, rest, judgement. Returns what the judge has found."""
        plan = self.plan
        meta = Meta(plan.seed, number, LOST_MAX, min(LEASE_S, DELIVERY_S), 2 * LEASE_S, RULES)
        history = History(meta)
        inject = Injector(self._cluster, plan.seed * 1_000 + number, long=plan.long)
        load = Load(
            history,
            self._cluster.target("api"),
            self._cluster.target("permits"),
            rate=plan.rate,
            killer_every_s=plan.killer_every_s,
        )
        settle = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            teller = tasks.create_task(self._tell(number, load, inject))
            loading = tasks.create_task(load.run(settle))
            await asyncio.sleep(CALM_S)
            await inject.run(now() + plan.faults_s)
            load.stop()
            slow = await self._cluster.heal(READY_S)
            history.complaints += [
                Complaint(now(), name, f"not ready {READY_S} s after the last fault") for name in slow
            ]
            healed = now()
            tasks.create_task(_later(settle, REST_S / 2))
            await loading
            history.leftovers += await come_to_rest(self._cluster.redis, REST_S)
            self.totals.rest_s = max(self.totals.rest_s, now() - healed)
            settle.set()
            teller.cancel()
        await self._collect(history, inject)
        findings = await asyncio.to_thread(judge, history)
        self.totals.silence_s = max(self.totals.silence_s, load.silence_s)
        self.totals.add(history, findings)
        self._keep(history, findings)
        self._earlier.append({job.name for job in history.submitted})
        return findings

    async def _collect(self, history: History, inject: Injector) -> None:
        """What everybody else has seen."""
        history.faults += inject.faults
        history.complaints += inject.complaints
        for ended in self._cluster.exits[self._exits :]:
            history.faults.append(Fault("ended by itself", ended.name, ended.at, ended.at, f"code {ended.code}"))
            if not _expected(ended):
                history.complaints.append(
                    Complaint(ended.at, ended.name, "\n".join([f"ended with {ended.code}", *ended.said]))
                )
        self.totals.restarts += len(self._cluster.exits) - self._exits
        self._exits = len(self._cluster.exits)
        await read_finals(self._cluster.target("api"), history)
        await asyncio.sleep(1.0)  # the subscriber is a fetch behind the outbox
        self._logs.collect(history)
        self._ears.collect(history, set().union(*self._earlier))

    def _keep(self, history: History, findings: list[Finding]) -> None:
        if self.plan.out is None or not (findings or self.plan.keep):
            return
        folder = self.plan.out / f"epoch-{history.meta.epoch}"
        history.save(folder)
        (folder / "findings.txt").write_text("\n".join(map(str, findings)) + "\n")
        for name, process in self._cluster.processes.items():
            (folder / f"{name}.log").write_text("\n".join(process.log) + "\n")

    async def _tell(self, number: int, load: Load, inject: Injector) -> None:
        while True:
            await asyncio.sleep(10)
            submitted = load.history.submitted
            acked = sum(job.acked_at is not None for job in submitted)
            last = inject.faults[-1].kind if inject.faults else "none"
            self._say(
                f"epoch {number}: {len(submitted)} jobs, {acked} acknowledged, {self._ears.total} events so far, "
                f"{len(inject.faults)} faults, the last: {last}"
            )


async def _later(event: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        event.set()


def _expected(ended: Exit) -> bool:
    """A worker that a job has killed, or a service that found no Redis when it started; nothing else ends by itself."""
    if ended.name in WORKERS:
        return ended.code == SIGKILL
    return ended.code == 1 and any("service.failed" in line and "cannot be reached" in line for line in ended.said)


@asynccontextmanager
async def running(plan: Plan, say: Say) -> AsyncIterator[Run]:
    """A run with its cluster up."""
    folder = Path(tempfile.mkdtemp(prefix="headworks-chaos-"))
    try:
        async with cluster(folder) as started, listening(started.kafka.bootstrap) as ears:
            yield Run(plan, started, ears, say)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
