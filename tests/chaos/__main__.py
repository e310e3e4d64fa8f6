"""`python -m tests.chaos --minutes 60 --seed 7`: faults for as long as you like, and a table in the end."""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
import time
from pathlib import Path

from tests.chaos.report import summary
from tests.chaos.run import Plan, running

EPOCH_FAULTS_S = 90.0
OUT = Path("build/chaos")


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="begin no epoch later than that (default: 10)")
    parser.add_argument("--seed", type=int, default=int(time.time()) % 100_000, help="of load and faults")
    parser.add_argument("--rate", type=float, default=120.0, help="jobs a second in batches (default: 120)")
    parser.add_argument("--epoch", type=float, default=EPOCH_FAULTS_S, help="seconds of faults in an epoch")
    parser.add_argument("--keep", action="store_true", help="keep the histories of epochs without violations too")
    return parser.parse_args()


async def chaos(options: argparse.Namespace) -> int:
    """Run; 1 if something was violated."""
    out = OUT / str(options.seed)
    plan = Plan(options.seed, 0, options.epoch, rate=options.rate, long=True, out=out, keep=options.keep)
    began = time.monotonic()
    print(f"seed {plan.seed}, {options.minutes:g} minutes", flush=True)
    async with running(plan, lambda line: print(f"{time.monotonic() - began:6.0f} s  {line}", flush=True)) as run:
        number, began = 0, time.monotonic()
        try:
            while time.monotonic() - began < options.minutes * 60:
                number += 1
                findings = await run.epoch(number)
                print(f"epoch {number}: {len(findings)} violations", flush=True)
                for finding in findings[:5]:
                    print(f"  {finding}", flush=True)
        finally:
            print(summary(plan, run.totals, time.monotonic() - began), flush=True)
    return 1 if run.totals.findings else 0


if __name__ == "__main__":
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # it logs each failed attempt, and many are meant to fail
    sys.exit(asyncio.run(chaos(arguments())))
