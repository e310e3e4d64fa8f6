"""The part of a rule that says how much: its limits, their algorithm and what belongs to that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from yaml.nodes import Node, ScalarNode

from headworks_limiter.domain import periods, rates
from headworks_limiter.domain.algorithms import Params
from headworks_limiter.domain.fixed_window import FixedWindow
from headworks_limiter.domain.gcra import MAX_UNITS, Gcra
from headworks_limiter.domain.leaky_bucket import LeakyBucket
from headworks_limiter.domain.periods import Period
from headworks_limiter.domain.rates import Rate
from headworks_limiter.domain.sliding_window_counter import SlidingWindowCounter
from headworks_limiter.domain.sliding_window_log import MAX_LIMIT as MAX_LOGGED
from headworks_limiter.domain.sliding_window_log import SlidingWindowLog
from headworks_limiter.domain.token_bucket import TokenBucket
from headworks_limiter.states_reader import COUNTS, STATES, TIMES, StatesReader, keys_of
from headworks_limiter.yaml_nodes import Entry, Nodes

MAX_LIMIT = 1_000_000_000_000
MAX_WINDOWS = 8
RATES = ("gcra", "token_bucket", "fixed_window", "sliding_window_counter", "sliding_window_log", "leaky_bucket")
ALGORITHMS = (*RATES, *STATES)
BURSTS = ("gcra", "token_bucket")
ALIGNMENTS = ("calendar", "first_hit")
UNLIMITED = "unlimited"
LIMITS = ("limit", "limits", "per", "burst", "queue", "failures")
"""Keys that say how much; an override has its own."""
KINDS = ("algorithm", "align", *TIMES, *COUNTS)
"""Keys that say how it is counted; an override has those of its rule."""

OWNERS = {"burst": BURSTS, "align": ("fixed_window",), "queue": ("leaky_bucket",)} | {
    key: tuple(algorithm for algorithm in STATES if key in keys_of(algorithm)) for key in (*TIMES, *COUNTS, "failures")
}
"""Keys that only some algorithms have."""

Fields = Mapping[str, Entry]


class Window(NamedTuple):
    """One limit of a rule: what is added to the rule's name where there are several, and the thresholds."""

    suffix: str
    params: Params


