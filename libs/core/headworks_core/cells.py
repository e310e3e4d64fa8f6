"""Cells, the hash tags that Redis state lives in, and `hw:meta`, which fixes their number for good."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

from redis.asyncio import Redis

from headworks_core.errors import FailedPrecondition, Reason

META = "hw:meta"
SCHEMA_MAJOR = 1
SCHEMA_MINOR = 0


@dataclass(frozen=True, slots=True)
class Meta:
    """What every replica of an installation agrees on."""

    cells: int = 1
    events: str = "kafka"
    """Where completion events go: "kafka" or "none"; empty for a service that has no say in it."""

    def prefix(self, cell: int) -> str:
        """What every key of the cell begins with; its hash tag."""
        return f"{{hw:{cell}}}"

    def cell_of(self, name: str) -> int:
        """The cell of a queue, or of a tenant's buckets."""
        return zlib.crc32(name.encode()) % self.cells


async def join(redis: Redis, wanted: Meta) -> Meta:
    """Write `hw:meta` if this is the first replica ever; otherwise check that `wanted` is what it says.

    Raises FailedPrecondition (STORE_UNSUITABLE) for a newer major schema, or where a setting differs.
    """
    fields = {"schema": f"{SCHEMA_MAJOR}.{SCHEMA_MINOR}", "cells": str(wanted.cells)}
    if wanted.events:
        fields["events"] = wanted.events
    async with redis.pipeline(transaction=True) as pipe:
        for field, value in fields.items():
            pipe.hsetnx(META, field, value)
        pipe.hgetall(META)
        stored = {key.decode(): value.decode() for key, value in (await pipe.execute())[-1].items()}
    _check(stored, fields)
    return Meta(cells=int(stored["cells"]), events=stored.get("events", ""))


def _check(stored: dict[str, str], wanted: dict[str, str]) -> None:
    major = int(stored["schema"].split(".")[0])
    if major > SCHEMA_MAJOR:
        message = f"{META} has schema {stored['schema']}; this release understands up to {SCHEMA_MAJOR}.x: upgrade it"
        raise FailedPrecondition(message, reason=Reason.STORE_UNSUITABLE)
    for field in wanted.keys() - {"schema"}:
        if stored[field] != wanted[field]:
            message = (
                f"{META} says {field} = {stored[field]}, this replica was told {wanted[field]}; "
                "the value is fixed when the first replica starts"
            )
            raise FailedPrecondition(message, reason=Reason.STORE_UNSUITABLE)
