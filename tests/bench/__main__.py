"""`make bench`: own figures, as a table and in build/bench.json. Never a gate."""

from __future__ import annotations

import asyncio
import json
import os
import platform
import subprocess
import time
from pathlib import Path

from headworks_devkit.backends.valkey import valkey
from rich.console import Console
from rich.table import Table

from tests.bench import jobs, limiter

AIMS = {
    "jobs_drain_per_s": "20,000",
    "jobs_submit_batch_per_s": "60,000",
    "pickup_p50_ms": "3",
    "pickup_p99_ms": "10",
    "limiter_unary_vs_echo": "0.8",
}
OUT = Path("build/bench.json")


async def measure() -> dict[str, object]:
    """Everything, one after the other."""
    figures = await jobs.run()
    async with valkey() as store:
        figures |= await limiter.run(store.url)
    return figures


def conditions() -> dict[str, object]:
    """What the figures depend on."""
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    return {
        "machine": platform.machine(),
        "cpus": os.cpu_count(),
        "python": platform.python_version(),
        "commit": commit.stdout.strip(),
        "date": time.strftime("%Y-%m-%d"),
    }


def main() -> None:
    """Measure, print, write."""
    figures = {**asyncio.run(measure()), "conditions": conditions()}
    table = Table("figure", "measured", "aim", title="headworks")
    for name, value in figures.items():
        table.add_row(name, f"{value:,}" if isinstance(value, int) else str(value), AIMS.get(name, ""))
    Console().print(table)
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(json.dumps(figures, indent=2) + "\n")
    Console().print(f"written to {OUT}")


if __name__ == "__main__":
    main()
