"""Tasks that cost nothing, for measuring everything else."""

from __future__ import annotations

import time

from headworks_client import task


@task(name="bench.noop")
async def noop() -> None:
    """Nothing."""


@task(name="bench.started")
async def started() -> int:
    """When the handler began, in ns of the machine's monotonic clock."""
    return time.monotonic_ns()
