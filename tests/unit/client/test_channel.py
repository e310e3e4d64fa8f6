"""How channels are opened, and how reconnects are spread."""

from __future__ import annotations

import json

import pytest
from headworks.limiter.v1 import admin_service_pb2 as limiter_admin_pb2
from headworks.limiter.v1 import limiter_service_pb2
from headworks.scheduler.v1 import admin_service_pb2, scheduler_service_pb2
from headworks_client.backoff import Backoff
from headworks_client.channel import service_config, target_of


@pytest.mark.parametrize(
    ("address", "target"),
    [
        ("limiter:50051", "dns:///limiter:50051"),
        ("127.0.0.1:1", "dns:///127.0.0.1:1"),
        ("dns:///limiter:1", "dns:///limiter:1"),
        ("ipv4:10.0.0.1:1,10.0.0.2:1", "ipv4:10.0.0.1:1,10.0.0.2:1"),
        ("unix:/run/x", "unix:/run/x"),
    ],
)
def test_a_bare_address_is_resolved_to_all_replicas(address: str, target: str) -> None:
    assert target_of(address) == target


def test_the_services_that_may_be_retried_are_those_of_the_protos() -> None:
    methods, once = json.loads(service_config())["methodConfig"]

    assert [entry["service"] for entry in methods["name"]] == [
        service.full_name
        for module in (limiter_service_pb2, limiter_admin_pb2, scheduler_service_pb2, admin_service_pb2)
        for service in module.DESCRIPTOR.services_by_name.values()
    ]
    # A server's gRPC answers CANCELLED where it never began the call.
    assert methods["retryPolicy"]["retryableStatusCodes"] == ["UNAVAILABLE", "CANCELLED"]
    singles = {entry["method"] for entry in once.pop("name")}
    known = scheduler_service_pb2.DESCRIPTOR.services_by_name["SchedulerService"].methods_by_name
    assert singles == {*(method for method in known if method.startswith("Redrive")), "ReportOutcome"}
    assert once == {}


def test_waiting_times_double_up_to_the_most_and_are_spread() -> None:
    backoff = Backoff(0.05, 5.0)
    for bounds in [
        (0, 0.05),
        (0.05, 0.1),
        (0.1, 0.2),
        (0.2, 0.4),
        (0.4, 0.8),
        (0.8, 1.6),
        (1.6, 3.2),
        (2.5, 5),
        (2.5, 5),
    ]:
        assert bounds[0] <= backoff.next_s() <= bounds[1]
    backoff.reset()
    assert backoff.next_s() <= 0.05
    assert len({Backoff(1, 2).next_s() for _ in range(10)}) > 1
