"""The `headworks` command: run the suite, and talk to one that runs."""

from __future__ import annotations


def main() -> None:
    """Entry point of the console script."""
    try:
        from headworks_devkit.cli.app import app  # noqa: PLC0415 - so that a Ctrl-C while it loads is caught too

        app(prog_name="headworks")
    except KeyboardInterrupt:
        raise SystemExit(130) from None
