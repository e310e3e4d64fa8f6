"""What must hold of the limiter's decisions: never too much, in any window, as far as callers can tell.

A permit was granted at some moment between the question and the answer. Grants whose moment is known to `KNOWN_S` are
counted; the others are left out, so that whatever is found is certain.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from tests.chaos.history import Granted, History, Rule
from tests.chaos.rules import Finding

KNOWN_S = 0.25


def limits_hold(history: History) -> Iterator[Finding]:
    """In no window more than its rule allows; a request id is granted once."""
    rules = {rule.name: rule for rule in history.meta.rules}
    grants: dict[str, dict[str, Granted]] = defaultdict(dict)
    for grant in history.granted:
        grants[grant.rule].setdefault(grant.id, grant)
    for name, by_id in grants.items():
        known = [grant for grant in by_id.values() if grant.answered_at - grant.asked_at <= KNOWN_S]
        check = _gcra if rules[name].algorithm == "gcra" else _windows
        yield from check(rules[name], sorted(known, key=lambda grant: grant.answered_at))


def _gcra(rule: Rule, grants: Sequence[Granted]) -> Iterator[Finding]:
    """A bucket that leaks as the rule does; it may be fuller than the burst by what leaks in `KNOWN_S`."""
    rate = rule.limit / rule.per_s
    level, before = 0.0, 0.0
    for grant in grants:
        level = max(0.0, level - rate * (grant.answered_at - before)) + grant.permits
        before = grant.answered_at
        if level > rule.burst + rate * KNOWN_S + 1e-6:
            yield Finding("limit", rule.name, f"{level:.2f} permits of {rule.burst} at {grant.answered_at:.3f}")
            level = 0.0  # told once


def _windows(rule: Rule, grants: Sequence[Granted]) -> Iterator[Finding]:
    """Windows of the calendar; a grant counts where its window is certain."""
    taken: dict[int, int] = defaultdict(int)
    for grant in grants:
        window = int(grant.asked_at // rule.per_s)
        if window == int(grant.answered_at // rule.per_s):
            taken[window] += grant.permits
    for window, permits in taken.items():
        if permits > rule.limit:
            yield Finding("limit", rule.name, f"{permits} permits of {rule.limit} in the window {window * rule.per_s}")
