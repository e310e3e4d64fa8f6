"""aiokafka's log lines at a bounded rate: while a broker is away it would write ten a second."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager

LOGGERS = ("aiokafka", "aiokafka.client", "aiokafka.cluster", "aiokafka.conn", "aiokafka.producer.sender")
PERIOD_S = 10.0


class OncePerPeriod(logging.Filter):
    """Lets each kind of line (logger, level, text before its values) through once in a period."""

    def __init__(self, period_s: float = PERIOD_S) -> None:
        super().__init__()
        self._period_s = period_s
        self._seen: dict[tuple[str, int, str], float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the line may pass."""
        kind = (record.name, record.levelno, str(record.msg))
        now = time.monotonic()
        if now - self._seen.get(kind, -self._period_s) < self._period_s:
            return False
        self._seen[kind] = now
        return True


@contextmanager
def quiet_aiokafka() -> Iterator[None]:
    """Bound the rate of aiokafka's own lines inside the block."""
    once = OncePerPeriod()
    loggers = [logging.getLogger(name) for name in LOGGERS]
    for logger in loggers:
        logger.addFilter(once)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeFilter(once)
