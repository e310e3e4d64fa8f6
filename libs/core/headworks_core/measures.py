"""What is counted while work is done: plain numbers, which cost a fraction of a microsecond and are read when needed.

Names, units and labels are given to them in `headworks_core.metrics`, once per process.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType

Labels = tuple[str, ...]
"""Values of a metric's labels, in order, each from a bounded set: never a tenant, a job, or what a caller said."""

CALL_BOUNDS_S = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
RUN_BOUNDS_S = (0.001, 0.005, 0.02, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 1800.0)
SIZE_BOUNDS = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0)

LOOP_PROBE_S = 0.1


class Tally(defaultdict[Labels, int]):
    """Counts by labels: `tally["a", "b"] += 1`."""

    def __init__(self, counted: Mapping[Labels, int] = MappingProxyType({})) -> None:
        """`counted` so far; labels that are known beforehand are better told as 0 than not at all."""
        super().__init__(int, counted)

    def read(self) -> Iterator[tuple[Labels, float]]:
        """What has been counted; safe while another thread counts on."""
        yield from list(self.items())


class Distribution:
    """How values are spread over fixed buckets; the last one has no upper bound."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        """`bounds` are the upper, inclusive ones, in ascending order."""
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def record(self, value: float) -> None:
        """One more value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value


class Distributions(dict[Labels, Distribution]):
    """Distributions by labels, made when they are first asked for: `distributions["a",].record(1)`."""

    def __init__(self, bounds: Sequence[float]) -> None:
        super().__init__()
        self._bounds = bounds

    def __missing__(self, labels: Labels) -> Distribution:
        made = self[labels] = Distribution(self._bounds)
        return made

    def read(self) -> Iterator[tuple[Labels, Distribution]]:
        """All of them; safe while another thread adds some."""
        yield from list(self.items())


class MethodCalls:
    """The calls of one gRPC method."""

    __slots__ = ("by_status", "latency", "open", "streams")

    def __init__(self) -> None:
        self.by_status: defaultdict[str, int] = defaultdict(int)
        """Ended calls by the name of their status."""
        self.latency = Distribution(CALL_BOUNDS_S)
        """Seconds that unary calls took; streams are as long as they are."""
        self.streams = False
        """Whether its calls are streams."""
        self.open = 0
        """Streams that are open."""


class ProcessMeasures:
    """What every service counts in the same way, once a process."""

    def __init__(self) -> None:
        self.calls: defaultdict[str, MethodCalls] = defaultdict(MethodCalls)
        """By method, `package.Service/Method`."""
        self.scripts = Distributions(CALL_BOUNDS_S)
        """Seconds from a script's call to its answer, by script; failed ones included."""
        self.errors = Tally()
        """Errors told to callers, of calls and of items of batches, by reason."""
        self.store_errors = Tally()
        """Commands that failed, by kind: timeout, connection, full, script, refused."""
        self.loop_delay = Distribution(CALL_BOUNDS_S)
        """Seconds by which the event loop was late, ten times a second."""


PROCESS = ProcessMeasures()


async def watch_loop(period_s: float = LOOP_PROBE_S) -> None:
    """Measure until cancelled how late the event loop runs what is due."""
    loop = asyncio.get_running_loop()
    record = PROCESS.loop_delay.record
    while True:
        due = loop.time() + period_s
        await asyncio.sleep(period_s)
        record(max(0.0, loop.time() - due))
