"""A refusal as an exception, where code cannot go on without permits."""

from __future__ import annotations

from typing import Self

from headworks_client.decisions import Decision


class LimitExceeded(Exception):
    """The limiter refused, and waiting would have taken too long."""

    def __init__(self, message: str, decision: Decision | None = None) -> None:
        super().__init__(message)
        self.decision = decision
        """What the limiter said; None where a rule can never hold as many permits as were asked for."""

    @classmethod
    def of(cls, decision: Decision) -> Self:
        """With a sentence that says which limit, and until when."""
        rule = f" of rule {decision.governing.rule}" if decision.governing is not None else ""
        wait = f"; try again in {decision.retry_after_s:.3f} s" if decision.retry_after_s > 0 else ""
        return cls(f"the limit{rule} is used up{wait}", decision)

    @property
    def retry_after_s(self) -> float:
        """When to try again; 0: not known, or never."""
        return self.decision.retry_after_s if self.decision is not None else 0.0
