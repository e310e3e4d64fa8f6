"""A fake scheduler, and workers attached to it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest
from headworks_client import Task
from headworks_worker import Worker

from tests.support.fake_scheduler import FakeScheduler, FakeSession, fake_scheduler

Attach = Callable[..., AbstractAsyncContextManager[FakeSession]]


@pytest.fixture
async def scheduler() -> AsyncIterator[FakeScheduler]:
    """One fake replica with short times: heartbeats every 0.4 s, leases of 1.2 s, pings every 0.2 s."""
    async with fake_scheduler() as fake:
        yield fake


@pytest.fixture
def attach(scheduler: FakeScheduler) -> Attach:
    """Runs a worker with these tasks, and yields its first session."""

    @asynccontextmanager
    async def attached(*tasks: Task[..., Any], **options: Any) -> AsyncIterator[FakeSession]:
        chosen: dict[str, Any] = {"scheduler": scheduler.address, "slots": 4, "shutdown_grace_s": 0.1, **options}
        async with Worker(tasks, **chosen):
            yield await scheduler.session()

    return attached
