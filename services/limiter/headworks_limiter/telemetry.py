"""The limiter's metrics: every name, unit and label in one place. They are explained in docs/metrics.md."""

from __future__ import annotations

from headworks_core.metrics import Metrics, one

from headworks_limiter.counters import DecisionCounters
from headworks_limiter.decider import Decider
from headworks_limiter.leases import Leases
from headworks_limiter.newcomers import Newcomers
from headworks_limiter.reservations import Reservations
from headworks_limiter.rules_in_use import RulesInUse
from headworks_limiter.store.breaker import Breaker, Breakers
from headworks_limiter.store.local import LocalBuckets
from headworks_limiter.store.size import StoreSize

PREFIX = "headworks.limiter"


def add_metrics(metrics: Metrics, decider: Decider, breaker: Breaker | Breakers, local: LocalBuckets) -> None:
    """Tell the numbers of these parts."""
    counters = decider.counters
    labels = ("namespace", "outcome")
    about = "Requests that the store has decided, looks included"
    metrics.counter(f"{PREFIX}.decisions", "{request}", about, labels, counters.decisions)
    about = "Times that a rule refused"
    metrics.counter(f"{PREFIX}.refusals", "{request}", about, ("namespace", "rule"), counters.refusals)
    about = "Requests refused by what the store has said shortly before"
    metrics.counter(f"{PREFIX}.denials.cached", "{request}", about, (), one(lambda: decider.denials.answered))
    about = "Times that a rule on trial would have refused"
    metrics.counter(f"{PREFIX}.shadow_refusals", "{request}", about, ("namespace", "rule"), counters.shadow_refusals)
    about = "Requests answered without the store, by what they were told"
    metrics.counter(f"{PREFIX}.degraded", "{request}", about, labels, counters.degraded.read)
    about = "Requests that no rule meets"
    metrics.counter(f"{PREFIX}.unlimited", "{request}", about, (), one(lambda: counters.unlimited))
    about = "Requests allowed because the limiter is switched off"
    metrics.counter(f"{PREFIX}.bypassed", "{request}", about, (), one(lambda: counters.bypassed))
    about = "Script calls that failed, or came too late"
    metrics.counter(f"{PREFIX}.store.failures", "{call}", about, (), one(lambda: counters.failures))
    metrics.histogram(f"{PREFIX}.batch.size", "{request}", "Requests a script call", (), lambda: [((), counters.sizes)])
    metrics.gauge(f"{PREFIX}.calls.open", "{call}", "Script calls under way", (), one(lambda: decider.flights))
    metrics.gauge(
        f"{PREFIX}.requests.waiting", "{request}", "Calls that wait for one", (), one(lambda: decider.waiting)
    )
    about = "Servers of the store that are asked only now and then, as they fail"
    metrics.gauge(f"{PREFIX}.store.held_back", "", about, (), one(lambda: breaker.open))
    metrics.gauge(f"{PREFIX}.local.buckets", "{bucket}", "Buckets kept in this process", (), one(lambda: len(local)))


def add_lease_metrics(metrics: Metrics, leases: Leases) -> None:
    """Tell what is on lease."""
    about = "Permits given on lease"
    metrics.counter(f"{PREFIX}.leases.permits", "{permit}", about, (), one(lambda: leases.granted))
    about = "Permits on lease that may still be spent"
    metrics.gauge(f"{PREFIX}.leases.outstanding", "{permit}", about, (), one(lambda: leases.outstanding))
    about = "Permits by which limits may be exceeded at most, for they are on lease and may be spent late"
    metrics.gauge(f"{PREFIX}.over_admission.bound", "{permit}", about, (), one(lambda: leases.bound))


def add_reservation_metrics(metrics: Metrics, reservations: Reservations) -> None:
    """Tell what is reserved of platform rules, and how it ended."""
    about = "Reservations of platform rules, by how they ended"
    metrics.counter(f"{PREFIX}.reservations", "{reservation}", about, ("outcome",), reservations.ended.read)
    about = "Permits of platform rules that came back because nobody had ended their reservation in time"
    expired = one(lambda: reservations.expired_permits)
    metrics.counter(f"{PREFIX}.reservations.expired.permits", "{permit}", about, (), expired)
    about = "Permits of platform rules that are reserved now, whoever has reserved them"
    standing = one(lambda: reservations.standing_permits)
    metrics.gauge(f"{PREFIX}.reservations.permits", "{permit}", about, (), standing)


def add_rule_metrics(
    metrics: Metrics, counters: DecisionCounters, rules: RulesInUse, newcomers: Newcomers, size: StoreSize
) -> None:
    """Tell what rules have said, and which they are."""
    metrics.refresh(size.look)
    about = "Requests that met a rule, by what it said"
    labels_of_rule = ("namespace", "rule", "outcome")
    metrics.counter(f"{PREFIX}.rule.decisions", "{request}", about, labels_of_rule, counters.rules.decisions)
    about = "Times that a rule allowed what left a fifth of its bucket or less"
    metrics.counter(f"{PREFIX}.near_limit", "{request}", about, ("namespace", "rule"), counters.near_limits)
    about = "Requests that a bypass let past the rules"
    labels_of_bypass = ("namespace", "bypass")
    metrics.counter(f"{PREFIX}.let_through", "{request}", about, labels_of_bypass, counters.let_through.read)
    about = "Keys in the store: buckets, records of grants, and what else lives there"
    metrics.gauge(f"{PREFIX}.store.keys", "{key}", about, (), one(lambda: size.keys))
    about = "Times that the rules file was read again"
    metrics.counter(f"{PREFIX}.rules.reloads", "{read}", about, ("outcome",), rules.book.reloads.read)
    about = "1 while the rules in use are those of the file and of the API"
    metrics.gauge(f"{PREFIX}.rules.current", "", about, (), one(lambda: rules.current))
    about = "The latest version of rules of the API that is known here"
    metrics.gauge(f"{PREFIX}.rules.version", "", about, (), one(lambda: rules.published.version))
    about = "Requests refused because their tenant had begun with too many buckets"
    metrics.counter(f"{PREFIX}.buckets.refused", "{request}", about, (), one(lambda: newcomers.refused))
