"""What is done to the system: by a seed, one fault after the other, now and then two at a time."""

from __future__ import annotations

import asyncio
import random
import signal
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from headworks_core.errors import ServiceError
from redis.exceptions import RedisError

from tests.chaos.cluster import LEASE_S, LIMITERS, SCHEDULERS, WORKERS, Cluster, now
from tests.chaos.history import Complaint, Fault
from tests.chaos.processes import STOP_S, pause_pid
from tests.support.proxy import Proxy, Way

STARTING_S = 8.0
"""In which a process may not yet have heard of SIGTERM's meaning."""
Act = Callable[["Injector", str], Awaitable[str]]
"""Does it to the target and undoes it; returns in words what exactly it was."""


class Injector:
    """Chooses and does. Two faults never touch the same thing at once."""

    def __init__(self, cluster: Cluster, seed: int, *, long: bool) -> None:
        self.cluster = cluster
        self.rng = random.Random(seed)
        self.long = long
        self.faults: list[Fault] = []
        self.complaints: list[Complaint] = []
        self._busy: set[str] = set()
        self._due: deque[str] = deque()

    async def run(self, until: float) -> None:
        """Inject until `now()` is `until`, and return when the last fault is undone."""
        async with asyncio.TaskGroup() as tasks:
            while now() < until:
                chosen = self._choose()
                if chosen is not None:
                    task = tasks.create_task(self._do(*chosen))
                    if self.rng.random() < 0.7:
                        await task
                await asyncio.sleep(self.rng.uniform(0.2, 1.5))

    def _choose(self) -> tuple[str, str] | None:
        """The next kind of a shuffled deck of all kinds, so that each comes up; None if its target is busy."""
        if not self._due:
            deck = [kind for kind, (_, _, times) in KINDS.items() for _ in range(times)]
            self.rng.shuffle(deck)
            self._due.extend(deck)
        kind = self._due.popleft()
        targets = KINDS[kind][0](self.cluster)
        target = self.rng.choice(targets)
        return None if target in self._busy else (kind, target)

    async def _do(self, kind: str, target: str) -> None:
        self._busy.add(target)
        began = now()
        try:
            detail = await KINDS[kind][1](self, target)
            self.faults.append(Fault(kind, target, began, now(), detail))
        finally:
            self._busy.discard(target)

    def complain(self, who: str, what: str) -> None:
        """Something was seen that must never be."""
        self.complaints.append(Complaint(now(), who, what))


def _named(*names: str) -> Callable[[Cluster], list[str]]:
    return lambda _: list(names)


def _links(kind: str) -> Callable[[Cluster], list[str]]:
    return lambda cluster: cluster.links(kind)


# -- processes


async def _kill(inject: Injector, target: str) -> str:
    down_s = inject.rng.uniform(0.1, 1.5)
    await inject.cluster.processes[target].kill(down_s)
    return f"down for {down_s:.2f} s"


async def _pause(inject: Injector, target: str) -> str:
    seconds = inject.rng.uniform(0.3, 1.0) if target in LIMITERS else inject.rng.uniform(0.5, 2 * LEASE_S)
    await inject.cluster.processes[target].pause(seconds)
    return f"stopped for {seconds:.2f} s"


async def _restart(inject: Injector, target: str) -> str:
    process = inject.cluster.processes[target]
    stopped = await process.restart()
    excused = {0} | ({-signal.SIGTERM} if stopped.age_s < STARTING_S else set())
    if target in WORKERS and stopped.took_s < STOP_S:
        excused.add(-signal.SIGKILL)  # by a job that kills whoever runs it
    if stopped.code not in excused:
        inject.complain(target, f"ended with {stopped.code} after SIGTERM, {stopped.took_s:.1f} s later")
    return f"gone after {stopped.took_s:.2f} s"


async def _rolling(inject: Injector, target: str) -> str:
    for name in {"schedulers": SCHEDULERS, "workers": WORKERS, "limiters": LIMITERS}[target]:
        await _restart(inject, name)
        await inject.cluster.processes[name].ready(10)
    return "one after the other"


# -- Redis and Kafka


async def _redis_command(inject: Injector, *words: str) -> str:
    try:
        await inject.cluster.redis.execute_command(*words)  # type: ignore[no-untyped-call]
    except (RedisError, ServiceError) as error:
        return f"{' '.join(words)}: {error!r}"
    return " ".join(words)


async def _client_kill(inject: Injector, target: str) -> str:
    kind = inject.rng.choice(["normal", "pubsub"])
    return await _redis_command(inject, "CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes")


