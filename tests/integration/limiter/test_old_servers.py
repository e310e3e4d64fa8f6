"""The floor of versions holds for the servers of a cluster, and for what sentinels name."""

from __future__ import annotations

import pytest
from headworks_core.errors import FailedPrecondition

from tests.integration.limiter.serving import refused_at_start
from tests.support import wrong_redis as wrong

OLD = [
    ("redis", "7.0.15", "is redis 7.0.15; redis 7.2 or newer is needed"),
    ("valkey", "7.2.9", "is valkey 7.2.9; valkey 8.0 or newer is needed"),
]


@pytest.mark.parametrize(("flavour", "version", "why"), OLD)
async def test_an_old_server_of_a_cluster_is_refused(flavour: str, version: str, why: str) -> None:
    ports: list[int] = []

    def owns_all(command: bytes) -> bytes | None:
        if command != b"CLUSTER":
            return None
        return b"*1\r\n*3\r\n:0\r\n:16383\r\n*3\r\n$0\r\n\r\n:%d\r\n$0\r\n\r\n" % ports[0]

    async with wrong.of_version(flavour, version, more=owns_all)() as url:
        place = url.removeprefix("redis://").partition("/")[0]
        ports.append(int(place.rpartition(":")[2]))
        await refused_at_start(f"redis+cluster://{place}", FailedPrecondition, why)


@pytest.mark.parametrize(("flavour", "version", "why"), OLD)
async def test_an_old_server_that_a_sentinel_names_is_refused(flavour: str, version: str, why: str) -> None:
    async with wrong.of_version(flavour, version)() as url:
        port = url.rpartition(":")[2].partition("/")[0].encode()

        def names_it(command: bytes) -> bytes | None:
            if command != b"SENTINEL":
                return None
            return b"*2\r\n$9\r\n127.0.0.1\r\n$%d\r\n%s\r\n" % (len(port), port)

        async with wrong.of_version("valkey", "9.0.0", more=names_it)() as sentinel:
            place = sentinel.removeprefix("redis://").partition("/")[0]
            await refused_at_start(f"redis+sentinel://{place}/limits", FailedPrecondition, why)
