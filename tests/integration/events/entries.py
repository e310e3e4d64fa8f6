"""Outbox entries, written in exactly the form in which the scheduler's scripts write them."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

from headworks.scheduler.v1 import job_pb2
from redis.asyncio import Redis

OUTBOX = "{hw:0}:outbox"
ASIDE = "{hw:0}:outbox:aside"
RELAY = "{hw:0}:relay"
AT_US = 1_788_256_800_123_456
"""2026-09-01T10:00:00.123456Z"""
STATES = {
    "succeeded": job_pb2.JOB_STATE_SUCCEEDED,
    "dead": job_pb2.JOB_STATE_DEAD,
    "cancelled": job_pb2.JOB_STATE_CANCELLED,
    "retrying": job_pb2.JOB_STATE_SCHEDULED,
}


def new_ref(tenant: str = "default", queue: str = "default") -> str:
    """A job's name in its cell."""
    return f"{tenant}/{queue}/{uuid.uuid4()}"


def name_of(ref: str, cell: int = 0) -> str:
    """The job's full name."""
    tenant, queue, tail = ref.split("/")
    return f"tenants/{tenant}/queues/{queue}/jobs/{cell}-{tail}"


def fields(
    ref: str, sequence: int = 1, type_: str = "succeeded", *, task: str = "t", trace: str = "", failure: bytes = b""
) -> dict[str, str | int | bytes]:
    """The fields of one entry, in their order."""
    return {
        "job": ref,
        "type": type_,
        "task": task,
        "seq": sequence,
        "attempt": sequence,
        "gen": 1,
        "state": STATES[type_],
        "at": AT_US,
        "trace": trace,
        "failure": failure,
    }


def packed(entry: dict[str, str | int | bytes]) -> dict[Any, Any]:
    """An entry as the scripts write it: its fields as words."""
    words = [value if isinstance(value, bytes) else str(value).encode() for value in entry.values()]
    words[8] = words[8] or b"-"
    return {"event": b" ".join(words)}


async def write(redis: Redis, entries: Sequence[dict[str, str | int | bytes]], outbox: str = OUTBOX) -> list[bytes]:
    """Append entries; their ids."""
    async with redis.pipeline(transaction=False) as pipe:
        for entry in entries:
            pipe.xadd(outbox, packed(entry))
        ids: list[bytes] = await pipe.execute()
    return ids


def histories(jobs: int, events: int) -> tuple[list[str], list[dict[str, str | int | bytes]]]:
    """Entries of `jobs` jobs, mixed: each retries and then succeeds, with `events` in all."""
    refs = [new_ref() for _ in range(jobs)]
    made = [
        fields(ref, sequence, "succeeded" if sequence == events else "retrying")
        for sequence in range(1, events + 1)
        for ref in refs
    ]
    return refs, made


async def entries_of(redis: Redis, stream: str) -> list[tuple[bytes, dict[bytes, bytes]]]:
    """What a stream holds."""
    execute: Any = redis.execute_command
    found: list[tuple[bytes, dict[bytes, bytes]]] = await execute("XRANGE", stream, "-", "+")
    return found


async def relay_field(redis: Redis, field: str) -> bytes | None:
    """A field of cell 0's relay."""
    execute: Any = redis.execute_command
    found: bytes | None = await execute("HGET", RELAY, field)
    return found