async def _script_flush(inject: Injector, target: str) -> str:
    return await _redis_command(inject, "SCRIPT", "FLUSH")


async def _store_kill(inject: Injector, target: str) -> str:
    down_s = 30.0 if inject.long and inject.rng.random() < 0.15 else inject.rng.uniform(1, 3)
    await inject.cluster.store.kill(down_s)
    return f"down for {down_s:.2f} s"


async def _store_pause(inject: Injector, target: str) -> str:
    seconds = inject.rng.uniform(0.5, 4)
    await pause_pid(inject.cluster.store.pid, seconds)
    return f"stopped for {seconds:.2f} s"


async def _kafka_pause(inject: Injector, target: str) -> str:
    pid, seconds = inject.cluster.kafka.pid, inject.rng.uniform(1, 6)
    assert pid is not None
    await pause_pid(pid, seconds)
    return f"stopped for {seconds:.2f} s"


# -- the network


@asynccontextmanager
async def _for_a_while(inject: Injector, target: str, shortest: float, longest: float) -> AsyncIterator[Proxy]:
    link = inject.cluster.proxies[target]
    yield link
    await asyncio.sleep(inject.rng.uniform(shortest, longest))
    await link.clear()


async def _cut(inject: Injector, target: str) -> str:
    return f"{inject.cluster.proxies[target].cut()} connections reset"


async def _away(inject: Injector, target: str) -> str:
    async with _for_a_while(inject, target, 0.5, 20 if inject.long else 5) as link:
        link.refuse()
        return f"refused, {link.cut()} connections reset"


async def _delay(inject: Injector, target: str) -> str:
    seconds = inject.rng.choice([0.005, 0.05, 0.3])
    async with _for_a_while(inject, target, 1, 4) as link:
        link.delay(seconds)
        return f"{seconds} s each way"


async def _stall(inject: Injector, target: str) -> str:
    ways: list[Way] = ["up", "down", "both"]
    way, drop = inject.rng.choice(ways), inject.rng.random() < 0.3
    async with _for_a_while(inject, target, 0.5, 3 * LEASE_S) as link:
        link.stall(way, drop=drop)
        return f"{way} {'swallowed' if drop else 'held'}"


async def _slow(inject: Injector, target: str) -> str:
    async with _for_a_while(inject, target, 1, 4) as link:
        link.throttle(rate := inject.rng.choice([2_000, 20_000]), "down")
        return f"{rate} bytes a second down"


KINDS: dict[str, tuple[Callable[[Cluster], list[str]], Act, int]] = {
    "limiter killed": (_named(*LIMITERS), _kill, 1),
    "limiter stopped": (_named(*LIMITERS), _pause, 1),
    "limiters rolled": (_named("limiters"), _rolling, 1),
    "scheduler killed": (_named(*SCHEDULERS), _kill, 2),
    "scheduler stopped": (_named(*SCHEDULERS), _pause, 1),
    "schedulers rolled": (_named("schedulers"), _rolling, 1),
    "worker killed": (_named(*WORKERS), _kill, 2),
    "worker stopped": (_named(*WORKERS), _pause, 2),
    "workers rolled": (_named("workers"), _rolling, 1),
    "redis clients killed": (_named("store"), _client_kill, 1),
    "redis scripts flushed": (_named("store"), _script_flush, 1),
    "redis killed": (_named("store"), _store_kill, 2),
    "redis stopped": (_named("store"), _store_pause, 1),
    "redis cut": (_links("redis"), _cut, 1),
    "redis away": (_links("redis"), _away, 1),
    "redis delayed": (_links("redis"), _delay, 1),
    "redis stalled": (_links("redis"), _stall, 2),
    "redis slow": (_links("redis"), _slow, 1),
    "kafka stopped": (_named("kafka"), _kafka_pause, 1),
    "kafka away": (_links("kafka"), _away, 1),
    "kafka stalled": (_links("kafka"), _stall, 1),
    "caller cut": (_links("api"), _cut, 1),
    "caller stalled": (_links("api"), _stall, 1),
    "caller slow": (_links("api"), _slow, 1),
    "worker cut": (_links("work"), _cut, 1),
    "worker away": (_links("work"), _away, 1),
    "worker stalled": (_links("work"), _stall, 2),
    "worker slow": (_links("work"), _slow, 1),
    "permits cut": (_links("permits"), _cut, 1),
    "permits stalled": (_links("permits"), _stall, 1),
}
"""Each kind of fault: what it may hit, how it is done, how often it is in the deck."""
