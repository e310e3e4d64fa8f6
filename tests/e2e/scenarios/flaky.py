"""A task whose jobs have two events."""

from __future__ import annotations

from headworks_client.submissions import Retry
from headworks_worker import Context, task


@task(name="scenario.flaky", retry=Retry(max_attempts=3, initial_backoff_s=0.05, multiplier=1, jitter=0))
async def flaky(ctx: Context, number: int, fails: bool) -> int:
    """Fails at first if it is told to."""
    if fails and ctx.attempt == 1:
        raise RuntimeError("the first time")
    return number
