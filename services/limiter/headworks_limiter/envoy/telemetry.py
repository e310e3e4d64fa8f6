"""Metrics of Envoy's service: every name, unit and label in one place. They are explained in docs/metrics.md."""

from __future__ import annotations

from headworks_core.metrics import Metrics, one

from headworks_limiter.envoy.counting import Counting
from headworks_limiter.envoy.rulebook import EnvoyRuleBook
from headworks_limiter.envoy.servicer import Tallies

PREFIX = "headworks.limiter.envoy"


def add_metrics(metrics: Metrics, tallies: Tallies, counting: Counting, book: EnvoyRuleBook) -> None:
    """Tell the numbers of these parts."""
    about = "Requests of Envoy that were answered"
    metrics.counter(f"{PREFIX}.requests", "{request}", about, ("domain", "outcome"), tallies.requests.read)
    about = "Descriptors whose limit was exceeded"
    labels = ("domain", "rule", "mode")
    metrics.counter(f"{PREFIX}.exceeded", "{descriptor}", about, labels, tallies.exceeded.read)
    about = "Descriptors a script call"
    metrics.histogram(f"{PREFIX}.batch.size", "{descriptor}", about, (), lambda: [((), counting.sizes)])
    about = "Script calls that failed, or came too late"
    metrics.counter(f"{PREFIX}.store.failures", "{call}", about, (), one(lambda: counting.failures))
    about = "Times that Envoy's rules were read again"
    metrics.counter(f"{PREFIX}.rules.reloads", "{read}", about, ("outcome",), book.reloads.read)
    about = "1 while Envoy's rules in use are those of the files"
    metrics.gauge(f"{PREFIX}.rules.current", "", about, (), one(lambda: book.current))
