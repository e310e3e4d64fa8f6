"""What commands print: one JSON object a line for scripts, tables for people."""

from __future__ import annotations

import base64
import dataclasses
import datetime
import json
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from headworks_client import Decision, JobSnapshot, JobState, RuleExplanation
from headworks_client.payloads import JSON, Content
from rich.table import Table
from rich.text import Text

STATE_STYLES = {
    JobState.SUCCEEDED: "green",
    JobState.DEAD: "bold red",
    JobState.CANCELLED: "yellow",
    JobState.LEASED: "cyan",
}


def print_json(value: object) -> None:
    """One line of JSON on standard output, written at once."""
    print(json.dumps(value, ensure_ascii=False, default=_plain), flush=True)  # noqa: T201 - this is the output


def _plain(value: object) -> object:
    if isinstance(value, datetime.datetime):
        return value.isoformat()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    raise TypeError(f"{type(value).__name__} has no form in JSON")


def job_record(job: JobSnapshot) -> dict[str, Any]:
    """A job for scripts. Fields are added, never renamed."""
    sent = job.submission
    return {
        "name": job.name,
        "state": job.state,
        "task": sent.task,
        "payload": content_record(Content(sent.payload, sent.content_type)),
        "level": sent.level,
        "lane": sent.lane,
        "attempts": job.attempts,
        "failures": job.failures,
        "lost_leases": job.lost_leases,
        "undelivered": job.undelivered,
        "generation": job.generation,
        "result": content_record(job.result),
        "failure": job.failure,
        "progress": job.progress,
        "create_time": job.create_time,
        "schedule_time": job.schedule_time,
        "start_time": job.start_time,
        "finish_time": job.finish_time,
        "cancel_requested": job.cancel_requested,
        "worker": job.worker,
        "lease_id": job.lease_id,
    }


def content_record(content: Content | None) -> Any:
    """The JSON value itself; other types as {content_type, base64}."""
    if content is None:
        return None
    if content.content_type in ("", JSON):
        with suppress(ValueError):  # whatever it says, it is not
            return content.decode()
    return {"content_type": content.content_type, "base64": base64.b64encode(content.data).decode()}


def job_text(job: JobSnapshot) -> Text:
    """One job for people: only what there is to say, a fact a line, never wrapped so that names can be copied."""
    state = Text.assemble((str(job.state), STATE_STYLES.get(job.state, "bold")))
    if job.cancel_requested:
        state.append(" (cancel requested)")
    facts = [("job", Text(job.name)), ("state", state)]
    facts += [(label, Text(str(value))) for label, value in _facts(job) if value]
    return facts_text(facts)


def facts_text(facts: Sequence[tuple[str, Text]]) -> Text:
    """Labels and values in two columns."""
    width = max(len(label) for label, _ in facts) + 2
    return Text("\n").join(Text.assemble((f"{label:<{width}}", "dim"), value) for label, value in facts)


def _facts(job: JobSnapshot) -> list[tuple[str, object]]:
    sent, failure = job.submission, job.failure
    result = content_record(job.result)
    return [
        ("task", sent.task),
        ("payload", _short(content_record(Content(sent.payload, sent.content_type)))),
        ("lane", sent.lane),
        ("attempts", job.attempts),
        ("lost leases", job.lost_leases),
        ("progress", progress_text(job)),
        ("result", "" if job.result is None else _short(result)),
        ("failure", failure and f"{failure.category}: {failure.error_class}: {failure.message}"),
        ("worker", job.worker),
        ("submitted", _time(job.create_time)),
        ("due", _time(job.schedule_time)),
        ("started", _time(job.start_time)),
        ("finished", _time(job.finish_time)),
    ]


def progress_text(job: JobSnapshot) -> str:
    """How far it is, e.g. "3/10 reading"."""
    if job.progress is None:
        return ""
    total = f"/{job.progress.total}" if job.progress.total else ""
    return f"{job.progress.done}{total} {job.progress.message}".rstrip()


def _short(value: object, most: int = 2_000) -> str:
    text = "" if value is None else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= most else f"{text[:most]}... ({len(text):,} characters)"


def span_text(seconds: float | None) -> str:
    """A duration for people, e.g. "0.41 s", "3 min 20 s", "2 d 4 h"; empty for none."""
    if seconds is None:
        return ""
    if seconds < 60:
        return f"{seconds:.3g} s"
    whole = round(seconds)
    for unit, size, below, part in (("d", 86400, "h", 3600), ("h", 3600, "min", 60), ("min", 60, "s", 1)):
        if whole >= size:
            rest = whole % size // part
            return f"{whole // size} {unit}" + (f" {rest} {below}" if rest else "")
    raise AssertionError


def _time(time: datetime.datetime | None) -> str:
    return "" if time is None else time.astimezone().isoformat(sep=" ", timespec="milliseconds")


def decision_record(decision: Decision) -> dict[str, Any]:
    """A decision for scripts."""
    return dataclasses.asdict(decision)


def decision_table(decision: Decision) -> Table:
    """The rules of a decision for people."""
    table = Table(box=None, pad_edge=False)
    for column in ("rule", "allowed", "remaining", "limit", "full again in", "retry after"):
        table.add_column(column)
    for rule in decision.rules:
        allowed = "[green]yes[/green]" if rule.allowed else "[red]no[/red]"
        allowed += " (on trial)" if rule.shadow else ""
        retry = f"{rule.retry_after_s:.3f} s" if rule.retry_after_s else ""
        reset = f"{rule.reset_after_s:.3f} s"
        table.add_row(rule.rule, allowed, f"{rule.remaining:,}", f"{rule.limit:,}", reset, retry)
    return table


def explanation_record(rule: RuleExplanation) -> dict[str, Any]:
    """What a rule makes of a request, for scripts."""
    return dataclasses.asdict(rule)


def explanation_table(rules: Sequence[RuleExplanation]) -> Table:
    """What rules make of a request, for people."""
    table = Table("rule", "meets", "remaining", "limit", "full again in", box=None, pad_edge=False)
    for rule in rules:
        if rule.status is None:
            table.add_row(rule.rule, f"[dim]no: {rule.why_not}[/dim]", "", "", "")
            continue
        notes = [*(["override"] if rule.overridden else []), *(["on trial"] if rule.status.shadow else [])]
        meets = "[green]yes[/green]" + (f" ({', '.join(notes)})" if notes else "")
        numbers = (f"{rule.status.remaining:,}", f"{rule.status.limit:,}", f"{rule.status.reset_after_s:.3f} s")
        table.add_row(rule.rule, meets, *numbers)
    return table
