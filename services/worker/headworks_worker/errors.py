"""What handlers raise to say how a failure should be treated."""

from __future__ import annotations

RETRY_MAX_S = 604_800  # 7 days


class PermanentError(Exception):
    """Trying again cannot help: the job becomes a dead letter at once (PERMANENT)."""


class RetryLater(Exception):
    """The attempt failed; the next one, if there is one left, comes after `delay_s` seconds (at most 7 days)."""

    def __init__(self, delay_s: float, message: str = "") -> None:
        if not 0 <= delay_s <= RETRY_MAX_S:
            raise ValueError(f"delay_s {delay_s}; 0 to {RETRY_MAX_S}")
        super().__init__(message or f"try again in {delay_s:g} s")
        self.delay_s = delay_s


class ArgumentMismatch(PermanentError):
    """The job's payload does not fit the task's arguments."""


class ResultRefused(PermanentError):
    """What the handler returned cannot be sent: no form in JSON, or too large."""


class RegistrationError(Exception):
    """A task cannot be run by a worker as it is written, or a module of tasks cannot be used."""
