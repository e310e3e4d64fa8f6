"""Who listens: a subscriber of the events' topic, and a reader of the handlers' logs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from aiokafka import AIOKafkaConsumer, ConsumerRecord
from aiokafka.errors import KafkaError
from headworks.events.v1.events_pb2 import JobEvent

from tests.chaos.cluster import TOPIC, now
from tests.chaos.history import Complaint, Handled, Heard, History

FETCH = 1_000
PAUSE_S = 0.2


class Ears:
    """Hears every event, duplicates too, and gives each to its epoch."""

    def __init__(self) -> None:
        self.history: History | None = None
        self.total = 0
        self._waiting: list[Heard] = []

    async def listen(self, consumer: AIOKafkaConsumer) -> None:
        """Until cancelled. A broker that is away is waited for."""
        while True:
            try:
                batches = await consumer.getmany(timeout_ms=200, max_records=FETCH)
            except KafkaError:
                await asyncio.sleep(PAUSE_S)
                continue
            for records in batches.values():
                self._waiting += map(_heard, records)
                self.total += len(records)

    def collect(self, history: History, earlier: set[str]) -> None:
        """Move what was heard into the epoch's history, but for late duplicates of `earlier` jobs."""
        heard, self._waiting = self._waiting, []
        history.heard += [event for event in heard if event.job not in earlier]


def _heard(record: ConsumerRecord[bytes, bytes]) -> Heard:
    headers = {name: value.decode() for name, value in record.headers}
    event = JobEvent.FromString(record.value)
    kind = headers["ce_type"].split(".")[3]
    parts = {(event.job, str(event.sequence)), (headers["ce_subject"], headers["ce_sequence"])}
    assert parts == {(record.key.decode(), headers["ce_sequence"])}, f"the parts of {record} differ"
    return Heard(now(), event.job, event.sequence, kind, event.generation, event.attempt, headers["ce_id"])


@asynccontextmanager
async def listening(bootstrap: str) -> AsyncIterator[Ears]:
    """A subscriber from the beginning of the topic, at the broker's own address."""
    consumer = AIOKafkaConsumer(
        TOPIC,
        bootstrap_servers=bootstrap,
        group_id=None,
        auto_offset_reset="earliest",
        metadata_max_age_ms=1_000,
        check_crcs=True,
    )
    await consumer.start()
    ears = Ears()
    task = asyncio.create_task(ears.listen(consumer), name="ears")
    try:
        yield ears
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        await consumer.stop()


class Logs:
    """Reads what handlers have written since the last time."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._read: dict[Path, int] = {}

    def collect(self, history: History) -> None:
        """Move new lines into the history; a job of an earlier epoch that begins is a complaint."""
        for path in sorted(self._folder.glob("*.jsonl")):
            with path.open("rb") as file:
                file.seek(self._read.get(path, 0))
                data = file.read()
            whole = data[: data.rfind(b"\n") + 1]
            self._read[path] = self._read.get(path, 0) + len(whole)
            for line in whole.splitlines():
                handled = Handled(**json.loads(line))
                if handled.epoch == history.meta.epoch:
                    history.handled.append(handled)
                elif handled.what == "start":
                    complaint = f"began in epoch {history.meta.epoch}, after all of its own had come to rest"
                    history.complaints.append(Complaint(now(), handled.job, complaint))
