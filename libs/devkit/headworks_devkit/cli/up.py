"""`headworks up`: the suite on this machine, until Ctrl-C."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.panel import Panel
from rich.text import Text

from headworks_devkit import interrupts
from headworks_devkit.cli import exits
from headworks_devkit.cli.output import facts_text
from headworks_devkit.logview import LogView
from headworks_devkit.processes import ChildFailed
from headworks_devkit.suite import (
    Addresses,
    Listener,
    Plan,
    PortTaken,
    Suite,
    free_addresses,
    running_suite,
    usual_addresses,
)

SAMPLE_TASKS = "headworks_devkit.sample"


def up(
    tasks: Annotated[str, typer.Option(help="Modules with tasks for the workers, comma-separated.")] = SAMPLE_TASKS,
    rules: Annotated[Path | None, typer.Option(help="The limiter's rules (YAML).")] = None,
    queues: Annotated[Path | None, typer.Option(help="The scheduler's queues (YAML).")] = None,
    workers: Annotated[int, typer.Option(help="Worker processes.", min=0, max=64)] = 2,
    slots: Annotated[int, typer.Option(help="Jobs that a worker runs at a time.", min=1, max=10_000)] = 100,
    any_ports: Annotated[bool, typer.Option("--any-ports", help="Take free ports, not 50051 to 50053.")] = False,
) -> None:
    """Start Redis, Kafka, a limiter, a scheduler and workers, and stay until Ctrl-C.

    HEADWORKS_REDIS_URL and HEADWORKS_KAFKA_BOOTSTRAP point it at real servers; otherwise both are embedded, and all
    they hold is gone in the end. What dies is started again; what dies five times within a minute ends everything.

    ```
    headworks up
    headworks up --tasks shop.tasks --rules rules.yaml --workers 4
    ```
    """
    chosen = resources.files("headworks_devkit") / "sample_rules.yaml" if rules is None else rules
    plan = Plan(Path(str(chosen)), tasks, queues, workers, slots, import_from=[Path.cwd()])
    exits.execute(lambda: _up(plan, any_ports=any_ports))


async def _up(plan: Plan, *, any_ports: bool) -> int:
    console = Console(highlight=False)
    try:
        addresses = free_addresses() if any_ports else usual_addresses()
    except PortTaken as error:
        return exits.fail(str(error), exits.UNAVAILABLE)
    async with running_suite(plan, addresses, _listener(console)) as suite:
        banner = _banner(suite, addresses, usual=not any_ports, sample=plan.tasks == SAMPLE_TASKS)
        console.print(banner, soft_wrap=True)
        await interrupts.until_interrupted(suite.lost)
    console.print("everything has stopped", style="dim")
    return exits.OK


def _listener(console: Console) -> Listener:
    view = LogView(console)

    def on_death(died: ChildFailed, again_in_s: float) -> None:
        why = f"{died.brief}; the rest goes on, and it starts again in {again_in_s:g} s"
        console.print(Panel(Text(why, style="bold red"), border_style="red"))

    return Listener(view.write, lambda step: console.print(f"... {step}", style="dim"), on_death)


def _banner(suite: Suite, addresses: Addresses, *, usual: bool, sample: bool) -> Text:
    """Where everything is, and the three lines one needs to call it; never wrapped, so that they can be copied."""
    ways = "" if usual else f"--scheduler {addresses.scheduler} --limiter {addresses.limiter} "
    facts = (
        ("limiter", addresses.limiter),
        ("scheduler", addresses.scheduler),
        ("for workers", addresses.worker),
        ("redis", f"{suite.redis.address}  {suite.redis.name}"),
        ("kafka", f"{suite.kafka.bootstrap}  {suite.kafka.name}"),
        *((f"metrics of {name}", f"http://{address}/metrics") for name, address in suite.metrics.items()),
    )
    job, namespace = ("hello name=you", "hello user=you") if sample else ("TASK key=value", "NAMESPACE key=value")
    calls = (
        f"headworks {ways}jobs submit {job} --wait",
        f"headworks {ways}limits check {namespace}",
        f"headworks --kafka {suite.kafka.bootstrap} events tail",
    )
    shown = facts_text([(name, Text(value, style="bold")) for name, value in facts])
    lines = "".join(f"  {call}\n" for call in calls)
    return Text.assemble(("\nheadworks is up; Ctrl-C stops it\n\n", "bold green"), shown, "\n\n", lines)
