"""Permits spent in the client's own process, from leases of a real limiter."""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from uuid import uuid4

import pytest
from headworks_client import LimiterClient, Refusal
from headworks_client.local import LocalQuota
from headworks_core.errors import InvalidArgument, NotFound, Reason, Unavailable
from headworks_devkit.ports import free_port
from redis.asyncio import Redis

from tests.integration.limiter.serving import running
from tests.support.wait import wait_until

RULES = """
namespaces:
  window:
    rules:
      - {name: year, match: {user: "*"}, limit: 1_000/year, algorithm: fixed_window}
  second:
    rules:
      - {name: second, match: {user: "*"}, limit: 50/second, algorithm: fixed_window}
  rate:
    rules:
      - {name: rate, match: {user: "*"}, limit: 100/hour}
  fast:
    rules:
      - {name: fast, match: {user: "*"}, limit: 36_000/hour, burst: 3}
  slots:
    rules:
      - {name: slots, match: {user: "*"}, algorithm: concurrency, limit: 2, ttl: 30s}
  free:
    rules:
      - {name: others, match: {other: "*"}, limit: 1/hour}
"""
ANN = {"user": "ann"}


@pytest.fixture(params=["redis", "memory"])
async def client(request: pytest.FixtureRequest, redis: Redis, valkey_url: str) -> AsyncIterator[LimiterClient]:
    url = valkey_url if request.param == "redis" else "memory:"
    async with running(url, RULES) as limiter, LimiterClient(limiter.address, timeout_s=20) as client:
        yield client


async def remaining(client: LimiterClient, namespace: str) -> int:
    decision = await client.check(namespace, ANN)
    assert decision.governing is not None
    return decision.governing.remaining


async def spend(quota: LocalQuota, wanted: int) -> int:
    """One after the other; how many were allowed."""
    allowed = 0
    for _ in range(wanted):
        allowed += (await quota.consume()).allowed
    return allowed


async def test_any_number_of_callers_spend_no_more_than_the_rule_has(client: LimiterClient) -> None:
    async with AsyncExitStack() as stack:
        quotas = [await stack.enter_async_context(client.local("window", ANN)) for _ in range(3)]
        spent = await asyncio.gather(*(spend(quotas[caller % 3], 100) for caller in range(12)))
        assert all(quota.counts.leases < 60 for quota in quotas)  # for 400 requests each
    counts = [quota.counts for quota in quotas]
    assert [(count.outstanding, count.lost) for count in counts] == [(0, 0)] * 3
    assert sum(spent) == sum(count.spent for count in counts) <= 1_000
    assert await remaining(client, "window") == 1_000 - sum(spent)
    async with client.local("window", ANN) as last:  # what one had at hand the others could not have: it came back
        assert sum(spent) + await spend(last, 200) == 1_000


async def test_what_is_left_goes_back_on_close(client: LimiterClient) -> None:
    async with client.local("rate", ANN, least=40, most=40) as quota:
        assert quota.try_consume() is False  # nothing is at hand yet
        assert (await quota.consume(3)).permits == 3
        assert quota.try_consume()
        assert await remaining(client, "rate") == 60
    assert (quota.counts.spent, quota.counts.returned, quota.counts.outstanding, quota.counts.lost) == (4, 36, 0, 0)
    assert await remaining(client, "rate") == 96
    with pytest.raises(Unavailable):
        await quota.consume(37)


async def test_what_is_left_goes_back_when_the_lease_ends(client: LimiterClient) -> None:
    async with client.local("window", ANN, least=500, most=500, duration_s=0.2) as quota:
        assert (await quota.consume()).allowed
        await wait_until(lambda: quota.counts.returned == 499, 20, what="the rest of the lease to go back")
        assert await remaining(client, "window") == 999
        assert quota.counts.outstanding == 0


async def test_the_next_lease_comes_before_the_last_one_is_used_up(client: LimiterClient) -> None:
    async with client.local("window", ANN, least=100, most=100) as quota:
        assert await spend(quota, 101) == 101  # the second lease was waited for, so now the pace is known
        assert quota.counts.leases == 2
        assert all(quota.try_consume() for _ in range(60))
        await wait_until(lambda: quota.counts.leases == 3, 20, what="a lease that nobody waits for")
        assert quota.counts.outstanding == 139


async def test_a_refusal_is_told_with_its_time_and_not_asked_again_before(client: LimiterClient) -> None:
    async with client.local("rate", ANN, least=100, most=100) as quota:
        assert await spend(quota, 100) == 100
        refused = [await quota.consume() for _ in range(50)]
        assert {decision.refusal for decision in refused} == {Refusal.LIMITED}
        assert all(0 < decision.retry_after_s <= 36 for decision in refused)  # for one, not for a hundred
        governing = refused[0].governing
        assert governing is not None
        assert (governing.rule, governing.remaining) == ("rate", 0)
        assert quota.counts.leases == 1
        assert not quota.try_consume()


async def test_a_refusal_is_waited_out_in_turn(client: LimiterClient) -> None:
    order: list[int] = []

    async def wait(quota: LocalQuota, number: int) -> None:
        assert (await quota.consume(max_wait_s=20)).allowed
        order.append(number)

    async with client.local("fast", ANN) as quota:
        await asyncio.gather(*(wait(quota, number) for number in range(8)))
    assert order == list(range(8))


