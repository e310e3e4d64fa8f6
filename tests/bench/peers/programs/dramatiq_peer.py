"""dramatiq: no results (its default), hiredis; `dramatiq_queue_prefetch` is set by the runner."""

import dramatiq
from counting import ran
from dramatiq.brokers.redis import RedisBroker
from submitting import JOBS, SECONDS, URL, one_by_one

dramatiq.set_broker(RedisBroker(url=URL))


@dramatiq.actor
def noop():
    """Count."""
    ran()


if __name__ == "__main__":
    one_by_one(noop.send, JOBS, SECONDS)
