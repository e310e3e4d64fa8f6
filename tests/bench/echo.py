"""`python -m tests.bench.echo`: a grpc.aio server that answers every call with the same message and does nothing else.

What it takes is what gRPC itself takes on this machine. Prints its port.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import uvloop
from google.protobuf.message import Message
from headworks.limiter.v1 import limiter_pb2
from headworks.limiter.v1 import limiter_service_pb2 as limiter_pb
from headworks.scheduler.v1 import job_pb2
from headworks.scheduler.v1 import scheduler_service_pb2 as pb

NAME = "tenants/default/queues/default/jobs/0-01919191-9191-7191-9191-919191919191"


def _decided() -> limiter_pb.ConsumeResponse:
    status = limiter_pb2.RuleStatus(rule="per-user", limit=1_000_000, remaining=999_999, allowed=True)
    status.reset_after.FromMicroseconds(1)
    return limiter_pb.ConsumeResponse(decision=limiter_pb2.Decision(allowed=True, permits=1, governing=status))


def _job() -> job_pb2.Job:
    spec = job_pb2.JobSpec(task="bench.noop", payload=job_pb2.Payload(data=b"{}"))
    job = job_pb2.Job(name=NAME, spec=spec, state=job_pb2.JOB_STATE_READY, generation=1)
    job.create_time.GetCurrentTime()
    return job


def _same(reply: Message) -> Callable[[Any, Any], Awaitable[Message]]:
    async def answer(request: Any, context: Any) -> Message:
        return reply

    return answer


async def _get_job(request: pb.GetJobRequest, context: Any) -> pb.GetJobResponse:
    response = pb.GetJobResponse(job=_JOB)
    response.job.name = request.name
    return response


_JOB = _job()
METHODS: dict[str, dict[str, tuple[type[Message], Callable[[Any, Any], Awaitable[Message]]]]] = {
    "headworks.limiter.v1.LimiterService": {"Consume": (limiter_pb.ConsumeRequest, _same(_decided()))},
    "headworks.scheduler.v1.SchedulerService": {
        "SubmitJob": (pb.SubmitJobRequest, _same(pb.SubmitJobResponse(name=NAME))),
        "GetJob": (pb.GetJobRequest, _get_job),
        "CancelJob": (pb.CancelJobRequest, _same(pb.CancelJobResponse(job=_JOB))),
    },
}


async def main() -> None:
    """Serve until killed."""
    server = grpc.aio.server()
    for service, methods in METHODS.items():
        handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
            name: grpc.unary_unary_rpc_method_handler(answer, kind.FromString, lambda reply: reply.SerializeToString())
            for name, (kind, answer) in methods.items()
        }
        server.add_registered_method_handlers(service, handlers)
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(port, flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main())
