"""A limiter and a scheduler on one Valkey, and a good request for every method."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from headworks.limiter.v1 import admin_service_pb2 as limiter_admin
from headworks.limiter.v1 import limiter_pb2 as limits
from headworks.limiter.v1 import limiter_service_pb2 as limiter
from headworks.scheduler.v1 import admin_service_pb2 as admin
from headworks.scheduler.v1 import job_pb2
from headworks.scheduler.v1 import scheduler_service_pb2 as scheduler
from headworks.worker.v1 import session_pb2 as session
from headworks_core.errors import ServiceError
from headworks_core.grpc_errors import from_call
from headworks_core.store import redis_client
from headworks_limiter.app import limiter_app
from headworks_limiter.settings import Settings as LimiterSettings
from headworks_scheduler.app import scheduler_app
from headworks_scheduler.settings import Settings as SchedulerSettings
from redis.asyncio import Redis

from tests.integration.scheduler_store.contents import Contents, stored

RULES = """
namespaces:
  api:
    rules:
      - {name: per-k, match: {k: "*"}, limit: 1000, per: 1m}
  held:
    rules:
      - {name: slots, match: {k: "*"}, algorithm: concurrency, limit: 100, ttl: 1d}
"""
TIMEOUT_S = 20.0
SETTLED, RELEASED, RENEWED, RETURNED = GRANTS = [f"01890a5d-ac96-774b-bcce-b302099a805{n}" for n in range(4)]
RESTLESS = (":seq", ":lease", ":waiters", ":worker:", ":workers")
"""Keys that replicas change by themselves, or whose numbers may have gaps."""


@dataclass(frozen=True)
class World:
    """What the tests talk to."""

    redis: Redis
    ports: dict[str, int]
    """By service."""
    job: str
    """The name of a READY job of tenant "default"."""

    @asynccontextmanager
    async def channel(self, service: str) -> AsyncIterator[grpc.aio.Channel]:
        """A connection to a service."""
        options = [("grpc.max_send_message_length", 64 << 20), ("grpc.use_local_subchannel_pool", 1)]
        async with grpc.aio.insecure_channel(f"127.0.0.1:{self.ports[service]}", options=options) as channel:
            yield channel

    def good(self, method: MethodDescriptor) -> Message:
        """A request that the method takes."""
        return GOOD[method.name](self)

    async def contents(self) -> Contents:
        """All that the store holds, but for what is restless."""
        return {
            key: value for key, value in (await stored(self.redis)).items() if not any(part in key for part in RESTLESS)
        }


async def ask(
    channel: grpc.aio.Channel, method: MethodDescriptor, *requests: Message, tenant: str = "default"
) -> list[Message]:
    """Call a method with these requests and half-close; all its answers. Raises ServiceError."""
    service = method.containing_service.full_name
    codec: dict[str, Any] = {
        "request_serializer": lambda message: message.SerializeToString(),
        "response_deserializer": GetMessageClass(method.output_type).FromString,
    }
    path = f"/{service}/{method.name}"
    options: dict[str, Any] = {"timeout": TIMEOUT_S, "metadata": (("headworks-tenant", tenant),)}
    try:
        if method.client_streaming:
            call = channel.stream_stream(path, **codec)(iter(requests), **options)
            return [answer async for answer in call]
        if method.server_streaming:
            stream: Any = channel.unary_stream(path, **codec)(requests[0], **options)
            first = await stream.read()
            stream.cancel()
            return [first]
        unary: Any = channel.unary_unary(path, **codec)
        return [await unary(requests[0], **options)]
    except grpc.aio.AioRpcError as error:
        raise from_call(error) from None


async def error_of(
    channel: grpc.aio.Channel, method: MethodDescriptor, *requests: Message, tenant: str = "default"
) -> Any:
    """What is wrong with a request: the call's error or that of its first item; None if nothing is."""
    try:
        answers = await ask(channel, method, *requests, tenant=tenant)
    except ServiceError as error:
        return error
    for answer in answers:
        for result in getattr(answer, "results", ()):
            if result.HasField("error"):
                return result.error
    return None


def _spec() -> job_pb2.JobSpec:
    return job_pb2.JobSpec(
        task="t",
        payload=job_pb2.Payload(data=b"{}"),
        retry=job_pb2.RetryPolicy(max_attempts=2, initial_backoff=Duration(seconds=1), max_backoff=Duration(seconds=2)),
    )


def _permits() -> limits.PermitRequest:
    return limits.PermitRequest(namespace="api", descriptors={"k": "v"})


