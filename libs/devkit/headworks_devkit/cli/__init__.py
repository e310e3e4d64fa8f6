"""The `headworks` command: run the suite, and talk to one that runs."""

from __future__ import annotations


def main() -> None:
    """Entry point of the console script."""
    from headworks_devkit.cli.app import app  # noqa: PLC0415 - `import headworks_devkit.cli` stays cheap

    app(prog_name="headworks")
