"""The command line against running services: JSON for scripts, exit codes, errors that name the thing."""

from __future__ import annotations

import json
import uuid
from pathlib import Path

import pytest

from tests.integration.devkit.command import RULES, Cli, headworks, running
from tests.support.wait import wait_until

NOWHERE = "127.0.0.1:1"

ENVOY_RULES = Path(__file__).parents[3] / "examples" / "envoy" / "rules.yaml"


async def submitted(cli: Cli, *arguments: str) -> str:
    """The name of a new job."""
    done = await cli("jobs", "submit", *arguments, "--json")
    assert done.code == 0, done.err
    return str(done.records[0]["name"])


async def test_a_job_runs_and_its_result_is_json(cli: Cli) -> None:
    done = await cli("jobs", "submit", "hello", "name=you", "--wait", "--json")
    (job,) = done.records
    assert (done.code, job["state"], job["result"]) == (0, "SUCCEEDED", "hello, you")


async def test_without_json_only_the_name_is_printed(cli: Cli) -> None:
    done = await cli("jobs", "submit", "hello")
    assert done.out.startswith("tenants/default/queues/default/jobs/")
    assert len(done.out.splitlines()) == 1


async def test_the_record_of_a_job_has_every_field(cli: Cli) -> None:
    name = await submitted(
        cli, "hello", "--delay", "1h", "--lane", "a", "--level", "high", "--payload", '{"name": "x"}'
    )
    (job,) = (await cli("jobs", "get", name, "--json")).records
    assert list(job) == [
        *("name", "state", "task", "payload", "level", "lane", "attempts", "failures", "lost_leases", "undelivered"),
        *("generation", "result", "failure", "progress", "create_time", "schedule_time", "start_time", "finish_time"),
        *("cancel_requested", "worker", "lease_id"),
    ]
    assert (job["state"], job["level"], job["lane"], job["payload"]) == ("SCHEDULED", 2, "a", {"name": "x"})


async def test_the_payload_may_come_from_standard_input(cli: Cli) -> None:
    done = await cli("jobs", "submit", "hello", "--payload", "-", "--wait", "--json", stdin='{"name": "stdin"}')
    assert done.records[0]["result"] == "hello, stdin"


async def test_a_dead_job_is_exit_code_1_and_says_why(cli: Cli) -> None:
    done = await cli("jobs", "submit", "stumble", "reason=a root", "--attempts", "1", "--wait")
    assert done.code == 1
    assert "TRANSIENT: RuntimeError: stumbled over a root" in done.out


async def test_a_repeated_request_id_answers_with_the_same_job(cli: Cli) -> None:
    request_id = str(uuid.uuid4())
    names = [await submitted(cli, "hello", "--request-id", request_id) for _ in range(2)]
    assert names[0] == names[1]


async def test_a_waiting_job_is_cancelled_at_once(cli: Cli) -> None:
    name = await submitted(cli, "hello", "--delay", "1h")
    done = await cli("jobs", "cancel", name, "--json")
    assert (done.code, done.records[0]["state"]) == (0, "CANCELLED")
    assert (await cli("jobs", "watch", name)).code == 1


async def test_watching_prints_every_state_until_all_have_ended(cli: Cli) -> None:
    names = [await submitted(cli, "hello", "--delay", "1h") for _ in range(2)]
    async with running(*cli.options, "jobs", "watch", *names, "--json") as watching:
        await wait_until(lambda: len(watching.lines) == 2, what="the present states")
        for name in names:
            assert (await cli("jobs", "cancel", name)).code == 0
        assert await watching.process.wait() == 1  # not all succeeded
    records = [json.loads(line) for line in watching.lines]
    states = {name: [record["state"] for record in records if record["name"] == name] for name in names}
    assert states == {name: ["SCHEDULED", "CANCELLED"] for name in names}


async def test_an_event_says_how_its_job_ended(cli: Cli) -> None:
    done = await cli("jobs", "submit", "stumble", "--attempts", "1", "--wait", "--json")
    name = done.records[0]["name"]
    tail = await cli("events", "tail", "--from-beginning", "--job", name, "--count", "1", "--json")
    (event,) = tail.records
    assert (tail.code, event["job"], event["transition"], event["sequence"]) == (0, name, "dead", 1)
    assert event["failure"] == {"error_class": "RuntimeError", "message": "stumbled over a stone"}


