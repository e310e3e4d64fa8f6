"""Counts what the limiter told the workers, from their logs."""

from __future__ import annotations

import json

from headworks_devkit.demo.report import Permits

EVENT = "census.permitted"


class PermitCount:
    """Hears the workers' log lines."""

    def __init__(self) -> None:
        self._allowed = 0
        self._denied = 0

    def hear(self, line: str) -> None:
        """One line of a log."""
        if EVENT in line:
            record = json.loads(line)
            self._allowed += 1
            self._denied += int(record["refusals"])

    def total(self) -> Permits:
        """So far."""
        return Permits(self._allowed, self._denied)
