"""throttled-py: gcra on Redis, one Throttled for all keys as its README advises; async or blocking."""

import sys

import throttled
import throttled.asyncio
import uvloop
from deciding import SECONDS, URL, blocking, concurrent

QUOTA = throttled.per_sec(1_000_000)


async def main():
    """Decide."""
    store = throttled.asyncio.RedisStore(server=URL)
    limiter = throttled.asyncio.Throttled(using="gcra", quota=QUOTA, store=store)

    async def hit(user):
        return not (await limiter.limit(user)).limited

    await concurrent(hit, SECONDS)


if __name__ == "__main__":
    if sys.argv[1] == "sync":
        limiter = throttled.Throttled(using="gcra", quota=QUOTA, store=throttled.RedisStore(server=URL))
        blocking(lambda user: not limiter.limit(user).limited, SECONDS)
    else:
        uvloop.run(main())
