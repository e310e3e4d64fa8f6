"""What operators do: look at queues and workers, list jobs, send dead letters back."""

from __future__ import annotations

import uuid

import pytest
from headworks_client import AdminClient, JobFilter, JobState, Retry, SchedulerClient, Submission

from tests.integration.devkit.command import Cli, headworks
from tests.support.wait import wait_until


async def dead(cli: Cli, count: int) -> tuple[str, list[str]]:
    """A tenant of its own with so many dead jobs, and their names as they died."""
    tenant = f"t-{uuid.uuid4()}"
    async with SchedulerClient(cli.scheduler, tenant=tenant) as client:
        names = []
        for _ in range(count):
            job = await client.submit(STUMBLE)
            assert (await job.ended(20)).state is JobState.DEAD
            names.append(job.name)
    return tenant, names


STUMBLE = Submission(task="stumble", retry=Retry(max_attempts=1))


async def test_the_list_of_queues_has_all_there_is_to_count(cli: Cli) -> None:
    waiting = (await cli("jobs", "submit", "hello", "--delay", "1h", "--json")).records[0]["name"]
    done = await cli("queues", "list", "--json")
    (queue,) = done.records
    shown = (await cli("queues", "show", "default", "--json")).records[0]
    assert (done.code, queue["queue"]) == (0, "default")
    assert queue["scheduled"] >= 1
    assert queue.keys() == shown.keys()
    assert {"ready", "leased", "dead", "oldest_ready_s", "tenants", "max_size", "retention_s"} <= queue.keys()
    assert "default" in (await cli("queues", "list")).out
    assert "waiting jobs" in (await cli("queues", "show", "default")).out
    await cli("jobs", "cancel", waiting)


async def test_an_unknown_queue_is_exit_code_3(cli: Cli) -> None:
    done = await cli("queues", "show", "nowhere")
    assert (done.code, "nowhere" in done.err) == (3, True)


async def test_the_worker_is_listed_with_its_tasks(cli: Cli) -> None:
    done = await cli("workers", "list", "--live", "--json")
    (worker,) = done.records
    assert (done.code, worker["state"], worker["queues"]) == (0, "ACTIVE", ["default"])
    assert {"hello", "nap", "stumble"} <= set(worker["tasks"])
    assert worker["worker"] in (await cli("workers", "list")).out


async def test_jobs_are_listed_by_what_is_asked_for(cli: Cli) -> None:
    tenant, names = await dead(cli, 3)
    listed = await cli("--tenant", tenant, "jobs", "list", "--state", "dead", "--task", "stumble", "--json")
    assert {record["name"] for record in listed.records} == set(names)
    for nothing in (("--state", "leased"), ("--task", "other"), ("--lane", "x"), ("--error", "KeyError")):
        assert (await cli("--tenant", tenant, "jobs", "list", *nothing, "--json")).records == []
    some = await cli("--tenant", tenant, "jobs", "list", "--limit", "2")
    assert (len(some.out.splitlines()), "and more" in some.err) == (2, True)


async def test_a_list_of_several_pages_has_every_job_once(cli: Cli) -> None:
    tenant = f"t-{uuid.uuid4()}"
    async with SchedulerClient(cli.scheduler, tenant=tenant) as client:
        outcomes = await client.submit_many(
            [Submission(task="hello", delay_s=3600, lane=str(n % 2)) for n in range(25)]
        )
        listed = [job async for job in client.jobs(where=JobFilter(JobState.SCHEDULED), page_size=4)]
        lane = [job async for job in client.jobs(where=JobFilter(lane="1"), page_size=4, full=True)]
    assert sorted(job.name for job in listed) == sorted(job.name for job in outcomes if not isinstance(job, Exception))
    assert {job.submission.lane for job in lane} == {"1"}
    assert len(lane) == 12


async def test_a_dead_letter_is_shown_with_what_it_died_of(cli: Cli) -> None:
    name = (await cli("jobs", "submit", "stumble", "reason=a root", "--attempts", "1", "--wait", "--json")).records[0][
        "name"
    ]
    done = await cli("dead", "show", name)
    assert "RuntimeError: stumbled over a root" in done.out
    assert "Traceback" in done.out
    assert name in (await cli("dead", "list", "--limit", "0", "--error", "RuntimeError", "--json")).out


async def test_redriven_jobs_run_again_as_a_new_generation(cli: Cli) -> None:
    name = (await cli("jobs", "submit", "stumble", "--attempts", "1", "--wait", "--json")).records[0]["name"]
    done = await cli("dead", "redrive", name, "--json")
    assert (done.code, done.records) == (0, [{"name": name, "generation": 2}])
    ended = (await cli("jobs", "watch", name, "--final", "--json")).records[-1]
    assert (ended["state"], ended["generation"]) == ("DEAD", 2)


async def test_all_dead_letters_go_back_as_far_as_the_limit_says(cli: Cli) -> None:
    tenant, names = await dead(cli, 5)
    some = await cli("--tenant", tenant, "dead", "redrive", "--all", "--limit", "2", "--json")
    assert [record["name"] for record in some.records] == names[:2]
    rest = await cli("--tenant", tenant, "dead", "redrive", "--all", "--task", "stumble", "--json")
    sent = [record["name"] for record in rest.records]
    assert sent[:3] == names[2:]  # the first two may have died again by now, after these
    assert rest.err == f"{len(sent)} sent back\n"
    async with SchedulerClient(cli.scheduler, tenant=tenant) as client:
        ended = [await client.job(name).ended(20) for name in names]
    assert all(job.generation >= 2 for job in ended)


async def test_what_cannot_be_redriven_is_said_and_the_rest_goes_on(cli: Cli) -> None:
    tenant, (name,) = await dead(cli, 1)
    unknown = f"tenants/{tenant}/queues/default/jobs/0-{uuid.uuid4()}"
    done = await cli("--tenant", tenant, "dead", "redrive", unknown, name)
    assert (done.code, "[JOB_NOT_FOUND]" in done.err) == (1, True)
    assert done.out == f"{name} is READY, generation 2\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ("dead", "redrive"),
        ("dead", "redrive", "NAME", "--all"),
        ("dead", "redrive", "NAME", "--task", "hello"),
        ("dead", "list", "--category", "bad"),
        ("jobs", "list", "--state", "lost"),
    ],
    ids=" ".join,
)
async def test_wrong_usage_is_exit_code_2(cli: Cli, arguments: tuple[str, ...]) -> None:
    assert (await cli(*arguments)).code == 2


async def test_the_port_of_another_service_is_named(cli: Cli) -> None:
    for arguments in (("jobs", "list"), ("queues", "list"), ("jobs", "submit", "hello")):
        done = await headworks("--scheduler", cli.limiter, *arguments)
        assert f"the scheduler at {cli.limiter}: no such method there" in done.err, done


async def test_watching_where_nobody_listens_is_said_at_once() -> None:
    done = await headworks("--scheduler", "127.0.0.1:1", "jobs", "watch", "tenants/t/queues/q/jobs/0-x")
    assert (done.code, "the scheduler at 127.0.0.1:1" in done.err) == (4, True)


async def test_the_client_counts_what_the_command_counts(cli: Cli) -> None:
    tenant, _ = await dead(cli, 2)
    async with AdminClient(cli.scheduler, tenant=tenant) as admin:
        queue = await admin.queue("default")
        assert (queue.own_dead, queue.own_waiting) == (2, 0)
        assert [each.queue for each in await admin.queues()] == ["default"]
        (worker,) = await admin.workers("default", live_only=True)
        await wait_until(lambda: worker.silent_s < 60, what="a worker that is heard of")
