"""What must hold of the events on Kafka."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from tests.chaos.history import Final, Heard, History
from tests.chaos.rules import Finding, finals

END_OF = {"SUCCEEDED": "succeeded", "DEAD": "dead", "CANCELLED": "cancelled"}


def first_deliveries(history: History) -> dict[str, list[Heard]]:
    """Each job's events as a subscriber has them that drops every sequence not above the last one."""
    found: dict[str, list[Heard]] = defaultdict(list)
    for event in history.heard:
        events = found[event.job]
        if not events or event.sequence > events[-1].sequence:
            events.append(event)
    return found


def events_are_complete(history: History) -> Iterator[Finding]:
    """After dropping duplicates: sequences without gaps, every retry, and one end, that of the job."""
    known, heard = finals(history), first_deliveries(history)
    names = {job.name for job in history.submitted}
    for job, events in heard.items():
        numbers = [event.sequence for event in events]
        if numbers != list(range(1, len(numbers) + 1)):
            yield Finding("events", job, f"sequences {numbers}")
        if job not in names:
            yield Finding("events", job, "events of a job that nobody submitted")
        elif job not in known:
            yield Finding("events", job, f"{events[-1].transition}, and there is no such job")
    for final in history.final:
        if final.ended:
            for wrong in _wrong_events(final, heard.get(final.name, [])):
                yield Finding("events", final.name, wrong)


def _wrong_events(final: Final, events: list[Heard]) -> Iterator[str]:
    ends = [event for event in events if event.transition != "retrying"]
    generations = [event.generation for event in ends]
    if len(generations) != len(set(generations)) or generations != list(range(1, final.generation + 1)):
        told = [f"{event.transition} (generation {event.generation})" for event in ends]
        yield f"{final.state} in generation {final.generation}, its ends: {told}"
    if events and ends and events[-1].transition != END_OF[final.state]:
        yield f"{final.state}, and its last event is {events[-1].transition}"
    if final.generation == 1:
        retries = len(events) - len(ends)
        by_failure = final.state == "DEAD" and final.category not in ("POISON", "EXPIRED")
        allowed = {final.failures - 1} if by_failure else {final.failures}
        if final.state == "CANCELLED":  # a failure may have been what ended it
            allowed = {final.failures, final.failures - 1}
        if retries not in allowed:
            yield f"{final.state} ({final.category}) after {final.failures} failures, with {retries} retries told"


def duplicates_are_equal(history: History) -> Iterator[Finding]:
    """A sequence of a job names one event, however often it is delivered."""
    ids: dict[tuple[str, int], str] = {}
    for event in history.heard:
        first = ids.setdefault((event.job, event.sequence), event.id)
        if first != event.id:
            yield Finding("events", event.job, f"sequence {event.sequence} is both {first} and {event.id}")
