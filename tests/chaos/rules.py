"""What must hold of jobs, whatever happened. Each rule is a function from a history to what breaks it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise

from tests.chaos.history import DONE, FAIL, START, STOP, Final, Handled, History, Submitted


@dataclass(frozen=True, slots=True)
class Finding:
    """A violation."""

    rule: str
    subject: str
    """A job, a bucket, or whatever it is about."""
    message: str

    def __str__(self) -> str:
        return f"{self.rule}: {self.subject}: {self.message}"


NEVER_FAIL = frozenset({"quick", "sleepy", "long", "blocking", "limited", "told", "killer"})
FAILS_AS = {"doomed": "TRANSIENT", "overtime": "TIMEOUT", "permanent": "PERMANENT"}
"""Kinds that end as dead letters, and of which category; all others succeed."""


def finals(history: History) -> dict[str, Final]:
    """The final states by name."""
    return {final.name: final for final in history.final}


def starts(history: History) -> dict[str, list[Handled]]:
    """The attempts that began, by job, in order of their leases."""
    found: dict[str, list[Handled]] = defaultdict(list)
    for line in history.handled:
        if line.what == START:
            found[line.job].append(line)
    for attempts in found.values():
        attempts.sort(key=lambda line: line.lease)
    return found


def nothing_lost(history: History) -> Iterator[Finding]:
    """What was acknowledged, or has run, exists and has ended; what was refused does not exist."""
    known, ran = finals(history), starts(history)
    for job in history.submitted:
        final = known.get(job.name)
        if final is None:
            if job.acked_at is not None:
                yield Finding("lost", job.name, f"acknowledged at {job.acked_at:.3f}, and there is no such job")
            elif job.name in ran:
                yield Finding("lost", job.name, "it has run, and there is no such job")
        elif not final.ended:
            yield Finding("lost", job.name, f"is still {final.state} at rest")
        elif job.refused and not job.unknown and job.acked_at is None:
            yield Finding("refused", job.name, f"refused with {job.refused}, and it is {final.state}")


def ends_as_it_must(history: History) -> Iterator[Finding]:
    """The final state is one that the job's kind can come to, and watchers were told of that one."""
    known = finals(history)
    asked = {cancel.name for cancel in history.cancelled}
    for job in history.submitted:
        final = known.get(job.name)
        if final is not None and final.ended:
            wrong = _wrong_end(job, final, history.meta.lost_max, cancelled=job.name in asked)
            if wrong:
                yield Finding("end", job.name, f"{job.kind}: {wrong}")
    for told in history.told:
        final = known.get(told.name)
        if final is None or (final.state, final.lease_id) != (told.state, told.lease_id):
            now = f"{final.state} by lease {final.lease_id}" if final else "gone"
            yield Finding("end", told.name, f"a watcher heard {told.state} by lease {told.lease_id}, it is {now}")


def _wrong_end(job: Submitted, final: Final, lost_max: int, *, cancelled: bool) -> str:
    if final.state == "CANCELLED":
        return "" if cancelled else "cancelled, and nobody asked for it"
    if final.category == "POISON" and final.state == "DEAD":
        return "" if final.lost == lost_max + 1 else f"POISON after {final.lost} lost leases"
    if final.lost > lost_max:
        return f"{final.state} after {final.lost} lost leases"
    if final.category == "EXPIRED" and final.state == "DEAD":
        return "" if job.expires else "EXPIRED without an expiry"
    if job.kind in NEVER_FAIL and final.failures:
        return f"{final.failures} failures of a handler that never fails: {final.category} {final.error_class}"
    expected = FAILS_AS.get(job.kind)
    if expected is None:
        return "" if final.state == "SUCCEEDED" else f"{final.state} ({final.category} {final.error_class})"
    if (final.state, final.category) != ("DEAD", expected):
        return f"{final.state} ({final.category}), not DEAD ({expected})"
    due = 1 if job.kind == "permanent" else job.max_attempts
    return "" if final.failures == due else f"dead after {final.failures} failures instead of {due}"


def counters_add_up(history: History) -> Iterator[Finding]:
    """Failures within the policy; attempts are exactly what the other counters say."""
    limits = {job.name: job.max_attempts for job in history.submitted}
    for final in history.final:
        if not final.ended:
            continue
        if final.failures > limits.get(final.name, final.failures):
            yield Finding("attempts", final.name, f"{final.failures} failures of at most {limits[final.name]}")
        fewest = final.failures + final.lost
        allowed = {
            "SUCCEEDED": {fewest + 1},
            "DEAD": {fewest},
            "CANCELLED": {fewest, fewest + 1},
        }[final.state]
        if final.attempts not in allowed:
            words = f"{final.attempts} attempts, {final.failures} failures, {final.lost} lost leases"
            yield Finding("attempts", final.name, f"{final.state} with {words}")


def results_are_the_last_leases(history: History) -> Iterator[Finding]:
    """A recorded result is that of the last lease, and no lease comes after the end: no stale completion counts."""
    ran = starts(history)
    for final in history.final:
        began = ran.get(final.name, [])
        if final.state == "SUCCEEDED":
            if final.result_lease != final.lease_id:
                message = f"the result is of lease {final.result_lease}, the last lease is {final.lease_id}"
                yield Finding("stale", final.name, message)
            if not any(line.lease == final.result_lease for line in began):
                yield Finding("stale", final.name, f"nobody began lease {final.result_lease}, whose result it has")
        if final.ended and began and began[-1].lease > final.lease_id:
            yield Finding("stale", final.name, f"lease {began[-1].lease} began, the job knows {final.lease_id} as last")


