"""The limiter inside Envoy: what the Python there imports (front `envoy`)."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from headworks_core import logs, telemetry
from headworks_core.envoy.embedded import Embedded, Within

from headworks_limiter.app import limiter
from headworks_limiter.settings import Settings


@asynccontextmanager
async def _limiter(told: str, within: Within) -> AsyncIterator[None]:
    settings = Settings(**json.loads(told))
    logs.configure("headworks-limiter", level=settings.log_level)
    with telemetry.tracing("headworks-limiter"):
        async with limiter(settings, within.application.serve, within.on_reload):
            yield


application = Embedded(_limiter)
