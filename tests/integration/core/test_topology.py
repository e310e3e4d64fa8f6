"""Which sentinel is believed, when they do not agree."""

from __future__ import annotations

from contextlib import AsyncExitStack

import pytest
from headworks_core.address import parse
from headworks_core.topology import ROUNDS, Sources
from redis.exceptions import ConnectionError as RedisConnectionError

from tests.support import wrong_redis as wrong


def place_of(url: str) -> str:
    return url.removeprefix("redis://").partition("/")[0]


def naming(primary: str, epoch: int) -> wrong.Server:
    """A sentinel that has heard of `epoch` failovers, and names this primary."""
    words = (*primary.encode().split(b":"), b"config-epoch", b"%d" % epoch)
    reply = b"*4\r\n" + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)
    return wrong.of_version("valkey", "9.0.0", more=lambda command: reply if command == b"SENTINEL" else None)


async def test_a_sentinel_that_has_missed_a_failover_is_not_believed_until_it_is_the_only_one() -> None:
    async with AsyncExitStack() as stack:
        primary = wrong.of_version("valkey", "9.0.0")
        old, new = [place_of(await stack.enter_async_context(primary())) for _ in range(2)]
        behind = place_of(await stack.enter_async_context(naming(old, 4)()))
        async with naming(new, 5)() as url:
            current = place_of(url)
            sources = Sources(parse(f"redis+sentinel://{current},{behind}/limits"))
            stack.push_async_callback(sources.close)
            assert [found.place for found in await sources.read()] == [new]
            sources.doubt(current)  # so the other one is asked first
            for _ in range(2):
                assert [found.place for found in await sources.read()] == [new]
            sources.doubt(current)

        for _ in range(ROUNDS):
            with pytest.raises(RedisConnectionError):
                await sources.read()
        assert [found.place for found in await sources.read()] == [old]
