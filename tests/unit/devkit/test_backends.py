"""How backends are shown."""

from __future__ import annotations

from headworks_devkit.backends import RedisBackend


def test_credentials_are_not_shown() -> None:
    assert RedisBackend("rediss://user:secret@redis.internal:6380/2", "x").address == "rediss://redis.internal:6380/2"
    assert RedisBackend("redis://127.0.0.1:6379/0", "x").address == "redis://127.0.0.1:6379/0"
