"""When a failed job is tried again; `store/scripts/fail.lua` does the same arithmetic."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Exponential back-off with jitter, in whole numbers so that every implementation agrees."""

    max_attempts: int = 5
    initial_us: int = 1_000_000
    max_us: int = 300_000_000
    multiplier_milli: int = 2_000
    jitter_milli: int = 500

    def encode(self) -> str:
        """The form in which it is stored with a job."""
        return f"{self.max_attempts}:{self.initial_us}:{self.max_us}:{self.multiplier_milli}:{self.jitter_milli}"

    def delay_us(self, failures: int, luck_milli: int) -> int:
        """Microseconds to wait after the `failures`-th failure (from 1); `luck_milli` is uniform in 0..999.

        initial * multiplier ** (failures - 1), capped, less a random part of at most the `jitter` share.
        """
        delay = self.initial_us
        for _ in range(failures - 1):
            delay = min(delay * self.multiplier_milli // 1000, self.max_us)
        return delay - delay * self.jitter_milli // 1000 * luck_milli // 1000
