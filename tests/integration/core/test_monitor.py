"""The HTTP endpoint of every service: metrics for Prometheus, and probes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from headworks_core.measures import Distributions, Tally
from headworks_core.metrics import Metrics, one
from headworks_core.monitor import CONNECTIONS, monitoring

from tests.support.http import exchange, get, scrape, value
from tests.support.wait import wait_until


class Service:
    """What a service gives to its monitor."""

    def __init__(self) -> None:
        self.metrics = Metrics("headworks-test", "replica-1")
        self.faults: list[str] = []
        self.address = ""


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    """A monitor on a free port."""
    made = Service()
    async with monitoring("127.0.0.1:0", made.metrics, lambda: made.faults) as made.address:
        yield made


async def test_counters_gauges_and_histograms_are_read_when_they_are_scraped(service: Service) -> None:
    tally, spreads, level = Tally(), Distributions((1.0, 2.0)), [3.0]
    service.metrics.counter("headworks.test.jobs", "{job}", "Jobs", ("queue", "outcome"), tally.read)
    service.metrics.gauge("headworks.test.level", "", "A level", (), one(lambda: level[0]))
    service.metrics.histogram("headworks.test.time", "s", "A time", ("task",), spreads.read)
    tally["default", "succeeded"] += 7
    for seconds in (0.5, 1.5, 9):
        spreads["t",].record(seconds)

    first = await scrape(service.address)
    tally["default", "succeeded"] += 1
    level[0] = -1
    second = await scrape(service.address)

    name = "headworks_test_jobs_total"
    assert first[name] == {(("outcome", "succeeded"), ("queue", "default")): 7}
    assert value(second, name) == 8
    assert value(first, "headworks_test_level") == 3
    assert value(second, "headworks_test_level") == -1
    buckets = [value(first, "headworks_test_time_seconds_bucket", le=le) for le in ("1.0", "2.0", "+Inf")]
    assert buckets == [1, 2, 3]
    assert value(first, "headworks_test_time_seconds_sum", task="t") == 11
    assert value(first, "headworks_test_time_seconds_count", task="t") == 3


async def test_two_services_of_one_process_have_metrics_of_their_own(service: Service) -> None:
    service.metrics.gauge("headworks.test.level", "", "A level", (), one(lambda: 1))
    other = Metrics("headworks-other", "replica-2")
    other.gauge("headworks.test.level", "", "A level", (), one(lambda: 2))
    async with monitoring("127.0.0.1:0", other, list) as address:
        there = await scrape(address)
    here = await scrape(service.address)

    assert value(here, "headworks_test_level") == 1
    assert value(there, "headworks_test_level") == 2
    assert value(there, "target_info", service_name="headworks-other", service_instance_id="replica-2") == 1


async def test_what_a_scrape_needs_is_asked_for_first_and_may_fail(service: Service) -> None:
    asked = 0

    async def ask() -> None:
        nonlocal asked
        asked += 1
        if asked == 2:
            raise ValueError("no answer")

    service.metrics.refresh(ask)
    service.metrics.gauge("headworks.test.asked", "", "Times", (), one(lambda: asked))

    assert [value(await scrape(service.address), "headworks_test_asked") for _ in range(3)] == [1, 2, 3]


async def test_readyz_says_why_and_livez_stays(service: Service) -> None:
    assert await get(service.address, "/readyz") == (200, "ready\n")
    service.faults = ["store: does not answer", "subscription: silent for 20 s"]

    assert await get(service.address, "/readyz") == (503, "store: does not answer\nsubscription: silent for 20 s\n")
    assert await get(service.address, "/livez?verbose") == (200, "ok\n")


@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        (b"GET /other HTTP/1.1", b"404"),
        (b"POST /metrics HTTP/1.1", b"405"),
        (b"nonsense", b"400"),
        (b"\xff\xfe\x00 / x", b"404"),
    ],
)
async def test_other_requests_are_told_what_is_wrong(service: Service, request_line: bytes, status: bytes) -> None:
    answer = await exchange(service.address, request_line + b"\r\nHost: x\r\n\r\n")

    assert answer.split(b" ")[1] == status


async def test_a_head_request_gets_no_body(service: Service) -> None:
    answer = await exchange(service.address, b"HEAD /livez HTTP/1.1\r\n\r\n")

    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert answer.endswith(b"\r\n\r\n")


async def test_endless_headers_end_the_connection(service: Service) -> None:
    assert await exchange(service.address, b"GET / HTTP/1.1\r\n" + b"x: y\r\n" * 5_000) == b""
    assert (await get(service.address, "/livez"))[0] == 200


async def test_idle_connections_are_bounded_in_number(service: Service) -> None:
    host, _, port = service.address.rpartition(":")
    idle = [await asyncio.open_connection(host, int(port)) for _ in range(CONNECTIONS)]
    try:

        async def refused() -> bool:
            return await exchange(service.address, b"") == b""

        await wait_until(refused, 5, what="one connection too many to be closed")
    finally:
        for _, writer in idle:
            writer.close()
            await writer.wait_closed()

    async def served() -> bool:
        return await exchange(service.address, b"GET /livez HTTP/1.1\r\n\r\n") != b""

    await wait_until(served, 5, what="a place")


async def test_without_an_address_nothing_is_served() -> None:
    async with monitoring("", Metrics("headworks-test", "r"), list) as address:
        assert address == ""


async def test_an_address_that_is_taken_is_an_error(service: Service) -> None:
    with pytest.raises(OSError, match="in use"):
        async with monitoring(service.address, Metrics("headworks-test", "r"), list):
            pass
