"""Threads for plain functions. Unlike an executor's they do not keep the process alive: one may never end."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue

import structlog

log = structlog.get_logger(__name__)


class Threads:
    """Runs functions on at most `most` daemon threads, which are started when they are needed and then kept."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._work: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._idle = threading.Semaphore(0)
        self._count = 0

    def submit(self, function: Callable[[], None]) -> None:
        """Run it as soon as there is a thread. It must not raise. Call this from one thread only.

        Raises RuntimeError where there is no thread at all, and none can be started.
        """
        self._work.put(function)
        if not self._idle.acquire(blocking=False) and self._count < self._most:
            self._begin()

    def _begin(self) -> None:
        try:
            threading.Thread(target=self._serve, name=f"headworks-task-{self._count + 1}", daemon=True).start()
        except RuntimeError as error:  # the system gives no more
            log.error("thread.not_started", threads=self._count, error=str(error))
            if not self._count:
                self._work.get()
                raise
        else:
            self._count += 1

    def close(self) -> None:
        """Let the threads end once they are idle; does not wait."""
        for _ in range(self._count):
            self._work.put(None)

    def _serve(self) -> None:
        while (function := self._work.get()) is not None:
            function()
            del function  # it may hold a large payload
            self._idle.release()
