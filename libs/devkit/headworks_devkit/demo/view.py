"""The demo's progress while it runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from headworks_client import JobSnapshot, JobState
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from headworks_devkit.demo.permits import PermitCount


class ProgressView:
    """A bar that moves as jobs end, with what became of them beside it."""

    def __init__(self, bar: Progress, permits: PermitCount, files: int) -> None:
        self._bar = bar
        self._permits = permits
        self._task = bar.add_task("census", total=files, said="")
        self._dead = 0

    def on_end(self, job: JobSnapshot) -> None:
        """A job has ended."""
        self._dead += job.state is JobState.DEAD
        permits = self._permits.total()
        said = f"{self._dead} dead, permits {permits.allowed:,} allowed {permits.denied:,} denied"
        self._bar.update(self._task, advance=1, said=said)


@contextmanager
def progress_view(console: Console, permits: PermitCount, files: int) -> Iterator[ProgressView]:
    """Show the bar while the block runs."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, TextColumn("{task.fields[said]}", style="dim"), console=console) as bar:
        yield ProgressView(bar, permits, files)
