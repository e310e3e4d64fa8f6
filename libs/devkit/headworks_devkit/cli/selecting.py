"""The options that choose among jobs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer
from headworks_client import FailureCategory, JobFilter, JobState

from headworks_devkit.cli.exits import misused

Queue = Annotated[str, typer.Option(help="The queue to look in.")]
Task = Annotated[str, typer.Option(help="Only jobs of this task.")]
Lane = Annotated[str | None, typer.Option(help="Only jobs of this lane; '' is the empty lane.")]
Category = Annotated[
    str, typer.Option(help="Only if the last failure was transient, permanent, timeout, poison or expired.")
]
ErrorClass = Annotated[
    str, typer.Option("--error", help="Only if the last failure was of this class, e.g. ValueError.")
]
STATES: Sequence[str] = [state.lower() for state in JobState if state is not JobState.UNKNOWN]
CATEGORIES: Sequence[str] = [each.lower() for each in FailureCategory if each is not FailureCategory.UNKNOWN]


def chosen(state: str, task: str, lane: str | None, category: str, error: str) -> JobFilter:
    """The filter that the options stand for; empty options do not count."""
    return JobFilter(
        state=JobState(_known("state", state, STATES)) if state else None,
        task=task,
        lane=lane,
        category=FailureCategory(_known("category", category, CATEGORIES)) if category else None,
        error_class=error,
    )


def _known(what: str, text: str, words: Sequence[str]) -> str:
    if text.lower() not in words:
        raise misused(f"{text!r} is no {what}; write {', '.join(words[:-1])} or {words[-1]}")
    return text.upper()
