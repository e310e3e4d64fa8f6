"""Run a limiter: `headworks-limiter`, or `python -m headworks_limiter`."""

from __future__ import annotations

import sys

from headworks_core import logs, settings, telemetry
from headworks_core.serving import run, until_signalled

from headworks_limiter.app import limiter_app
from headworks_limiter.settings import Settings


def main() -> None:
    """Serve until SIGTERM or SIGINT."""
    told = settings.load(Settings, sys.argv[1:])
    logs.configure("headworks-limiter", level=told.log_level)
    with telemetry.tracing("headworks-limiter"):
        run(lambda: until_signalled(limiter_app(told)))


if __name__ == "__main__":
    main()
