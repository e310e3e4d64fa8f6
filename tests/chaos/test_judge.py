"""The judge lets good histories pass, and finds each kind of wrong in hand-made bad ones."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.history import (
    DONE,
    FAIL,
    START,
    STOP,
    Cancelled,
    Complaint,
    Fault,
    Final,
    Granted,
    Handled,
    Heard,
    History,
    Meta,
    Rule,
    Submitted,
    load,
)
from tests.chaos.judge import RULES, judge
from tests.chaos.rules import Finding, ordered_pairs

T0 = 1_800_000_000.0
SMOOTH = Rule("smooth", "gcra", 10, 1.0, burst=5)
WINDOWED = Rule("windowed", "fixed_window", 3, 1.0)
META = Meta(seed=1, epoch=1, lost_max=3, delivery_s=2.0, settle_s=6.0, rules=(SMOOTH, WINDOWED))


def lease(at: float) -> int:
    """The id of a lease that was claimed so many seconds after T0."""
    return int((T0 + at) * 1e6)


class Story:
    """A history in the making."""

    def __init__(self) -> None:
        self.history = History(META)

    def submit(self, job: str, at: float = 0.0, kind: str = "quick", **more: Any) -> None:
        """Acknowledged a millisecond later, unless `more` says something else."""
        fields: dict[str, Any] = {"acked_at": T0 + at + 0.001, **more}
        self.history.submitted.append(Submitted(job, kind, T0 + at, **fields))

    def attempt(self, job: str, claimed: float, took: float | None = 0.1, *, end: str = DONE, why: str = "") -> int:
        """A handler's lines; without an end if `took` is None. Returns the lease."""
        parts = {"job": job, "lease": lease(claimed), "attempt": 1, "worker": "w", "epoch": 1}
        self.history.handled.append(Handled(at=T0 + claimed + 0.01, what=START, **parts))  # type: ignore[arg-type]
        if took is not None:
            ended = Handled(at=T0 + claimed + took, what=end, detail=why, **parts)  # type: ignore[arg-type]
            self.history.handled.append(ended)
        return lease(claimed)

    def hear(self, job: str, *transitions: str, generation: int = 1) -> None:
        """Its events, from the first."""
        for number, transition in enumerate(transitions, 1):
            self.history.heard.append(Heard(T0, job, number, transition, generation, 1, f"{job}:{number}:{number}-0"))

    def succeed(self, job: str, last: int, *, told: tuple[str, ...] = ("succeeded",), **counters: int) -> None:
        """It ended well, by this lease."""
        counted: dict[str, Any] = {"attempts": 1 + counters.get("failures", 0) + counters.get("lost", 0), **counters}
        self.history.final.append(Final(job, "SUCCEEDED", lease_id=last, result_lease=last, **counted))
        self.hear(job, *told)

    def die(self, job: str, category: str, last: int, told: tuple[str, ...], **counters: Any) -> None:
        """It is a dead letter."""
        self.history.final.append(Final(job, "DEAD", lease_id=last, category=category, **counters))
        self.hear(job, *told)

    def grant(self, rule: str, at: float, took: float = 0.002, permits: int = 1, request: str = "") -> None:
        """Permits of the limiter."""
        request = request or f"r{len(self.history.granted)}"
        self.history.granted.append(Granted(rule, T0 + at, T0 + at + took, permits, request))


def good() -> Story:
    """Everything that may happen."""
    story = Story()
    story.submit("plain", in_turn=True, lane="l")
    story.succeed("plain", story.attempt("plain", 0.1))
    story.submit("next", 0.05, in_turn=True, lane="l")
    story.succeed("next", story.attempt("next", 0.2))
    story.submit("flaky", kind="flaky")
    story.attempt("flaky", 0.1, end=FAIL)
    last = story.attempt("flaky", 0.3)
    story.succeed("flaky", last, told=("retrying", "succeeded"), failures=1)
    story.submit("doomed", kind="doomed", max_attempts=2)
    story.attempt("doomed", 0.1, end=FAIL)
    last = story.attempt("doomed", 0.5, end=FAIL)
    story.die("doomed", "TRANSIENT", last, ("retrying", "dead"), attempts=2, failures=2)
    story.submit("moved")  # its worker was killed
    story.attempt("moved", 0.1, None)
    story.succeed("moved", story.attempt("moved", 3.2), lost=1)
    story.submit("overlapping")  # its worker was stopped past the lease, and went on
    story.attempt("overlapping", 0.1, 9.0, end=STOP, why="lost")
    story.succeed("overlapping", story.attempt("overlapping", 3.2), lost=1)
    story.submit("returned")
    story.attempt("returned", 0.1, 0.2, end=STOP, why="draining")
    story.succeed("returned", story.attempt("returned", 0.4))
    story.submit("poison", kind="killer")
    for at in (0.1, 4.0, 8.0, 12.0):
        last = story.attempt("poison", at, None)
    story.die("poison", "POISON", last + 1, ("dead",), attempts=4, lost=4)
    story.submit("late", expires=True)
    story.die("late", "EXPIRED", 0, ("dead",), attempts=0)
    story.submit("unwanted")
    story.history.cancelled.append(Cancelled("unwanted", T0, "CANCELLED"))
    story.history.final.append(Final("unwanted", "CANCELLED", attempts=0))
    story.hear("unwanted", "cancelled")
    story.submit("never arrived", acked_at=None, unknown=3)
    story.history.told.append(story.history.final[0])
    story.history.heard.append(story.history.heard[0])  # a duplicate, later
    for number in range(20):
        story.grant("smooth", number * 0.1)
        story.grant("windowed", number * 0.34)
    story.grant("smooth", 0.0, request="r0")  # repeated under its id
    story.history.faults.append(Fault("worker killed", "w", T0 + 100, T0 + 101))
    return story


