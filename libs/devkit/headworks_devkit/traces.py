"""Spans kept in memory, the tree of one trace, and whether it spans the whole line from caller to subscriber."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1 import trace_pb2
from rich.text import Text
from rich.tree import Tree

KIND = trace_pb2.Span.SpanKind
MAX_TRACES = 1_000
MAX_SPANS_PER_TRACE = 500

Value = str | int | float | bool


@dataclass(frozen=True, slots=True)
class Span:
    """One finished span."""

    trace_id: str
    span_id: str
    parent_id: str
    """Empty for the first span of its trace."""
    name: str
    kind: int
    service: str
    start_ns: int
    end_ns: int
    attributes: Mapping[str, Value] = field(default_factory=dict)
    failed: bool = False


@dataclass(frozen=True, slots=True)
class Node:
    """A span and the spans begun under it, by their start."""

    span: Span
    children: tuple[Node, ...]


HOPS: Mapping[str, Callable[[Span], bool]] = {
    "limiter": lambda s: s.service == "headworks-limiter" and s.kind == KIND.SPAN_KIND_SERVER,
    "scheduler": lambda s: s.service == "headworks-scheduler" and s.kind == KIND.SPAN_KIND_SERVER,
    "redis": lambda s: s.attributes.get("db.system.name") == "redis",
    "worker": lambda s: s.service == "headworks-worker" and s.kind == KIND.SPAN_KIND_CONSUMER,
    "kafka": lambda s: s.attributes.get("messaging.system") == "kafka" and s.kind == KIND.SPAN_KIND_PRODUCER,
    "subscriber": lambda s: s.attributes.get("messaging.system") == "kafka" and s.kind == KIND.SPAN_KIND_CONSUMER,
}
"""What a trace must pass through, the caller's first span aside."""


class Traces:
    """The latest traces, at most `max_traces`; the one begun first goes first."""

    def __init__(self, *, max_traces: int = MAX_TRACES, max_spans: int = MAX_SPANS_PER_TRACE) -> None:
        self._max_traces = max_traces
        self._max_spans = max_spans
        self._traces: OrderedDict[str, dict[str, Span]] = OrderedDict()
        self.dropped = 0
        """Spans that came when their trace was full, or were in a trace that had to go."""

    def add(self, request: ExportTraceServiceRequest) -> None:
        """Keep the spans of one export."""
        for resource_spans in request.resource_spans:
            service = str(_attributes(resource_spans.resource.attributes).get("service.name", ""))
            for scope_spans in resource_spans.scope_spans:
                for span in scope_spans.spans:
                    self._keep(_span(span, service))

    def _keep(self, span: Span) -> None:
        spans = self._traces.setdefault(span.trace_id, {})
        if len(spans) < self._max_spans:
            spans[span.span_id] = span
        else:
            self.dropped += 1
        while len(self._traces) > self._max_traces:
            self.dropped += len(self._traces.popitem(last=False)[1])

    def ids(self) -> list[str]:
        """The kept traces, in the order of their first spans' arrival."""
        return list(self._traces)

    def spans(self, trace_id: str) -> Sequence[Span]:
        """The spans of one trace, by their start."""
        return sorted(self._traces.get(trace_id, {}).values(), key=lambda span: span.start_ns)

    def tree(self, trace_id: str) -> tuple[Node, ...]:
        """The trace as trees; more than one when spans are missing that others begin under."""
        return grow(self.spans(trace_id))

    def missing(self, trace_id: str) -> list[str]:
        """What keeps the trace from being complete; empty when it is."""
        return missing(self.spans(trace_id))

    def begun(self) -> list[str]:
        """The traces whose first span is here; of others only a part came, e.g. of an earlier run."""
        return [trace_id for trace_id, spans in self._traces.items() if any(not s.parent_id for s in spans.values())]

    def complete(self) -> list[str]:
        """The traces that span the whole line."""
        return [trace_id for trace_id in self._traces if not self.missing(trace_id)]


def grow(spans: Iterable[Span]) -> tuple[Node, ...]:
    """The trees that the spans form."""
    by_parent: dict[str, list[Span]] = {}
    every = sorted(spans, key=lambda span: span.start_ns)
    known = {span.span_id for span in every}
    for span in every:
        by_parent.setdefault(span.parent_id if span.parent_id in known else "", []).append(span)

    def node(span: Span) -> Node:
        return Node(span, tuple(node(child) for child in by_parent.get(span.span_id, ())))

    return tuple(node(span) for span in by_parent.get("", ()))


def missing(spans: Sequence[Span]) -> list[str]:
    """The hops that no span shows, and whether the spans are one tree that starts at the caller."""
    absent = [hop for hop, shows in HOPS.items() if not any(map(shows, spans))]
    roots = grow(spans)
    if len(roots) != 1 or roots[0].span.parent_id:
        absent.append(f"one tree (there are {len(roots)})")
    elif roots[0].span.service.startswith("headworks-"):
        absent.append("caller")
    return absent


def render(roots: Sequence[Node]) -> Tree:
    """The trees for people: service, span, when it began after the first one, how long it took."""
    first_ns = min((root.span.start_ns for root in roots), default=0)
    shown = Tree("trace " + (roots[0].span.trace_id if roots else "(empty)"), guide_style="dim")

    def add(branch: Tree, node: Node) -> None:
        span = node.span
        service, style = span.service.removeprefix("headworks-"), "bold red" if span.failed else "bold"
        begun_ms, took_ms = (span.start_ns - first_ns) / 1e6, (span.end_ns - span.start_ns) / 1e6
        times = f"  +{begun_ms:.1f} ms, {took_ms:.1f} ms"
        label = Text.assemble((f"{service} ", "cyan"), (short_name(span), style), (times, "dim"))
        grown = branch.add(label)
        for child in node.children:
            add(grown, child)

    for root in roots:
        add(shown, root)
    return shown


def short_name(span: Span) -> str:
    """Its name; of a call the service and the method without the package."""
    package, slash, method = span.name.partition("/")
    return f"{package.rpartition('.')[2]}/{method}" if slash else span.name


def _span(span: trace_pb2.Span, service: str) -> Span:
    return Span(
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex(),
        name=span.name,
        kind=span.kind,
        service=service,
        start_ns=span.start_time_unix_nano,
        end_ns=span.end_time_unix_nano,
        attributes=_attributes(span.attributes),
        failed=span.status.code == trace_pb2.Status.STATUS_CODE_ERROR,
    )


def _attributes(pairs: Iterable[KeyValue]) -> dict[str, Value]:
    return {pair.key: _value(pair.value) for pair in pairs}


def _value(value: AnyValue) -> Value:
    kind = value.WhichOneof("value")
    plain = getattr(value, kind) if kind else ""
    return plain if isinstance(plain, str | int | float | bool) else str(plain)
