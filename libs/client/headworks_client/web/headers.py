"""What a decision looks like in HTTP: headers in the dialects that clients know, and the body of a 429."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from enum import StrEnum

from headworks_client.decisions import Decision, RuleStatus

QUOTA_EXCEEDED = "https://iana.org/assignments/http-problem-types#quota-exceeded"
JSON = "application/problem+json"

Headers = list[tuple[str, str]]


class Dialect(StrEnum):
    """Headers that say how much is left."""

    X_RATELIMIT = "x-ratelimit"
    """X-RateLimit-Limit, -Remaining and -Reset (seconds since the epoch), as GitHub and slowapi have them."""
    RATELIMIT = "ratelimit"
    """RateLimit and RateLimit-Policy of draft-ietf-httpapi-ratelimit-headers-11; each rule is a policy."""
    RATELIMIT_3 = "ratelimit-3"
    """RateLimit-Limit, -Remaining and -Reset (seconds from now) of the same draft's version 3."""
    NONE = "none"


def limit_headers(decision: Decision, dialect: Dialect, *, clock: Callable[[], float] = time.time) -> Headers:
    """What is left by the governing rule (draft 11: by all that were told), and Retry-After for a refusal."""
    found: Headers = []
    if decision.governing is not None:
        found += _STATES[dialect](decision, decision.governing, clock())
    if not decision.allowed and decision.retry_after_s > 0:
        found.append(("retry-after", str(_whole(decision.retry_after_s))))
    return found


def problem(decision: Decision) -> bytes:
    """The body of a 429 (RFC 9457), with the rules that refused."""
    rules = decision.rules or ((decision.governing,) if decision.governing else ())
    refused = [rule.rule for rule in rules if not (rule.allowed or rule.shadow)]
    wait = f"; try again in {_whole(decision.retry_after_s)} s" if decision.retry_after_s > 0 else ""
    body = {"type": QUOTA_EXCEEDED, "title": "Too Many Requests", "status": 429}
    body |= {"detail": f"a limit is used up{wait}", "violated-policies": refused}
    return json.dumps(body).encode()


def _x_ratelimit(_: Decision, rule: RuleStatus, now: float) -> Headers:
    reset = str(math.ceil(now + rule.reset_after_s))
    state = {"limit": str(rule.limit), "remaining": str(rule.remaining), "reset": reset}
    return [(f"x-ratelimit-{name}", value) for name, value in state.items()]


def _ratelimit(decision: Decision, governing: RuleStatus, now: float) -> Headers:
    rules = [rule for rule in decision.rules if not rule.shadow] or [governing]
    states = [f'"{rule.rule}";r={rule.remaining};t={_whole(rule.reset_after_s)}' for rule in rules]
    policies = [f'"{rule.rule}";q={rule.limit}' for rule in rules]
    return [("ratelimit", ", ".join(states)), ("ratelimit-policy", ", ".join(policies))]


def _ratelimit_3(_: Decision, rule: RuleStatus, now: float) -> Headers:
    state = {"limit": rule.limit, "remaining": rule.remaining, "reset": _whole(rule.reset_after_s)}
    return [(f"ratelimit-{name}", str(value)) for name, value in state.items()]


def _none(decision: Decision, rule: RuleStatus, now: float) -> Headers:
    return []


_STATES: dict[Dialect, Callable[[Decision, RuleStatus, float], Headers]] = {
    Dialect.X_RATELIMIT: _x_ratelimit,
    Dialect.RATELIMIT: _ratelimit,
    Dialect.RATELIMIT_3: _ratelimit_3,
    Dialect.NONE: _none,
}


def _whole(seconds: float) -> int:
    """Whole seconds, never too few."""
    return math.ceil(seconds)
