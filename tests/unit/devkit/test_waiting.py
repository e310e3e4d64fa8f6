"""Waiting with a deadline."""

from __future__ import annotations

import pytest
from headworks_devkit.ports import free_port, free_ports, is_free

from tests.support.wait import wait_until


async def test_the_first_true_answer_is_returned() -> None:
    answers = iter([0, "", 7])
    assert await wait_until(lambda: next(answers)) == 7


async def test_an_async_predicate_is_awaited() -> None:
    async def answer() -> str:
        return "yes"

    assert await wait_until(answer) == "yes"


async def test_waiting_in_vain_says_for_what() -> None:
    with pytest.raises(TimeoutError, match="for the flood"):
        await wait_until(lambda: False, 0.05, what="the flood")


def test_free_ports_differ_and_are_free() -> None:
    ports = free_ports(20)
    assert len(set(ports)) == 20
    assert is_free(free_port())
