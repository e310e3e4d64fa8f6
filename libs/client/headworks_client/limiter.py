"""The limiter's client: may I?"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from headworks.limiter.v1 import admin_service_pb2 as admin_pb
from headworks.limiter.v1 import limiter_pb2
from headworks.limiter.v1 import limiter_service_pb2 as pb
from headworks.limiter.v1.admin_service_pb2_grpc import LimiterAdminServiceStub
from headworks.limiter.v1.limiter_service_pb2_grpc import LimiterServiceStub
from headworks_core import telemetry
from headworks_core.errors import ServiceError
from headworks_core.grpc_errors import from_item

from headworks_client.channel import Connection
from headworks_client.decisions import Decision, Learned, RuleExplanation
from headworks_client.durations import to_duration
from headworks_client.granting import GrantCalls
from headworks_client.holding import Hold, HoldLost, entered
from headworks_client.lease_size import Bounds
from headworks_client.local import LocalQuota
from headworks_client.outcomes import limit_fields
from headworks_client.sharing import SharedStream

BATCH_MAX = 500
_SERVICE = "headworks.limiter.v1.LimiterService"
_ADMIN = "headworks.limiter.v1.LimiterAdminService"


@dataclass(frozen=True, slots=True)
class PermitRequest:
    """One request of a batch."""

    namespace: str
    descriptors: Mapping[str, str]
    permits: int | None = None
    """None: what the namespace's cost table says, or 1."""
    request_id: str = ""
    max_wait_s: float = 0.0
    """How late the permits may begin, rather than that the request is refused; `Decision.wait_s` says when."""
    allow_partial: bool = False
    """Fewer permits are better than none; `Decision.permits` says how many."""
    hold_s: float = 0.0
    """Within this time `settle` says what the permits have cost; 0: they are given for good."""


class LimiterCalls(GrantCalls):
    """The calls, for the asyncio client and for the blocking one. Nothing but the connection's `call` is awaited."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def open(self) -> None:
        """Make it usable."""
        channel = self._connection.open()
        self._stub, self._admin = LimiterServiceStub(channel), LimiterAdminServiceStub(channel)

    async def check(
        self, namespace: str, descriptors: Mapping[str, str], permits: int | None = None, *, detail_all: bool = False
    ) -> Decision:
        """What `consume` would answer now; takes nothing."""
        request = _request(PermitRequest(namespace, descriptors, permits), detail_all)
        reply = await self._connection.call(self._stub.Check, f"{_SERVICE}/Check", pb.CheckRequest(request=request))
        return Decision.from_proto(reply.decision)

    async def consume(
        self,
        namespace: str,
        descriptors: Mapping[str, str],
        permits: int | None = None,
        *,
        request_id: str | None = None,
        max_wait_s: float = 0.0,
        allow_partial: bool = False,
        hold_s: float = 0.0,
        detail_all: bool = False,
    ) -> Decision:
        """Take permits from every matching rule, or from none; how many, the cost table says unless you do.

        A `request_id` (a UUID) makes a repeated call consume once; by default each call has its own. `max_wait_s`,
        `allow_partial` and `hold_s` as in PermitRequest; nothing sleeps here: `Decision.wait_s` is yours to wait.
        """
        wanted = PermitRequest(
            namespace, descriptors, permits, request_id or _new_id(), max_wait_s, allow_partial, hold_s
        )
        return await self._alone(wanted, detail_all)

    async def _alone(self, wanted: PermitRequest, detail_all: bool) -> Decision:
        message = pb.ConsumeRequest(request=_request(wanted, detail_all))
        reply = await self._connection.call(self._stub.Consume, f"{_SERVICE}/Consume", message)
        return Decision.from_proto(reply.decision)

    async def consume_batch(
        self, requests: Sequence[PermitRequest], *, detail_all: bool = False
    ) -> list[Decision | ServiceError]:
        """One outcome a request, in the same order; each is all or nothing by itself. Any number of requests.

        A call that fails gives its error to each of its (at most 500) requests.
        """
        outcomes: list[Decision | ServiceError] = []
        for at in range(0, len(requests), BATCH_MAX):
            batch = [_request(request, detail_all, needs_id=True) for request in requests[at : at + BATCH_MAX]]
            message = pb.ConsumeBatchRequest(requests=batch)
            try:
                reply = await self._connection.call(self._stub.ConsumeBatch, f"{_SERVICE}/ConsumeBatch", message)
                outcomes += [_outcome(result) for result in reply.results]
            except ServiceError as error:
                outcomes += [error] * len(batch)
        return outcomes

    async def report_outcome(
        self,
        namespace: str,
        descriptors: Mapping[str, str],
        status: int,
        headers: Mapping[str, str] | None = None,
        *,
        latency_s: float | None = None,
        grant_id: str | None = None,
    ) -> Learned:
        """Tell what an upstream answered to a request that permits were taken for, so that its rules learn from it.

        `status` 0 is no answer. Of `headers` only those that speak of limits are sent. Never repeated by itself.
        """
        request = pb.ReportOutcomeRequest(
            namespace=namespace,
            descriptors=descriptors,
            grant_id=grant_id,
            status=status,
            headers=limit_fields(headers or {}),
            latency=None if latency_s is None else to_duration(latency_s),
        )
        reply = await self._connection.call(self._stub.ReportOutcome, f"{_SERVICE}/ReportOutcome", request)
        return Learned.from_proto(reply)

    async def explain(self, namespace: str, descriptors: Mapping[str, str]) -> list[RuleExplanation]:
        """What every rule of a namespace makes of a request, and what the buckets hold. Changes nothing."""
        request = admin_pb.ExplainRulesRequest(namespace=namespace, descriptors=descriptors)
        reply = await self._connection.call(self._admin.ExplainRules, f"{_ADMIN}/ExplainRules", request)
        return [RuleExplanation.from_proto(rule) for rule in reply.rules]

    async def reset(self, namespace: str, descriptors: Mapping[str, str], *, rule: str = "") -> list[str]:
        """Make the buckets full again that such a request is held against, or one rule's; the names of the rules."""
        request = admin_pb.ResetBucketsRequest(namespace=namespace, descriptors=descriptors, rule=rule)
        reply = await self._connection.call(self._admin.ResetBuckets, f"{_ADMIN}/ResetBuckets", request)
        return list(reply.rules)


