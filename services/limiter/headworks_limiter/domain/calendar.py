"""Bookings: permits that a bucket has promised for later, each at its time.

What is taken now, or promised for a time between, must leave room for every promise behind it. A bucket drains `rate`
units a microsecond; by Lindley's recursion (The theory of queues with a single server, 1952) it is one comparison a
promise. `capacity` is what the bucket may hold after something was taken; 0: only that, for it must have been empty.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

MAX_BOOKINGS = 200
"""Promises a bucket; whoever comes then is refused."""

Booking = tuple[int, int]
"""When, in microseconds since the epoch, and how many units; a bucket's are in the order of time."""


class Level(NamedTuple):
    """How full a bucket is at a time, and what it has promised for later."""

    at: int
    level: int
    booked: Sequence[Booking] = ()

    @property
    def owed(self) -> int:
        """Units that are in it, or promised."""
        return self.level + sum(units for _, units in self.booked)


def read(state: str | None, permit_units: int, most: int, rate: int, now_us: int) -> Level:
    """The bucket now, or where the clock is behind it, at its own time; see `write`. None is an empty one.

    Units of another size are converted; a part of a permit then counts as a whole one. The level is at most `most`
    permits: the limit may have been lowered.
    """
    if state is None:
        return Level(now_us, 0)
    head, _, tail = state.partition("/")
    at, level, stored_units = map(int, head.split(":"))
    pairs = [entry.split(":") for entry in tail.split(",")] if tail else []
    booked = [(int(time), int(units)) for time, units in pairs]
    if stored_units != permit_units:
        level = min(_ceil(level, stored_units), most) * permit_units
        booked = [(time, _ceil(units, stored_units) * permit_units) for time, units in booked]
    return advance(Level(at, min(level, most * permit_units), booked), max(at, now_us), rate)


def write(now: Level, permit_units: int) -> str:
    """`at:level:permit_units`, and where something is promised `/at:units,at:units`."""
    text = f"{now.at}:{now.level}:{permit_units}"
    return f"{text}/{','.join(f'{time}:{units}' for time, units in now.booked)}" if now.booked else text


def advance(now: Level, to_us: int, rate: int) -> Level:
    """The same bucket at a later time: promises that fell due are in its level."""
    at, level, booked = now
    due = 0
    for time, units in booked:
        if time > to_us:
            break
        level = max(0, level - max(0, time - at) * rate) + units
        at = max(at, time)
        due += 1
    return Level(to_us, max(0, level - (to_us - at) * rate), booked[due:])


def room(now: Level, capacity: int, rate: int) -> int:
    """Units that may be taken at once without breaking a promise; below 0 where one is broken already."""
    least, promised = capacity - now.level, 0
    for time, units in now.booked:
        promised += units
        least = min(least, capacity - now.level - promised + (time - now.at) * rate)
    return least


def fits(now: Level, units: int, capacity: int, rate: int) -> bool:
    """Whether so many units may be taken at once without breaking a promise."""
    level = now.level + units
    if level > (capacity or units):
        return False
    for time, booked in now.booked:
        level += booked
        if level - (time - now.at) * rate > (capacity or booked):
            return False
    return True


def earliest(now: Level, units: int, capacity: int, rate: int) -> int:
    """The first time at which so many units may be taken without breaking a promise; at most the capacity."""
    while now.booked:
        time = now.at + max(0, _ceil(now.level + units - (capacity or units), rate))
        following = now.booked[0][0]
        if time < following and fits(advance(now, time, rate), units, capacity, rate):
            return time
        now = advance(now, following, rate)
    return now.at + max(0, _ceil(now.level + units - (capacity or units), rate))


def drained(now: Level, units: int, rate: int) -> int:
    """The first time at which at most so many units are owed."""
    while now.booked:
        time = now.at + max(0, _ceil(now.owed - units, rate))
        following = now.booked[0][0]
        if time < following and now.owed - units <= now.level:
            return time
        now = advance(now, following, rate)
    return now.at + max(0, _ceil(now.level - units, rate))


def promise(now: Level, time: int, units: int) -> Level:
    """With another promise, behind those of the same time."""
    place = sum(other <= time for other, _ in now.booked)
    return now._replace(booked=[*now.booked[:place], (time, units), *now.booked[place:]])


def withdraw(now: Level, time: int, units: int) -> Level:
    """With so many units less of what is promised for a time, the latest first, as far as they are there."""
    left: list[Booking] = []
    for other, booked in reversed(now.booked):
        less = min(units, booked) if other == time else 0
        units -= less
        if booked > less:
            left.append((other, booked - less))
    return now._replace(booked=left[::-1])


def _ceil(dividend: int, divisor: int) -> int:
    return -(-dividend // divisor)
