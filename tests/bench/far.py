"""The key figures once more with a Redis that is 1 ms away: round trips that loopback hides."""

from __future__ import annotations

from headworks_devkit.backends.valkey import valkey

from tests.bench import limits, line
from tests.bench.drain import drain, told
from tests.bench.figures import Sheet
from tests.bench.loadgen import generate, percentiles
from tests.bench.pickup import IDLE_RATE, idle_pickups, open_told
from tests.bench.scale import Scale
from tests.bench.submit import submit

DELAY_MS = 1.0


async def jobs(scale: Scale, sheet: Sheet) -> None:
    """jobs_drain_1ms_per_s and pickup_1ms_p99_ms."""
    async with line.line(None, delay_ms=DELAY_MS) as of:
        await submit(of.scheduler, scale.ratio_jobs)
        drained = await drain(of)
        sheet.put("jobs_drain_1ms_per_s", drained.per_s, delay_ms=DELAY_MS, lanes=1, **told(drained))
        async with line.worker(of):
            waits = percentiles(await idle_pickups(of, scale))
        sheet.put("pickup_1ms_p99_ms", waits["p99_ms"], delay_ms=DELAY_MS, rate_per_s=IDLE_RATE, **waits)


async def limiter(scale: Scale, sheet: Sheet) -> None:
    """limiter_*_1ms_*."""
    async with valkey() as store, line.delayed(store, DELAY_MS) as away, line.limiter(away) as (address, pid):
        told = {
            "delay_ms": DELAY_MS,
            "round_trip_ms": await line.round_trip_ms(away.url),
            "round_trip_without_ms": await line.round_trip_ms(store.url),
        }
        unary = await generate(limits.closed(address, "consume", limits.CALLERS, scale))
        sheet.put("limiter_unary_1ms_per_s", unary["per_s"], **told, callers=limits.CALLERS)
        rate = await limits.capacity_per_s(address, scale) * 0.25
        late = await generate(limits.opened(address, rate, scale))
        sheet.put("limiter_check_1ms_p99_ms", late["p99_ms"], **told, rate_per_s=round(rate), **open_told(late))
        best, runs, _ = await limits.best_of(address, pid, "consume_stream", scale)
        sheet.put("limiter_stream_1ms_per_s", best, **told, runs_per_s=runs)
