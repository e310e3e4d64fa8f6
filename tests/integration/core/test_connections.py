"""Connections to the store that end in the middle of something."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
import uvloop
from headworks_core.errors import ServiceError, Unavailable
from headworks_core.store import redis_client, store_error
from headworks_devkit.backends.valkey import valkey
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError


async def send_on_a_closed_transport(url: str) -> tuple[RedisError, bytes | str | None]:
    """What a command raises whose connection closes before it is written, and what the next command answers."""
    async with redis_client(url, timeout_s=5, connections=1) as client:
        await client.set("here", "still")
        pool: Any = client.connection_pool
        connection = await pool.get_connection()
        connection._writer.transport.abort()
        await asyncio.sleep(0)
        try:
            with pytest.raises(RedisError) as raised:
                await connection.send_command("GET", "here")
        finally:
            await pool.release(connection)
        return raised.value, await client.get("here")


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run])
async def test_a_connection_that_closed_before_the_write_is_an_unavailable_store(
    valkey_url: str, run: Callable[..., Any]
) -> None:
    error, answer = await asyncio.to_thread(lambda: run(send_on_a_closed_transport(valkey_url)))

    assert isinstance(error, RedisConnectionError)
    assert type(store_error(error)).__name__ == "Unavailable"
    assert answer == b"still"


async def test_a_script_that_meets_a_store_which_takes_no_writes_is_told_to_come_back() -> None:
    async with valkey() as server, redis_client(server.url, timeout_s=10) as redis:
        await redis.config_set("min-replicas-to-write", 1)
        with pytest.raises(RedisError) as state:
            await redis.eval("return redis.call('SET', KEYS[1], '1')", 1, "a")
        with pytest.raises(RedisError) as mistake:
            await redis.eval("return redis.call('NONE', KEYS[1])", 1, "a")
    assert type(store_error(state.value)) is Unavailable
    assert type(store_error(mistake.value)) is ServiceError
