"""limits: its cheapest strategy (fixed window) on Redis; async through coredis or redis-py, or blocking."""

import sys

import uvloop
from deciding import SECONDS, URL, blocking, concurrent
from limits import RateLimitItemPerSecond, strategies
from limits import storage as storages
from limits.aio import storage as aio_storages
from limits.aio import strategies as aio_strategies

RULE = RateLimitItemPerSecond(1_000_000)


async def main(implementation):
    """Decide."""
    store = aio_storages.RedisStorage(f"async+{URL}", implementation=implementation)
    limiter = aio_strategies.FixedWindowRateLimiter(store)
    await concurrent(lambda user: limiter.hit(RULE, user), SECONDS)


if __name__ == "__main__":
    if sys.argv[1] == "sync":
        limiter = strategies.FixedWindowRateLimiter(storages.RedisStorage(URL))
        blocking(lambda user: limiter.hit(RULE, user), SECONDS)
    else:
        uvloop.run(main(sys.argv[1]))
