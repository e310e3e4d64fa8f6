"""An idempotent aiokafka producer with a bounded life: it starts in time or not at all, and ends without waiting.

aiokafka never gives a batch of an idempotent producer up, so its own `stop()` waits for ever when the broker is gone.
Here a producer is dropped instead: what was under way may or may not arrive, and the caller sends it again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from headworks_scheduler.sinks import SinkUnavailable

RETRY_BACKOFF_MS = 200
DROP_S = 1.0


@asynccontextmanager
async def idempotent_producer(
    bootstrap: str, *, max_batch_bytes: int, compression: str | None = None, timeout_s: float = 10.0
) -> AsyncIterator[AIOKafkaProducer]:
    """A started producer; dropped on exit, within about three seconds. Raises SinkUnavailable.

    `timeout_s` bounds the start, and each request.
    """
    producer = AIOKafkaProducer(
        bootstrap_servers=bootstrap,
        enable_idempotence=True,
        acks="all",
        max_batch_size=max_batch_bytes,
        compression_type=compression,
        request_timeout_ms=int(timeout_s * 1000),
        retry_backoff_ms=RETRY_BACKOFF_MS,
    )
    try:
        try:
            async with asyncio.timeout(timeout_s):
                await producer.start()
        except (KafkaError, TimeoutError) as error:
            raise SinkUnavailable(f"Kafka at {bootstrap} cannot be reached: {error!r}") from error
        yield producer
    finally:
        await _drop(producer)


async def _drop(producer: AIOKafkaProducer) -> None:
    sender = producer._sender.sender_task
    for _ in range(2):  # told once it waits for answers that are due, told twice it does not
        if sender is not None and not sender.done():
            sender.cancel()
            await asyncio.wait({sender}, timeout=DROP_S / 2)
    producer._message_accumulator._batches.clear()  # or stop() waits for them to arrive
    producer._message_accumulator._pending_batches.clear()
    with suppress(KafkaError, TimeoutError):
        async with asyncio.timeout(DROP_S):
            await producer.stop()
