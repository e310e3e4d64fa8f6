"""Counts gRPC calls, their status and how long they take."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import grpc

from headworks_core.measures import PROCESS

Handle = Callable[[Any, Any], Awaitable[Any]]
_NAMES: dict[object, str] = {code.value[0]: code.name for code in grpc.StatusCode}


def measured_unary(method: str, handle: Handle) -> Handle:
    """`handle` with its calls counted and timed."""
    calls = PROCESS.calls[method]
    clock = time.perf_counter

    async def measured(request: Any, rpc: Any) -> Any:
        began = clock()
        status = "OK"
        try:
            return await handle(request, rpc)
        except BaseException as error:
            status = _status(rpc, error)
            raise
        finally:
            calls.by_status[status] += 1
            calls.latency.record(clock() - began)

    return measured


def measured_stream(method: str, handle: Handle) -> Handle:
    """`handle` with its streams counted, while they are open and when they end."""
    calls = PROCESS.calls[method]
    calls.streams = True

    async def measured(request: Any, rpc: Any) -> None:
        calls.open += 1
        status = "OK"
        try:
            await handle(request, rpc)
        except BaseException as error:
            status = _status(rpc, error)
            raise
        finally:
            calls.open -= 1
            calls.by_status[status] += 1

    return measured


def _status(rpc: Any, error: BaseException) -> str:
    """The status that the call was ended with."""
    if isinstance(error, asyncio.CancelledError):
        return grpc.StatusCode.CANCELLED.name
    return _NAMES.get(rpc.code(), grpc.StatusCode.UNKNOWN.name)
