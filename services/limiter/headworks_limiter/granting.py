"""Grants that may be settled, quota leases, and plans: the calls beside asking for permits."""

from __future__ import annotations

from headworks.limiter.v1 import limiter_pb2
from headworks.limiter.v1 import limiter_service_pb2 as pb
from headworks_core.context import CallContext
from headworks_core.errors import (
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    Reason,
    ServiceError,
    Violation,
    invalid,
)
from headworks_core.names import UUID

from headworks_limiter import replies
from headworks_limiter.decider import Decider
from headworks_limiter.domain.algorithms import HELD
from headworks_limiter.domain.ask import Ask, Verdict
from headworks_limiter.domain.decision import Answer, Mode
from headworks_limiter.domain.fixed_window import FixedWindow, left_us
from headworks_limiter.domain.grants import Operation, Settled, Status
from headworks_limiter.domain.plan import Wanted, plan
from headworks_limiter.extras_reader import MAX_PERMITS
from headworks_limiter.leases import Leases
from headworks_limiter.requests import RequestReader, exceeds_limit, within

LEASE_S = 5
LEAST_LEASE_S, MOST_LEASE_S = 0.1, 600
MAX_BATCHES = 1_000
DEFAULT_BATCHES = 100


class Granting:
    """Settle, Release, Renew, LeaseQuota, ReturnQuota and PlanBatches."""

    def __init__(self, reader: RequestReader, decider: Decider) -> None:
        self._reader = reader
        self._decider = decider
        self.leases = Leases(decider.clock)

    async def settle(self, request: pb.SettleRequest, caller: CallContext) -> pb.SettleResponse:
        """It has cost so many permits. Raises as the proto says."""
        what = await self._settle(request.grant_id, request.permits, caller, ("grant_id", "permits"))
        return pb.SettleResponse(replayed=what.status is Status.SETTLED)

    async def release(self, request: pb.ReleaseRequest, caller: CallContext) -> pb.ReleaseResponse:
        """Nothing is held any more."""
        _check_id(request.grant_id)
        what = await self._ask(Operation.RELEASE, request.grant_id, 0, caller)
        return pb.ReleaseResponse(released=what.status is Status.DONE and what.changed > 0)

    async def renew(self, request: pb.RenewRequest, caller: CallContext) -> pb.RenewResponse:
        """Hold on. Raises as the proto says."""
        _check_id(request.grant_id)
        what = await self._ask(Operation.RENEW, request.grant_id, 0, caller)
        if what.status is not Status.DONE:
            raise _fault(what, request.grant_id, 0)
        reply = pb.RenewResponse()
        replies.write_duration(reply.expires_after, what.ends_in_us)
        return reply

    async def lease(self, request: pb.LeaseQuotaRequest, caller: CallContext) -> pb.LeaseQuotaResponse:
        """Permits in advance. Raises as Consume."""
        violations = []
        if request.HasField("duration") and not within(request.duration, LEAST_LEASE_S, MOST_LEASE_S):
            violations.append(Violation("duration", "must be 100 ms to 10 minutes"))
        asked = limiter_pb2.PermitRequest(
            namespace=request.namespace,
            descriptors=request.descriptors,
            permits=request.permits,
            request_id=request.request_id,
            allow_partial=True,
        )
        asked.hold.seconds = LEASE_S
        if request.HasField("duration") and not violations:
            asked.hold.CopyFrom(request.duration)
        try:
            ask = self._reader.ask(asked, caller.tenant, Mode.TAKE)
        except InvalidArgument as error:
            raise invalid([*error.violations, *violations]) if error.violations else error from None
        violations += _unleasable(ask)
        if violations:
            raise invalid(violations)
        verdict = await self._decider.decide(ask, caller)
        if verdict.answer is Answer.REUSED:
            message = "request_id: was used for another request in the last 10 minutes"
            raise InvalidArgument(message, reason=Reason.REQUEST_ID_REUSED)
        if verdict.answer is Answer.UNRECORDED:
            raise exceeds_limit(ask)
        return self._leased(verdict, asked.hold.ToMicroseconds())

    async def give_back(self, request: pb.ReturnQuotaRequest, caller: CallContext) -> pb.ReturnQuotaResponse:
        """The lease is over, and so many permits were spent. Raises as the proto says."""
        await self._settle(request.lease_id, request.spent, caller, ("lease_id", "spent"))
        self.leases.ended(request.lease_id)
        return pb.ReturnQuotaResponse()

    async def plan(self, request: pb.PlanBatchesRequest, caller: CallContext) -> pb.PlanBatchesResponse:
        """Batches that fit. Raises InvalidArgument, also where a rule can never hold an item; NotFound; Unavailable."""
        asked = limiter_pb2.PermitRequest(namespace=request.namespace, descriptors=request.descriptors)
        if request.HasField("permits_per_item"):
            asked.permits = request.permits_per_item
        violations = _plan_violations(request)
        try:
            ask = self._reader.ask(asked, caller.tenant, Mode.LOOK)
        except InvalidArgument as error:
            renamed = [_renamed(violation) for violation in error.violations]
            raise invalid([*renamed, *violations]) if renamed or violations else error from None
        if violations:
            raise invalid(violations)
        most = request.max_batch or request.items
        wanted = Wanted(request.items, ask.permits, most, request.min_batch, request.max_batches or DEFAULT_BATCHES)
        asking = [bucket for bucket in ask.buckets if not bucket.rule.shadow]
        now_us, states = await self._decider.read(ask.cell, [bucket.key for bucket in asking])
        known = [(state, bucket.rule.params) for state, bucket in zip(states, asking, strict=True)]
        reply = pb.PlanBatchesResponse(unplanned=request.items)
        for batch in plan(known, wanted, now_us):
            planned = reply.batches.add(items=batch.items)
            replies.write_duration(planned.start_after, batch.start_us)
            reply.unplanned -= batch.items
        return reply

    def _leased(self, verdict: Verdict, hold_us: int) -> pb.LeaseQuotaResponse:
        reply = pb.LeaseQuotaResponse()
        index = verdict.governing
        if index is not None:
            replies.write_status(reply.governing, verdict.buckets[index], verdict.outcomes[index])
        if not verdict.allowed:
            if index is not None:
                replies.write_duration(reply.retry_after, verdict.outcomes[index].retry_after_us)
            return reply
        windows = [
            left_us(bucket.rule.params, outcome.reset_after_us, verdict.age_us)
            for bucket, outcome in zip(verdict.buckets, verdict.outcomes, strict=True)
            if isinstance(bucket.rule.params, FixedWindow)
        ]
        expires_us = max(0, min([hold_us - verdict.age_us, *windows]))
        reply.lease_id, reply.permits = verdict.grant_id, verdict.permits
        reply.inexact = len(windows) < len(verdict.buckets)
        replies.write_duration(reply.expires_after, expires_us)
        if reply.lease_id and expires_us:
            self.leases.begun(reply.lease_id, reply.permits, expires_us / 1e6, inexact=reply.inexact)
        return reply

    async def _settle(self, grant_id: str, permits: int, caller: CallContext, fields: tuple[str, str]) -> Settled:
        violations = []
        if not UUID.fullmatch(grant_id):
            violations.append(Violation(fields[0], "must be the id of a grant, a UUID"))
        if not 0 <= permits <= MAX_PERMITS:
            violations.append(Violation(fields[1], f"must be 0 to {MAX_PERMITS:,}"))
        if violations:
            raise invalid(violations)
        what = await self._ask(Operation.SETTLE, grant_id, permits, caller)
        if what.status is Status.DONE or (what.status is Status.SETTLED and what.permits == permits):
            return what
        raise _fault(what, grant_id, permits)

    async def _ask(self, operation: Operation, grant_id: str, permits: int, caller: CallContext) -> Settled:
        record = self._reader.record(caller.tenant, grant_id)
        return await self._decider.settle(self._reader.cell_of(caller.tenant), record, operation, permits, grant_id)


