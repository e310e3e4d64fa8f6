"""How this library reaches a service: one channel per client, with retries only where a repeated call is safe."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import grpc
from headworks_core import telemetry
from headworks_core.context import TENANT_KEY, TRACEPARENT_KEY
from headworks_core.grpc_errors import from_call

Req = TypeVar("Req")
Res = TypeVar("Res")

_SCHEDULER = "headworks.scheduler.v1.SchedulerService"
_LIMITER = "headworks.limiter.v1.Limiter"
_SERVICES = (f"{_LIMITER}Service", f"{_LIMITER}AdminService", _SCHEDULER, "headworks.scheduler.v1.AdminService")
_ONCE = [
    *({"service": _SCHEDULER, "method": method} for method in ("RedriveJob", "RedriveJobs")),
    {"service": f"{_LIMITER}Service", "method": "ReportOutcome"},
]
_SCHEME = re.compile(r"(dns|ipv4|ipv6|unix|unix-abstract|xds):")


def target_of(address: str) -> str:
    """`host:port` as a name that is resolved to all its addresses; anything with a scheme stays as it is."""
    return address if _SCHEME.match(address) else f"dns:///{address}"


def service_config() -> str:
    """`round_robin` over all addresses, and retries of UNAVAILABLE and of what a server cancels.

    Calls of these services may be repeated: reads and cancels by nature, consuming and submitting because the client
    sends a request id with each. Not so redriving: the second call would be told that the job is not dead, or would
    send back others than the first one, whose names nobody heard. Nor reporting: a breaker would count it twice.
    """
    retry = {
        "maxAttempts": 4,
        "initialBackoff": "0.05s",
        "maxBackoff": "1s",
        "backoffMultiplier": 3,
        "retryableStatusCodes": ["UNAVAILABLE", "CANCELLED"],  # the latter: the server never began it
    }
    methods = {"name": [{"service": service} for service in _SERVICES], "retryPolicy": retry}
    return json.dumps(
        {
            "loadBalancingConfig": [{"round_robin": {}}],
            "retryThrottling": {"maxTokens": 10, "tokenRatio": 0.1},
            "methodConfig": [methods, {"name": _ONCE}],
        }
    )


def channel_options() -> list[tuple[str, int | str]]:
    """What every channel of this library is opened with."""
    return [
        ("grpc.service_config", service_config()),
        ("grpc.keepalive_time_ms", 30_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.min_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 2_000),
        ("grpc.dns_min_time_between_resolutions_ms", 5_000),
    ]


class Connection:
    """A channel to one service, with the caller's tenant, deadline, trace and typed errors added to each call."""

    def __init__(self, target: str, *, tenant: str, timeout_s: float) -> None:
        self._target = target_of(target)
        self._metadata = ((TENANT_KEY, tenant),)
        self._timeout_s = timeout_s
        self._channel: grpc.aio.Channel | None = None

    def open(self) -> grpc.aio.Channel:
        """The channel; it connects when it is first used."""
        if self._channel is None:
            self._channel = grpc.aio.insecure_channel(self._target, options=channel_options())
        return self._channel

    async def close(self) -> None:
        """Ends running calls."""
        if self._channel is not None:
            await self._channel.close()
            self._channel = None

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """What each call carries; for calls that are made outside `call`."""
        return self._metadata

    async def call(self, method: Callable[..., Awaitable[Res]], name: str, request: Any) -> Res:
        """One unary call. Raises the ServiceError that its status stands for.

        Where the current span is sampled the call gets a CLIENT span, `name`, whose context travels with it.
        """
        if not telemetry.current_traceparent():
            return await self._attempt(method, request, self._metadata)
        attributes = {"rpc.system.name": "grpc", "rpc.method": name}
        with telemetry.span(name, telemetry.CLIENT, attributes=attributes) as span:
            traced = (TRACEPARENT_KEY, telemetry.traceparent_of(span))
            return await self._attempt(method, request, (*self._metadata, traced))

    async def _attempt(
        self, method: Callable[..., Awaitable[Res]], request: Any, metadata: tuple[tuple[str, str], ...]
    ) -> Res:
        try:
            return await method(request, timeout=self._timeout_s, metadata=metadata)
        except grpc.aio.AioRpcError as error:
            raise from_call(error) from None
