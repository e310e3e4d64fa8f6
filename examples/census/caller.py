"""The caller: one job a file, and jobs that merge what they found."""

from __future__ import annotations

import asyncio
import sysconfig
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from headworks_client import JobSnapshot, JobState
from opentelemetry import trace

from examples.census.tasks import Row, count, merge

BROKEN = Path(__file__).parent / "broken"
ROWS_PER_MERGE = 400
TRACED_EVERY = 50  # spans cost time: one file in so many is followed from here to the subscriber


def library_files() -> list[Path]:
    """Every Python file of the standard library that runs us, and three broken ones of our own."""
    library = Path(sysconfig.get_path("stdlib"))
    found = sorted(path for path in library.rglob("*.py") if "site-packages" not in path.parts)
    return [*found, *sorted(BROKEN.glob("*.py"))]


def area_of(path: Path) -> str:
    """The package that a file belongs to."""
    library = Path(sysconfig.get_path("stdlib"))
    if not path.is_relative_to(library):
        return "(broken)"
    top = path.relative_to(library).parts[0]
    return "(modules)" if top.endswith(".py") else top


class Census:
    """Hands the files out, at most `window` at a time, and tells `on_end` how each file's job ended."""

    def __init__(self, *, window: int, on_end: Callable[[JobSnapshot], None] = lambda _: None) -> None:
        self._gate = asyncio.Semaphore(window)
        self._on_end = on_end
        self.jobs: list[str] = []
        """The names of all jobs submitted so far."""

    async def take(self, files: Sequence[Path]) -> list[Row]:
        """The rows of all areas; files that could not be read are missing."""
        rows = await asyncio.gather(*(self._count(number, path) for number, path in enumerate(files)))
        found = [row for row in rows if row is not None]
        parts = await asyncio.gather(*(self._merge(part) for part in chunks(found)))
        return await self._merge([row for part in parts for row in part])

    async def _count(self, number: int, path: Path) -> Row | None:
        async with self._gate:
            with traced(number):
                job = await count.submit(path=str(path), area=area_of(path))
                self.jobs.append(job.name)
                ended = await job.ended()
        self._on_end(ended)
        if ended.state is not JobState.SUCCEEDED or ended.result is None:
            return None  # a dead letter: it is in the report, not in the census
        return Row(**ended.result.decode())

    async def _merge(self, rows: list[Row]) -> list[Row]:
        job = await merge.submit(rows=rows)
        self.jobs.append(job.name)
        return [Row(**row) for row in await job.result()]


def chunks(rows: list[Row]) -> Iterable[list[Row]]:
    """Parts that fit into a job's payload."""
    return (rows[at : at + ROWS_PER_MERGE] for at in range(0, len(rows), ROWS_PER_MERGE))


def traced(number: int) -> AbstractContextManager[object]:
    """A span around every so many files; all that happens to their jobs becomes part of its trace."""
    if number % TRACED_EVERY:
        return nullcontext()
    return trace.get_tracer("census").start_as_current_span("census of one file")