def _fault(what: Settled, grant_id: str, permits: int) -> ServiceError:
    if what.status is Status.UNKNOWN:
        return NotFound(f"grant {grant_id} is not known, or not any more", reason=Reason.GRANT_NOT_FOUND)
    if what.status is Status.SETTLED:
        message = f"grant {grant_id} was settled at {what.permits:,} permits, not at {permits:,}"
        return FailedPrecondition(message, reason=Reason.GRANT_SETTLED)
    if what.status in (Status.LATE, Status.LOST):
        return FailedPrecondition(f"grant {grant_id} has ended", reason=Reason.GRANT_EXPIRED)
    return FailedPrecondition(f"grant {grant_id} holds nothing of that kind", reason=Reason.GRANT_NOT_HELD)


def _unleasable(ask: Ask) -> list[Violation]:
    rules = [bucket.rule for bucket in ask.buckets if isinstance(bucket.rule.params, HELD) and not bucket.rule.shadow]
    rule = "meet rule {}, whose permits are held while they are used: they cannot be leased"
    return [Violation("descriptors", rule.format(each.name)) for each in rules]


def _check_id(grant_id: str) -> None:
    if not UUID.fullmatch(grant_id):
        raise invalid([Violation("grant_id", "must be the id of a grant, a UUID")])


def _renamed(violation: Violation) -> Violation:
    return Violation("permits_per_item", violation.description) if violation.field == "permits" else violation


def _plan_violations(request: pb.PlanBatchesRequest) -> list[Violation]:
    violations = []
    if not 1 <= request.items <= MAX_PERMITS:
        violations.append(Violation("items", f"must be 1 to {MAX_PERMITS:,}"))
    for field, value in (("max_batch", request.max_batch), ("min_batch", request.min_batch)):
        if request.HasField(field) and not 1 <= value <= MAX_PERMITS:
            violations.append(Violation(field, f"must be 1 to {MAX_PERMITS:,}"))
    if request.HasField("max_batches") and not 1 <= request.max_batches <= MAX_BATCHES:
        violations.append(Violation("max_batches", f"must be 1 to {MAX_BATCHES:,}"))
    if request.HasField("min_batch") and request.HasField("max_batch") and request.min_batch > request.max_batch:
        violations.append(Violation("min_batch", "must be at most max_batch"))
    return violations
