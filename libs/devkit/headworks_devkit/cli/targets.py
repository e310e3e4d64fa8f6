"""Which services a command talks to, and as whom: the global options."""

from __future__ import annotations

from dataclasses import dataclass

import typer


@dataclass(frozen=True, slots=True)
class Targets:
    """Addresses and the tenant."""

    scheduler: str = "127.0.0.1:50052"
    limiter: str = "127.0.0.1:50051"
    kafka: str = "127.0.0.1:9092"
    tenant: str = "default"


def targets_of(context: typer.Context) -> Targets:
    """What the global options said."""
    found = context.find_object(Targets)
    assert found is not None
    return found
