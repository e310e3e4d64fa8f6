"""Messages for ledgers."""

from __future__ import annotations

from collections.abc import Iterable

from headworks.scheduler.v1 import job_pb2
from headworks.worker.v1 import session_pb2 as pb
from headworks_client.durations import to_duration
from headworks_worker.ledger import Ended, Ledger

INTERVAL_S, LEASE_S = 10.0, 30.0


def attached(lost: Iterable[tuple[str, int]] = ()) -> pb.Attached:
    """The scheduler's answer."""
    return pb.Attached(
        heartbeat_interval=to_duration(INTERVAL_S),
        lease=to_duration(LEASE_S),
        lost=[pb.LeaseRef(job=job, lease_id=lease_id) for job, lease_id in lost],
    )


def ready(slots: int = 10, now: float = 0.0) -> Ledger:
    """A ledger in a session that has announced its slots."""
    ledger = Ledger(slots)
    ledger.attach()
    ledger.attached(attached(), now)
    request = ledger.next(now)
    assert request is not None
    assert request.credit.slots == slots
    return ledger


def jobs(*names: str, lease_id: int = 1) -> list[pb.Assignment]:
    """Assignments."""
    return [pb.Assignment(job=name, lease_id=lease_id) for name in names]


def success(name: str, lease_id: int = 1, size: int = 0) -> Ended:
    """A handler that has returned."""
    payload = job_pb2.Payload(data=bytes(size))
    return Ended((name, lease_id), pb.Result(job=name, lease_id=lease_id, success=pb.Success(result=payload)))


def refs(*names: str) -> list[pb.LeaseRef]:
    """Their leases."""
    return [pb.LeaseRef(job=name, lease_id=1) for name in names]