class LimiterClient(LimiterCalls):
    """Asks the limiter. Use it as an async context manager; one client serves any number of callers.

    A lone `consume` is a call of its own; those that come while others wait share the messages of one stream, which
    costs both sides a fraction. A call within a sampled trace always goes alone, so that its trace goes on.

    Every method raises the kinds of `headworks_core.errors`; a refused permit is a Decision, never an error.
    """

    def __init__(self, target: str, *, tenant: str = "default", timeout_s: float = 2.0) -> None:
        super().__init__(Connection(target, tenant=tenant, timeout_s=timeout_s))
        self._under_way = 0
        self._shared = SharedStream(self._open_stream, timeout_s=timeout_s)

    async def __aenter__(self) -> Self:
        self.open()
        return self

    async def consume(
        self,
        namespace: str,
        descriptors: Mapping[str, str],
        permits: int | None = None,
        *,
        request_id: str | None = None,
        max_wait_s: float = 0.0,
        allow_partial: bool = False,
        hold_s: float = 0.0,
        detail_all: bool = False,
    ) -> Decision:
        """See LimiterCalls."""
        wanted = PermitRequest(
            namespace, descriptors, permits, request_id or _new_id(), max_wait_s, allow_partial, hold_s
        )
        self._under_way += 1
        try:
            if self._under_way == 1 or telemetry.current_traceparent():
                return await self._alone(wanted, detail_all)
            outcome = _outcome(await self._shared.ask(_request(wanted, detail_all)))
        finally:
            self._under_way -= 1
        if isinstance(outcome, ServiceError):
            raise outcome
        return outcome

    def local(
        self,
        namespace: str,
        descriptors: Mapping[str, str],
        *,
        least: int = 1,
        most: int = 10_000,
        target_s: float = 1.0,
        duration_s: float = 5.0,
    ) -> LocalQuota:
        """Permits that are spent without a call, for many requests of the same descriptors: `async with` it.

        A lease has `least` to `most` permits, enough for about `target_s`, and is spent for at most `duration_s`.
        Raises ValueError for bounds that make no sense.
        """
        bounds = Bounds(least, most, target_s)
        return LocalQuota(self, namespace, descriptors, bounds=bounds, duration_s=duration_s)

    @asynccontextmanager
    async def holding(
        self,
        namespace: str,
        descriptors: Mapping[str, str],
        permits: int | None = None,
        *,
        max_wait_s: float = 0.0,
        cancel_when_lost: bool = True,
    ) -> AsyncIterator[Hold]:
        """Hold what concurrency and adaptive rules allow while the block runs; it is renewed, and given back then.

        A refusal is waited out up to `max_wait_s`, for slots by asking now and then. Where the limiter cannot be told
        in time that they are still held, the block is cancelled, or only `Hold.lost` says so.
        Raises LimitExceeded; HoldLost for a block that was cancelled; as `consume`.
        """

        async def ask(left_s: float) -> Decision:
            return await self.consume(namespace, descriptors, permits, max_wait_s=left_s)

        decision = await entered(ask, asyncio.sleep, max_wait_s)
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(None) as scope:
                hold = Hold(self, decision, (lambda: scope.reschedule(loop.time())) if cancel_when_lost else None)
                hold.begin()
                try:
                    await asyncio.sleep(decision.wait_s)
                    yield hold
                finally:
                    hold.end()
        except TimeoutError:
            if hold.lost and scope.expired():
                raise HoldLost(f"grant {decision.grant_id} could not be renewed in time") from None
            raise

    def _open_stream(self) -> Any:
        return self._stub.ConsumeStream(metadata=self._connection.metadata)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._shared.close()
        await self._connection.close()


def _new_id() -> str:
    """A random UUID, as `uuid.uuid4` makes it, for a third of its cost."""
    digits = os.urandom(16).hex()
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-a{digits[17:20]}-{digits[20:]}"


def _request(request: PermitRequest, detail_all: bool, *, needs_id: bool = False) -> limiter_pb2.PermitRequest:
    return limiter_pb2.PermitRequest(
        namespace=request.namespace,
        descriptors=request.descriptors,
        permits=request.permits,
        request_id=request.request_id or (_new_id() if needs_id else ""),
        detail=limiter_pb2.DETAIL_ALL if detail_all else limiter_pb2.DETAIL_GOVERNING,
        max_wait=to_duration(request.max_wait_s) if request.max_wait_s else None,
        allow_partial=request.allow_partial,
        hold=to_duration(request.hold_s) if request.hold_s else None,
    )


def _outcome(result: limiter_pb2.PermitResult) -> Decision | ServiceError:
    return from_item(result.error) if result.HasField("error") else Decision.from_proto(result.decision)
