"""Who holds permits, and until when: the state of the algorithms that count what is under way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Hold(NamedTuple):
    """Permits of one grant."""

    holder: str
    """The grant's id: what keeps a stale holder from giving back what another has."""
    until: int
    """In microseconds since the epoch; then it is nobody's."""
    permits: int


def read(text: str, now_us: int) -> list[Hold]:
    """Those that are held now, oldest first, from `holder:until:permits,...`."""
    entries = (entry.split(":") for entry in text.split(",") if entry)
    holds = (Hold(holder, int(until), int(permits)) for holder, until, permits in entries)
    return [hold for hold in holds if hold.until > now_us]


def write(holds: Sequence[Hold]) -> str:
    """As `read` reads them."""
    return ",".join(f"{holder}:{until}:{permits}" for holder, until, permits in holds)


def held(holds: Sequence[Hold]) -> int:
    """Permits that are held."""
    return sum(hold.permits for hold in holds)


def free_in(holds: Sequence[Hold], missing: int, now_us: int) -> int:
    """Microseconds until so many permits have ended by themselves, or all have."""
    ends = sorted((hold.until, hold.permits) for hold in holds)
    for until, permits in ends:
        missing -= permits
        if missing <= 0:
            return until - now_us
    return ends[-1][0] - now_us if ends else 0


def reset_in(holds: Sequence[Hold], now_us: int) -> int:
    """Microseconds until all have ended by themselves."""
    return max((hold.until for hold in holds), default=now_us) - now_us


def released(holds: Sequence[Hold], holder: str) -> list[Hold]:
    """Without what this one holds."""
    return [hold for hold in holds if hold.holder != holder]


def renewed(holds: Sequence[Hold], holder: str, until: int) -> list[Hold] | None:
    """With what this one holds until then, or later if it was; None: it holds nothing."""
    if all(hold.holder != holder for hold in holds):
        return None
    return [hold._replace(until=max(hold.until, until)) if hold.holder == holder else hold for hold in holds]
