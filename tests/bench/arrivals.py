"""Arrivals at a constant rate, on time to some 50 us: event loops themselves only keep time by the millisecond."""

from __future__ import annotations

import asyncio
import ctypes
import os
import sys
import time
from collections.abc import AsyncIterator

TICK_S = 0.000_25
_MONOTONIC = 1
_NONBLOCK = 0o4000


class _Timespec(ctypes.Structure):
    _fields_ = (("sec", ctypes.c_long), ("nsec", ctypes.c_long))


class _Itimerspec(ctypes.Structure):
    _fields_ = (("interval", _Timespec), ("value", _Timespec))


def _timer(period_s: float) -> int:
    """A timerfd that becomes readable every `period_s` seconds (os.timerfd_create comes with Python 3.13)."""
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor: int = libc.timerfd_create(_MONOTONIC, _NONBLOCK)
    period = _Timespec(0, round(period_s * 1e9))
    if descriptor < 0 or libc.timerfd_settime(descriptor, 0, ctypes.byref(_Itimerspec(period, period)), None):
        raise OSError(ctypes.get_errno(), "timerfd")
    return descriptor


async def _ticks(period_s: float) -> AsyncIterator[None]:
    if sys.platform != "linux":
        while True:
            await asyncio.sleep(period_s)
            yield
    loop = asyncio.get_running_loop()
    descriptor, ticked = _timer(period_s), asyncio.Event()

    def on_tick() -> None:
        os.read(descriptor, 8)
        ticked.set()

    loop.add_reader(descriptor, on_tick)
    try:
        while True:
            await ticked.wait()
            ticked.clear()
            yield
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)


async def arrivals(rate: float, seconds: float) -> AsyncIterator[int]:
    """The intended time of each arrival, in ns of the monotonic clock, once it has come; from now on, for `seconds`."""
    total = round(rate * seconds)
    gap_ns, began_ns, given = 1e9 / rate, time.monotonic_ns(), 0
    async for _ in _ticks(min(max(1 / rate, TICK_S), 0.9)):
        due = min(total, int((time.monotonic_ns() - began_ns) / gap_ns) + 1)
        while given < due:
            yield began_ns + int(given * gap_ns)
            given += 1
        if given == total:
            return
