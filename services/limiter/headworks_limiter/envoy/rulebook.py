"""Envoy's rules in use: those of the files, or the last good ones while the files have mistakes."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from contextlib import suppress

import structlog
from headworks_core.measures import Tally

from headworks_limiter.envoy import rules_file
from headworks_limiter.rulebook import LOOK_S, SHOWN
from headworks_limiter.rules import RulesError

log = structlog.get_logger(__name__)

Signature = tuple[tuple[str, int, int, int, int], ...]


class EnvoyRuleBook:
    """Reads the file or folder again when something in it has changed, and when it is told to."""

    def __init__(self, path: str) -> None:
        """Raises RulesError with all mistakes."""
        self._path = path
        self._seen = _signature(path)
        self.domains = rules_file.load(path)
        self.reloads = Tally({("loaded",): 0, ("failed",): 0})
        """By outcome: loaded, failed."""
        self.current = True
        """Whether the rules in use are those of the files."""
        self._asked = asyncio.Event()

    def ask(self) -> None:
        """Read now, whether something has changed or not."""
        self._asked.set()

    async def follow(self, changed: Callable[[], Awaitable[None]]) -> None:
        """Until cancelled, read again when something changes; `changed` hears of every reading."""
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

    async def _read(self) -> None:
        try:
            self.domains = await asyncio.to_thread(rules_file.load, self._path)
        except RulesError as error:
            self.current = False
            self.reloads["failed",] += 1
            first = [str(mistake) for mistake in error.mistakes[:SHOWN]]
            log.error("envoy_rules.bad", kept="the last good ones", mistakes=len(error.mistakes), first=first)
        else:
            self.current = True
            self.reloads["loaded",] += 1
            log.info("envoy_rules.loaded", domains=len(self.domains.by_name))


def _signature(path: str) -> Signature | None:
    """Changes when a file does, comes or goes, or a link on the way points elsewhere; None: it cannot be seen."""
    try:
        seen = [(str(file), os.stat(file)) for file in rules_file.files_of(path)]
    except OSError:
        return None
    return tuple((name, stat.st_mtime_ns, stat.st_size, stat.st_ino, stat.st_dev) for name, stat in seen)
