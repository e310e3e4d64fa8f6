"""Three small tasks that the workers of `headworks up` know, so that there is something to call at once."""

from __future__ import annotations

import asyncio

from headworks_worker import Context, task


@task(name="hello")
async def hello(name: str = "world") -> str:
    """Greets."""
    return f"hello, {name}"


@task(name="nap")
async def nap(ctx: Context, seconds: float = 10.0) -> float:
    """Sleeps, and says how far it is."""
    steps = max(1, round(seconds * 2))
    for done in range(steps):
        ctx.progress(done, steps, "asleep")
        await asyncio.sleep(seconds / steps)
    return seconds


@task(name="stumble")
async def stumble(reason: str = "a stone") -> None:
    """Fails, again and again."""
    raise RuntimeError(f"stumbled over {reason}")