def test_a_good_history_passes_whole_and_from_disk(tmp_path: Path) -> None:
    history = good().history
    assert judge(history) == []
    history.save(tmp_path)
    assert load(tmp_path) == history


def change(name: str, **fields: Any) -> Callable[[Story], None]:
    """Another final state of the job."""

    def apply(story: Story) -> None:
        for at, final in enumerate(story.history.final):
            if final.name == name:
                story.history.final[at] = dataclasses.replace(final, **fields)

    return apply


def without(kind: str, name: str) -> Callable[[Story], None]:
    """No such records."""

    def apply(story: Story) -> None:
        records = getattr(story.history, kind)
        records[:] = [r for r in records if getattr(r, "name", None) != name and getattr(r, "job", None) != name]

    return apply


def both(*changes: Callable[[Story], None]) -> Callable[[Story], None]:
    """One after the other."""

    def apply(story: Story) -> None:
        for one in changes:
            one(story)

    return apply


def lose_an_unknown(story: Story) -> None:
    """It has run and is gone."""
    story.attempt("never arrived", 1.0)


def refuse(story: Story) -> None:
    """Refused for certain, and run nevertheless."""
    story.submit("refused", acked_at=None, refused="QUEUE_FULL")
    story.succeed("refused", story.attempt("refused", 1.0))


def begin_twice(story: Story) -> None:
    """One lease, two handlers."""
    story.attempt("plain", 0.1)


def run_uncounted(story: Story) -> None:
    """One attempt more than the counters know."""
    story.history.handled = [line for line in story.history.handled if line.job != "moved"]
    for at in (0.1, 4.0, 8.0):
        last = story.attempt("moved", at, None if at < 8 else 0.1)
    change("moved", lease_id=last, result_lease=last)(story)


def take_too_soon(story: Story) -> None:
    """A lease is given to another after a second."""
    story.history.handled = [line for line in story.history.handled if line.job != "moved"]
    story.attempt("moved", 2.2, None)
    story.attempt("moved", 3.2)


def begin_after_the_end(story: Story) -> None:
    """A lease later than the last."""
    story.attempt("plain", 5.0)


def overtake(story: Story) -> None:
    """The third of a lane before the second."""
    story.submit("third", 0.06, in_turn=True, lane="l")
    story.succeed("third", story.attempt("third", 0.15))


def hear_again(story: Story) -> None:
    """Another event under a number that was used."""
    story.history.heard.append(dataclasses.replace(story.history.heard[0], id="plain:1:99-0"))


def hear_twice_the_end(story: Story) -> None:
    """Two ends of one generation."""
    story.hear("next", "succeeded", "succeeded")


def hear_of_a_stranger(story: Story) -> None:
    """Nobody has submitted it."""
    story.hear("stranger", "succeeded")


def swap(story: Story) -> None:
    """The second event before the first."""
    heard = story.history.heard
    at = next(i for i, event in enumerate(heard) if event.job == "flaky")
    heard[at], heard[at + 1] = heard[at + 1], heard[at]


def burst(story: Story) -> None:
    """Ten at once where five and a little may be."""
    for _ in range(10):
        story.grant("smooth", 50.0)


def trickle(story: Story) -> None:
    """A fifth more than the rate, for long."""
    for number in range(100):
        story.grant("smooth", 50 + number / 12)


def crowd_a_window(story: Story) -> None:
    """Four where three may be."""
    for number in range(4):
        story.grant("windowed", 50.2 + number * 0.1)


