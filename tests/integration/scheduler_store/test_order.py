"""Claims give exactly the order of `domain.order`, however they are cut into calls and whatever happens in between."""

from __future__ import annotations

import random
import shutil
import subprocess
from pathlib import Path

import pytest
from headworks_core.store import redis_client
from headworks_devkit.backends.valkey import valkey
from headworks_scheduler.domain.jobs import FailedAttempt, Held, Queue, Release
from headworks_scheduler.domain.order import STRIDE, Ready, ShardOrder
from headworks_scheduler.store.jobs import JobStore
from redis.asyncio import Redis

from tests.integration.scheduler_store import contents
from tests.integration.scheduler_store.driver import Clock, Driver, lease_of, new_job

JOBS = 1_000
LEVELS = (0, 2, 5, 7, 9)
PLAIN = Queue("default")
WEIGHTED = Queue("default", tenant_weights={"t0": 3, "t1": 1_000, "t4": 7, "gone": 9}, lane_weights={"a": 2, "": 50})


class Twin:
    """Three replicas on one store, and the specification; both are told the same."""

    def __init__(self, redis: Redis, clock: Clock, queue: Queue, dice: random.Random) -> None:
        self._replicas = [Driver(redis, clock, replica=f"r{n}").store for n in range(3)]
        self._queue = queue
        self._dice = dice
        self._order = ShardOrder(queue.tenant_weights, queue.lane_weights)
        self._places: dict[str, Ready] = {}
        self._leases: list[Held] = []
        self.waiting: list[str] = []
        self.submitted = 0

    async def submit(self, tenant: str, count: int, lanes: int) -> None:
        """So many jobs of one tenant, anywhere."""
        places = [
            (self._dice.choice(LEVELS), f"{self._dice.choice(['', 'a', 'B:'])}{self._dice.randrange(lanes)}")
            for _ in range(count)
        ]
        jobs = [new_job(queue=self._queue, tenant=tenant, level=level, lane=lane) for level, lane in places]
        await self._replica.submit(jobs)
        for job in jobs:
            self.submitted += 1
            self._arrive(Ready(job.level, tenant, job.lane, self.submitted, job.tail))

    async def cancel(self) -> None:
        """A waiting job leaves unclaimed."""
        if self.waiting:
            ref = self._dice.choice(self.waiting)
            self.waiting.remove(ref)
            self._order.remove(self._places[ref])
            await self._replica.cancel(0, ref)

    async def come_back(self) -> None:
        """A leased job is ready again at its old place, released or to be tried again."""
        if self._leases:
            lease = self._leases.pop(self._dice.randrange(len(self._leases)))
            self._arrive(self._places[lease.ref])
            if self._dice.random() < 0.5:
                await self._replica.release(0, [Release(lease.ref, lease.lease_id)])
            else:
                await self._replica.fail(0, [FailedAttempt(lease.ref, lease.lease_id, b"", b"", True, 0)])

    async def claim(self, most: int) -> tuple[list[str], list[str]]:
        """The jobs that the store gave to some workers, and those that the specification names."""
        shares = [self._dice.randint(0, most) for _ in range(self._dice.randint(1, 3))]
        claimed = await self._replica.claim(self._queue, [(f"w{n}", share) for n, share in enumerate(shares)])
        leases = [lease_of(job) for job in claimed]
        places = [self._order.claim() for _ in range(sum(shares))]
        named = [f"{place.tenant}/default/{place.job}" for place in places if place]
        for ref in named:
            self.waiting.remove(ref)
        self._leases += leases
        return [lease.ref for lease in leases], named

    @property
    def _replica(self) -> JobStore:
        return self._dice.choice(self._replicas)

    def _arrive(self, ready: Ready) -> None:
        ref = f"{ready.tenant}/default/{ready.job}"
        self._places[ref] = ready
        self.waiting.append(ref)
        self._order.add(ready)


@pytest.mark.parametrize("queue", [PLAIN, WEIGHTED], ids=["plain", "weighted"])
@pytest.mark.parametrize(("tenants", "lanes", "most"), [(3, 2, 9), (8, 3, 60), (40, 1, 5), (2, 90, 25), (60, 20, 7)])
async def test_1000_jobs_come_in_the_order_of_the_specification(
    redis: Redis, clock: Clock, queue: Queue, tenants: int, lanes: int, most: int
) -> None:
    dice = random.Random(f"{queue.tenant_weights}{tenants}{lanes}")
    twin = Twin(redis, clock, queue, dice)
    while twin.submitted < JOBS // 2:
        await twin.submit(f"t{dice.randrange(tenants)}", dice.randint(1, 20), lanes)
    while twin.submitted < JOBS or twin.waiting:
        given, named = await twin.claim(most)
        assert given == named
        if twin.submitted < JOBS:
            await twin.submit(f"t{dice.randrange(tenants)}", dice.randint(1, 9), lanes)
            await twin.cancel()
            await twin.come_back()
    left = contents.order_keys(await contents.stored(redis))
    assert left <= {"{hw:0}:q:default:counts", "{hw:0}:q:default:waiters"}