GOOD: dict[str, Callable[[World], Message]] = {
    "Check": lambda _: limiter.CheckRequest(request=_permits()),
    "Consume": lambda _: limiter.ConsumeRequest(request=_permits()),
    "ConsumeBatch": lambda _: limiter.ConsumeBatchRequest(requests=[_permits()]),
    "ConsumeStream": lambda _: limiter.ConsumeStreamRequest(requests=[_permits()]),
    "ReportOutcome": lambda _: limiter.ReportOutcomeRequest(namespace="api", descriptors={"k": "v"}, status=200),
    "Settle": lambda _: limiter.SettleRequest(grant_id=SETTLED, permits=1),
    "Release": lambda _: limiter.ReleaseRequest(grant_id=RELEASED),
    "Renew": lambda _: limiter.RenewRequest(grant_id=RENEWED),
    "LeaseQuota": lambda _: limiter.LeaseQuotaRequest(namespace="api", descriptors={"k": "v"}, permits=1),
    "ReturnQuota": lambda _: limiter.ReturnQuotaRequest(lease_id=RETURNED, spent=1),
    "PlanBatches": lambda _: limiter.PlanBatchesRequest(namespace="api", descriptors={"k": "v"}, items=1),
    "ExplainRules": lambda _: limiter_admin.ExplainRulesRequest(namespace="api", descriptors={"k": "v"}),
    "ResetBuckets": lambda _: limiter_admin.ResetBucketsRequest(namespace="api", descriptors={"k": "v"}),
    "ListRules": lambda _: limiter_admin.ListRulesRequest(),
    "GetRules": lambda _: limiter_admin.GetRulesRequest(namespace="api"),
    "ValidateRules": lambda _: limiter_admin.ValidateRulesRequest(namespace="api", text="rules: []"),
    "SetRules": lambda _: limiter_admin.SetRulesRequest(namespace="put", text="rules: []"),
    "DeleteRules": lambda _: limiter_admin.DeleteRulesRequest(namespace="put"),
    "ReloadRules": lambda _: limiter_admin.ReloadRulesRequest(),
    "CountDecisions": lambda _: limiter_admin.CountDecisionsRequest(),
    "ListQueues": lambda _: admin.ListQueuesRequest(),
    "GetQueue": lambda _: admin.GetQueueRequest(queue="default"),
    "ListWorkers": lambda _: admin.ListWorkersRequest(),
    "SubmitJob": lambda _: scheduler.SubmitJobRequest(job=scheduler.JobSubmission(spec=_spec())),
    "SubmitJobs": lambda _: scheduler.SubmitJobsRequest(jobs=[scheduler.JobSubmission(spec=_spec())]),
    "GetJob": lambda world: scheduler.GetJobRequest(name=world.job),
    "WatchJobs": lambda world: scheduler.WatchJobsRequest(names=[world.job]),
    "CancelJob": lambda world: scheduler.CancelJobRequest(name=world.job),
    "ListJobs": lambda _: scheduler.ListJobsRequest(),
    "RedriveJob": lambda world: scheduler.RedriveJobRequest(name=world.job),
    "RedriveJobs": lambda _: scheduler.RedriveJobsRequest(),
    "Session": lambda _: session.SessionRequest(attach=attach()),
}


def attach(*held: session.HeldLease) -> session.Attach:
    """A worker that serves an empty queue."""
    queues = [session.QueueSubscription(queue="other")]
    return session.Attach(protocol=1, worker="w", queues=queues, slots=10, held=held)


@asynccontextmanager
async def running_world(valkey_url: str, folder: Path, **settings: Any) -> AsyncIterator[World]:
    """Both services, while the block runs; `settings` are the scheduler's."""
    rules, queues = folder / "rules.yaml", folder / "queues.yaml"
    rules.write_text(RULES)
    queues.write_text("queues:\n  default: {}\n  other: {}\n")
    common: dict[str, Any] = {"address": "127.0.0.1:0", "redis_url": valkey_url, "shutdown_grace_s": 1.0}
    chosen = {"worker_address": "127.0.0.1:0", "events": "none", "queues_file": str(queues), **settings}
    scheduling = SchedulerSettings(**common, **chosen)
    limiting = LimiterSettings(**common, rules_file=str(rules), redis_timeout_ms=10_000)
    async with redis_client(valkey_url, timeout_s=10) as redis:
        await redis.flushall()
        async with scheduler_app(scheduling) as ports, limiter_app(limiting) as limiter_port:
            api = "headworks.scheduler.v1."
            served = {
                "headworks.limiter.v1.LimiterService": limiter_port,
                "headworks.limiter.v1.LimiterAdminService": limiter_port,
                f"{api}SchedulerService": ports.api,
                f"{api}AdminService": ports.api,
                "headworks.worker.v1.WorkerService": ports.worker,
            }
            world = World(redis, served, "")
            method = scheduler.DESCRIPTOR.services_by_name["SchedulerService"].methods_by_name["SubmitJob"]
            async with world.channel(f"{api}SchedulerService") as channel:
                (submitted,) = await ask(channel, method, world.good(method))
            method = limiter.DESCRIPTOR.services_by_name["LimiterService"].methods_by_name["Consume"]
            async with world.channel("headworks.limiter.v1.LimiterService") as channel:
                for grant in GRANTS:
                    held = limits.PermitRequest(namespace="held", descriptors={"k": "v"}, request_id=grant)
                    await ask(channel, method, limiter.ConsumeRequest(request=held))
            yield World(redis, served, submitted.name)  # type: ignore[attr-defined]