BAD: dict[str, tuple[Callable[[Story], None], str]] = {
    "an acknowledged job is gone": (without("final", "plain"), "lost: plain: acknowledged"),
    "a job that ran is gone": (lose_an_unknown, "lost: never arrived: it has run"),
    "a job has not ended": (change("plain", state="LEASED"), "lost: plain: is still LEASED"),
    "a refused job exists": (refuse, "refused: refused"),
    "cancelled by nobody": (change("plain", state="CANCELLED"), "cancelled, and nobody asked"),
    "poison too soon": (change("poison", lost=2, attempts=2), "POISON after 2"),
    "poison too late": (change("moved", lost=4, attempts=5), "SUCCEEDED after 4 lost"),
    "expired without expiry": (change("doomed", category="EXPIRED"), "EXPIRED without"),
    "a failure from nowhere": (change("plain", failures=1, attempts=2), "1 failures of a handler that never"),
    "a doomed job succeeds": (change("doomed", state="SUCCEEDED"), "SUCCEEDED (TRANSIENT), not DEAD"),
    "a doomed job gives up early": (change("doomed", failures=1, attempts=1), "dead after 1 failures instead of 2"),
    "a good job dies": (change("flaky", state="DEAD", category="TRANSIENT"), "end: flaky: flaky: DEAD (TRANSIENT"),
    "a watcher was told something else": (change("plain", lease_id=7, result_lease=7), "a watcher heard"),
    "a watched job is gone": (without("final", "plain"), "it is gone"),
    "too many failures": (change("flaky", failures=6, attempts=7), "6 failures of at most 5"),
    "attempts do not add up": (change("plain", attempts=2), "SUCCEEDED with 2 attempts"),
    "a dead job's attempts do not add up": (change("doomed", attempts=3), "DEAD with 3 attempts"),
    "a stale result": (change("moved", result_lease=lease(0.1)), "stale: moved: the result is of lease"),
    "a result of nobody": (change("moved", result_lease=9, lease_id=9), "nobody began lease 9"),
    "a start after the end": (begin_after_the_end, "began, the job knows"),
    "a lease begins twice": (begin_twice, "lease: plain: lease"),
    "a lease is taken away too soon": (take_too_soon, "was taken away after 1.000 s"),
    "an attempt is not counted": (run_uncounted, "attempts: moved: began 3 times"),
    "a lane out of order": (overtake, "order: third: claimed before next"),
    "something is left over": (lambda story: story.history.leftovers.append("counts: 1"), "rest: the store: counts"),
    "somebody complains": (
        lambda story: story.history.complaints.append(Complaint(T0, "worker-1", "ended with 3")),
        "seen: worker-1",
    ),
    "an event is missing": (without("heard", "plain"), "its ends: []"),
    "a retry is missing": (
        both(without("heard", "flaky"), lambda story: story.hear("flaky", "succeeded")),
        "with 0 retries told",
    ),
    "a number is used twice": (hear_again, "sequence 1 is both"),
    "two ends": (hear_twice_the_end, "its ends: ['succeeded (generation 1)', 'succeeded (generation 1)']"),
    "the end of another generation": (change("plain", generation=2), "in generation 2"),
    "the wrong end": (change("next", state="DEAD", category="POISON", lost=4), "its last event is succeeded"),
    "events out of order": (swap, "events: flaky: sequences [2]"),
    "events of a stranger": (hear_of_a_stranger, "nobody submitted"),
    "events of a job that is gone": (without("final", "doomed"), "dead, and there is no such job"),
    "a burst": (burst, "limit: smooth"),
    "a trickle": (trickle, "limit: smooth"),
    "a full window": (crowd_a_window, "limit: windowed: 4 permits of 3"),
}


@pytest.mark.parametrize("wrong", BAD)
def test_a_bad_history_is_found(wrong: str) -> None:
    story, (spoil, said) = good(), BAD[wrong]
    spoil(story)

    found = judge(story.history)

    assert any(said in str(finding) for finding in found), found


def test_an_attempt_that_was_reported_as_failed_may_be_followed_at_once() -> None:
    story = good()
    take_too_soon(story)
    attempt = next(line.attempt for line in story.history.handled if line.job == "moved")
    story.history.heard.append(Heard(T0 + 3, "moved", 1, "retrying", 1, attempt, "moved:1:9-0"))

    assert not [finding for finding in judge(story.history) if finding.rule == "lease"]


def test_every_rule_has_a_history_that_breaks_it() -> None:
    broken: set[str] = set()
    for spoil, _ in BAD.values():
        story = good()
        spoil(story)
        broken |= {rule.__name__ for rule in RULES if list(rule(story.history))}

    assert broken == {rule.__name__ for rule in RULES}


def order_findings(story: Story) -> list[Finding]:
    """What the rule of order says."""
    return [finding for finding in judge(story.history) if finding.rule == "order"]


def test_a_lane_is_not_judged_by_jobs_that_a_fault_may_have_sent_back() -> None:
    story = good()
    before = ordered_pairs(story.history)
    overtake(story)
    story.history.faults.append(Fault("workers rolled", "workers", T0 - 10, T0 - 5))

    assert before == 2
    assert order_findings(story) == []
    assert ordered_pairs(story.history) == 0


def test_jobs_that_were_under_way_at_the_same_time_have_no_order() -> None:
    story = good()
    story.submit("twin", 0.0505, in_turn=True, lane="l")  # sent before `next` was acknowledged
    story.succeed("twin", story.attempt("twin", 0.15))

    assert order_findings(story) == []


def test_grants_whose_time_is_uncertain_prove_nothing() -> None:
    story = good()
    for _ in range(50):
        story.grant("smooth", 50.0, took=1.0)
        story.grant("windowed", 49.9, took=0.2)

    assert judge(story.history) == []
