"""Tasks of the soak."""

from __future__ import annotations

from headworks_worker import Context, task


@task(name="soak.add")
async def add(a: int, b: int) -> int:
    """The sum."""
    return a + b


@task(name="soak.flaky")
def flaky(seed: float) -> float:
    """Fails now and then, and sometimes for good."""
    if seed < 0.2:
        raise ValueError(f"{seed} is too small")
    return seed


@task(name="soak.limited")
async def limited(ctx: Context) -> None:
    """Asks the limiter first."""
    await ctx.acquire("soak", {"what": "tasks"})
