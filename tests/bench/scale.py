"""How much is measured: enough for figures, or just enough to see that every part works."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Scale:
    """Sizes of a run."""

    drain_jobs: int = 100_000
    submit_jobs: int = 150_000
    queued: int = 1_000_000
    buckets: int = 100_000
    relay_events: int = 150_000
    ratio_jobs: int = 50_000
    """Of each run that is compared with another."""
    rounds: int = 5
    """Alternating runs of two things that are compared."""
    run_s: float = 2.0
    """One closed-loop run."""
    open_s: float = 6.0
    """One open-loop run."""
    warm_s: float = 0.7
    connections: int = 1_000
    """Connected callers."""
    pickup_s: float = 8.0


FULL = Scale()
QUICK = Scale(
    drain_jobs=3_000,
    submit_jobs=3_000,
    queued=20_000,
    buckets=2_000,
    relay_events=3_000,
    ratio_jobs=2_000,
    rounds=1,
    run_s=0.5,
    open_s=0.8,
    warm_s=0.3,
    connections=20,
    pickup_s=1.0,
)
