"""The limiter's RPCs: request and caller in, reply out; nothing here knows the transport."""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from dataclasses import replace
from typing import Any

from headworks.limiter.v1 import limiter_service_pb2 as pb
from headworks_core.context import CallContext
from headworks_core.errors import InvalidArgument, Reason, ServiceError, Unavailable, Violation
from headworks_core.serving import MessageStream

from headworks_limiter import replies
from headworks_limiter.decider import Decider, Outcome
from headworks_limiter.domain.ask import Ask, Verdict
from headworks_limiter.domain.decision import Answer, Mode
from headworks_limiter.domain.rule import Rules
from headworks_limiter.granting import Granting
from headworks_limiter.leases import Leases
from headworks_limiter.replies import ResultWriter
from headworks_limiter.reporting import OutcomeReader, learned
from headworks_limiter.requests import Detailed, RequestReader, exceeds_limit
from headworks_limiter.streaming import Consumption
from headworks_limiter.wire import BatchResponse, RawBatch, RawConsume, RawResults, StreamResponse

MAX_BATCH = 500
REQUEST = "request."
"""Where the fields of a PermitRequest are in those of a unary call."""


class LimiterServicer:
    """headworks.limiter.v1.LimiterService."""

    def __init__(self, reader: RequestReader, decider: Decider) -> None:
        self._reader = reader
        self._decider = decider
        self._outcomes = OutcomeReader(reader)
        self._granting = Granting(reader, decider)
        self._writer = ResultWriter()
        self._streams: set[Consumption] = set()
        self._draining = False

    def use(self, rules: Rules) -> None:
        """From the next request on these rules hold. Buckets stay, as far as docs/limiter.md says."""
        self._reader.use(rules)
        self._writer = ResultWriter()
        self._decider.counters.fold()
        self._decider.denials.forget()

    async def Check(self, request: pb.CheckRequest, caller: CallContext) -> pb.CheckResponse:
        """What Consume would answer now."""
        ask = self._reader.ask(request.request, caller.tenant, Mode.LOOK, REQUEST)
        verdict = _sound(ask, await self._decider.decide(ask, caller))
        reply = pb.CheckResponse()
        replies.write(reply.decision, verdict, request.request.detail)
        return reply

    async def Consume(self, request: RawConsume, caller: CallContext) -> bytes:
        """Take permits from every matched rule, or from none.

        The bytes of a ConsumeResponse are those of a PermitResult with a decision: both have it in their first field.
        """
        ask, detail = self._reader.take(request.request, caller.tenant, REQUEST)
        return self._writer.result(_sound(ask, await self._decider.decide(ask, caller)), detail)

    async def ConsumeBatch(self, request: RawBatch, caller: CallContext) -> RawResults:
        """Consume for each request in turn; errors are per item."""
        _check_size(request)
        return BatchResponse(results=await self._consume(request.requests, caller))

    async def ConsumeStream(self, stream: MessageStream[RawBatch, RawResults], caller: CallContext) -> None:
        """ConsumeBatch for each message, while others are under way."""
        if self._draining:
            raise Unavailable("this replica is going away", reason=Reason.SHUTTING_DOWN)
        asking = replace(caller, traceparent="")  # a stream outlives any trace that it was opened in

        async def answer(message: RawBatch) -> RawResults:
            return StreamResponse(id=message.id, results=await self._consume(message.requests, asking))

        def begin(message: RawBatch) -> Coroutine[Any, Any, RawResults]:
            _check_size(message)
            return answer(message)

        consumption = Consumption(stream, begin)
        self._streams.add(consumption)
        try:
            await consumption.run()
        finally:
            self._streams.discard(consumption)

    async def ReportOutcome(self, request: pb.ReportOutcomeRequest, caller: CallContext) -> pb.ReportOutcomeResponse:
        """Let rules learn from what an upstream answered."""
        ask, feedback = self._outcomes.read(request, caller.tenant)
        return learned(await self._decider.report(ask, feedback))

    async def Settle(self, request: pb.SettleRequest, caller: CallContext) -> pb.SettleResponse:
        """What a grant has cost."""
        return await self._granting.settle(request, caller)

    async def Release(self, request: pb.ReleaseRequest, caller: CallContext) -> pb.ReleaseResponse:
        """A grant holds nothing any more."""
        return await self._granting.release(request, caller)

    async def Renew(self, request: pb.RenewRequest, caller: CallContext) -> pb.RenewResponse:
        """A grant holds on."""
        return await self._granting.renew(request, caller)

    async def LeaseQuota(self, request: pb.LeaseQuotaRequest, caller: CallContext) -> pb.LeaseQuotaResponse:
        """Permits in advance."""
        return await self._granting.lease(request, caller)

    async def ReturnQuota(self, request: pb.ReturnQuotaRequest, caller: CallContext) -> pb.ReturnQuotaResponse:
        """What was not spent comes back."""
        return await self._granting.give_back(request, caller)

    async def PlanBatches(self, request: pb.PlanBatchesRequest, caller: CallContext) -> pb.PlanBatchesResponse:
        """Batches that fit."""
        return await self._granting.plan(request, caller)

    @property
    def leases(self) -> Leases:
        """The quota that is on lease."""
        return self._granting.leases

    async def drain(self) -> None:
        """Send the callers of streams elsewhere, once they have their answers."""
        self._draining = True
        for consumption in self._streams:
            consumption.drain()

    async def _consume(self, requests: Sequence[bytes], caller: CallContext) -> list[bytes]:
        """A PermitResult for each PermitRequest."""
        read = [self._read(raw, caller.tenant) for raw in requests]
        asks = [each[0] for each in read if not isinstance(each, ServiceError)]
        outcomes = iter(await self._decider.decide_all(asks, caller))
        return [
            replies.error_result(each) if isinstance(each, ServiceError) else self._result(each, next(outcomes))
            for each in read
        ]

    def _result(self, read: Detailed, outcome: Outcome) -> bytes:
        ask, detail = read
        if isinstance(outcome, ServiceError):
            return replies.error_result(outcome)
        if fault := _fault(ask, outcome):
            return replies.error_result(fault)
        return self._writer.result(outcome, detail)

    def _read(self, raw: bytes, tenant: str) -> Detailed | ServiceError:
        try:
            return self._reader.take(raw, tenant)
        except ServiceError as error:
            return error


def _check_size(batch: RawBatch) -> None:
    if not 1 <= len(batch.requests) <= MAX_BATCH:
        rule = f"must have 1 to {MAX_BATCH} items, not {len(batch.requests)}"
        violations = [Violation("requests", rule)]
        raise InvalidArgument(f"requests: {rule}", reason=Reason.BATCH_SIZE, violations=violations)


def _fault(ask: Ask, outcome: Outcome) -> ServiceError | None:
    """The error that the outcome stands for: the store's own, or one that only the store could find in the request."""
    if isinstance(outcome, ServiceError):
        return outcome
    if outcome.answer is Answer.REUSED:
        message = "request_id: was used for another request in the last 10 minutes"
        return InvalidArgument(message, reason=Reason.REQUEST_ID_REUSED)
    if outcome.answer is Answer.UNRECORDED:
        return exceeds_limit(ask)
    return None


def _sound(ask: Ask, verdict: Verdict) -> Verdict:
    """The verdict, if it is no error."""
    if fault := _fault(ask, verdict):
        raise fault
    return verdict
