"""A task: headworks-worker --tasks hello_task"""

import asyncio

from headworks_worker import Context, PermanentError, Retry, task


@task(name="hello.greet", timeout_s=30, retry=Retry(max_attempts=3))
async def greet(ctx: Context, name: str, times: int = 1) -> list[str]:
    if not name.isprintable():
        raise PermanentError("a name has to be printable")  # not tried again: a dead letter at once
    greetings = []
    for done in range(times):
        ctx.progress(done, times, "greeting")  # seen by whoever watches the job
        await asyncio.sleep(0.1)  # a worker that dies here is replaced; ctx.lease_id fences what it still does
        greetings.append(f"hello, {name}")
    return greetings
