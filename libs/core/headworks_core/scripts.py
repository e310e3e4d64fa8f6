"""Lua scripts: one file an operation, shared parts by `--@include`, called by hash."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Any, Protocol

from redis.exceptions import NoScriptError, RedisError

from headworks_core import telemetry
from headworks_core.measures import PROCESS
from headworks_core.store import store_error

INCLUDE = re.compile(r"^--@include ([a-z_]+)$", re.MULTILINE)
COMMAND = re.compile(r"\bp?call\('([A-Z]+)'")
Argument = str | bytes | int


class Runs(Protocol):
    """A client of one server, or of those that share the keys."""

    @property
    def execute_command(self) -> Any:
        """Sends a command, once. Raises RedisError."""


@dataclass(frozen=True, slots=True)
class Script:
    """One operation. `text` is fully expanded, and `sha` is its hash."""

    name: str
    text: str
    sha: str

    async def __call__(
        self, redis: Runs, keys: Sequence[str], args: Sequence[Argument], *, traceparent: str = ""
    ) -> Any:
        """Run it. A server that does not know it yet is sent the text once.

        `traceparent` is the context of the call's span, if the work is sampled. Raises Unavailable, after which
        the outcome is unknown, or ResourceExhausted (STORE_FULL).
        """
        if not telemetry.is_sampled(traceparent):
            return await self._run(redis, keys, args)
        attributes = {"db.system.name": "redis", "db.operation.name": "EVALSHA", "db.stored_procedure.name": self.name}
        with telemetry.span(f"EVALSHA {self.name}", telemetry.CLIENT, traceparent, attributes):
            return await self._run(redis, keys, args)

    async def _run(self, redis: Runs, keys: Sequence[str], args: Sequence[Argument]) -> Any:
        began = time.perf_counter()
        try:
            execute = redis.execute_command
            try:
                return await execute("EVALSHA", self.sha, len(keys), *keys, *args)
            except NoScriptError:
                return await execute("EVAL", self.text, len(keys), *keys, *args)
        except RedisError as error:
            raise store_error(error) from error
        finally:
            PROCESS.scripts[self.name,].record(time.perf_counter() - began)


def load(package: str, name: str) -> Script:
    """Read `<package>/scripts/<name>.lua`; its includes come from `<package>/scripts/include/`, each at most once."""
    folder = resources.files(package) / "scripts"
    text = _expand((folder / f"{name}.lua").read_text(), folder / "include", set())
    return Script(name, text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


def commands(package: str) -> set[str]:
    """Every Redis command that the scripts of `package` use, in capitals."""
    folder = resources.files(package) / "scripts"
    files = [*folder.iterdir(), *(folder / "include").iterdir()]
    texts = [file.read_text() for file in files if file.name.endswith(".lua")]
    return {name for text in texts for name in COMMAND.findall(text)}


def _expand(text: str, includes: Traversable, seen: set[str]) -> str:
    def replace(match: re.Match[str]) -> str:
        name = match[1]
        if name in seen:
            return f"-- {name} is included above"
        seen.add(name)
        return _expand((includes / f"{name}.lua").read_text(), includes, seen)

    return INCLUDE.sub(replace, text)
