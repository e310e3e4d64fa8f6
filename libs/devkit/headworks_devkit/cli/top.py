"""`headworks limits top`: the rules that are busiest now."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Sequence
from contextlib import AsyncExitStack
from enum import StrEnum
from typing import Annotated

import typer
from headworks_client import LimiterAdminClient
from headworks_client.rules import ReplicaCounts
from headworks_core.errors import ServiceError, Unavailable
from rich.console import Console
from rich.live import Live
from rich.table import Table

from headworks_devkit.cli import exits, parsing
from headworks_devkit.cli.calling import Json
from headworks_devkit.cli.output import print_json
from headworks_devkit.cli.targets import targets_of
from headworks_devkit.hot_rules import RuleRate, rates

PLAIN = re.compile(r"(?!unix:)(.+):(\d+)")


class By(StrEnum):
    """What the order goes by."""

    REQUESTS = "requests"
    REFUSED = "refused"
    NEAR = "near"


ORDER = {
    By.REQUESTS: lambda rate: rate.requests_per_s,
    By.REFUSED: lambda rate: rate.refused_per_s + rate.shadow_refused_per_s,
    By.NEAR: lambda rate: rate.near_limit_per_s,
}


def top(
    context: typer.Context,
    by: Annotated[By, typer.Option(help="What comes first.")] = By.REQUESTS,
    limit: Annotated[int, typer.Option(help="At most this many rules.", min=1, max=1_000)] = 20,
    interval: Annotated[str, typer.Option(help="How long to count before each picture.")] = "2s",
    replica: Annotated[
        list[str] | None, typer.Option(help="A limiter to ask, HOST:PORT; several may be named.", metavar="HOST:PORT")
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="One picture, then end.")] = False,
    as_json: Json = False,
) -> None:
    """Show which rules decide most a second, refuse, or leave little: over all limiters behind the address.

    Names of rules only: no descriptor, no tenant.

    ```
    headworks limits top
    headworks limits top --by refused --once
    headworks limits top --once --json | jq .rule
    ```
    """
    targets, seconds = targets_of(context), parsing.duration_s(interval)

    async def main() -> int:
        addresses = replica or await _addresses(targets.limiter)
        async with AsyncExitStack() as stack:
            clients = [
                await stack.enter_async_context(LimiterAdminClient(address, tenant=targets.tenant))
                for address in addresses
            ]
            console = Console()
            live = not (once or as_json)
            screen = stack.enter_context(Live(console=console, auto_refresh=False)) if live else None
            before = await _counts(clients)
            while True:
                await asyncio.sleep(seconds)
                after = await _counts(clients)
                busiest = sorted(rates(before, after), key=ORDER[by], reverse=True)[:limit]
                before = after
                if as_json:
                    for rate in busiest:
                        print_json(rate)
                elif screen is not None:
                    screen.update(_table(busiest, len(after)), refresh=True)
                else:
                    console.print(_table(busiest, len(after)))
                if once:
                    return exits.OK

    exits.execute(main, asking=f"the limiter at {targets.limiter}")


async def _addresses(target: str) -> list[str]:
    """Every address behind a name, for each is a replica; what is no `host:port` stays as it is."""
    plain = PLAIN.fullmatch(target)
    if plain is None:
        return [target]
    host, port = plain[1].strip("[]"), int(plain[2])
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise Unavailable(f"{host} has no address: {error}") from error
    hosts = sorted({str(info[4][0]) for info in found})
    return [f"[{each}]:{port}" if ":" in each else f"{each}:{port}" for each in hosts]


async def _counts(clients: Sequence[LimiterAdminClient]) -> list[ReplicaCounts]:
    """Of those that answer. Raises Unavailable when none does."""
    answers = await asyncio.gather(*(client.count_decisions() for client in clients), return_exceptions=True)
    unexpected = [each for each in answers if isinstance(each, BaseException) and not isinstance(each, ServiceError)]
    if unexpected:
        raise unexpected[0]
    found = {each.replica: each for each in answers if isinstance(each, ReplicaCounts)}  # localhost has two addresses
    if not found:
        raise next(each for each in answers if isinstance(each, ServiceError))
    return list(found.values())


def _table(busiest: Sequence[RuleRate], replicas: int) -> Table:
    title = f"{replicas} limiter{'s' if replicas > 1 else ''}"
    table = Table(title=title, title_justify="left", title_style="dim", box=None, pad_edge=False)
    for column in ("namespace", "rule"):
        table.add_column(column)
    for column in ("requests/s", "refused/s", "near limit/s", "on trial/s"):
        table.add_column(column, justify="right")
    for rate in busiest:
        refused = f"[red]{rate.refused_per_s:,.1f}[/red]" if rate.refused_per_s else "0"
        near = f"[yellow]{rate.near_limit_per_s:,.1f}[/yellow]" if rate.near_limit_per_s else "0"
        trial = f"{rate.shadow_refused_per_s:,.1f}" if rate.shadow_refused_per_s else ""
        table.add_row(rate.namespace, rate.rule, f"{rate.requests_per_s:,.1f}", refused, near, trial)
    return table
