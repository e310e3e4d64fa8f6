"""The calls beside asking for permits: grants that may be settled, quota leases, plans."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from headworks.limiter.v1 import limiter_service_pb2 as pb

from headworks_client.channel import Connection
from headworks_client.decisions import RuleStatus
from headworks_client.durations import to_duration, to_seconds

_SERVICE = "headworks.limiter.v1.LimiterService"


@dataclass(frozen=True, slots=True)
class Lease:
    """Permits in advance."""

    lease_id: str
    """Empty: there were no permits, or there is no limit."""
    permits: int
    expires_after_s: float
    """Counted from before the call was sent."""
    retry_after_s: float
    """How long until there are any; 0 where there were."""
    inexact: bool
    """What is spent late may exceed the limit by as much as is on lease."""
    governing: RuleStatus | None = None
    """The rule that decided; None where none limits such requests."""

    @classmethod
    def from_proto(cls, reply: pb.LeaseQuotaResponse) -> Lease:
        """The lease as the limiter sent it."""
        expires_s, retry_s = to_seconds(reply.expires_after), to_seconds(reply.retry_after)
        governing = RuleStatus.from_proto(reply.governing) if reply.HasField("governing") else None
        return cls(reply.lease_id, reply.permits, expires_s, retry_s, reply.inexact, governing)


@dataclass(frozen=True, slots=True)
class PlannedBatch:
    """A batch that fits."""

    start_after_s: float
    items: int


class GrantCalls:
    """Settle, Release, Renew, LeaseQuota, ReturnQuota and PlanBatches; part of LimiterCalls."""

    _connection: Connection
    _stub: Any

    async def settle(self, grant_id: str, permits: int) -> bool:
        """Say what a grant has cost (`Decision.grant_id`); whether it had been settled so before.

        Raises NotFound (GRANT_NOT_FOUND) and FailedPrecondition (GRANT_EXPIRED, GRANT_SETTLED, GRANT_NOT_HELD).
        """
        request = pb.SettleRequest(grant_id=grant_id, permits=permits)
        reply = await self._connection.call(self._stub.Settle, f"{_SERVICE}/Settle", request)
        return bool(reply.replayed)

    async def release(self, grant_id: str) -> bool:
        """Give back what a grant holds by concurrency and adaptive rules; whether it held anything."""
        request = pb.ReleaseRequest(grant_id=grant_id)
        reply = await self._connection.call(self._stub.Release, f"{_SERVICE}/Release", request)
        return bool(reply.released)

    async def renew(self, grant_id: str) -> float:
        """Hold on; for how many seconds from now.

        Raises NotFound (GRANT_NOT_FOUND) and FailedPrecondition (GRANT_EXPIRED: others may hold the permits by now).
        """
        request = pb.RenewRequest(grant_id=grant_id)
        reply = await self._connection.call(self._stub.Renew, f"{_SERVICE}/Renew", request)
        return to_seconds(reply.expires_after)

    async def lease_quota(
        self,
        namespace: str,
        descriptors: Mapping[str, str],
        permits: int,
        *,
        duration_s: float = 5.0,
        request_id: str = "",
    ) -> Lease:
        """Take up to so many permits in advance, to spend them without asking.

        A `request_id` (a UUID) makes a repeated call lease once; by default each call has its own.
        """
        request = pb.LeaseQuotaRequest(
            namespace=namespace,
            descriptors=descriptors,
            permits=permits,
            duration=to_duration(duration_s),
            request_id=request_id or str(uuid.uuid4()),
        )
        reply = await self._connection.call(self._stub.LeaseQuota, f"{_SERVICE}/LeaseQuota", request)
        return Lease.from_proto(reply)

    async def return_quota(self, lease_id: str, spent: int) -> None:
        """End a lease of which so many permits were spent. Raises as `settle`."""
        request = pb.ReturnQuotaRequest(lease_id=lease_id, spent=spent)
        await self._connection.call(self._stub.ReturnQuota, f"{_SERVICE}/ReturnQuota", request)

    async def plan_batches(
        self,
        namespace: str,
        descriptors: Mapping[str, str],
        items: int,
        *,
        permits_per_item: int | None = None,
        max_batch: int | None = None,
        min_batch: int | None = None,
        max_batches: int | None = None,
    ) -> list[PlannedBatch]:
        """In which batches, and when, so many items fit, as far as `max_batches` (100) go. Takes nothing."""
        request = pb.PlanBatchesRequest(
            namespace=namespace,
            descriptors=descriptors,
            items=items,
            permits_per_item=permits_per_item,
            max_batch=max_batch,
            min_batch=min_batch,
            max_batches=max_batches,
        )
        reply = await self._connection.call(self._stub.PlanBatches, f"{_SERVICE}/PlanBatches", request)
        return [PlannedBatch(to_seconds(batch.start_after), batch.items) for batch in reply.batches]
