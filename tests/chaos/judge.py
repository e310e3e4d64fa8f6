"""The judge: pure functions over a history. `python -m tests.chaos.judge DIR` judges a saved one again.

DIR is one epoch (`build/chaos/<seed>/epoch-3`) or a folder of epochs.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.chaos import rules, rules_events, rules_limits
from tests.chaos.history import History, load
from tests.chaos.rules import Finding

RULES: tuple[Callable[[History], Iterator[Finding]], ...] = (
    rules.nothing_lost,
    rules.ends_as_it_must,
    rules.counters_add_up,
    rules.results_are_the_last_leases,
    rules.leases_are_kept,
    rules.attempts_are_accounted_for,
    rules.lanes_are_in_order,
    rules.all_came_to_rest,
    rules_events.events_are_complete,
    rules_events.duplicates_are_equal,
    rules_limits.limits_hold,
)


def judge(history: History) -> list[Finding]:
    """Everything that breaks a rule."""
    return [finding for rule in RULES for finding in rule(history)]


def main() -> int:
    """The program."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.judge", description="judge saved histories again")
    parser.add_argument("folder", type=Path)
    folder: Path = parser.parse_args().folder
    epochs = [folder] if (folder / "meta.json").exists() else sorted(p.parent for p in folder.glob("*/meta.json"))
    if not epochs:
        print(f"no history in {folder}")
        return 2
    found = 0
    for epoch in epochs:
        history = load(epoch)
        findings = judge(history)
        found += len(findings)
        jobs, ordered = len(history.submitted), rules.ordered_pairs(history)
        print(f"{epoch}: {jobs} jobs, {ordered} in order, {len(history.heard)} events, {len(findings)} violations")
        for finding in findings:
            print(f"  {finding}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