def leases_are_kept(history: History) -> Iterator[Finding]:
    """A lease starts once, and is not given to another before its time unless its handler had ended or given back.

    A worker reports an attempt that ran too long; it may be killed before the handler has written down its own end.
    What was told of such an attempt is that the job is tried again, which is never told of one that was lost.
    """
    failed = {(heard.job, heard.attempt) for heard in history.heard if heard.transition == "retrying"}
    ends: dict[tuple[str, int], Handled] = {}
    for line in history.handled:
        if line.what != START:
            ends[line.job, line.lease] = line
    for job, began in starts(history).items():
        for line, after in pairwise(began):
            if line.lease == after.lease:
                yield Finding("lease", job, f"lease {line.lease} began on {line.worker} and again on {after.worker}")
            elif not (_over(ends.get((job, line.lease)), after.lease) or (job, line.attempt) in failed):
                held_s = (after.lease - line.lease) / 1e6  # lease ids are the microseconds of their claims
                if held_s < history.meta.delivery_s:
                    message = f"lease {line.lease} ({line.worker}) was taken away after {held_s:.3f} s"
                    yield Finding("lease", job, f"{message} by {after.lease} ({after.worker})")


def _over(end: Handled | None, next_lease: int) -> bool:
    """Whether an attempt may have been followed at once: it had failed, timed out or been given back."""
    if end is None or end.at * 1e6 > next_lease:
        return False
    return end.what == FAIL or (end.what == STOP and end.detail in ("timed out", "draining"))


def attempts_are_accounted_for(history: History) -> Iterator[Finding]:
    """Every attempt that began ended in something that was counted, or was given back by a draining worker."""
    known = finals(history)
    returned: dict[str, int] = defaultdict(int)
    for line in history.handled:
        if line.what == STOP and line.detail == "draining":
            returned[line.job] += 1
    for job, began in starts(history).items():
        final = known.get(job)
        if final is None or not final.ended:
            continue
        last = 1 if final.state in ("SUCCEEDED", "CANCELLED") else 0
        counted = final.failures + final.lost + final.undelivered + last + returned[job]
        if len(began) > counted:
            words = f"{final.failures} failures, {final.lost} lost, {final.undelivered} undelivered"
            yield Finding("attempts", job, f"began {len(began)} times, {final.state} with {words}")


def lanes_are_in_order(history: History) -> Iterator[Finding]:
    """Jobs of a lane are first claimed in the order in which they were submitted one after another.

    A job that a fault may have sent back to its lane between submit and start proves nothing and is left out, as the
    one that was overtaken.
    """
    known, ran = finals(history), starts(history)
    for lane, jobs in _lanes(history).items():
        last: tuple[int, Submitted] | None = None
        for job in jobs:
            if job.name not in ran:
                continue
            lease = ran[job.name][0].lease
            if last and lease < last[0] and (last[1].acked_at or job.sent_at) < job.sent_at:
                yield Finding("order", job.name, f"claimed before {last[1].name}, which came earlier in lane {lane}")
            if (last is None or lease > last[0]) and undisturbed(history, job, known, lease):
                last = lease, job


def undisturbed(history: History, job: Submitted, known: Mapping[str, Final], lease: int) -> bool:
    """Whether no fault, and no loss of a lease, came between the submit of a job and its start."""
    final = known.get(job.name)
    if final is None or job.acked_at is None or final.lost or final.undelivered:
        return False
    settle = history.meta.settle_s
    return not any(fault.began <= lease / 1e6 and job.sent_at <= fault.ended + settle for fault in history.faults)


def _lanes(history: History) -> dict[tuple[str, str, int, str], list[Submitted]]:
    found: dict[tuple[str, str, int, str], list[Submitted]] = defaultdict(list)
    for job in sorted(history.submitted, key=lambda job: job.sent_at):
        if job.in_turn:
            found[job.tenant, job.queue, job.level, job.lane].append(job)
    return found


def ordered_pairs(history: History) -> int:
    """How many jobs' places in their lanes could be judged."""
    known, ran = finals(history), starts(history)
    return sum(
        1
        for jobs in _lanes(history).values()
        for job in jobs
        if job.name in ran and undisturbed(history, job, known, ran[job.name][0].lease)
    )


def all_came_to_rest(history: History) -> Iterator[Finding]:
    """Nothing is left over, and nobody outside has complained."""
    for left in history.leftovers:
        yield Finding("rest", "the store", left)
    for complaint in history.complaints:
        yield Finding("seen", complaint.who, f"at {complaint.at:.3f}: {complaint.what}")


__all__ = [
    "DONE",
    "Finding",
    "all_came_to_rest",
    "attempts_are_accounted_for",
    "counters_add_up",
    "ends_as_it_must",
    "lanes_are_in_order",
    "leases_are_kept",
    "nothing_lost",
    "ordered_pairs",
    "results_are_the_last_leases",
]
