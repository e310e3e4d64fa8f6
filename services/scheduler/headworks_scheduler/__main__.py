"""Runs a scheduler: `headworks-scheduler --help`."""

from __future__ import annotations

import sys

from headworks_core import logs, telemetry
from headworks_core.serving import run, until_signalled
from headworks_core.settings import load

from headworks_scheduler.app import scheduler_app
from headworks_scheduler.settings import Settings


def main() -> None:
    """Read the settings and serve until a signal."""
    settings = load(Settings, sys.argv[1:])
    logs.configure("headworks-scheduler", level=settings.log_level)
    with telemetry.tracing("headworks-scheduler"):
        run(lambda: until_signalled(scheduler_app(settings)))


if __name__ == "__main__":
    main()
