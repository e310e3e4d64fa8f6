"""`make bench`: own figures, as a table and in build/bench.json. Never a gate."""

from __future__ import annotations

import asyncio
import json
import os
import platform
import subprocess
import sys
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


def spin_ms() -> list[int]:
    """How long a fixed piece of Python takes on every core at once: how fast the machine is at the moment."""
    loop = "import time; t = time.perf_counter(); sum(i * i for i in range(5_000_000)); print(time.perf_counter() - t)"
    argv = [sys.executable, "-c", loop]
    spinning = [subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) for _ in range(os.cpu_count() or 1)]
    return [round(float(process.communicate()[0]) * 1000) for process in spinning]


def conditions() -> dict[str, object]:
    """What the figures depend on."""
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    return {
        "machine": platform.machine(),
        "cpus": os.cpu_count(),
        "python": platform.python_version(),
        "spin_ms": spin_ms(),
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
