"""`@task`: names, arguments, options."""

from __future__ import annotations

import json
from types import ModuleType
from typing import Any

import pytest
from headworks_client import Level, Retry, SchedulerClient, Submission, Task, task
from headworks_core.errors import FailedPrecondition
from headworks_worker import Context


@task
async def count(path: str, limit: int = 10) -> int:
    """Counts."""
    return limit


@task(name="census.file", queue="files", level=Level.HIGH, lane="l", timeout_s=2.5, retry=Retry(max_attempts=3))
def census(ctx: Context, path: str) -> None:
    """Takes a context."""


def test_a_task_is_called_after_its_module_and_function() -> None:
    assert count.name == f"{__name__}.count"
    assert census.name == "census.file"


def test_a_task_of_a_program_is_called_after_its_file(monkeypatch: pytest.MonkeyPatch) -> None:
    def function() -> None: ...

    program = ModuleType("__main__")
    program.__file__ = "/somewhere/hello_task.py"
    program.__spec__ = None
    monkeypatch.setattr(function, "__module__", "__main__")
    monkeypatch.setitem(__import__("sys").modules, "__main__", program)

    assert task(function).name == "hello_task.function"


def test_a_name_that_no_scheduler_takes_is_refused() -> None:
    with pytest.raises(ValueError, match="task name 'a b'"):
        task(name="a b")(lambda: None)


async def test_a_task_can_still_be_called() -> None:
    assert await count("x", limit=3) == 3
    assert count.__doc__ == "Counts."


def test_a_submission_carries_the_arguments_by_name_and_the_options() -> None:
    submission = census.submission(path="/x")

    assert submission == Submission(
        task="census.file",
        payload=b'{"path":"/x"}',
        level=2,
        lane="l",
        attempt_timeout_s=2.5,
        retry=Retry(max_attempts=3),
    )


def test_arguments_may_be_given_by_position_and_defaults_are_left_to_the_worker() -> None:
    assert json.loads(count.submission("/x").payload) == {"path": "/x"}
    assert json.loads(count.submission("/x", 3).payload) == {"path": "/x", "limit": 3}


def test_extra_keywords_travel_beside_the_others() -> None:
    @task
    def takes(a: int, **others: int) -> None: ...

    assert json.loads(takes.submission(1, b=2).payload) == {"a": 1, "b": 2}


@pytest.mark.parametrize("given", [{}, {"path": "/x", "wrong": 1}])
def test_arguments_that_the_function_does_not_take_are_refused_at_once(given: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match=f"^{count.name}: "):
        count.submission(**given)


def test_the_context_is_not_the_callers_to_give() -> None:
    with pytest.raises(TypeError, match=r"census\.file: .*ctx"):
        census.submission(ctx=None, path="/x")


def test_a_context_is_known_by_its_annotation_however_it_is_written() -> None:
    def plain(context, x): ...  # type: ignore[no-untyped-def]
    def as_text(c: Context, x: int) -> None: ...
    def other(x: int, y: str) -> None: ...

    def as_class(c: Any, x: int) -> None: ...
    def dotted(c: Any) -> None: ...

    as_class.__annotations__["c"] = Context
    dotted.__annotations__ = {"c": "worker.Context", "return": "Context"}

    found = [task(name="t")(function).context_name for function in (plain, as_text, other, as_class, dotted)]
    assert found == [None, "c", None, "c", "c"]


def test_options_give_a_copy_that_is_submitted_differently() -> None:
    changed = count.options(
        level=Level.BULK, delay_s=60, queue="slow", request_id="00000000-0000-7000-8000-000000000000"
    )

    submission = changed.submission("/x")
    assert (submission.level, submission.delay_s, submission.request_id[-3:]) == (9, 60, "000")
    assert count.submission("/x").level is None
    assert isinstance(changed, Task)
    assert changed.function is count.function
    with pytest.raises(TypeError):
        count.options(nonsense=1)


async def test_submitting_needs_an_open_client() -> None:
    with pytest.raises(FailedPrecondition, match="no SchedulerClient is open"):
        await count.submit("/x")


async def test_the_innermost_open_client_is_the_current_one() -> None:
    async with SchedulerClient("127.0.0.1:1") as outer:
        assert SchedulerClient.current() is outer
        async with SchedulerClient("127.0.0.1:1") as inner:
            assert SchedulerClient.current() is inner
        assert SchedulerClient.current() is outer
    with pytest.raises(FailedPrecondition):
        SchedulerClient.current()
