"""What a person reads of a run."""

from __future__ import annotations

from tests.chaos.run import Plan, Totals

SHOWN = 20


def summary(plan: Plan, totals: Totals, took_s: float) -> str:
    """The table at the end."""
    states = ", ".join(f"{count} {state}" for state, count in sorted(totals.states.items()))
    rows: list[tuple[str, object]] = [
        ("seed", plan.seed),
        ("took", f"{took_s / 60:.1f} min, {totals.epochs} epochs"),
        ("jobs", f"{totals.jobs} submitted, {totals.acknowledged} acknowledged, {totals.unknown_tries} tries repeated"),
        ("ends", states),
        ("attempts", f"{totals.attempts}, {totals.lost_leases} leases lost, {totals.undelivered} undelivered"),
        ("events", f"{totals.events}, of which {totals.duplicates} duplicates"),
        ("grants", totals.grants),
        ("order", f"{totals.ordered} jobs' places judged"),
        ("faults", sum(totals.faults.values())),
        *((f"  {kind}", count) for kind, count in sorted(totals.faults.items())),
        ("no acknowledgement", f"for {totals.silence_s:.1f} s at most"),
        ("at rest", f"{totals.rest_s:.1f} s after the last fault at most"),
        ("violations", len(totals.findings)),
    ]
    lines = [f"{name:<24} {value}" for name, value in rows]
    lines += [f"  epoch {epoch}: {finding}" for epoch, finding in totals.findings[:SHOWN]]
    if len(totals.findings) > SHOWN:
        lines.append(f"  ... and {len(totals.findings) - SHOWN} more")
    if totals.findings and plan.out:
        lines.append(f"histories: {plan.out}; judge them again: python -m tests.chaos.judge {plan.out}")
    return "\n".join(lines)
