"""What the commands that ask the scheduler have in common."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, NoReturn

import typer
from headworks_client import AdminClient, SchedulerClient

from headworks_devkit.cli import exits
from headworks_devkit.cli.targets import targets_of

Json = Annotated[bool, typer.Option("--json", help="One JSON object a line, for scripts.")]


def ask_scheduler(context: typer.Context, main: Callable[[SchedulerClient], Awaitable[int]]) -> NoReturn:
    """Run a command that needs a client of the scheduler, and end with its exit code."""
    targets = targets_of(context)

    async def run() -> int:
        async with SchedulerClient(targets.scheduler, tenant=targets.tenant) as client:
            return await main(client)

    exits.execute(run, asking=f"the scheduler at {targets.scheduler}")


def ask_admin(context: typer.Context, main: Callable[[AdminClient], Awaitable[int]]) -> NoReturn:
    """Run a command that needs the operators' client, and end with its exit code."""
    targets = targets_of(context)

    async def run() -> int:
        async with AdminClient(targets.scheduler, tenant=targets.tenant) as client:
            return await main(client)

    exits.execute(run, asking=f"the scheduler at {targets.scheduler}")
