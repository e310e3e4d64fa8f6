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
        reply = limiter_service_pb2.CheckResponse()
        await self._decide(reply.decision, request.request, caller, Mode.LOOK)
        return reply

    async def Consume(
        self, request: limiter_service_pb2.ConsumeRequest, caller: CallContext
    ) -> limiter_service_pb2.ConsumeResponse:
        """Take permits from every matched rule, or from none."""
        reply = limiter_service_pb2.ConsumeResponse()
        await self._decide(reply.decision, request.request, caller, Mode.TAKE)
        return reply

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
        reply = limiter_service_pb2.ConsumeBatchResponse()
        for item, ask in zip(request.requests, read, strict=True):
            _write_result(reply.results.add(), item, ask, next(outcomes) if isinstance(ask, Ask) else ask)
        return reply

    async def ConsumeStream(self, stream: object, caller: CallContext) -> None:
        """See the proto."""
        raise NotImplementedError

    async def _decide(
        self, reply: limiter_pb2.Decision, request: limiter_pb2.PermitRequest, caller: CallContext, mode: Mode
    ) -> None:
        ask = self._reader.ask(request, caller.tenant, mode, "request.")
        verdict = await self._decider.decide(ask, caller)
        fault = _fault(ask, verdict)
        if fault is not None:
            raise fault
        replies.write(reply, verdict, request.detail)

    def _read(self, item: limiter_pb2.PermitRequest, caller: CallContext) -> Ask | ServiceError:
        try:
            return self._reader.ask(item, caller.tenant, Mode.TAKE)
        except ServiceError as error:
            return error


def _write_result(
    reply: limiter_pb2.PermitResult, item: limiter_pb2.PermitRequest, ask: Ask | ServiceError, outcome: Outcome
) -> None:
    error = ask if isinstance(ask, ServiceError) else _fault(ask, outcome)
    if error is not None:
        reply.error.CopyFrom(item_error(error))
    elif isinstance(outcome, Verdict):
        replies.write(reply.decision, outcome, item.detail)


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
