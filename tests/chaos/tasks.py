"""The handlers of the chaos run. Each says what it does in its process' own log, for the judge outside."""

from __future__ import annotations

import asyncio
import functools
import json
import os
import signal
import time
from pathlib import Path

from headworks_worker import Context, PermanentError, task

from tests.chaos.history import DONE, FAIL, START, STOP

LOGS = "CHAOS_LOGS"
"""Environment variable: the folder of the logs."""
NAME = "HEADWORKS_WORKER_NAME"
NAMESPACE = "handlers"
STEP_S = 0.02


@functools.cache
def _log() -> int:
    path = Path(os.environ[LOGS]) / f"{os.environ[NAME]}-{os.getpid()}.jsonl"
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)


def _say(ctx: Context, what: str, epoch: int, detail: str = "") -> None:
    """One line, in one write: it is there whole or not at all, also when the process is killed."""
    line = {
        "at": time.time(),
        "what": what,
        "job": ctx.job,
        "lease": ctx.lease_id,
        "attempt": ctx.attempt,
        "worker": os.environ[NAME],
        "epoch": epoch,
        "detail": detail,
    }
    os.write(_log(), json.dumps(line).encode() + b"\n")


def _stop_of(ctx: Context) -> str:
    stop = ctx._attempt.stop
    return stop.value if stop else ""


def _fails(ctx: Context, kind: str, times: int) -> None:
    if kind in ("flaky", "doomed") and ctx.attempt <= times:
        raise ValueError(f"attempt {ctx.attempt} of {times} that fail")
    if kind == "permanent":
        raise PermanentError("as told")
    if kind == "killer" and ctx.attempt <= times:
        os.kill(os.getpid(), signal.SIGKILL)


@task(name="chaos.run")
async def run(ctx: Context, kind: str, epoch: int, seconds: float, times: int, bucket: str) -> int:
    """Runs for some seconds, then ends as its kind does. Returns its lease."""
    _say(ctx, START, epoch)
    try:
        if kind == "limited":
            await ctx.acquire(NAMESPACE, {"bucket": bucket})
        if kind == "told":
            for step in range(5):
                ctx.progress(step, 5, f"step {step}")
                await asyncio.sleep(seconds / 5)
        else:
            await asyncio.sleep(seconds)
        _fails(ctx, kind, times)
    except asyncio.CancelledError:
        _say(ctx, STOP, epoch, _stop_of(ctx))
        raise
    except Exception as error:
        _say(ctx, FAIL, epoch, repr(error))
        raise
    _say(ctx, DONE, epoch)
    return ctx.lease_id


@task(name="chaos.block")
def block(ctx: Context, kind: str, epoch: int, seconds: float, times: int, bucket: str) -> int:
    """The same on a thread."""
    _say(ctx, START, epoch)
    end = time.monotonic() + seconds
    try:
        while time.monotonic() < end:
            ctx.check_cancelled()
            time.sleep(min(STEP_S, max(0.0, end - time.monotonic())))
        _fails(ctx, kind, times)
    except asyncio.CancelledError:
        _say(ctx, STOP, epoch, _stop_of(ctx))
        raise
    except Exception as error:
        _say(ctx, FAIL, epoch, repr(error))
        raise
    _say(ctx, DONE, epoch)
    return ctx.lease_id
