"""How fast permits on lease are spent, and whether a process that is killed makes more than the limit of them."""

from __future__ import annotations

import asyncio
import struct
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path

from headworks_devkit.backends.valkey import valkey
from headworks_devkit.processes import Child

from tests.bench import line, programs
from tests.bench.figures import Sheet
from tests.bench.scale import Scale

PROCESSES = 3
MODULE = "tests.bench.lease_calls"


async def rate(scale: Scale, sheet: Sheet) -> None:
    """limiter_lease_per_s."""
    runs, leases = [], []
    async with valkey() as store, line.limiter(store) as (address, _):
        for _ in range(min(3, scale.rounds)):
            found = await programs.run(MODULE, address, scale.run_s)
            runs.append(found["per_s"])
            leases.append(found["leases"])
    sheet.put(
        "limiter_lease_per_s",
        max(runs),
        runs_per_s=[round(run) for run in runs],
        leases=leases,
        callers=64,
        taken="best run",
        rule="one gcra rule; `await quota.consume()`, one process",
    )


async def over_admission(scale: Scale, sheet: Sheet) -> None:
    """lease_over_admission: three processes spend a window's permits, one is killed (SIGKILL) in the middle."""
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(valkey())
        address, _ = await stack.enter_async_context(line.limiter(store))
        path = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="headworks-bench-"))) / "counts"
        await asyncio.to_thread(path.write_bytes, bytes(8 * PROCESSES))
        spenders = [
            await stack.enter_async_context(programs.started(MODULE, address, "until-refused", path, index))
            for index in range(PROCESSES)
        ]
        killed_at = await _kill_in_the_middle(spenders[0], path)
        for spender in spenders[1:]:
            await programs.finish(spender, 120)
        counts = await _counts(path)
    sheet.put(
        "lease_over_admission",
        max(0, sum(counts) - line.WINDOW),
        spent=counts,
        limit=line.WINDOW,
        killed_at=killed_at,
        lost_with_it=line.WINDOW - sum(counts),
        rule="one fixed_window rule for all",
    )


async def _kill_in_the_middle(spender: Child, path: Path) -> int:
    async with asyncio.timeout(60):
        while (spent := (await _counts(path))[0]) < line.WINDOW // 10:
            await asyncio.sleep(0.005)
    await spender.kill()
    return spent


async def _counts(path: Path) -> list[int]:
    return list(struct.unpack(f"{PROCESSES}Q", await asyncio.to_thread(path.read_bytes)))
