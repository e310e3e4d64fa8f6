"""What a store holds: as it is, and as the model says that it must be; both in one form that can be compared."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from headworks_scheduler.domain.jobs import State
from headworks_scheduler.domain.order import Race
from redis.asyncio import Redis

from tests.integration.scheduler_store.model import CellModel
from tests.integration.scheduler_store.modelled import TERMINAL, WAITING, Job

DUMP = """
local reply = {}
for _, key in ipairs(redis.call('KEYS', '*')) do
  local kind = redis.call('TYPE', key).ok
  local value
  if kind == 'string' then value = redis.call('GET', key)
  elseif kind == 'hash' then value = redis.call('HGETALL', key)
  elseif kind == 'set' then value = redis.call('SMEMBERS', key)
  elseif kind == 'zset' then value = redis.call('ZRANGE', key, 0, -1, 'WITHSCORES')
  elseif kind == 'list' then value = redis.call('LRANGE', key, 0, -1)
  elseif kind == 'stream' then
    value = {}
    for _, entry in ipairs(redis.call('XRANGE', key, '-', '+')) do value[#value + 1] = entry[2] end
  end
  reply[#reply + 1] = {key, kind, value}
end
return reply
"""
Contents = dict[str, Any]
"""By key: a set, a dict of scores or of fields, a list of the stream's entries, or a string."""


async def stored(redis: Redis) -> Contents:
    """Everything in the store."""
    return {key.decode(): _value(kind.decode(), value) for key, kind, value in await redis.eval(DUMP, 0)}


def _value(kind: str, value: Any) -> Any:
    if kind == "hash":
        return {name.decode(): text for name, text in zip(value[::2], value[1::2], strict=True)}
    if kind == "zset":
        return {name.decode(): int(float(score)) for name, score in zip(value[::2], value[1::2], strict=True)}
    if kind == "stream":
        return [_event(*entry) for entry in value]
    return {member.decode() for member in value} if kind == "set" else value


def _event(field: bytes, text: bytes) -> dict[bytes, bytes]:
    assert field == b"event"
    words = text.split(b" ", len(EVENT) - 1)
    words[8] = b"" if words[8] == b"-" else words[8]
    return dict(zip(EVENT, words, strict=True))


def order_keys(contents: Contents) -> set[str]:
    """The keys of queues that say who waits and whose turn it is; not the lists of their jobs."""
    lists = re.compile(r".*:q:[^:]+:(jobs:.*|dead|dead:.*|finished)")
    return {key for key in contents if ":q:" in key and not lists.fullmatch(key)}


def differences(actual: Contents, models: Sequence[CellModel]) -> dict[str, tuple[Any, Any]]:
    """Keys that do not hold what the models say: what they hold, what they should."""
    is_, should = _normal(actual, models), _expected(models)
    return {key: (is_.get(key), should.get(key)) for key in is_.keys() | should if is_.get(key) != should.get(key)}


def _expected(models: Iterable[CellModel]) -> Contents:
    """Everything that must be in the store."""
    contents: Contents = {}
    for model in models:
        prefix = f"{{hw:{model.cell}}}"
        contents |= {f"{prefix}:{key}": value for key, value in _of_cell(model).items() if value}
    return contents


def _normal(contents: Contents, models: Iterable[CellModel]) -> Contents:
    """`contents` without what may be there or not: what is 0 or empty, old times, passes that no longer count."""
    virtual = {f"{{hw:{model.cell}}}:{key}": time for model in models for key, time in _resting_keys(model).items()}
    result: Contents = {}
    for key, value in contents.items():
        kind = key.split(":")[2]
        if kind == "job":
            value = _normal_job(value)
        elif key in virtual:
            value = {name: score for name, score in value.items() if score > virtual[key]}
        elif key.endswith(":virtual"):
            value = {of: time for of, time in value.items() if time != b"0"}
        if value:
            result[key] = value
    return result


def _normal_job(fields: dict[str, bytes]) -> dict[str, bytes]:
    """A job's hash; `due` says something only while it is SCHEDULED."""
    scheduled = fields.get("state") == str(int(State.SCHEDULED)).encode()
    return {name: text for name, text in fields.items() if text not in (b"0", b"") and (name != "due" or scheduled)}


# ---- the model in the store's form


def _of_cell(model: CellModel) -> Contents:
    jobs = list(model.jobs.values())
    contents: Contents = {f"job:{job.ref}": _job(job) for job in jobs}
    contents["seq"] = str(model.seq).encode() if model.seq else b""
    contents["lease"] = str(model.last_lease).encode() if model.last_lease else b""
    contents["leases"] = {job.ref: job.lease_ends for job in jobs if job.state is State.LEASED}
    contents["ended"] = {job.queue: 0 for job in jobs if job.state in TERMINAL}
    contents["timers"] = _timers(jobs)
    contents["outbox"] = [dict(zip(EVENT, values, strict=True)) for values in model.outbox]
    for queue in {job.queue for job in jobs} | model.waiters.keys():
        contents[f"q:{queue}:waiters"] = model.waiters.get(queue, set())
        contents[f"q:{queue}:counts"] = _counts(job for job in jobs if job.queue == queue)
        contents |= {f"q:{queue}:{key}": value for key, value in _order(model, queue).items()}
        contents |= {f"q:{queue}:{key}": value for key, value in _lists(jobs, queue).items()}
    return contents


def _lists(jobs: Iterable[Job], queue: str) -> Contents:
    """What is kept for lists and for the janitor."""
    lists: dict[str, dict[str, int]] = {}
    for job in jobs:
        if job.queue != queue:
            continue
        lists.setdefault(f"jobs:{job.new.tenant}", {})[job.new.tail] = job.created
        if job.state in TERMINAL:
            lists.setdefault("finished", {})[job.ref] = job.finished
        if job.state is State.DEAD:
            lists.setdefault("dead", {})[job.ref] = job.finished
            lists.setdefault(f"dead:{job.new.tenant}", {})[job.new.tail] = job.finished
    return lists


EVENT = [b"job", b"type", b"task", b"seq", b"attempt", b"gen", b"state", b"at", b"trace", b"failure"]


def _timers(jobs: Iterable[Job]) -> dict[str, int]:
    waiting = [job for job in jobs if job.state in WAITING]
    due = {f"r{job.ref}": job.due for job in waiting if job.state is State.SCHEDULED}
    return due | {f"x{job.ref}": job.expires for job in waiting if job.expires}


def _counts(jobs: Iterable[Job]) -> dict[str, bytes]:
    counts: Counter[str] = Counter()
    for job in jobs:
        if job.state in WAITING:
            counts.update(["waiting", f"waiting:{job.new.tenant}"])
            counts.update([f"ready:{job.new.level}"] if job.state is State.READY else [])
        elif job.state is State.LEASED:
            counts.update(["leased"])
    return {name: str(n).encode() for name, n in counts.items()}


def _order(model: CellModel, queue: str) -> Contents:
    """Races and lanes; an idle queue has none."""
    contents: Contents = {}
    virtual: dict[str, bytes] = {}
    levels = model.orders[queue].levels if queue in model.orders else {}
    for level, tenants in levels.items():
        contents |= _race(f"tenants:{level}", tenants)
        virtual[str(level)] = str(tenants.virtual).encode()
        for tenant, of_tenant in tenants.running.items():
            lanes = of_tenant.member
            contents |= _race(f"lanes:{level}:{tenant}", lanes)
            virtual[f"{level}:{tenant}"] = str(lanes.virtual).encode()
            for lane, jobs in lanes.running.items():
                contents[f"ready:{level}:{tenant}:{lane}"] = {job: seq for seq, job in jobs.member}
    contents["levels"] = {str(level): level for level in levels}
    contents["virtual"] = {of: time for of, time in virtual.items() if time != b"0"}
    return contents


def _race(key: str, race: Race[Any]) -> Contents:
    resting = {name: passed for name, passed in race.resting.items() if passed > race.virtual}
    return {key: {name: of.passed for name, of in race.running.items()}, f"resting:{key}": resting}


def _resting_keys(model: CellModel) -> dict[str, int]:
    """Keys of those that left a race that still runs, and its virtual time."""
    keys: dict[str, int] = {}
    for queue, order in model.orders.items():
        for level, tenants in order.levels.items():
            keys[f"q:{queue}:resting:tenants:{level}"] = tenants.virtual
            for tenant, lanes in tenants.running.items():
                keys[f"q:{queue}:resting:lanes:{level}:{tenant}"] = lanes.member.virtual
    return keys


def _job(job: Job) -> dict[str, bytes]:
    new = job.new
    numbers = {
        "state": int(job.state),
        "level": new.level,
        "created": job.created,
        "expires": job.expires,
        "due": job.due if job.state is State.SCHEDULED else 0,
        "seq": job.seq,
        "gen": job.gen if job.gen > 1 else 0,
        "attempts": job.attempts,
        "failures": job.failures,
        "lost": job.lost,
        "undelivered": job.undelivered,
        "events": job.events,
        "lease": job.lease,
        "beat": job.beat,
        "started": job.started,
        "finished": job.finished,
        "cancel": int(job.cancel),
    }
    texts = {
        "task": new.task,
        "lane": new.lane,
        "trace": new.traceparent,
        "policy": f"{new.timeout_us}:{new.retry}",
        "worker": job.worker,
        "replica": job.replica,
        "type": job.content_type,
        "watch": " ".join(job.watch),
    }
    blobs = {"spec": new.spec, "progress": job.progress, "failure": job.failure, "result": job.result or b""}
    fields = {name: str(number).encode() for name, number in numbers.items() if number}
    fields |= {name: text.encode() for name, text in texts.items() if text}
    return fields | {name: blob for name, blob in blobs.items() if blob}
