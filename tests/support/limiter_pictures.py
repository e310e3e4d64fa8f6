"""The pictures of docs/limiter.md; `make pictures` draws them anew."""

from __future__ import annotations

from pathlib import Path

from headworks_devkit.cli.app import app
from typer.testing import CliRunner

FOLDER = Path(__file__).parents[2] / "docs" / "images" / "limiter"
RULES = FOLDER / "algorithms.yaml"

_RATE = "--rate 2/s --for 5m"
COMMANDS = {
    **dict.fromkeys(
        ("gcra", "token_bucket", "fixed_window", "sliding_window_counter", "sliding_window_log", "leaky_bucket"), _RATE
    ),
    "max_wait": f"{_RATE} --max-wait 30s",
    "concurrency": "--rate 5/s --for 2m --hold 3s",
    "adaptive": "--rate 5/s --for 5m --hold 3s --outage 60s-120s",
    "circuit_breaker": "--rate 2/s --for 5m --hold 1s --outage 60s-120s",
}
"""By the name of the picture, which is that of its rules too: what the command is told."""


def draw(name: str, folder: Path) -> Path:
    """Draw one by the command line; returns the file."""
    file = folder / f"{name}.svg"
    words = ["limits", "simulate", str(RULES), name, "user=ann", *COMMANDS[name].split()]
    done = CliRunner().invoke(app, [*words, "--columns", "100", "--svg", str(file)])
    assert done.exit_code == 0, done.output
    return file


if __name__ == "__main__":
    for each in COMMANDS:
        draw(each, FOLDER)
