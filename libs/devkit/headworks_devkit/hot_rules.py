"""Which rules are busy: rates, from the counts of replicas at two moments."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from headworks_client.rules import ReplicaCounts


@dataclass(slots=True)
class RuleRate:
    """What one rule says a second, on all replicas together."""

    namespace: str
    rule: str
    requests_per_s: float = 0.0
    refused_per_s: float = 0.0
    near_limit_per_s: float = 0.0
    shadow_refused_per_s: float = 0.0


def rates(before: Iterable[ReplicaCounts], after: Iterable[ReplicaCounts]) -> list[RuleRate]:
    """Between the two, by each replica's own clock; of a replica that has begun since, from its beginning.

    Rules that nobody asked about are left out. A replica that did not answer both times is, too.
    """
    earlier = {counts.replica: counts for counts in before}
    found: dict[tuple[str, str], RuleRate] = {}
    for counts in after:
        last = earlier.get(counts.replica)
        if last is not None:
            _add(found, last, counts)
    return list(found.values())


def _add(found: dict[tuple[str, str], RuleRate], last: ReplicaCounts, now: ReplicaCounts) -> None:
    began_anew = now.uptime_s < last.uptime_s
    seconds = now.uptime_s if began_anew else now.uptime_s - last.uptime_s
    if seconds <= 0:
        return
    base: defaultdict[tuple[str, str], tuple[int, int, int, int]] = defaultdict(lambda: (0, 0, 0, 0))
    for count in () if began_anew else last.rules:
        base[count.namespace, count.rule] = (count.requests, count.refused, count.near_limit, count.shadow_refused)
    for count in now.rules:
        key = count.namespace, count.rule
        requests, refused, near_limit, shadow_refused = base[key]
        if count.requests == requests:
            continue
        rate = found.setdefault(key, RuleRate(*key))
        rate.requests_per_s += (count.requests - requests) / seconds
        rate.refused_per_s += (count.refused - refused) / seconds
        rate.near_limit_per_s += (count.near_limit - near_limit) / seconds
        rate.shadow_refused_per_s += (count.shadow_refused - shadow_refused) / seconds