async def test_mistakes_are_told(client: LimiterClient) -> None:
    async with client.local("rate", ANN) as quota:
        with pytest.raises(InvalidArgument) as exceeds:
            await quota.consume(101)
        assert exceeds.value.reason is Reason.PERMITS_EXCEED_LIMIT
        for permits in (0, -1, 10**10):
            with pytest.raises(ValueError, match="permits"):
                await quota.consume(permits)
        assert (await quota.consume(100)).allowed
    async with client.local("slots", ANN) as quota:
        with pytest.raises(InvalidArgument, match="cannot be leased"):
            await quota.consume()
    async with client.local("nowhere", ANN) as quota:
        with pytest.raises(NotFound):
            await quota.consume()
    with pytest.raises(Unavailable):
        await client.local("rate", ANN).consume()
    for bounds in ({"least": 0}, {"least": 2, "most": 1}, {"target_s": 0}, {"duration_s": 0}, {"duration_s": 3600}):
        with pytest.raises(ValueError, match=r"least|target_s|duration_s"):
            client.local("rate", ANN, **bounds)


async def test_without_a_limit_there_is_none(client: LimiterClient) -> None:
    async with client.local("free", ANN) as quota:
        assert await spend(quota, 200) == 200
    assert quota.counts.lost == 0


async def test_a_caller_that_goes_takes_no_place(client: LimiterClient) -> None:
    async with client.local("rate", ANN, least=100, most=100) as quota:
        assert await spend(quota, 100) == 100
        gone = asyncio.ensure_future(quota.consume(max_wait_s=100))
        await asyncio.sleep(0)
        gone.cancel()
        assert (await asyncio.gather(gone, return_exceptions=True))[0].__class__ is asyncio.CancelledError
        waiting = asyncio.ensure_future(quota.consume(max_wait_s=100))
        await asyncio.sleep(0)
    with pytest.raises(Unavailable):
        await waiting


async def test_windows_hold_exactly_however_many_spend_locally(client: LimiterClient) -> None:
    """Whatever is spent in a second was leased in it: fifty of all, for any number of processes."""
    spent: Counter[int] = Counter()

    async def caller(quota: LocalQuota, until: float) -> None:
        while (before := time.time()) < until:
            if quota.try_consume():
                spent[int(before)] += int(before) == int(time.time())  # else nobody knows in which of the two
                await asyncio.sleep(0)
            else:
                await asyncio.sleep(0.001)

    async with client.local("second", ANN) as first, client.local("second", ANN) as second:
        end = time.time() + 2.5
        await asyncio.gather(caller(first, end), caller(second, end))
    assert sum(spent.values()) > 50
    assert max(spent.values()) <= 50


async def test_a_lease_that_is_told_again_after_its_window_is_over(client: LimiterClient) -> None:
    request_id = str(uuid4())
    lease = await client.lease_quota("second", ANN, 20, request_id=request_id)
    assert lease.permits == 20

    async def over() -> bool:
        return await remaining(client, "second") == 50

    await wait_until(over, 20, what="the next window")
    assert await client.consume("second", ANN, 1)  # it has begun
    again = await client.lease_quota("second", ANN, 20, request_id=request_id)
    assert (again.permits, again.expires_after_s) == (20, 0)


SPENDER = """
import asyncio, sys
from headworks_client import LimiterClient

async def main():
    async with LimiterClient(sys.argv[1], timeout_s=20) as client, client.local(
        sys.argv[2], {"user": "ann"}, least=int(sys.argv[3]), most=int(sys.argv[3]), duration_s=20
    ) as quota:
        while (await quota.consume()).allowed:
            print(quota.counts.leased, flush=True)
            await asyncio.sleep(0.001)

asyncio.run(main())
"""


async def killed_spender(address: str, namespace: str, size: int) -> tuple[int, int]:
    """Run a process that spends, kill it in the middle; permits that it spent, and that it had leased, at least."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", SPENDER, address, namespace, str(size)), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    lines = [await asyncio.wait_for(process.stdout.readline(), 60) for _ in range(5)]
    process.send_signal(signal.SIGKILL)
    lines += [line async for line in process.stdout]
    await process.wait()
    return len(lines), int(lines[-1])


async def test_a_killed_process_takes_what_it_has_leased_with_it_and_no_limit_is_exceeded(
    redis: Redis, valkey_url: str
) -> None:
    async with running(valkey_url, RULES) as limiter, LimiterClient(limiter.address, timeout_s=20) as client:
        spent, leased = await killed_spender(limiter.address, "window", 40)
        async with client.local("window", ANN, most=1_000) as quota:
            rest = await spend(quota, 1_000)
        assert leased >= spent >= 5
        assert rest <= 1_000 - leased  # the over-admission is 0: what was leased stays taken
        assert rest >= 1_000 - leased - 40  # and not more than one more lease that it did not tell of
        spent, leased = await killed_spender(limiter.address, "rate", 20)
        async with client.local("rate", ANN, most=100) as quota:
            rest = await spend(quota, 100)
        assert rest <= 100 - leased + 1  # a permit comes every 36 s


async def test_leases_outlive_the_limiter_and_go_on_with_the_next_one(redis: Redis, valkey_url: str) -> None:
    address = f"127.0.0.1:{free_port()}"
    async with LimiterClient(address, timeout_s=1) as client, client.local("window", ANN, least=100, most=100) as quota:
        async with running(valkey_url, RULES, address=address):
            assert (await quota.consume()).allowed
        for _ in range(99):  # nobody is there
            assert (await quota.consume()).allowed
        with pytest.raises(Unavailable):
            await quota.consume()
        async with running(valkey_url, RULES, address=address):

            async def back() -> bool:
                try:
                    return (await quota.consume()).allowed
                except Unavailable:
                    return False

            await wait_until(back, 30, what="permits from the next limiter")
            counts = quota.counts
            assert counts.spent == 101
            assert await remaining(client, "window") == 1_000 - counts.leased + counts.returned
