"""The work: count what is in one Python file, and merge many counts into few."""

from __future__ import annotations

import ast
import asyncio
import io
import random
import tokenize
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from headworks_worker import Context, Retry, task

# One thread: Python parses one file at a time anyway, and more would only keep the worker's event loop waiting.
PARSER = ThreadPoolExecutor(max_workers=1, thread_name_prefix="parser")


@dataclass(frozen=True)
class Row:
    """What was found in one area of the library."""

    area: str
    files: int
    lines: int
    functions: int
    classes: int
    imports: int
    nesting: int
    """The deepest indentation, in blocks."""


# A file that cannot be decoded or parsed will not get better: no second attempt, it becomes a dead letter at once.
@task(name="census.count", retry=Retry(max_attempts=3, non_retryable=("SyntaxError", "ValueError", "TokenError")))
async def count(ctx: Context, path: str, area: str) -> Row:
    """Count one file, once the limiter has granted the reading of it."""
    refusals = await permission(ctx)
    ctx.log.info("census.permitted", refusals=refusals)
    ctx.progress(0, 1, "reading")
    return await asyncio.get_running_loop().run_in_executor(PARSER, measure, Path(path), area)


@task(name="census.merge")
async def merge(rows: list[Row]) -> list[Row]:
    """Add up the rows of each area."""
    by_area: dict[str, list[Row]] = {}
    for row in rows:
        by_area.setdefault(row.area, []).append(row)
    return [total(area, of_area) for area, of_area in sorted(by_area.items())]


async def permission(ctx: Context) -> int:
    """Wait, in our slot, until a file may be read; returns how often the limiter refused."""
    refusals = 0
    while True:
        decision = await ctx.limiter.consume("census", {"action": "read-file"})
        if decision.allowed:
            return refusals
        refusals += 1
        # Everybody who was refused hears of the same moment; spread out, or all but one are refused again.
        await asyncio.sleep(decision.retry_after_s + random.uniform(0, 0.02 * 2 ** min(refusals, 5)))


def measure(path: Path, area: str) -> Row:
    """Read, tokenise and parse. Raises SyntaxError, ValueError (undecodable) or TokenError."""
    source = path.read_bytes()
    depth = deepest = lines = 0
    for token in tokenize.tokenize(io.BytesIO(source).readline):
        depth += (token.type == tokenize.INDENT) - (token.type == tokenize.DEDENT)
        deepest, lines = max(deepest, depth), token.end[0]
    kinds = Counter(map(type, ast.walk(ast.parse(source, filename=path.name))))
    return Row(
        area=area,
        files=1,
        lines=lines,
        functions=kinds[ast.FunctionDef] + kinds[ast.AsyncFunctionDef],
        classes=kinds[ast.ClassDef],
        imports=kinds[ast.Import] + kinds[ast.ImportFrom],
        nesting=deepest,
    )


def total(area: str, rows: Iterable[Row]) -> Row:
    """One row for many."""
    listed = list(rows)
    return Row(
        area=area,
        files=sum(row.files for row in listed),
        lines=sum(row.lines for row in listed),
        functions=sum(row.functions for row in listed),
        classes=sum(row.classes for row in listed),
        imports=sum(row.imports for row in listed),
        nesting=max((row.nesting for row in listed), default=0),
    )
