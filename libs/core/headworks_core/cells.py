"""Cells, the hash tags that Redis state lives in, and `hw:meta`, which fixes their number for good."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis

from headworks_core.errors import FailedPrecondition, Reason

META = "hw:meta"
SCHEMA_MAJOR = 1
SCHEMA_MINOR = 1


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


def cell_in(key: str) -> int:
    """The cell that a key belongs to."""
    return int(key[len("{hw:") : key.index("}")])


async def join(redis: Redis, wanted: Meta) -> Meta:
    """Write `hw:meta` if this is the first replica ever; otherwise check that `wanted` is what it says.

    Raises FailedPrecondition (STORE_UNSUITABLE) for a newer major schema, or where a setting differs.
    """
    fields = {"schema": f"{SCHEMA_MAJOR}.{SCHEMA_MINOR}", "cells": str(wanted.cells)}
    if wanted.events:
        fields["events"] = wanted.events
    stored = _decoded(await redis.hgetall(META))
    if not fields.keys() <= stored.keys():  # only then: a full server accepts no write, and must be able to drain
        async with redis.pipeline(transaction=True) as pipe:
            for field, value in fields.items():
                pipe.hsetnx(META, field, value)
            pipe.hgetall(META)
            stored = _decoded((await pipe.execute())[-1])
    _check(stored, fields)
    return Meta(cells=int(stored["cells"]), events=stored.get("events", ""))


def _decoded(fields: Mapping[Any, Any]) -> dict[str, str]:
    return {key.decode(): value.decode() for key, value in fields.items()}


def _check(stored: dict[str, str], wanted: dict[str, str]) -> None:
    schema = stored["schema"]
    major, _, minor = schema.partition(".")
    if not (major.isdecimal() and minor.isdecimal()):
        message = f"{META} has schema {schema!r}, which no release has written"
        raise FailedPrecondition(message, reason=Reason.STORE_UNSUITABLE)
    if int(major) > SCHEMA_MAJOR:
        message = f"{META} has schema {schema}; this release understands up to {SCHEMA_MAJOR}.x: upgrade it"
        raise FailedPrecondition(message, reason=Reason.STORE_UNSUITABLE)
    for field in sorted(wanted.keys() - {"schema"}):
        if stored[field] != wanted[field]:
            message = (
                f"{META} says {field} = {stored[field]}, this replica was told {wanted[field]}; "
                "the value is fixed when the first replica starts"
            )
            raise FailedPrecondition(message, reason=Reason.STORE_UNSUITABLE)
