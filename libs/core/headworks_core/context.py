"""Who is calling: resolved once at the edge, and the only place a servicer takes the tenant from."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass

from headworks_core.errors import InvalidArgument, Violation
from headworks_core.names import TENANT

TENANT_KEY = "headworks-tenant"
TRACEPARENT_KEY = "traceparent"
DEFAULT_TENANT = "default"
MAX_TRACEPARENT = 55


@dataclass(frozen=True, slots=True)
class CallContext:
    """A call's tenant, its principal and scopes, its trace, and the monotonic time at which its caller gives up."""

    tenant: str = DEFAULT_TENANT
    principal: str = "anonymous"
    scopes: frozenset[str] = frozenset()
    traceparent: str = ""
    deadline: float | None = None
    """On the running loop's clock, in seconds; None: the caller set none."""

    def expired(self) -> bool:
        """Whether the caller has given up by now."""
        return self.deadline is not None and asyncio.get_running_loop().time() >= self.deadline


def from_metadata(metadata: Iterable[tuple[str, str | bytes]] | None, time_remaining_s: float | None) -> CallContext:
    """The context of a call in development, where the tenant is what the metadata says."""
    tenant, traceparent = DEFAULT_TENANT, ""
    for key, value in metadata or ():
        if key == TENANT_KEY:
            tenant = str(value)
        elif key == TRACEPARENT_KEY and len(value) <= MAX_TRACEPARENT:
            traceparent = str(value)
    if tenant != DEFAULT_TENANT and not TENANT.fullmatch(tenant):
        rule = f"must match {TENANT.pattern}"
        raise InvalidArgument(f"{TENANT_KEY}: {rule}", violations=[Violation(TENANT_KEY, rule)])
    deadline = None if time_remaining_s is None else asyncio.get_running_loop().time() + time_remaining_s
    return CallContext(tenant=tenant, principal=tenant, traceparent=traceparent, deadline=deadline)
