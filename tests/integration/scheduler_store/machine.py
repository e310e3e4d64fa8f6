"""A Hypothesis state machine that drives `JobStore` and the model side by side and compares all there is.

Two replicas serve two queues, one of them with weights and bounds, in one cell or in two.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Coroutine, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from headworks_core.cells import Meta
from headworks_core.store import redis_client
from headworks_scheduler.domain.jobs import Completion, FailedAttempt, Filter, Held, NewJob, Release, State
from headworks_scheduler.reconciler import Reconciler
from headworks_scheduler.store.jobs import JobStore
from headworks_scheduler.store.reconciling import ReconcileStore
from headworks_scheduler.store.redrives import RedriveStore
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.integration.scheduler_store import contents
from tests.integration.scheduler_store.driver import START_US
from tests.integration.scheduler_store.model import CellModel
from tests.integration.scheduler_store.modelled import Told
from tests.integration.scheduler_store.shapes import (
    OPTIONS,
    QUEUES,
    REPLICAS,
    TENANTS,
    delays,
    grouped,
    limits,
    picks,
    queues,
    replicas,
    shaped,
    shapes,
    traces,
)

T = TypeVar("T")


@dataclass
class Seen:
    """What has occurred, for comparison with the documentation."""

    transitions: Counter[tuple[str, str, str, str]] = field(default_factory=Counter)
    """State before and after ("": no such job), script, type of the event ("" for none)."""
    keys: dict[str, set[str]] = field(default_factory=dict)
    """The keys of the store, with the fields of those that are hashes."""


class StoreMachine(RuleBasedStateMachine):
    """Rules are the calls of `JobStore`; see the module."""

    def __init__(self, url: str, seen: Seen) -> None:
        """`seen` gathers what happens in all examples."""
        super().__init__()
        self.seen = seen
        self.states: dict[str, str] = {}
        self.events: list[int] = []
        self.loop = asyncio.new_event_loop()
        self.stack = AsyncExitStack()
        self.now = START_US
        self.submitted: list[NewJob] = []
        self.leases: list[tuple[int, str, int]] = []
        self.redis = self._run(self.stack.enter_async_context(redis_client(url, timeout_s=10)))
        self.pubsub = self.redis.pubsub(ignore_subscribe_messages=True)

    def teardown(self) -> None:
        """Close what was opened."""
        self._run(self.pubsub.aclose())  # type: ignore[no-untyped-call]
        self._run(self.stack.aclose())
        self.loop.close()

    @initialize(cells=st.sampled_from([1, 2]), first=st.lists(shapes, min_size=3, max_size=9))
    def start(self, cells: int, first: list[Any]) -> None:
        """A store with a few jobs, some of them claimed."""
        self._run(self._empty())
        self.meta = Meta(cells=cells)
        options = {name: replace(OPTIONS, replica=name) for name in REPLICAS}
        self.stores = {name: JobStore(self.redis, self.meta, options[name], now_us=self._now) for name in REPLICAS}
        self.redrives = RedriveStore(self.redis, self.meta, outbox_max=OPTIONS.outbox_max, now_us=self._now)
        self.models = [CellModel(cell, OPTIONS) for cell in range(cells)]
        self.events = [0] * cells
        self._set_clock(START_US)
        prefixes = [self.meta.prefix(cell) for cell in range(cells)]
        channels = [f"{prefix}:replica:{name}" for prefix in prefixes for name in REPLICAS]
        self._run(self.pubsub.subscribe("end", *channels, *[f"{prefix}:timers" for prefix in prefixes]))
        self.submit("one", first, [], other=False, fresh=True)
        self._check_told()
        self.claim("one", "plain", [("w1", 3)])

    # ---- rules

    @rule(
        replica=replicas,
        new=st.lists(shapes, max_size=6),
        again=st.lists(st.integers(0, 9), max_size=2),
        other=st.booleans(),
        fresh=st.booleans(),
    )
    def submit(self, replica: str, new: Sequence[Any], again: list[int], other: bool, fresh: bool) -> None:
        """New jobs, and some once more under their id, with their own spec or another; mixed and twice in a batch."""
        jobs = [shaped(shape, len(self.submitted) + n, fresh) for n, shape in enumerate(new)]
        self.submitted += jobs
        for index in again:
            if index < len(self.submitted):
                known = self.submitted[-1 - index]
                jobs.append(replace(known, fresh=False, spec=b"other" if other else known.spec, delay_us=0))
        if not jobs:
            return
        cells = {cell: grouped(self.meta, cell, jobs) for cell in range(self.meta.cells)}
        wanted: dict[int, Any] = {}
        for cell, groups in cells.items():
            if groups:
                answers = self.models[cell].submit([[jobs[index] for index in group] for group in groups])
                pairs = zip(groups, answers, strict=True)
                wanted |= {index: answer for group, of in pairs for index, answer in zip(group, of, strict=True)}
        assert self._call("submit", self.stores[replica].submit(jobs)) == [wanted[index] for index in range(len(jobs))]

    @rule(replica=replicas)
    def claim_all(self, replica: str) -> None:
        """Everything that is ready."""
        for queue in QUEUES:
            self.claim(replica, queue, [("w1", 20)])
            self._check_told()

    @rule(
        replica=replicas,
        queue=queues,
        workers=st.lists(
            st.tuples(st.sampled_from(["w1", "w2"]), st.sampled_from([0, 1, 2, 4, 9])), min_size=1, max_size=3
        ),
    )
    def claim(self, replica: str, queue: str, workers: list[tuple[str, int]]) -> None:
        """Several workers in one call."""
        cell = self.meta.cell_of(queue)
        wanted = self.models[cell].claim(QUEUES[queue], replica, workers)
        claimed = self._call("claim", self.stores[replica].claim(QUEUES[queue], workers))
        assert claimed == wanted
        for job in claimed:
            _, tenant, _, of_queue, _, tail = job.name.split("/")
            self.leases.append((cell, f"{tenant}/{of_queue}/{tail.partition('-')[2]}", job.lease_id))

    @precondition(lambda self: self.leases)
    @rule(replica=replicas, picked=picks, progress=st.sampled_from([b"", b"half"]))
    def heartbeat(self, replica: str, picked: list[int], progress: bytes) -> None:
        """Some leases, held or long lost, perhaps one twice."""
        for cell, leases in self._picked(picked).items():
            held = [Held(ref, lease_id, progress) for ref, lease_id in leases]
            wanted = self.models[cell].heartbeat(replica, held)
            assert self._call("heartbeat", self.stores[replica].heartbeat(cell, held)) == wanted

    @precondition(lambda self: self.leases)
    @rule(replica=replicas, picked=picks, result=st.sampled_from([b"", b"{}"]), trace=traces)
    def complete(self, replica: str, picked: list[int], result: bytes, trace: str) -> None:
        """Some leases, held or long lost, perhaps one twice."""
        for cell, leases in self._picked(picked).items():
            items = [Completion(ref, lease_id, result, "text/plain", trace) for ref, lease_id in leases]
            wanted = self.models[cell].complete(items)
            assert self._call("complete", self.stores[replica].complete(cell, items)) == wanted

    @precondition(lambda self: self.leases)
    @rule(
        replica=replicas,
        picked=picks,
        retryable=st.integers(0, 4).map(bool),
        after=st.sampled_from([-1, -1, 0, 1_300_000]),
        luck=st.integers(0, 999),
        trace=traces,
    )
    def fail(self, replica: str, picked: list[int], retryable: bool, after: int, luck: int, trace: str) -> None:
        """Some leases, held or long lost, perhaps one twice."""
        for cell, leases in self._picked(picked).items():
            items = [
                FailedAttempt(ref, lease_id, b"failure", b"short", retryable, after, luck, trace)
                for ref, lease_id in leases
            ]
            wanted = self.models[cell].fail(items)
            assert self._call("fail", self.stores[replica].fail(cell, items)) == wanted

    @precondition(lambda self: self.leases)
    @rule(replica=replicas, picked=picks, delay=delays, trace=traces)
    def release(self, replica: str, picked: list[int], delay: int, trace: str) -> None:
        """Some leases, held or long lost, perhaps one twice."""
        for cell, leases in self._picked(picked).items():
            items = [Release(ref, lease_id, delay, trace) for ref, lease_id in leases]
            wanted = self.models[cell].release(items)
            assert self._call("release", self.stores[replica].release(cell, items)) == wanted

    @precondition(lambda self: self.submitted)
    @rule(replica=replicas, picked=st.integers(0, 25), trace=traces)
    def cancel(self, replica: str, picked: int, trace: str) -> None:
        """A job in any state, or one that is gone."""
        job = self.submitted[-1 - picked % len(self.submitted)]
        cell, ref = self._place(job)
        wanted = self.models[cell].cancel(ref, trace)
        assert self._call("cancel", self.stores[replica].cancel(cell, ref, traceparent=trace)) == wanted

    @precondition(lambda self: self.submitted)
    @rule(replica=replicas, picked=st.lists(st.integers(0, 25), min_size=1, max_size=4))
    def redrive(self, replica: str, picked: list[int]) -> None:
        """Jobs in any state, and some that are gone, perhaps one twice."""
        groups: dict[tuple[str, str], list[str]] = {}
        for index in picked:
            job = self.submitted[-1 - index % len(self.submitted)]
            groups.setdefault((job.queue.name, job.tenant), []).append(job.tail)
        for (queue, tenant), tails in groups.items():
            wanted = self.models[self.meta.cell_of(queue)].redrive(QUEUES[queue], tenant, tails)
            assert self._call("redrive", self.redrives.redrive(QUEUES[queue], tenant, tails)) == wanted
            self._check_told()

    @precondition(lambda self: any(job.state is State.DEAD for model in self.models for job in model.jobs.values()))
    @rule(queue=queues, limit=limits, ago=st.sampled_from([0, 0, 700_000]), filtered=st.booleans())
    def redrive_dead(self, queue: str, limit: int, ago: int, filtered: bool) -> None:
        """Dead letters, not the latest ones; perhaps by a filter that they all fit."""
        cell, wanted_filter = self.meta.cell_of(queue), Filter(task="task") if filtered else Filter()
        for tenant in TENANTS:
            wanted = self.models[cell].redrive_dead(QUEUES[queue], tenant, limit, self.now - ago)
            call = self.redrives.redrive_dead(
                QUEUES[queue], tenant, wanted_filter, limit=limit, cutoff_us=self.now - ago
            )
            assert self._call("redrive", call).tails == wanted
            self._check_told()

    @precondition(lambda self: self.leases)
    @rule(replica=replicas, picked=picks)
    def cancel_leased(self, replica: str, picked: list[int]) -> None:
        """Jobs that a worker has, or had."""
        for cell, leases in self._picked(picked).items():
            for ref, _ in leases:
                wanted = self.models[cell].cancel(ref, "")
                assert self._call("cancel", self.stores[replica].cancel(cell, ref)) == wanted
                self._check_told()

    @precondition(lambda self: self.submitted)
    @rule(replica=replicas, picked=st.integers(0, 25))
    def watch(self, replica: str, picked: int) -> None:
        """A replica wants to hear of a job."""
        cell, ref = self._place(self.submitted[-1 - picked % len(self.submitted)])
        self.models[cell].watch(ref, replica)
        (fields,) = self._call("read", self.stores[replica].read(cell, [ref], watch=True))
        assert (fields is None) == (ref not in self.models[cell].jobs)

    @rule(us=st.sampled_from([0, 1, 499_999, 1_000_000, 3_000_000, 7_000_000]))
    def advance(self, us: int) -> None:
        """Time passes."""
        self._set_clock(self.now + us)

    @rule(replica=replicas, early=st.integers(0, 1), all_beat=st.booleans())
    def outlive_a_lease(self, replica: str, early: int, all_beat: bool) -> None:
        """The next lease ends, perhaps one that all workers had renewed; the reaper comes then, or 1 us too early."""
        if all_beat:
            self.heartbeat(replica, list(range(10)), b"") if self.leases else None
            self._check_told()
        ends = [job.lease_ends for model in self.models for job in model.jobs.values() if job.state is State.LEASED]
        self._set_clock(max(self.now, min(ends, default=0) - early))
        self.reap(replica, 500)

    @rule(replica=replicas, early=st.integers(0, 1))
    def await_a_timer(self, replica: str, early: int) -> None:
        """The next timer is due, or is so in 1 us."""
        timers = [at for model in self.models for at in model.timers.values()]
        self._set_clock(max(self.now, min(timers, default=0) - early))
        self.due(replica, 500)

    @rule(replica=replicas, limit=limits)
    def due(self, replica: str, limit: int) -> None:
        """Timers."""
        for cell, model in enumerate(self.models):
            wanted = model.due(limit)
            assert self._call("due", self.stores[replica].due(cell, limit=limit)) == wanted

    @rule(replica=replicas, limit=limits)
    def reap(self, replica: str, limit: int) -> None:
        """Ended leases."""
        for cell, model in enumerate(self.models):
            wanted = model.reap(limit)
            assert self._call("reap", self.stores[replica].reap(cell, limit=limit)) == wanted

    @rule(replica=replicas, limit=limits)
    def forget(self, replica: str, limit: int) -> None:
        """Finished jobs."""
        for cell, model in enumerate(self.models):
            wanted = model.forget(limit)
            assert self._call("forget", self.stores[replica].forget(cell, limit=limit)) == wanted

    @rule()
    def reconcile(self) -> None:
        """Everything; there must be nothing to repair."""
        reconciler = Reconciler(ReconcileStore(self.redis, self.meta, lease_us=1, now_us=self._now), self.meta.cells)
        while not self._call("reconcile", reconciler.step()):
            pass
        assert (reconciler.counters, reconciler.counts_unchecked) == ({}, 0)

    # ---- what must hold

    @invariant()
    def the_store_holds_what_the_model_says(self) -> None:
        """All keys with all they hold, and all that was published."""
        if not hasattr(self, "models"):
            return
        self._check_told()
        stored = self._run(contents.stored(self.redis))
        differences = contents.differences(stored, self.models)
        assert not differences, differences
        for key, value in stored.items():
            self.seen.keys.setdefault(key, set()).update(value if isinstance(value, dict) else ())

    def _check_told(self) -> None:
        """Everybody heard what concerns them, once; a wake-up went to one of those who waited."""
        heard = self._run(self._hear_all())
        wanted: Counter[tuple[str, str]] = Counter()
        for model in self.models:
            prefix = self.meta.prefix(model.cell)
            for replica, text in model.told.cancels:
                wanted[f"{prefix}:replica:{replica}", text] += 1
            for replica, refs in model.told.changed.items():
                wanted[f"{prefix}:replica:{replica}", " ".join(["changed", *refs])] += 1
            for at in model.told.timers:
                wanted[f"{prefix}:timers", str(at)] += 1
            for queue in model.told.woken:
                waiters = model.waiters.get(queue, set())
                woken = [name for name in waiters if heard[f"{prefix}:replica:{name}", f"wake {queue}"]]
                assert len(woken) == min(1, len(waiters))
                for name in woken:
                    waiters.discard(name)
                    wanted[f"{prefix}:replica:{name}", f"wake {queue}"] += 1
            model.told = Told()
        assert heard == wanted, (heard, wanted)

    # ---- parts

    def _run(self, call: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(call)

    def _call(self, script: str, call: Coroutine[Any, Any, T]) -> T:
        """Run a script that the model has run already, and take down what the model did."""
        jobs = {job.ref: job for model in self.models for job in model.jobs.values()}
        events = [entry for model in self.models for entry in model.outbox[self.events[model.cell] :]]
        last = {entry[0].decode(): entry[1].decode() for entry in events}
        for ref in self.states.keys() | jobs.keys():
            before = self.states.get(ref, "")
            after = jobs[ref].state.name if ref in jobs else ""
            if before != after:
                self.seen.transitions[before, after, script, last.get(ref, "")] += 1
        self.states = {ref: job.state.name for ref, job in jobs.items()}
        self.events = [len(model.outbox) for model in self.models]
        return self._run(call)

    def _now(self) -> int:
        return self.now

    async def _empty(self) -> None:
        await self.redis.flushall()

    async def _hear_all(self) -> Counter[tuple[str, str]]:
        """All messages so far: the server delivers them in the order in which they were published."""
        heard: Counter[tuple[str, str]] = Counter()
        await self.redis.publish("end", "")
        while True:
            message = await self.pubsub.get_message(ignore_subscribe_messages=True, timeout=5)
            if message is None:
                continue
            if message["channel"] == b"end":
                return heard
            heard[message["channel"].decode(), message["data"].decode()] += 1

    def _set_clock(self, now_us: int) -> None:
        self.now = now_us
        for model in self.models:
            model.now = now_us

    def _place(self, job: NewJob) -> tuple[int, str]:
        return self.meta.cell_of(job.queue.name), f"{job.tenant}/{job.queue.name}/{job.tail}"

    def _picked(self, picked: Sequence[int]) -> dict[int, list[tuple[str, int]]]:
        """Some leases by cell."""
        held = [lease for lease in reversed(self.leases) if self._is_held(*lease)]
        ended = [lease for lease in reversed(self.leases) if not self._is_held(*lease)]
        choice = held + ended[:2]
        cells: dict[int, list[tuple[str, int]]] = {}
        for index in picked:
            cell, ref, lease_id = choice[index % len(choice)]
            cells.setdefault(cell, []).append((ref, lease_id))
        return cells

    def _is_held(self, cell: int, ref: str, lease_id: int) -> bool:
        job = self.models[cell].jobs.get(ref)
        return job is not None and job.state is State.LEASED and job.lease == lease_id