class LimitsReader:
    """Reads LIMITS and KINDS of a rule or of an override."""

    def __init__(self, nodes: Nodes) -> None:
        self._nodes = nodes
        self._states = StatesReader(nodes)

    def read(self, fields: Fields, owner: Node) -> list[Window] | None:
        """The limits, none for an unlimited one; None after a mistake. `owner` is where one is missing."""
        algorithm = self._choice(fields, "algorithm", ALGORITHMS)
        align = self._choice(fields, "align", ALIGNMENTS)
        if algorithm is None or align is None:
            return None
        for key, owners in OWNERS.items():
            if key in fields and algorithm not in owners:
                self._nodes.mistake(fields[key].key, f"{key}: only for algorithm {' and '.join(owners)}")
        if algorithm in STATES:
            return self._state(fields, owner, algorithm)
        if "limits" in fields:
            return self._several(fields, algorithm, align)
        if "limit" not in fields:
            self._nodes.mistake(owner, "'limit' is missing: a number with 'per', a rate like 5/hour, or 'limits'")
            return None
        return self._one(fields, algorithm, align)

    def _state(self, fields: Fields, owner: Node, algorithm: str) -> list[Window] | None:
        if "limits" in fields:
            self._nodes.mistake(fields["limits"].key, f"limits: not with algorithm {algorithm}, which is no rate")
            return None
        if _is_unlimited(fields):
            return [] if self._alone(fields, "limit", UNLIMITED) else None
        params = self._states.read(fields, owner, algorithm)
        return [Window("", params)] if params else None

    def _one(self, fields: Fields, algorithm: str, align: str) -> list[Window] | None:
        node = fields["limit"].value
        burst = self._nodes.integer(fields["burst"].value, "burst", 1, MAX_LIMIT) if "burst" in fields else None
        if _is_unlimited(fields):
            return [] if self._alone(fields, "limit", UNLIMITED) else None
        if "per" not in fields:
            rate = self._rate(node, "limit")
        elif isinstance(node, ScalarNode) and rates.parse(node.value) is not None:
            self._nodes.mistake(fields["per"].key, f"per: limit says {node.value!r} already")
            return None
        else:
            limit, period = self._nodes.integer(node, "limit", 1, MAX_LIMIT), self._period(fields["per"].value)
            rate = Rate(limit, period) if limit and period else None
        params = self._params(node, rate, algorithm, align, burst, fields) if rate else None
        return [Window("", params)] if params else None

    def _several(self, fields: Fields, algorithm: str, align: str) -> list[Window] | None:
        if not self._alone(fields, "limits", "limits"):
            return None
        items = self._nodes.sequence(fields["limits"].value, "limits")
        if not 1 <= len(items) <= MAX_WINDOWS:
            self._nodes.mistake(fields["limits"].value, f"limits: 1 to {MAX_WINDOWS} rates, not {len(items)}")
        windows: dict[str, Params] = {}
        for node in items[:MAX_WINDOWS]:
            rate = self._rate(node, "limits")
            params = self._params(node, rate, algorithm, align, None, fields) if rate else None
            if rate is None or params is None:
                continue
            suffix = f".{rates.short(rate.period)}"
            if suffix in windows:
                self._nodes.mistake(node, f"limits: the period of {rate.limit:,} is there twice")
            windows[suffix] = params
        return [Window(*window) for window in windows.items()]

    def _alone(self, fields: Fields, key: str, what: str) -> bool:
        """Whether no other key says how much."""
        others = [other for other in LIMITS if other != key and other in fields]
        for other in others:
            self._nodes.mistake(fields[other].key, f"{other}: not beside {what}")
        return not others

    def _rate(self, node: Node, what: str) -> Rate | None:
        text = self._nodes.text(node, what, rates.SYNTAX)
        rate = rates.parse(text) if text is not None else None
        if text is not None and rate is None:
            hint = "; a number alone needs 'per'" if text.replace("_", "").isdigit() else ""
            self._nodes.mistake(node, f"{what}: must be {rates.SYNTAX}, not {text!r}{hint}")
        if rate is not None and rate.limit > MAX_LIMIT:
            self._nodes.mistake(node, f"{what}: at most {MAX_LIMIT:,}, not {rate.limit:,}")
            return None
        return rate

    def _params(
        self, node: Node, rate: Rate, algorithm: str, align: str, burst: int | None, fields: Fields
    ) -> Params | None:
        limit, period = rate
        if algorithm == "fixed_window":
            return FixedWindow(limit, period, align == "first_hit")
        if period.months:
            message = "per: months and years have no fixed length; use days, or algorithm fixed_window"
            self._nodes.mistake(fields["per"].value if "per" in fields else node, message)
            return None
        if algorithm == "sliding_window_log":
            return self._log(node, limit, period)
        if algorithm == "sliding_window_counter":
            return SlidingWindowCounter(limit, period.us)
        if algorithm == "token_bucket":
            return self._token_bucket(fields, limit, period, burst)
        if algorithm == "leaky_bucket":
            return self._leaky_bucket(node, fields, limit, period)
        return self._gcra(node, limit, period, burst)

    def _log(self, node: Node, limit: int, period: Period) -> SlidingWindowLog | None:
        if limit > MAX_LOGGED:
            message = f"limit: at most {MAX_LOGGED:,} with algorithm sliding_window_log, which remembers every grant"
            self._nodes.mistake(node, message)
            return None
        return SlidingWindowLog(limit, period.us)

    def _token_bucket(self, fields: Fields, limit: int, period: Period, burst: int | None) -> TokenBucket | None:
        params = TokenBucket(limit, period.us, burst or limit)
        if params.exact:
            return params
        message = f"burst: {params.burst:,} would take longer than 71 years to come back at {limit:,} a period"
        self._nodes.mistake(fields["burst"].value, message)
        return None

    def _leaky_bucket(self, node: Node, fields: Fields, limit: int, period: Period) -> LeakyBucket | None:
        queue = self._nodes.integer(fields["queue"].value, "queue", 1, MAX_LIMIT) if "queue" in fields else limit
        params = LeakyBucket(limit, period.us, queue or 1)
        if params.exact:
            return params
        most = max(1, MAX_UNITS // params.permit_units)
        message = (
            f"limit: {limit:,} cannot be counted exactly over this period; use a rounder one, or a queue of {most:,}"
        )
        self._nodes.mistake(node, message)
        return None

    def _gcra(self, node: Node, limit: int, period: Period, burst: int | None) -> Gcra | None:
        params = Gcra(limit, period.us, burst or limit)
        if params.exact:
            return params
        most = max(1, MAX_UNITS // params.permit_units)
        message = (
            f"limit: {limit:,} with burst {params.burst:,} cannot be counted exactly over this period; "
            f"use a rounder limit (one that divides the period), or a burst of at most {most:,}"
        )
        self._nodes.mistake(node, message)
        return None

    def _choice(self, fields: Fields, key: str, allowed: Sequence[str]) -> str | None:
        """The word chosen, the first one where nothing is said, None after a mistake."""
        return self._nodes.choice(fields[key].value, key, allowed) if key in fields else allowed[0]

    def _period(self, node: Node) -> Period | None:
        text = self._nodes.text(node, "per", periods.SYNTAX)
        period = periods.parse(text) if text is not None else None
        if text is not None and period is None:
            self._nodes.mistake(node, f"per: must be {periods.SYNTAX}, not {text!r}")
        return period


def _is_unlimited(fields: Fields) -> bool:
    node = fields["limit"].value if "limit" in fields else None
    return isinstance(node, ScalarNode) and node.value == UNLIMITED
