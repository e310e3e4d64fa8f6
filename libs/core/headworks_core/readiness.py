"""Whether callers should be sent here: as long as every check is well, give or take a blip."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

import structlog

from headworks_core.serving import Health

log = structlog.get_logger(__name__)

FAILURES = 3
SUCCESSES = 2
STARTING = "starting"
STOPPING = "stopping"

Check = Callable[[], Awaitable[str]]
"""Asks once; answers with the fault in a few words, empty when all is well."""


class _Verdict:
    """One check: bad after FAILURES faults in a row, well again after SUCCESSES answers without one."""

    def __init__(self, check: Check) -> None:
        self._check = check
        self._against = 0
        self.fault = ""

    async def probe(self) -> None:
        found = await self._check()
        if bool(found) is bool(self.fault):
            self._against = 0
            self.fault = found
            return
        self._against += 1
        if self._against == (SUCCESSES if self.fault else FAILURES):
            self._against = 0
            self.fault = found


class Readiness:
    """Ready while no check has found a fault for FAILURES probes in a row. Alive all the time."""

    def __init__(self, checks: Mapping[str, Check]) -> None:
        """`checks` by the name under which people read of their faults."""
        self._verdicts = {name: _Verdict(check) for name, check in checks.items()}
        self._healths: tuple[Health, ...] = ()
        self._ready = False
        self._phase = STARTING

    @property
    def faults(self) -> list[str]:
        """Why callers should not be sent here now, a line each."""
        found = [f"{name}: {verdict.fault}" for name, verdict in self._verdicts.items() if verdict.fault]
        return [self._phase, *found] if self._phase else found

    async def begin(self, *healths: Health) -> None:
        """Ready; everything has just been seen to work. From now on `healths` are told of changes."""
        self._healths = healths
        self._phase = ""
        await self._tell(True)

    def end(self) -> None:
        """The service goes away."""
        self._phase = STOPPING

    async def probe(self) -> None:
        """Ask every check once."""
        for verdict in self._verdicts.values():
            await verdict.probe()
        faults = self.faults
        if bool(faults) is self._ready:
            await self._tell(not faults)
            log.warning("readiness.changed", ready=self._ready, faults=faults)

    async def _tell(self, ready: bool) -> None:
        self._ready = ready
        for health in self._healths:
            await health.set_ready(ready)
