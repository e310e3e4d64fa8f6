"""The tree of a trace, and when it counts as complete."""

from __future__ import annotations

from dataclasses import replace

import pytest
from headworks_devkit.traces import KIND, Span, Traces, grow, missing, render
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from rich.console import Console


def span(number: int, parent: int, service: str, kind: int, name: str = "span", **attributes: str) -> Span:
    """A span whose ids are numbers, begun at millisecond `number`, one millisecond long."""
    parent_id = f"{parent:x}" if parent else ""
    begin = number * 1_000_000
    dotted = {key.replace("_", "."): value for key, value in attributes.items()}
    return Span("t", f"{number:x}", parent_id, name, kind, service, begin, begin + 1_000_000, dotted)


WHOLE = (
    span(1, 0, "census", KIND.SPAN_KIND_INTERNAL, "census"),
    span(2, 1, "headworks-scheduler", KIND.SPAN_KIND_SERVER, "SubmitJob"),
    span(3, 2, "headworks-scheduler", KIND.SPAN_KIND_CLIENT, "EVALSHA submit", db_system_name="redis"),
    span(4, 2, "headworks-worker", KIND.SPAN_KIND_CONSUMER, "process count"),
    span(5, 4, "headworks-limiter", KIND.SPAN_KIND_SERVER, "headworks.limiter.v1.LimiterService/Consume"),
    span(6, 4, "headworks-scheduler", KIND.SPAN_KIND_PRODUCER, "send", messaging_system="kafka"),
    span(7, 6, "census", KIND.SPAN_KIND_CONSUMER, "process", messaging_system="kafka"),
)


def test_a_trace_from_caller_to_subscriber_is_complete() -> None:
    assert missing(WHOLE) == []


@pytest.mark.parametrize(
    ("number", "hop"), [(3, "redis"), (5, "limiter"), (7, "subscriber")], ids=["redis", "limiter", "subscriber"]
)
def test_a_trace_without_a_hop_names_it(number: int, hop: str) -> None:
    assert missing([each for each in WHOLE if each.span_id != f"{number:x}"]) == [hop]


def test_a_hole_in_the_middle_makes_two_trees() -> None:
    holed = [each for each in WHOLE if each.span_id != "4"]
    assert missing(holed) == ["worker", "one tree (there are 3)"]


def test_a_trace_that_a_service_began_has_no_caller() -> None:
    assert missing([replace(WHOLE[0], service="headworks-worker"), *WHOLE[1:]]) == ["caller"]


def test_the_tree_puts_each_span_under_its_parent_by_its_start() -> None:
    (root,) = grow(reversed(WHOLE))
    assert [child.span.name for child in root.children] == ["SubmitJob"]
    assert [child.span.name for child in root.children[0].children] == ["EVALSHA submit", "process count"]


def test_the_printed_tree_shows_service_name_and_times() -> None:
    console = Console(width=120)
    with console.capture() as captured:
        console.print(render(grow(WHOLE)))
    assert "limiter LimiterService/Consume  +4.0 ms, 1.0 ms" in captured.get()


def export(trace: int, spans: int) -> ExportTraceServiceRequest:
    """One export of `spans` spans of the trace."""
    request = ExportTraceServiceRequest()
    scope = request.resource_spans.add().scope_spans.add()
    for number in range(spans):
        scope.spans.add(trace_id=trace.to_bytes(16, "big"), span_id=(number + 1).to_bytes(8, "big"), name="s")
    return request


def test_a_trace_of_which_only_a_part_came_was_not_begun_here() -> None:
    traces = Traces()
    part = export(1, 1)
    part.resource_spans[0].scope_spans[0].spans[0].parent_span_id = b"\1" * 8
    traces.add(part)
    traces.add(export(2, 1))
    assert [trace_id[-1] for trace_id in traces.begun()] == ["2"]


def test_the_oldest_trace_goes_when_there_are_too_many() -> None:
    traces = Traces(max_traces=2, max_spans=10)
    for trace in (1, 2, 3):
        traces.add(export(trace, 4))
    assert [trace_id[-1] for trace_id in traces.ids()] == ["2", "3"]
    assert traces.dropped == 4


def test_a_trace_holds_no_more_than_its_share() -> None:
    traces = Traces(max_traces=2, max_spans=10)
    traces.add(export(1, 15))
    assert len(traces.spans(traces.ids()[0])) == 10
    assert traces.dropped == 5
