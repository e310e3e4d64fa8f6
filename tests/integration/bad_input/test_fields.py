"""Every field of every request of every method, with values that it must refuse: named, and nothing changed."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.descriptor import MethodDescriptor
from headworks.scheduler.v1 import job_pb2
from headworks.worker.v1 import session_pb2 as session
from headworks_core.errors import Reason

from tests.integration.bad_input.fields import BAD, FINE, JOB
from tests.integration.bad_input.walk import Spot, changed, methods, services, spots
from tests.integration.bad_input.world import World, attach, error_of, running_world

UNARY = [method for method in methods() if method.name != "Session"]
(SESSION,) = (method for method in methods() if method.name == "Session")
ITEMS = {"SubmitJobs": "jobs.", "ConsumeBatch": "requests.", "ConsumeStream": "requests."}
"""Batches: the field that has the items; errors name fields from the item on."""
HELD = session.HeldLease(job=JOB, lease_id=1, progress=job_pb2.Progress(done=1))
RESULT = session.Result(job=JOB, lease_id=1, failed=session.Failed())
MESSAGES = {
    "attach": session.SessionRequest(attach=attach(HELD)),
    "credit": session.SessionRequest(credit=session.Credit(slots=1)),
    "heartbeat": session.SessionRequest(heartbeat=session.Heartbeat(held=[HELD])),
    "results": session.SessionRequest(results=session.Results(batch=1, results=[RESULT])),
    "draining": session.SessionRequest(draining=session.Draining()),
}
"""A good one of each message of a session."""
IGNORED = {("Check", "request.request_id")}
"""What the protos say is not looked at."""
RETURNED = "results.results.success"
"""What a handler returned; a bad one is the job's failure, not the session's."""


@pytest.fixture(scope="module")
async def world(valkey_url: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    """Both services; the tests of this module change nothing that others see."""
    folder: Path = tmp_path_factory.mktemp("bad_input")
    async with running_world(valkey_url, folder) as running:
        yield running


def test_every_field_of_every_request_has_a_row() -> None:
    rows = {spot.row for method in methods() for spot in spots(method.input_type)}

    assert set(BAD) == rows
    assert set(FINE) <= rows


async def test_every_service_is_served(world: World) -> None:
    assert {service.full_name for service in services()} == set(world.ports)


def cases(table: dict[str, list[Any]]) -> list[Any]:
    """(method, field) of all but the sessions."""
    return [
        pytest.param(method, spot, id=f"{method.name}-{spot.dotted}")
        for method in UNARY
        for spot in spots(method.input_type)
        if table.get(spot.row) and (method.name, spot.dotted) not in IGNORED
    ]


def session_cases(table: dict[str, list[Any]]) -> list[Any]:
    """The fields of the messages of a session."""
    return [
        pytest.param(spot, id=spot.dotted)
        for spot in spots(SESSION.input_type)
        if table.get(spot.row) and not (table is BAD and spot.dotted.startswith(RETURNED))
    ]


@pytest.mark.parametrize(("method", "spot"), cases(BAD))
async def test_a_bad_value_is_refused_by_name_and_changes_nothing(
    world: World, method: MethodDescriptor, spot: Spot
) -> None:
    before = await world.contents()
    async with world.channel(method.containing_service.full_name) as channel:
        for value in BAD[spot.row]:
            error = await error_of(channel, method, changed(world.good(method), spot.path, value))

            assert error is not None, f"{spot.dotted} = {value!r:.80} was taken"
            check(error, spot.dotted.removeprefix(ITEMS.get(method.name, "")), f"{value!r:.80}")
    assert await world.contents() == before


@pytest.mark.parametrize(("method", "spot"), cases(FINE))
async def test_an_unusual_value_is_taken(world: World, method: MethodDescriptor, spot: Spot) -> None:
    async with world.channel(method.containing_service.full_name) as channel:
        for value in FINE[spot.row]:
            assert await error_of(channel, method, changed(world.good(method), spot.path, value)) is None, (
                f"{value!r:.80}"
            )


@pytest.mark.parametrize("spot", session_cases(BAD))
async def test_a_bad_message_ends_its_session_by_name_and_changes_nothing(world: World, spot: Spot) -> None:
    before = await world.contents()
    async with world.channel(SESSION.containing_service.full_name) as channel:
        for value in BAD[spot.row]:
            error = await error_of(channel, SESSION, *conversation(spot, value))

            assert error is not None, f"{spot.dotted} = {value!r:.80} was taken"
            check(error, spot.dotted, f"{value!r:.80}")
    assert await world.contents() == before


@pytest.mark.parametrize("spot", session_cases(FINE))
async def test_what_only_tells_people_something_never_ends_a_session(world: World, spot: Spot) -> None:
    async with world.channel(SESSION.containing_service.full_name) as channel:
        for value in FINE[spot.row]:
            assert await error_of(channel, SESSION, *conversation(spot, value)) is None, f"{value!r:.80}"


def conversation(spot: Spot, value: Any) -> list[session.SessionRequest]:
    """A session in which the field at `spot` has this value."""
    kind = spot.path[0].name
    request = changed(MESSAGES[kind], spot.path, value)
    assert isinstance(request, session.SessionRequest)
    return [request] if kind == "attach" else [session.SessionRequest(attach=attach()), request]


def check(error: Any, field: str, value: str) -> None:
    """The error names the field, and repeats no more of the value than a person reads."""
    assert len(error.message) < 1_000, f"{field} = {value}"
    if field == "queue" or field.endswith("queues.queue"):
        assert error.reason in {Reason.INVALID_FIELD, Reason.QUEUE_NOT_FOUND}, f"{field} = {value}: {error}"
        if error.reason == Reason.QUEUE_NOT_FOUND:
            return
    assert error.reason == Reason.INVALID_FIELD, f"{field} = {value}: {error}"
    violations = getattr(error, "field_violations", None) or error.violations
    named = {re.sub(r"\[[^]]*\]", "", violation.field) for violation in violations}
    assert any(name == field or name.startswith(f"{field}.") for name in named), f"{field} = {value}: {named}"
