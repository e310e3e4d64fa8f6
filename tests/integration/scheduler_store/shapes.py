"""What the state machine draws from: queues, jobs, and how much of each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from headworks_core.cells import Meta
from headworks_scheduler.domain.jobs import NewJob, Queue
from headworks_scheduler.domain.retry import RetryPolicy
from headworks_scheduler.store.jobs import StoreOptions
from hypothesis import strategies as st

REPLICAS = ("one", "two")
TENANTS = ("ann", "bob", "cy")
WEIGHTED = Queue(
    "weighted",
    max_size=14,
    max_size_per_tenant=8,
    tenant_weights={"ann": 3, "cy": 1000},
    lane_weights={"": 2, "Z": 5},
    retention_us=3_000_000,
    max_finished=2,
)
QUEUES = {queue.name: queue for queue in (WEIGHTED, Queue("plain"))}
OPTIONS = StoreOptions(
    "",
    lease_us=3_000_000,
    delivery_us=1_000_000,
    retention_us=6_000_000,
    finished_max=4,
    outbox_max=9,
    lost_max=1,
    queues=(WEIGHTED,),
    poison=b"poison",
    expired=b"expired",
)

queues = st.sampled_from(sorted(QUEUES))
replicas = st.sampled_from(REPLICAS)
traces = st.sampled_from(["", "00-a-b-01"])
delays = st.sampled_from([0, 0, 0, 0, 0, 1, 700_000, 2_500_000])
policies = st.builds(
    RetryPolicy,
    max_attempts=st.integers(1, 3),
    initial_us=st.sampled_from([0, 1, 1_000, 900_000]),
    max_us=st.just(1_500_000),
    multiplier_milli=st.sampled_from([1_000, 2_000]),
    jitter_milli=st.sampled_from([0, 500, 1_000]),
).map(RetryPolicy.encode)
shapes = st.tuples(
    queues,
    st.sampled_from(TENANTS),
    st.sampled_from([0, 5, 9]),
    st.sampled_from(["", "Z", "a:b", "a"]),
    delays,
    st.sampled_from([0, 0, 0, 0, 0, 1_000, 1_200_000, 6_000_000]),
    policies,
    traces,
)


def shaped(shape: Any, number: int, fresh: bool) -> NewJob:
    """A submission of a drawn shape."""
    queue, tenant, level, lane, delay, expire, retry, trace = shape
    identity = (QUEUES[queue], tenant, f"job{number}", fresh)
    return NewJob(*identity, b"spec", "task", level, lane, trace, delay, expire, 1_000, retry)


def grouped(meta: Meta, cell: int, jobs: Sequence[NewJob]) -> list[list[int]]:
    """Indexes of the jobs of a cell by tenant and queue, in order of appearance."""
    groups: dict[tuple[str, str], list[int]] = {}
    for index, job in enumerate(jobs):
        if meta.cell_of(job.queue.name) == cell:
            groups.setdefault((job.tenant, job.queue.name), []).append(index)
    return list(groups.values())


picks = st.lists(st.integers(0, 9), min_size=1, max_size=4)
"""Which leases: held ones first, then a few that have ended; the latest first."""
limits = st.sampled_from([1, 2, 500])
