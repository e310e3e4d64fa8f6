"""`headworks limits simulate`: traffic against rules, offline."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from headworks_limiter.domain import rates
from headworks_limiter.rules import RulesError, load
from rich.console import Console
from rich.table import Table

from headworks_devkit.cli import exits, parsing
from headworks_devkit.cli.output import print_json
from headworks_devkit.cli.targets import targets_of
from headworks_devkit.simulation.arrivals import MAX_ARRIVALS, SECOND_US, Arrival, TraceError, constant, trace
from headworks_devkit.simulation.pictures import bars, clock, columns, svg
from headworks_devkit.simulation.replay import Replay, Upstream, replay

DEFAULT_START = "2026-01-05T00:00:00"
EDGE = 24


def simulate(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="A rules file (YAML).")],
    namespace: Annotated[str, typer.Argument(help="The set of rules to apply.")],
    descriptors: Annotated[
        list[str] | None,
        typer.Argument(help="With --rate: what each request is, `key=value`.", metavar="[KEY=VALUE...]"),
    ] = None,
    rate: Annotated[str, typer.Option(help="Requests made evenly, e.g. 20/minute or 5 per 2s.")] = "",
    duration: Annotated[str, typer.Option("--for", help="With --rate: how long, e.g. 90s, 1h, 2d.")] = "1h",
    start: Annotated[str, typer.Option(help="With --rate: when it begins, ISO 8601 in UTC.")] = DEFAULT_START,
    seed: Annotated[int | None, typer.Option(help="With --rate: at random times instead, by this seed.")] = None,
    permits: Annotated[
        int | None, typer.Option(help="With --rate: permits of each request; without it the cost table says.", min=1)
    ] = None,
    trace_file: Annotated[
        Path | None, typer.Option("--trace", help="Requests from a file: JSON lines, or CSV with a header.")
    ] = None,
    max_wait: Annotated[
        str, typer.Option(help="How late a request may begin, e.g. 30s, where its rules can promise.")
    ] = "",
    hold: Annotated[
        str, typer.Option(help="How long each request is under way, e.g. 2s: then it is answered, and held no more.")
    ] = "",
    outage: Annotated[
        str, typer.Option(help="When answers are failures, from the first request on, e.g. 60s-120s.", metavar="A-B")
    ] = "",
    picture: Annotated[
        Path | None, typer.Option("--svg", help="Draw allowed and refused over time into this file.")
    ] = None,
    stretches: Annotated[int, typer.Option("--columns", help="Columns of the SVG.", min=1, max=1_000)] = 240,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line, for scripts.")] = False,
) -> None:
    """Replay traffic against rules, offline, and see what would be allowed; nothing is asked or changed.

    A trace has a `time` (seconds since the epoch, or ISO 8601) in each line; `permits`, `tenant` and `namespace` if
    need be; every other field is a descriptor.

    ```
    headworks limits simulate rules.yaml api user=alice --rate 20/minute --for 2h
    headworks limits simulate rules.yaml api user=alice --rate 10/s --for 60s --seed 1 --svg picture.svg
    headworks limits simulate rules.yaml api --trace yesterday.jsonl
    headworks limits simulate rules.yaml jobs user=alice --rate 5/s --for 5m --hold 3s
    ```

    What concurrency and adaptive rules hold is given back after `--hold`; without it, after the rule's `ttl`. Adaptive
    rules and breakers learn from answers: all are good, but for those within `--outage`.
    """
    if bool(rate) == (trace_file is not None):
        raise exits.misused("say either --rate or --trace")
    one = Arrival(_start_us(start), targets_of(context).tenant, namespace, parsing.pairs(descriptors or []), permits)
    arrivals = _traced(trace_file, one) if trace_file else _made(one, rate, parsing.duration_s(duration), seed)
    try:
        at_us, arrivals = _beginning(arrivals)
        found = replay(load(file), arrivals, max_wait_us=_us(max_wait), upstream=_upstream(hold, outage, at_us))
    except RulesError as error:
        raise typer.Exit(exits.fail(str(error))) from None
    if picture is not None:
        picture.write_text(svg(f"{file.name}: {namespace}", found.times, stretches, waited=_waited(found)))
    _show(found, as_json=as_json)


def _traced(path: Path, like: Arrival) -> Iterable[Arrival]:
    try:
        return trace(path, tenant=like.tenant, namespace=like.namespace)
    except (OSError, TraceError) as error:
        raise exits.misused(f"{path}: {error}") from None


def _start_us(text: str) -> int:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise exits.misused(f"{text!r} is no time; write e.g. {DEFAULT_START}") from None
    return round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * SECOND_US)


def _made(one: Arrival, rate: str, seconds: float, seed: int | None) -> Iterable[Arrival]:
    wanted = rates.parse(rate)
    if wanted is None or not wanted.period.us:
        raise exits.misused(f"{rate!r} is no rate; write {rates.SYNTAX}")
    every_us = wanted.period.us / wanted.limit
    if seconds * SECOND_US / every_us > MAX_ARRIVALS:
        raise exits.misused(f"more than {MAX_ARRIVALS:,} requests; take a shorter --for")
    return constant(one, every_us=every_us, until_us=one.at_us + round(seconds * SECOND_US), seed=seed)


def _us(text: str) -> int:
    return round(parsing.duration_s(text) * SECOND_US) if text else 0


def _beginning(arrivals: Iterable[Arrival]) -> tuple[int, Iterable[Arrival]]:
    """When the first one comes, and all of them."""
    every = iter(arrivals)
    first = next(every, None)
    return (first.at_us, itertools.chain([first], every)) if first else (0, [])


def _upstream(hold: str, outage: str, at_us: int) -> Upstream | None:
    if not (hold or outage):
        return None
    hold_us = _us(hold)
    if not outage:
        return Upstream(hold_us)
    begins, dash, ends = outage.partition("-")
    if not dash:
        raise exits.misused(f"{outage!r} is no stretch of time; write e.g. 60s-120s")
    return Upstream(hold_us, (at_us + _us(begins), at_us + _us(ends)))


def _waited(found: Replay) -> str:
    """How many begin later than they were made; empty: none."""
    return f"{found.waited:,} waited, {found.longest_wait_us / SECOND_US:,.1f} s at most" if found.waited else ""


def _show(found: Replay, *, as_json: bool) -> None:
    first = None if found.first_refusal_us is None else clock(found.first_refusal_us)
    if as_json:
        print_json(
            {
                "allowed": found.allowed,
                "refused": found.refused,
                "permits": found.permits,
                "waited": found.waited,
                "longest_wait_s": found.longest_wait_us / SECOND_US,
                "unlimited": found.unlimited,
                "let_through": found.let_through,
                "refused_by": dict(found.refused_by.most_common()),
                "errors": dict(found.errors.most_common()),
                "first_refusal": first,
                "buckets": found.buckets,
            }
        )
        return
    console = Console()
    asked = found.allowed + found.refused
    share = f" ({found.allowed / asked:.1%})" if asked else ""
    console.print(
        f"[bold green]{found.allowed:,} allowed[/bold green]{share}, [bold red]{found.refused:,} refused[/bold red]"
    )
    console.print(f"{found.permits:,} permits granted, {found.buckets:,} buckets, {found.unlimited:,} met no rule")
    if found.waited:
        console.print(f"{_waited(found)}; they are drawn when they begin")
    if found.let_through:
        console.print(f"{found.let_through:,} let through by a bypass", style="yellow")
    if first is not None:
        console.print(f"first refusal {first} UTC")
    _draw(console, found)
    if found.refused_by:
        table = Table("rule", "refused", box=None, pad_edge=False)
        for rule, count in found.refused_by.most_common():
            table.add_row(rule, f"{count:,}")
        console.print(table)
    for message, count in itertools.islice(found.errors.most_common(), 10):
        console.print(f"{count:,} not asked: {message}", style="yellow", markup=False)


def _draw(console: Console, found: Replay) -> None:
    drawn = columns(found.times, max(10, console.width - EDGE))
    if not drawn:
        return
    most = max(max(column) for column in drawn)
    console.print(f"{'allowed':>8} {bars([column.allowed for column in drawn], most)} {most:,} at most", style="green")
    console.print(f"{'refused':>8} {bars([column.refused for column in drawn], most)}", style="red")
    console.print(f"{'':>8} {clock(found.times[0][0])} to {clock(found.times[-1][0])} UTC", style="dim")