async def test_a_broker_that_is_not_there_is_exit_code_4() -> None:
    done = await headworks("--kafka", NOWHERE, "events", "tail")
    assert done.code == 4
    assert f"Kafka at {NOWHERE}" in done.err


async def test_an_unknown_job_is_exit_code_3(cli: Cli) -> None:
    done = await cli("jobs", "get", f"tenants/default/queues/default/jobs/0-{uuid.uuid4()}")
    assert done.code == 3
    assert "[JOB_NOT_FOUND]" in done.err


async def test_another_tenants_job_is_not_found(cli: Cli) -> None:
    name = await submitted(cli, "hello")
    assert (await cli("--tenant", "other", "jobs", "get", name)).code == 3


@pytest.mark.parametrize(
    "arguments",
    [
        ("jobs", "submit", "hello", "--level", "urgent"),
        ("jobs", "submit", "hello", "--delay", "soon"),
        ("jobs", "submit", "hello", "name"),
        ("jobs", "submit", "hello", "--payload", "[1]"),
        ("jobs", "get", "no-name"),
        ("limits", "check", "hello", "user"),
        ("jobs", "dance"),
    ],
    ids=" ".join,
)
async def test_wrong_usage_is_exit_code_2(cli: Cli, arguments: tuple[str, ...]) -> None:
    assert (await cli(*arguments)).code == 2


@pytest.mark.parametrize(
    ("arguments", "named"),
    [(("jobs", "submit", "hello"), "scheduler"), (("limits", "check", "hello", "user=me"), "limiter")],
    ids=["scheduler", "limiter"],
)
async def test_a_service_that_is_not_there_is_exit_code_4(arguments: tuple[str, ...], named: str) -> None:
    done = await headworks(f"--{named}", NOWHERE, *arguments)
    assert done.code == 4
    assert f"the {named} at {NOWHERE}" in done.err


async def test_permits_are_consumed_until_they_are_denied(cli: Cli) -> None:
    user = f"user={uuid.uuid4()}"
    taken = await cli("limits", "consume", "hello", user, "--permits", "5", "--json")
    checked = await cli("limits", "check", "hello", user, "--json")
    assert (taken.code, checked.code) == (0, 1)
    assert list(taken.records[0]) == [
        *("allowed", "permits", "refusal", "retry_after_s", "governing"),
        *("rules", "degraded", "replayed", "wait_s", "grant_id", "grant_expires_after_s"),
    ]
    (denied,) = checked.records
    assert (denied["allowed"], denied["refusal"], denied["governing"]["rule"]) == (False, "LIMITED", "per-user")
    assert 0 < denied["retry_after_s"] <= 2


async def test_people_see_every_rule(cli: Cli) -> None:
    done = await cli("limits", "check", "hello", f"user={uuid.uuid4()}")
    assert [line.split()[0] for line in done.out.splitlines()] == ["allowed", "rule", "per-user", "everybody"]


async def test_an_unknown_namespace_is_exit_code_3(cli: Cli) -> None:
    done = await cli("limits", "check", "nowhere", "user=me")
    assert done.code == 3
    assert "nowhere" in done.err


async def test_every_mistake_of_a_rules_file_has_its_line(tmp_path: Path) -> None:
    file = tmp_path / "rules.yaml"
    file.write_text("namespaces:\n  api:\n    rules:\n      - name: a\n        limit: none\n        per: 1s\n")
    done = await headworks("limits", "validate", str(file), "--json")
    (verdict,) = done.records
    assert (done.code, verdict["valid"]) == (1, False)
    assert {mistake["line"] for mistake in verdict["mistakes"]} == {4, 5}


async def test_rules_of_envoyproxy_ratelimit_are_checked_too(tmp_path: Path) -> None:
    done = await headworks("limits", "validate", str(ENVOY_RULES), "--json")
    assert (done.code, done.records[0]["namespaces"]) == (0, {"api": 6})
    bad = tmp_path / "bad.yaml"
    bad.write_text("domain: d\ndescriptors:\n  - {key: k, rate_limit: {unit: fortnight}}\n")
    for path in (bad, tmp_path):
        done = await headworks("limits", "validate", str(path), "--json")
        assert (done.code, [mistake["line"] for mistake in done.records[0]["mistakes"]]) == (1, [3])


async def test_a_good_rules_file_is_valid() -> None:
    done = await headworks("limits", "validate", str(RULES), "--json")
    assert (done.code, done.records[0]["namespaces"]) == (0, {"hello": 2})