async def test_an_expired_job_has_had_its_turn(driver: Driver, clock: Clock) -> None:
    order = ShardOrder()
    jobs = [new_job(tenant=tenant, expire_us=1 if tenant == "ann" else 0) for tenant in ["ann", "bob"] * 3]
    jobs += [new_job(tenant="ann") for _ in range(3)]
    for seq, job in enumerate(jobs):
        await driver.store.submit([job])
        order.add(Ready(job.level, job.tenant, "", seq, job.tail))
    clock.advance(1)
    turns = [order.claim() for _ in jobs]
    wanted = [turn.job for turn in turns if turn and turn.job not in {job.tail for job in jobs if job.expire_us}]
    claimed = [lease_of(job).ref for _ in range(3) for job in await driver.claim(2)]
    assert [ref.rpartition("/")[2] for ref in claimed] == wanted


RESTING = "{hw:0}:q:default:resting:lanes:5:ann"


async def claimed_lanes(driver: Driver, count: int) -> list[str]:
    """The lanes of the next jobs."""
    leases = [lease_of(job) for job in await driver.claim(count)]
    return [(await driver.fields(lease.ref)).get("lane", "") for lease in leases]


async def test_a_lane_that_empties_and_comes_back_gains_nothing(driver: Driver) -> None:
    await driver.store.submit([new_job(lane=lane) for lane in ("a", "b", "b", "b")])
    assert await claimed_lanes(driver, 1) == ["a"]
    assert await driver.redis.zrange(RESTING, 0, -1) == [b"a"]
    await driver.submit(lane="a")
    assert not await driver.redis.exists(RESTING)
    assert await claimed_lanes(driver, 4) == ["b", "a", "b", "b"]


async def test_a_lane_whose_last_job_is_cancelled_and_that_comes_back_gains_nothing(driver: Driver) -> None:
    await driver.store.submit([new_job(lane=lane) for lane in ("a", "b", "b", "b")])
    cancelled = await driver.submit(lane="a")
    assert await claimed_lanes(driver, 1) == ["a"]
    await driver.store.cancel(0, cancelled)
    assert await driver.redis.zscore(RESTING, "a") == STRIDE
    await driver.submit(lane="a")
    assert await claimed_lanes(driver, 4) == ["b", "a", "b", "b"]


async def test_what_rests_is_forgotten_when_the_virtual_time_has_reached_it(driver: Driver) -> None:
    await driver.store.submit([new_job(lane=lane) for lane in ("a", "b", "b", "b")])
    await driver.claim()
    assert await driver.redis.exists(RESTING)
    await driver.claim(2)
    assert not await driver.redis.exists(RESTING)


async def test_a_claim_copes_with_as_many_weights_as_a_queue_may_have(redis: Redis, clock: Clock) -> None:
    queue = Queue("default", tenant_weights={f"t{n}": 1 + n % 7 for n in range(1_000)})
    twin = Twin(redis, clock, queue, random.Random(1))
    for n in range(0, 60, 2):
        await twin.submit(f"t{n}", 4, lanes=1)
    while twin.waiting:
        given, named = await twin.claim(8)
        assert given == named


@pytest.fixture
def foreign_locale(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs started now sort upper and lower case letters together."""
    if shutil.which("localedef") is None:
        pytest.skip("localedef is not installed")
    command = ["localedef", "-i", "en_US", "-f", "UTF-8", str(tmp_path / "en_US.UTF-8")]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("this machine has no sources of locales")
    monkeypatch.setenv("LOCPATH", str(tmp_path))
    monkeypatch.setenv("LC_ALL", "en_US.UTF-8")


@pytest.mark.usefixtures("foreign_locale")
async def test_the_order_does_not_depend_on_the_servers_locale(clock: Clock) -> None:
    lanes = ["a", "B", "c", "D", "b-", "b_", "b"]
    async with valkey() as server, redis_client(server.url, timeout_s=10) as redis:
        assert await redis.eval("return 'a' < 'B' and 1 or 0", 0) == 1
        driver = Driver(redis, clock)
        await driver.store.submit([new_job(lane=lane) for lane in lanes * 3])
        refs = [lease_of(job).ref for job in await driver.claim(len(lanes) * 3)]
        assert [(await driver.fields(ref)).get("lane") for ref in refs] == sorted(lanes) * 3
