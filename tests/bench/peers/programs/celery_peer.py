"""Celery as its optimizing guide says for short tasks: a large prefetch, transient messages, no results, no events."""

from celery import Celery
from counting import ran
from submitting import JOBS, SECONDS, URL, one_by_one

app = Celery("bench", broker=URL)
app.conf.update(
    task_ignore_result=True,
    task_store_errors_even_if_ignored=False,
    task_default_delivery_mode="transient",
    worker_prefetch_multiplier=128,
    worker_disable_rate_limits=True,
    worker_send_task_events=False,
    broker_connection_retry_on_startup=True,
)


@app.task(name="noop")
def noop():
    """Count."""
    ran()


def submit():
    """All over one connection of the pool."""
    with app.producer_pool.acquire(block=True) as producer:
        one_by_one(lambda: noop.apply_async(producer=producer), JOBS, SECONDS)


if __name__ == "__main__":
    submit()
