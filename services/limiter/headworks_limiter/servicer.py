"""The limiter's RPCs: request and caller in, reply out; nothing here knows the transport."""

from __future__ import annotations

from headworks.limiter.v1 import limiter_pb2, limiter_service_pb2
from headworks_core.context import CallContext
from headworks_core.errors import InvalidArgument, Reason, ServiceError, Violation
from headworks_core.grpc_errors import item_error

from headworks_limiter import replies
from headworks_limiter.decider import Decider, Outcome
from headworks_limiter.domain.ask import Ask, Verdict
from headworks_limiter.domain.decision import Answer, Mode
from headworks_limiter.requests import RequestReader, exceeds_limit

MAX_BATCH = 500


class LimiterServicer:
    """headworks.limiter.v1.LimiterService."""

    def __init__(self, reader: RequestReader, decider: Decider) -> None:
        self._reader = reader
        self._decider = decider

    async def Check(
        self, request: limiter_service_pb2.CheckRequest, caller: CallContext
    ) -> limiter_service_pb2.CheckResponse:
        """What Consume would answer now."""
        decision = await self._decide(request.request, caller, Mode.LOOK)
        return limiter_service_pb2.CheckResponse(decision=decision)

    async def Consume(
        self, request: limiter_service_pb2.ConsumeRequest, caller: CallContext
    ) -> limiter_service_pb2.ConsumeResponse:
        """Take permits from every matched rule, or from none."""
        decision = await self._decide(request.request, caller, Mode.TAKE)
        return limiter_service_pb2.ConsumeResponse(decision=decision)

    async def ConsumeBatch(
        self, request: limiter_service_pb2.ConsumeBatchRequest, caller: CallContext
    ) -> limiter_service_pb2.ConsumeBatchResponse:
        """Consume for each request in turn; errors are per item."""
        if not 1 <= len(request.requests) <= MAX_BATCH:
            rule = f"must have 1 to {MAX_BATCH} items, not {len(request.requests)}"
            violations = [Violation("requests", rule)]
            raise InvalidArgument(f"requests: {rule}", reason=Reason.BATCH_SIZE, violations=violations)
        read = [self._read(item, caller) for item in request.requests]
        outcomes = iter(await self._decider.decide_all([ask for ask in read if isinstance(ask, Ask)], caller))
        results = [
            _result(item, ask, next(outcomes)) if isinstance(ask, Ask) else _error(ask)
            for item, ask in zip(request.requests, read, strict=True)
        ]
        return limiter_service_pb2.ConsumeBatchResponse(results=results)

    async def _decide(
        self, request: limiter_pb2.PermitRequest, caller: CallContext, mode: Mode
    ) -> limiter_pb2.Decision:
        ask = self._reader.ask(request, caller.tenant, mode, "request.")
        verdict = await self._decider.decide(ask, caller)
        return replies.decision(_decided(ask, verdict), request.detail)

    def _read(self, item: limiter_pb2.PermitRequest, caller: CallContext) -> Ask | ServiceError:
        try:
            return self._reader.ask(item, caller.tenant, Mode.TAKE)
        except ServiceError as error:
            return error


def _result(item: limiter_pb2.PermitRequest, ask: Ask, outcome: Outcome) -> limiter_pb2.PermitResult:
    if isinstance(outcome, ServiceError):
        return _error(outcome)
    try:
        decision = replies.decision(_decided(ask, outcome), item.detail)
    except ServiceError as error:
        return _error(error)
    return limiter_pb2.PermitResult(decision=decision)


def _error(error: ServiceError) -> limiter_pb2.PermitResult:
    return limiter_pb2.PermitResult(error=item_error(error))


def _decided(ask: Ask, verdict: Verdict) -> Verdict:
    """The verdict, if it is a decision; raises InvalidArgument if the store found the request itself at fault."""
    if verdict.answer is Answer.REUSED:
        raise InvalidArgument(
            "request_id: was used for another request in the last 10 minutes", reason=Reason.REQUEST_ID_REUSED
        )
    if verdict.answer is Answer.UNRECORDED:
        raise exceeds_limit(ask)
    return verdict
