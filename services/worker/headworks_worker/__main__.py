"""`headworks-worker`: run tasks until told to stop."""

from __future__ import annotations

import sys

from headworks_core import logs, serving, settings, telemetry

from headworks_worker.app import worker_app
from headworks_worker.errors import RegistrationError
from headworks_worker.settings import Settings


def main() -> None:
    """Read the settings and run; exit code 2 for a mistake in them or in the tasks."""
    told = settings.load(Settings, sys.argv[1:])
    if not told.tasks.strip():
        sys.stderr.write("HEADWORKS_WORKER_TASKS: name the modules with the tasks to run (see --help)\n")
        raise SystemExit(2)
    logs.configure("headworks-worker", level=told.log_level)
    with telemetry.tracing("headworks-worker"):
        try:
            serving.run(lambda: serving.until_signalled(worker_app(told)))
        except RegistrationError as error:
            sys.stderr.write(f"{error}\n")
            raise SystemExit(2) from None


if __name__ == "__main__":
    main()
