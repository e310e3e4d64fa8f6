"""Entering and leaving several context managers at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from headworks_devkit.together import together

from tests.support.wait import wait_until


class Gate:
    """A context manager that records what happens to it."""

    def __init__(self, name: str, story: list[str]) -> None:
        self._name = name
        self._story = story

    @asynccontextmanager
    async def __call__(
        self, *, enter: asyncio.Event | None = None, leave: asyncio.Event | None = None
    ) -> AsyncIterator[str]:
        """Enters when `enter` is set and leaves when `leave` is."""
        if enter is not None:
            await enter.wait()
        self._story.append(f"{self._name} in")
        try:
            yield self._name
            if leave is not None:
                await leave.wait()
        finally:
            self._story.append(f"{self._name} out")


@asynccontextmanager
async def broken() -> AsyncIterator[str]:
    """Fails to enter."""
    raise RuntimeError("no water")
    yield "never"


async def test_a_slow_one_does_not_hold_up_the_entering_of_the_others() -> None:
    story: list[str] = []
    enter = asyncio.Event()
    both = together(Gate("slow", story)(enter=enter), Gate("quick", story)())
    entering = asyncio.create_task(both.__aenter__())
    await wait_until(lambda: story == ["quick in"])
    enter.set()
    assert await entering == ["slow", "quick"]
    await both.__aexit__(None, None, None)
    assert sorted(story[2:]) == ["quick out", "slow out"]


async def test_one_that_fails_to_enter_ends_the_rest_and_its_error_is_raised() -> None:
    story: list[str] = []
    with pytest.raises(RuntimeError, match="no water"):
        async with together(Gate("good", story)(), broken()):
            story.append("body")
    assert story == ["good in", "good out"]


async def test_an_error_of_the_body_passes_unchanged_after_all_were_left() -> None:
    story: list[str] = []
    with pytest.raises(ValueError, match="body"):
        async with together(Gate("a", story)(), Gate("b", story)()):
            raise ValueError("body")
    assert sorted(story) == ["a in", "a out", "b in", "b out"]


async def test_cancelling_while_entering_leaves_what_was_entered() -> None:
    story: list[str] = []

    async def body() -> None:
        async with together(Gate("in", story)(), Gate("waiting", story)(enter=asyncio.Event())):
            story.append("body")

    task = asyncio.create_task(body())
    await wait_until(lambda: story == ["in in"])
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert story == ["in in", "in out"]


async def test_cancelling_while_leaving_hurries_and_still_leaves_all() -> None:
    story: list[str] = []
    left = asyncio.Event()

    async def body() -> None:
        async with together(Gate("stuck", story)(leave=asyncio.Event()), Gate("free", story)()):
            left.set()

    task = asyncio.create_task(body())
    await left.wait()
    await wait_until(lambda: "free out" in story)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert story[-1] == "stuck out"
