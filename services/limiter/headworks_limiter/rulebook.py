"""The rules in use: those of the file, or the last good ones while the file has mistakes."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from contextlib import suppress

import structlog
from headworks_core.measures import Tally

from headworks_limiter import rules
from headworks_limiter.rules import Mistake, Rules, RulesError

log = structlog.get_logger(__name__)

LOOK_S = 1.0
SHOWN = 5

Signature = tuple[int, int, int, int]


class RuleBook:
    """Reads the file again when it has changed, and when it is told to. Without a file there are no rules."""

    def __init__(self, path: str) -> None:
        """Raises RulesError with all mistakes of the file."""
        self._path = path
        self._seen = _signature(path)
        self.content = rules.content_of(path) if path else b""
        """Of the file, as the rules in use have it."""
        self.rules = rules.parse(self.content, path=path) if path else Rules()
        self.reloads = Tally({("loaded",): 0, ("failed",): 0})
        """By outcome: loaded, failed."""
        self.current = True
        """Whether the rules in use are those of the file."""
        self._asked = asyncio.Event()
        if not path:
            log.warning("rules.none", reason="no rules file is set up, so every namespace is unknown")

    def ask(self) -> None:
        """Read the file now, whether it has changed or not."""
        self._asked.set()

    async def follow(self, changed: Callable[[], Awaitable[None]]) -> None:
        """Until cancelled, read the file again when it changes; `changed` hears of every reading."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    await self._asked.wait()
            signature = await asyncio.to_thread(_signature, self._path)
            if self._asked.is_set() or signature != self._seen:
                self._asked.clear()
                self._seen = signature  # from before the reading: what is written meanwhile is read next time
                await self._read()
                await changed()

    async def reload(self) -> tuple[Mistake, ...]:
        """Read the file now; what is wrong with it."""
        self._seen = await asyncio.to_thread(_signature, self._path)
        return await self._read()

    async def _read(self) -> tuple[Mistake, ...]:
        if not self._path:
            return ()
        try:
            content = await asyncio.to_thread(rules.content_of, self._path)
            self.rules = await asyncio.to_thread(rules.parse, content, path=self._path)
        except RulesError as error:
            self.current = False
            self.reloads["failed",] += 1
            first = [str(mistake) for mistake in error.mistakes[:SHOWN]]
            log.error("rules.bad", kept="the last good ones", mistakes=len(error.mistakes), first=first)
            return error.mistakes
        else:
            self.content = content
            self.current = True
            self.reloads["loaded",] += 1
            log.info("rules.loaded", namespaces=len(self.rules.namespaces))
            return ()


def _signature(path: str) -> Signature | None:
    """Changes when the file does, or when a link on the way to it points elsewhere; None: it cannot be seen."""
    try:
        seen = os.stat(path)
    except OSError:
        return None
    return seen.st_mtime_ns, seen.st_size, seen.st_ino, seen.st_dev
