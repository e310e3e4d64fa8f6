"""streaQ: batches through enqueue_many, as its docs advise; no results, as many prefetched as run."""

import uvloop
from counting import ran
from streaq import Worker
from submitting import JOBS, SECONDS, URL, gathered

BATCH = 500
worker = Worker(redis_url=URL, concurrency=100, prefetch=100)


@worker.task(ttl=0)
async def noop() -> None:
    """Count."""
    ran()


async def main():
    """Submit."""
    async with worker:
        await gathered(
            lambda: worker.enqueue_many([noop.enqueue() for _ in range(BATCH)]), JOBS, SECONDS, per_call=BATCH
        )


if __name__ == "__main__":
    uvloop.run(main())
