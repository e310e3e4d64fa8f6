"""Tasks that cost nothing, for measuring everything else."""

from __future__ import annotations

import time

from headworks_client import task


@task(name="bench.noop")
async def noop() -> None:
    """Nothing."""


@task(name="bench.pickup")
async def pickup(intended_ns: int) -> int:
    """Nanoseconds since `intended_ns` of the machine's monotonic clock, when the handler begins."""
    return time.monotonic_ns() - intended_ns
