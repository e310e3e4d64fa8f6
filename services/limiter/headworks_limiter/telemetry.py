"""The limiter's metrics: every name, unit and label in one place. They are explained in docs/metrics.md."""

from __future__ import annotations

from headworks_core.metrics import Metrics, one

from headworks_limiter.decider import Decider
from headworks_limiter.rulebook import RuleBook
from headworks_limiter.store.breaker import Breaker, Breakers
from headworks_limiter.store.local import LocalBuckets

PREFIX = "headworks.limiter"


def add_metrics(
    metrics: Metrics, decider: Decider, breaker: Breaker | Breakers, local: LocalBuckets, book: RuleBook
) -> None:
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
    about = "Times that the rules file was read again"
    metrics.counter(f"{PREFIX}.rules.reloads", "{read}", about, ("outcome",), book.reloads.read)
    about = "1 while the rules in use are those of the file"
    metrics.gauge(f"{PREFIX}.rules.current", "", about, (), one(lambda: book.current))
