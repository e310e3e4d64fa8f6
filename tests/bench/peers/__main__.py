"""`make bench-peers`: what people use today, installed from its package indexes, on this machine and in the same run.

Prints a table and writes build/bench-peers.json. Needs node and npm for BullMQ, which is left out without them.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Sequence

from tests.bench.figures import PEERS, PEERS_OUT, Sheet, conditions
from tests.bench.peers import jobs, limiters

GROUPS = {"jobs": jobs.run, "limiters": limiters.run}


async def measure(groups: Sequence[str], quick: bool, sheet: Sheet) -> list[str]:
    """Run the groups one after the other; the names of those that could not be measured."""
    failed = []
    for name in groups:
        print(f"[{name}]", flush=True)
        failed += await GROUPS[name](sheet, quick)
    return failed


def main(argv: Sequence[str]) -> int:
    """Install, measure, print, write; 1 when a peer could not be measured."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.peers", description=__doc__)
    parser.add_argument("--only", choices=[*GROUPS], help="one of the two groups")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: does it work? the numbers mean nothing")
    told = parser.parse_args(argv)
    out = PEERS_OUT.with_stem("bench-peers-quick") if told.quick else PEERS_OUT
    sheet = Sheet(PEERS, out, more={"run": conditions() | {"quick": told.quick}})
    began = time.perf_counter()
    failed = asyncio.run(measure([told.only] if told.only else [*GROUPS], told.quick, sheet))
    print(f"written to {out} after {time.perf_counter() - began:.0f} s")
    if failed:
        print(f"not measured: {', '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
